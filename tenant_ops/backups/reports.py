"""What the operations of this package plan and report: frozen values that turn into JSON as they are.

Here: plans, reports, the catalog's record. Not here: what makes them.
"""

from dataclasses import dataclass, field
from typing import Any

from tenant_ops.backups.codec import Codec
from tenant_ops.backups.layout import BackupType, NotCarried


@dataclass(frozen=True)
class BackupRecord:
    """A backup as the catalog knows it.

    Attributes:
        id: Unique everywhere.
        parent: The backup an incremental or differential builds on.
        path: Where it lies: a path or a URL.
        store: The path or URL below which the tenants' folders lie.
        manifest_sha256: Names its exact content; a backup replaced in the store no longer matches.
        version: The tenant's schema version.
        rows: Of the tables whose rows are known; those an incremental did not read are not in it.
        raw_bytes: Content before compression.
        stored_bytes: Size of its own files.
        taken_at: The moment it holds, by the server's clock.
        base_id: The full backup its chain begins with, itself for a full one; None where a link is unknown.
        depth: How many backups lie between it and that one, itself counted.
        format: Of its container.
        fallback: It lies in the fallback store and waits to be carried to the one it was meant for.
        anchor: What the next backup of its chain goes on from; None without a journal.
        journal_from: The moment its journal segment starts at.
        journal_to: The moment its journal segment, or a full backup with a journal, ends at.
        changes: Entries of its journal segment.
        referenced_bytes: Size of files that lie in earlier backups of its chain.
        verified_at: When it was last read back whole; None for never.
        verified_level: How deeply that was done.
        damaged_at: When reading it back failed last; None once it verified again.
        damage: What was wrong first.
        pinned: Never removed by retention.
        legal_hold: Why nothing and nobody may remove it; None when it is not held.
        held_by: Who said so.
        held_at: When.
        removing_at: When its removal began; then it is no backup any more.
        reason: Why it was taken, when not on request or schedule.
        present: Whether it is still there.
    """

    id: str
    tenant_id: str
    tenant: str
    type: BackupType
    parent: str | None
    path: str
    codec: Codec
    encrypted: bool
    key_id: str | None
    manifest_sha256: str
    version: str | None
    tables: int
    rows: int
    raw_bytes: int
    stored_bytes: int
    started_at: str
    finished_at: str
    taken_at: str
    store: str
    base_id: str | None = None
    depth: int = 0
    format: str = "dir"
    fallback: bool = False
    anchor: dict[str, Any] | None = None
    journal_from: str | None = None
    journal_to: str | None = None
    changes: int = 0
    referenced_bytes: int = 0
    verified_at: str | None = None
    verified_level: str | None = None
    damaged_at: str | None = None
    damage: str | None = None
    pinned: bool = False
    legal_hold: str | None = None
    held_by: str | None = None
    held_at: str | None = None
    removing_at: str | None = None
    reason: str | None = None
    present: bool = True


@dataclass(frozen=True)
class BackupPlan:
    """What a backup would hold and where it would go.

    Attributes:
        folder: Where the backup's directory will be made.
        tables: Name and estimated rows of each table.
        estimated_bytes: Size of tables and files before compression.
        free_bytes: Room on the target's file system; two plans that differ only here are equal.
        not_carried: What the schema holds and the backup will not.
    """

    tenant: str
    tenant_id: str
    type: BackupType
    codec: Codec
    level: int
    encrypted: bool
    key_id: str | None
    folder: str
    tables: tuple[tuple[str, int], ...]
    statements: int
    files: int
    estimated_bytes: int
    free_bytes: int = field(compare=False)
    not_carried: tuple[NotCarried, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds, and what it cost."""

    tenant: str
    tenant_id: str
    backup_id: str
    type: BackupType
    path: str
    codec: Codec
    encrypted: bool
    taken_at: str
    tables: int
    rows: int
    files: int
    members: int
    raw_bytes: int
    stored_bytes: int
    ratio: float
    seconds: float
    mb_per_s: float
    manifest_sha256: str
    not_carried: tuple[NotCarried, ...]
    warnings: tuple[str, ...]
    removed_leftovers: tuple[str, ...]


@dataclass(frozen=True)
class VerifyReport:
    """Whether a backup can be read back.

    Attributes:
        level: `quick` compared stored hashes; `full` also decrypted, decompressed, counted and hashed rows.
        problems: Each names the member; empty for a sound backup.
    """

    backup_id: str
    tenant: str
    path: str
    level: str
    sound: bool
    members: int
    rows: int
    stored_bytes: int
    seconds: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class RebuildReport:
    """What the catalog learnt from a store."""

    root: str
    found: int
    added: int
    forgotten: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do.

    Attributes:
        mode: `replace` the content of an existing tenant, or make a `new` one.
        source: The tenant the backup is of.
        replaces_rows: Estimated rows of the target that would be set aside.
        conflicts: What forbids it; a plan with conflicts is not executed.
        warnings: What an operator should know before agreeing.
        manifest_sha256: The exact backup the plan was made for.
    """

    backup_id: str
    path: str
    source: str
    target: str
    mode: str
    encrypted: bool
    type: BackupType
    taken_at: str
    tables: tuple[tuple[str, int], ...]
    rows: int
    files: int
    raw_bytes: int
    replaces_rows: int
    replaces_files: int
    safety_backup: bool
    free_bytes: int = field(compare=False)
    conflicts: tuple[str, ...]
    warnings: tuple[str, ...]
    manifest_sha256: str


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        equal: Rows and content hash of every table are those of the backup.
        previous_schema: The schema that was replaced, kept for `undo_restore`; None when there was none.
        safety_backup: Id of the backup taken of the target before.
        skipped: Statements that could not apply here, each with its reason.
    """

    backup_id: str
    source: str
    target: str
    mode: str
    created: bool
    tables: int
    rows: int
    files: int
    raw_bytes: int
    equal: bool
    previous_schema: str | None
    safety_backup: str | None
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    mb_per_s: float


@dataclass(frozen=True)
class UndoReport:
    """What taking back a restore did: `schema` is live again, what was restored is kept as `set_aside`."""

    tenant: str
    schema: str
    set_aside: str
    files_swapped: bool
    version: str | None


@dataclass(frozen=True)
class TableComparison:
    """One table on both sides; `rows` is -1 where it is missing."""

    table: str
    rows_left: int
    rows_right: int
    equal: bool


@dataclass(frozen=True)
class Comparison:
    """Two tenants' content, table by table."""

    left: str
    right: str
    tables: tuple[TableComparison, ...]
    files_equal: bool
    equal: bool
    rows: int
    seconds: float


@dataclass(frozen=True)
class RetentionDecision:
    """What becomes of one backup, and why.

    Attributes:
        keep: Whether it stays.
        reason: Every rule that keeps it; or why it goes.
    """

    backup_id: str
    tenant: str
    tenant_id: str
    type: BackupType
    taken_at: str
    path: str
    keep: bool
    reason: str
    stored_bytes: int


@dataclass(frozen=True)
class RetentionReport:
    """What retention removed.

    Attributes:
        kept: Backups that are still there.
        removed: Ids, in the order they went.
        failed: Those that should have gone and did not, each with why.
        pruned_entries: Entries of the tenants' journals that no backup can go on from any more.
    """

    tenants: int
    kept: int
    removed: tuple[str, ...]
    freed_bytes: int
    failed: tuple[str, ...]
    pruned_entries: int = 0
