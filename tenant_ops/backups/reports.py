"""What the operations of this package plan and report: frozen values that turn into JSON as they are.

Here: plans, reports, the catalog's record. Not here: what makes them.
"""

from dataclasses import dataclass, field
from typing import Any

from tenant_ops.backups.codec import Codec
from tenant_ops.backups.containers import Format
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
        present: Whether it is still there, and not being removed.
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
    format: Format = "dir"
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
        type: What will really be taken.
        folder: The tenant's in the store.
        store: The store it is meant for.
        format: A folder, or which kind of file.
        tables: Name and estimated rows of each table.
        estimated_bytes: Size of what it would hold itself, before compression: tables and files, or the
            changes since its parent.
        free_bytes: Room on the target's file system; two plans that differ only here are equal.
        not_carried: What the schema holds and the backup will not.
        instead_of: What was asked for, when that cannot be taken.
        because: Why not, in a sentence.
        parent: The backup it would build on.
        changes: Entries of the journal since then.
        journal: What becomes of the journal, in a sentence; empty where the tenant has none and needs none.
        measure: Whether rows are read to be counted and hashed where the journal does not tell.
    """

    tenant: str
    tenant_id: str
    type: BackupType
    codec: Codec
    level: int
    encrypted: bool
    key_id: str | None
    folder: str
    store: str
    format: Format
    tables: tuple[tuple[str, int], ...]
    statements: int
    files: int
    estimated_bytes: int
    free_bytes: int = field(compare=False)
    not_carried: tuple[NotCarried, ...]
    warnings: tuple[str, ...]
    instead_of: BackupType | None = None
    because: str | None = None
    parent: str | None = None
    changes: int | None = None
    journal: str = ""
    measure: bool = False


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds, and what it cost.

    Attributes:
        rows: Of the tables whose rows are known.
        members: Files it consists of, those in earlier backups of its chain included.
        raw_bytes: Content it holds itself, before compression.
        stored_bytes: Size of its own files.
        instead_of: What was asked for, when that could not be taken.
        because: Why not, in a sentence.
        parent: The backup it builds on.
        depth: How many backups lie between it and the full one, itself counted.
        changes: Entries of its journal segment.
        journal: Whether the next backup can build on it, in a sentence.
        store: The store it lies in.
        format: A folder, or which kind of file.
        fallback: It lies in the fallback store, and waits to be carried to the one it is meant for.
    """

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
    instead_of: BackupType | None = None
    because: str | None = None
    parent: str | None = None
    depth: int = 0
    changes: int = 0
    journal: str = ""
    store: str = ""
    format: Format = "dir"
    fallback: bool = False


@dataclass(frozen=True)
class VerifyReport:
    """Whether a backup can be read back.

    Attributes:
        level: `quick` compared stored hashes; `full` also decrypted, decompressed, counted and hashed rows.
        chain: What was read back: the full backup first, this one last.
        members: Files that were.
        rows: In the backup, as far as it knows.
        stored_bytes: Size of the files.
        problems: Each names the member; empty for a sound backup.
    """

    backup_id: str
    tenant: str
    path: str
    level: str
    sound: bool
    chain: tuple[str, ...]
    members: int
    rows: int
    stored_bytes: int
    seconds: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class RebuildReport:
    """What the catalog learnt from stores.

    Attributes:
        stores: Which were looked through.
        empty: Those of them with nothing at all in them; what the catalog says of these was left as it is.
        found: Complete backups.
        added: Those the catalog did not know.
        forgotten: Records of backups that are gone.
        unreadable: Backups that could not be opened, each with why.
        broken: Backups that lack something they build on, each with what.
        missing: Pinned or held ones that are gone; their records stay.
    """

    stores: tuple[str, ...]
    empty: tuple[str, ...]
    found: int
    added: int
    forgotten: int
    unreadable: tuple[str, ...]
    broken: tuple[str, ...]
    missing: tuple[str, ...]


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
