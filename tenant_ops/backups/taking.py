"""Taking a backup: plan it, take it, note it.

Here: which type is really taken, the order of the work, what the catalog and the report say. Not here: what
an archive holds (`writing.py`), what a backup builds on (`parents.py`), which store takes it (`placing.py`).

Whatever happens, chains stay whole: an anchor is noted in the journal before its backup is published, so a
backup that is visible can be built on; and what was published but not entered in the catalog, because the
process died in between, is entered by the next backup of the tenant before it chooses its parent. Killed
before publishing, a backup leaves a note nobody asks for.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import get_args

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog
from tenant_ops.backups.archive import ArchiveWriter, Published, TenantKey
from tenant_ops.backups.chains import note_of
from tenant_ops.backups.codec import check_codec
from tenant_ops.backups.containers import check_format
from tenant_ops.backups.files import count_changed, count_files
from tenant_ops.backups.journal import ChainBroken, Health, foresee_segment, health, install, keep
from tenant_ops.backups.keys import sealing_key
from tenant_ops.backups.layout import FORMAT, VERSION, BackupType, Header, new_backup_id
from tenant_ops.backups.parents import NoParent, Parent, find_parent, known_backups
from tenant_ops.backups.placing import Placed, free_bytes, in_sentences, place
from tenant_ops.backups.reports import BackupPlan, BackupRecord, BackupReport
from tenant_ops.backups.restoring.swapping import finish_interrupted
from tenant_ops.backups.snapshot import Snapshot, hold_snapshot
from tenant_ops.backups.stores import Folder
from tenant_ops.backups.writing import write_changes, write_full
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, State, Tenant


@dataclass(frozen=True)
class _Taken:
    """What was published, and how it came to be that.

    Attributes:
        because: Why it is not what was asked for.
        problem: Why no backup can build on it although one should.
    """

    header: Header
    published: Published
    parent: Parent | None
    started: datetime
    because: str | None = None
    problem: str = ""


def plan_backup(
    fleet: Fleet,
    tenant: Tenant,
    *,
    backup_type: str = "full",
    compression: str = "zstd",
    level: int | None = None,
    encryption: bool | None = None,
    output_path: str | None = None,
    archive_format: str = "dir",
    measure: bool = False,
) -> BackupPlan:
    """Look at what a backup would hold; nothing is written.

    Args:
        fleet: The fleet.
        tenant: Whose backup; active or suspended.
        backup_type: `full`; `incremental`, what was committed since the newest backup; `differential`, since
            the newest full one. Where these cannot be had the plan is a full one, and says why.
        compression: `zstd`, `gzip` or `none`.
        level: Of the compression; None is the fastest that compresses well.
        encryption: None seals it with the tenant's key, as True does; False writes it in the clear.
        output_path: Store to write to, a directory or a URL; None is the configured one.
        archive_format: `dir`, `zip`, `tar`, `tar.gz` or `tar.zst`.
        measure: Also count and hash the rows of tables that changed: an incremental then says what a restore
            of it must come to, and costs what reading these tables costs.

    Raises:
        InputError: an argument cannot be used, the tenant cannot be backed up, or there is no key.
        NotAvailable: the driver of such stores is not installed.
    """
    asked = _checked_type(backup_type)
    codec, chosen_level = check_codec(compression, level)
    tenant.require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED, State.OFFBOARDING)
    key = sealing_key(fleet, tenant, encryption)
    kind = check_format(archive_format)
    store = catalog.store_at(fleet, output_path)
    folder = store.folder(str(tenant.id))
    parent, because, changes = None, None, None
    with hold_snapshot(fleet, tenant) as snapshot:
        sizes = _sizes(snapshot)
        definition = snapshot.definition
        size = sum(size for _, size in sizes.values())
        if asked != "full":
            try:
                backups = catalog.list_backups(fleet, tenant)
                parent = find_parent(fleet, backups, asked, store.where, encrypted=key is not None)
                changes, size = foresee_segment(snapshot, tenant, parent.anchor)
            except (NoParent, ChainBroken) as error:
                parent, because = None, _why(error)
    files = fleet.files(tenant)
    count, file_bytes = count_changed(files, parent.files) if parent else count_files(files)
    return BackupPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        type=asked if parent else "full",
        codec=codec,
        level=chosen_level,
        encrypted=key is not None,
        key_id=key.id if key else None,
        folder=folder.where,
        store=store.where,
        format=kind,
        tables=tuple((table.name, sizes.get(table.name, (0, 0))[0]) for table in definition.tables),
        statements=len(definition.statements),
        files=count,
        estimated_bytes=size + file_bytes,
        free_bytes=free_bytes(folder.workshop),
        not_carried=definition.not_carried,
        warnings=definition.warnings,
        instead_of=None if parent or asked == "full" else asked,
        because=because,
        parent=parent.archive.id if parent else None,
        changes=changes,
        journal=_foreseen_journal(fleet, tenant, asked, parent),
        measure=measure,
    )


def execute_backup(
    fleet: Fleet, plan: BackupPlan, *, progress: Progress = SILENT, reason: str | None = None
) -> BackupReport:
    """Write the backup; it is visible, in the store and in the catalog, only when it is complete.

    What was planned is chosen again: where a backup was taken since, an incremental builds on that one; where
    the chain broke since, a full one is taken and the report says why. Killed at any point, it leaves nothing
    that looks like a backup and is none; the next one clears what is left.

    Args:
        fleet: The fleet.
        plan: Made by `plan_backup`.
        progress: Told of each table.
        reason: Why it is taken, for the catalog, when it is not on request.

    Raises:
        InputError: there is no usable key.
        OperationFailed: the database or the file system refused; nothing is left behind.
    """
    tenant = fleet.registry.get(plan.tenant)
    clock = perf_counter()
    taken: list[_Taken] = []

    def write(folder: Folder) -> Published:
        taken.append(_take(fleet, tenant, plan, key, folder, progress))
        return taken[-1].published

    with fleet.lock(tenant, "backup"):
        key = sealing_key(fleet, tenant, plan.encrypted)
        # Its key may have been rotated since the plan: the one in force now seals it.
        plan = replace(plan, key_id=key.id if key else None)
        with in_sentences(catalog.store_at(fleet, plan.store).folder(plan.tenant_id), tenant, 0):
            finish_interrupted(fleet, tenant)
        placed = place(fleet, tenant, plan.store, key, write, needed_bytes=plan.estimated_bytes)
        record = _record(plan, placed, taken[-1], fleet.clock(), reason)
        with fleet.control.transaction() as connection:
            catalog.add(connection, record)
            record_event(
                connection,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="backup.taken",
                detail={"backup": record.id, "manifest": record.manifest_sha256, "reason": reason},
            )
    return _report(plan, placed, taken[-1], record, perf_counter() - clock)


def _take(
    fleet: Fleet, tenant: Tenant, plan: BackupPlan, key: TenantKey | None, folder: Folder, progress: Progress
) -> _Taken:
    """Take what was asked for, or a full backup and why."""
    asked = plan.instead_of or plan.type
    because = None
    backups = known_backups(fleet, tenant, folder)
    if asked != "full":
        try:
            parent = find_parent(fleet, backups, asked, folder.store, encrypted=plan.encrypted)
            return _write(fleet, tenant, plan, key, folder, progress, asked, parent)
        except (NoParent, ChainBroken) as error:
            because = _why(error)
    wanted, problem = _ready_journal(fleet, tenant, asked)
    taken = _write(fleet, tenant, plan, key, folder, progress, "full", None, journal=wanted)
    return replace(taken, because=because, problem=problem or taken.problem)


def _write(
    fleet: Fleet,
    tenant: Tenant,
    plan: BackupPlan,
    key: TenantKey | None,
    folder: Folder,
    progress: Progress,
    backup_type: BackupType,
    parent: Parent | None,
    *,
    journal: bool = False,
) -> _Taken:
    started = fleet.clock()
    header = Header(
        format=FORMAT,
        version=VERSION,
        tenant_id=plan.tenant_id,
        backup_id=new_backup_id(started),
        type=backup_type,
        parent=parent.archive.id if parent else None,
        created_at=started.astimezone(UTC).isoformat(),
        codec=plan.codec,
        cipher=None,
    )
    archive = ArchiveWriter(folder.workshop, header, tenant_key=key, level=plan.level)
    problem = ""
    try:
        if parent is not None:
            manifest = write_changes(
                fleet, tenant, archive, header, parent, measure=plan.measure, progress=progress
            )
        else:
            manifest, problem = write_full(fleet, tenant, archive, header, journal=journal, progress=progress)
        anchor = note_of(manifest).anchor
        if anchor is not None:
            keep(fleet, tenant, anchor)
        published = archive.publish(manifest, folder, plan.format)
        return _Taken(header, published, parent, started, problem=problem)
    except BaseException:
        archive.abandon()
        raise


def _ready_journal(fleet: Fleet, tenant: Tenant, asked: BackupType) -> tuple[bool, str]:
    """Have the journal follow every table where one is wanted; whether it does, and why not if it should."""
    found = health(fleet, tenant)
    if not _wants_journal(tenant, found, asked):
        return False, ""
    try:
        if found.problems:
            install(fleet, tenant)
    except OperationFailed as error:
        return False, str(error)
    return True, ""


def _wants_journal(tenant: Tenant, found: Health, asked: BackupType) -> bool:
    """A journal that is there is kept; one is made where the tier or the request asks for it."""
    lives = tenant.state in (State.ACTIVE, State.SUSPENDED)
    return found.installed or (lives and (asked != "full" or tenant.tier.keeps_journal))


def _foreseen_journal(fleet: Fleet, tenant: Tenant, asked: BackupType, parent: Parent | None) -> str:
    if parent is not None:
        return "goes on"
    found = health(fleet, tenant)
    if not _wants_journal(tenant, found, asked):
        return ""
    if not found.installed:
        return "will be installed: every change of rows is logged from then on"
    return f"will be mended: {found.problems[0]}" if found.problems else "begins anew with this backup"


def _why(error: NoParent | ChainBroken) -> str:
    return f"{error}." if isinstance(error, NoParent) else error.problem


def _record(
    plan: BackupPlan, placed: Placed, taken: _Taken, finished: datetime, reason: str | None
) -> BackupRecord:
    published, manifest = placed.published, placed.published.manifest
    own = [member for member in manifest.members if member.origin is None]
    note = note_of(manifest)
    parent = taken.parent.record if taken.parent else None
    return BackupRecord(
        id=manifest.backup_id,
        tenant_id=manifest.tenant_id,
        tenant=plan.tenant,
        type=taken.header.type,
        parent=taken.header.parent,
        path=published.where,
        codec=plan.codec,
        encrypted=plan.encrypted,
        key_id=plan.key_id,
        manifest_sha256=published.manifest_sha256,
        version=manifest.tenant["version"],
        tables=len(manifest.tables),
        rows=manifest.rows,
        raw_bytes=sum(member.raw_bytes for member in own),
        stored_bytes=published.stored_bytes,
        started_at=taken.started.isoformat(),
        finished_at=finished.isoformat(),
        taken_at=manifest.taken_at,
        store=placed.store,
        format=plan.format,
        fallback=placed.fallback,
        base_id=parent.base_id if parent else manifest.backup_id,
        depth=parent.depth + 1 if parent else 0,
        anchor=asdict(note.anchor) if note.anchor else None,
        journal_from=taken.parent.anchor.taken_at if taken.parent else None,
        journal_to=note.anchor.taken_at if note.anchor else None,
        changes=note.segment.entries if note.segment else 0,
        referenced_bytes=sum(member.stored_bytes for member in manifest.members if member.origin is not None),
        reason=reason,
    )


def _report(
    plan: BackupPlan, placed: Placed, taken: _Taken, record: BackupRecord, seconds: float
) -> BackupReport:
    manifest = placed.published.manifest
    asked = plan.instead_of or plan.type
    goes_on = "the next backup can build on this one" if record.anchor else ""
    return BackupReport(
        tenant=record.tenant,
        tenant_id=record.tenant_id,
        backup_id=record.id,
        type=record.type,
        path=record.path,
        codec=record.codec,
        encrypted=record.encrypted,
        taken_at=manifest.taken_at,
        tables=record.tables,
        rows=record.rows,
        files=manifest.files,
        members=len(manifest.members),
        raw_bytes=record.raw_bytes,
        stored_bytes=record.stored_bytes,
        ratio=round(record.raw_bytes / record.stored_bytes, 2),
        seconds=round(seconds, 4),
        mb_per_s=round(record.raw_bytes / 1e6 / seconds, 2),
        manifest_sha256=record.manifest_sha256,
        not_carried=manifest.not_carried,
        warnings=(*placed.warnings, *manifest.warnings, *filter(None, [taken.problem])),
        removed_leftovers=placed.leftovers,
        instead_of=asked if asked != record.type else None,
        because=taken.because,
        parent=record.parent,
        depth=record.depth,
        changes=record.changes,
        journal="no backup can build on this one" if taken.problem else goes_on,
        store=record.store,
        format=record.format,
        fallback=record.fallback,
    )


def _sizes(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    """Estimated rows and bytes of each table."""
    rows = snapshot.connection.execute(
        """
        SELECT c.relname, GREATEST(c.reltuples, 0)::bigint, pg_table_size(c.oid)
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %s::regnamespace
          AND d.classid = 'pg_class'::regclass AND c.relkind = 'r'
        """,
        (snapshot.schema,),
    )
    return {name: (count, size) for name, count, size in rows}


def _checked_type(name: str) -> BackupType:
    for known in get_args(BackupType):
        if name == known:
            return known
    raise InputError(
        f"{name!r} is not a type of backup.",
        where="backup type",
        fix=f"Use one of: {', '.join(get_args(BackupType))}.",
    )
