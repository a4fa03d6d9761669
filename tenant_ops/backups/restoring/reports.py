"""What restores plan and report. Not here: what makes them."""

from dataclasses import dataclass, field

from tenant_ops.backups.journal import LAST_TICK, Until
from tenant_ops.backups.layout import BackupType

REPLACE, NEW, TABLES, MERGE = MODES = ("replace", "new", "tables", "merge")
CREATE, UPDATE, DELETE = WORDS = ("create", "update", "delete")


@dataclass(frozen=True)
class TableDifference:
    """How a live table differs from the backup's, in what a restore may change.

    Attributes:
        table: Its name.
        create: Rows only the backup has.
        update: Rows with the same key and other values.
        delete: Rows only the live table has.
        sample: Some of their keys; never values of other columns.
        by_key: False for a table without a key: a changed row is then one deleted and one created.
    """

    table: str
    create: int
    update: int
    delete: int
    sample: tuple[str, ...] = ()
    by_key: bool = True


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do.

    Attributes:
        backup_id: The newest backup of the chain that is needed.
        source: The tenant the backup is of.
        mode: `replace` the content of an existing tenant, make a `new` one, bring `tables` back to what they
            were, or `merge` the backup into what is there.
        tables: Name and rows; None where only the restore will tell.
        files: In the backup.
        raw_bytes: What is read, before compression, journal included.
        replaces_rows: Estimated rows of the target that would be set aside.
        conflicts: What forbids it; a plan with conflicts is not executed.
        warnings: What an operator should know before agreeing.
        manifest_sha256: The exact backup the plan was made for.
        until: The moment, as the journal takes it.
        reached: The moment the rows will be of, ISO 8601.
        exact: Whether that is the moment asked for.
        granularity: The same in words: exactly that moment, or as of a tick so many seconds before.
        fresh_backup: An incremental of the source is taken first, because no backup reaches the moment.
        chain: Ids of the backups that are read, the full one first.
        placement: Of the target.
        needed_bytes: Room the database will need for it, roughly.
        database_free_bytes: Room where the database lies; None where that cannot be known from here.
        files_needed_bytes: Room the files, and the copy taken before, will need.
        free_bytes: Room where the tenants' files lie.
        eta_s: Seconds it will take, from what restores and drills took; None while there is no measure.
        eta: The same in words.
        chosen: For mode tables: which.
        words: For modes tables and merge: which of create, update and delete are done.
        differences: For modes tables and merge, how the live tables differ; None where not looked at.
        trusted: Functions of an unencrypted backup may run with more rights than the tenant's.
    """

    backup_id: str
    path: str
    source: str
    target: str
    mode: str
    encrypted: bool
    type: BackupType
    taken_at: str
    tables: tuple[tuple[str, int | None], ...]
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
    until: Until = LAST_TICK
    reached: str = ""
    exact: bool = True
    granularity: str = ""
    fresh_backup: bool = False
    chain: tuple[str, ...] = ()
    placement: str = "default"
    needed_bytes: int = 0
    database_free_bytes: int | None = field(default=None, compare=False)
    files_needed_bytes: int = 0
    eta_s: float | None = field(default=None, compare=False)
    eta: str = field(default="", compare=False)
    chosen: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    differences: tuple[TableDifference, ...] | None = None
    trusted: bool = False


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        backup_id: The newest backup of the chain that was read.
        rows: Loaded, from backup and journal.
        raw_bytes: Read, before compression, journal included.
        equal: Every table whose rows and hash are known at the moment has exactly those.
        previous_schema: What was replaced, or the rows set aside, kept for `undo_restore`; None for nothing.
        safety_backup: Id of the backup taken of the target before.
        skipped: Statements that could not apply here, each with its reason.
        reached: The moment the rows are of, ISO 8601.
        exact: Whether that is the moment asked for.
        granularity: The same in words.
        files_as_of: The moment the files are of: they are kept per backup.
        verified: How much was compared with what the backups know, in words.
        left_out: Transactions of the journal that were not put back.
        journal: What becomes of the target's journal, in words.
        fresh_backup: Id of the incremental that was taken of the source first.
        changed: For modes tables and merge, what was done to each table.
        files_changed: The same for files: created, updated, deleted.
        load_seconds: Of `seconds`, those for loading and comparing rows.
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
    reached: str = ""
    exact: bool = True
    granularity: str = ""
    files_as_of: str = ""
    verified: str = ""
    left_out: tuple[int, ...] = ()
    journal: str = ""
    fresh_backup: str | None = None
    changed: tuple[TableDifference, ...] = ()
    files_changed: tuple[int, int, int] = (0, 0, 0)
    load_seconds: float = 0.0


@dataclass(frozen=True)
class UndoReport:
    """What taking back a restore did.

    Attributes:
        schema: What was set aside and is live again.
        set_aside: Where what had been restored is kept now; None after a merge, whose rows are back in place.
        files_swapped: Whether files were brought back too.
        version: The tenant's schema version now.
        changed: After a merge, the rows taken back: created, updated, deleted again.
        kept: After a merge, rows left as they are because somebody changed them since.
    """

    tenant: str
    schema: str
    set_aside: str | None
    files_swapped: bool
    version: str | None
    changed: tuple[TableDifference, ...] = ()
    kept: int = 0
