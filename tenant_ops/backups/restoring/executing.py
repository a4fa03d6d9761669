"""Doing a restore: over its tenant, over another, as a new one, or into what is there.

Here: the order of the work. Not here: the plan (`planning.py`), loading (`loading.py`), the exchange
(`swapping.py`), bringing rows into live tables (`merging.py`).

Everything is authenticated before the first write. The backup is loaded beside the live schema and compared
with what is known of it; then schemas and directories change places by renaming, or live rows are brought to
what was loaded. What was live stays, so a restore is taken back in milliseconds. A restore that is killed
leaves something beside, which the next operation clears away: readers see the old content until they see the
new.
"""

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

import psycopg
from psycopg import sql

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog, records
from tenant_ops.backups.chains import reach_of
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import names_for
from tenant_ops.backups.files import unpack_files
from tenant_ops.backups.journal import LAST_TICK
from tenant_ops.backups.layout import TenantConfig
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.restoring import swapping
from tenant_ops.backups.restoring.loading import Loaded, load
from tenant_ops.backups.restoring.login import OwnerSessions, owner_sessions
from tenant_ops.backups.restoring.merging import Merged, merge, preview
from tenant_ops.backups.restoring.moments import granularity, read_size, used_links
from tenant_ops.backups.restoring.reports import (
    MERGE,
    NEW,
    REPLACE,
    TABLES,
    RestorePlan,
    RestoreReport,
    TableDifference,
)
from tenant_ops.backups.restoring.sentences import in_sentences
from tenant_ops.backups.restoring.undoing import discard_replaced, follow_again, is_followed
from tenant_ops.backups.snapshot import tenant_names
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard, provision

WORKERS = 2
UNFINISHED = "a restore into it did not finish"


def execute_restore(fleet: Fleet, plan: RestorePlan, *, progress: Progress = SILENT) -> RestoreReport:
    """Restore as planned. Until the exchange at the end nothing of the target changes.

    Raises:
        InputError: the plan has conflicts, or the target or the backup changed since it was made.
        DamagedBackup: a member is not what was written; it is named, and nothing was changed.
        OperationFailed: the database or the file system refused; nothing was changed.
    """
    if plan.conflicts:
        raise InputError(
            f"the plan has conflicts: {'; '.join(plan.conflicts)}.", where=f"tenant {plan.target}"
        )
    clock = perf_counter()
    archive, fresh = _open_planned(fleet, plan, progress)
    reach = reach_of(archive, plan.until)
    link = used_links(archive, reach.segments)[-1]
    check_chain(archive, link)
    work = _Work(plan, archive, link, _config(link))
    target = _target(fleet, work)
    with in_sentences(plan.target), target as (tenant, created), fleet.lock(tenant, "restore"):
        swapping.finish_interrupted(fleet, tenant)
        safety = None
        if not created:
            safety = execute_backup(
                fleet,
                plan_backup(fleet, tenant),
                progress=progress,
                reason=f"before restoring {archive.id}",
            ).backup_id
        if plan.mode in (REPLACE, NEW):
            done = _replace_content(fleet, tenant, work, progress, safety, created=created)
        else:
            done = _merge_content(fleet, tenant, work, progress, safety)
    seconds = perf_counter() - clock
    loaded, raw_bytes = done.loaded, read_size(archive, reach.segments)
    files = done.files
    return RestoreReport(
        backup_id=archive.id,
        source=plan.source,
        target=plan.target,
        mode=plan.mode,
        created=created,
        tables=len(loaded.tables),
        rows=loaded.rows,
        files=0 if plan.mode == TABLES else link.manifest.files,
        raw_bytes=raw_bytes,
        equal=True,
        previous_schema=done.previous,
        safety_backup=safety,
        skipped=loaded.skipped,
        warnings=(*plan.warnings, *done.warnings),
        seconds=round(seconds, 4),
        mb_per_s=round(raw_bytes / 1e6 / seconds, 2),
        reached=loaded.reached,
        exact=loaded.exact,
        granularity=granularity(plan.until, reach),
        files_as_of=link.manifest.taken_at,
        verified=_verified(loaded),
        left_out=loaded.left_out,
        journal=done.journal,
        fresh_backup=fresh,
        changed=done.merged.tables if done.merged else (),
        files_changed=files,
        load_seconds=round(done.load_seconds, 4),
    )


@dataclass(frozen=True)
class _Work:
    """What is restored: the chain up to the backup that is needed, and the one files are taken from."""

    plan: RestorePlan
    archive: Archive
    link: Archive
    config: TenantConfig


@dataclass(frozen=True)
class _Done:
    """What came of it."""

    loaded: Loaded
    previous: str | None
    warnings: tuple[str, ...]
    journal: str
    load_seconds: float
    merged: Merged | None = None
    files: tuple[int, int, int] = (0, 0, 0)


def check_chain(archive: Archive, link: Archive | None = None) -> None:
    """Authenticate every member a restore reads.

    The manifest is authentic and holds the hash of each stored file, so comparing that proves as much as
    decrypting does, for a fifth of the work.

    Args:
        archive: The newest backup that is read; rows of earlier ones are members of it too.
        link: The one files and configuration are taken from; the same when left out.

    Raises:
        DamagedBackup: one is not what was written; it is named.
    """
    for member in archive.manifest.members:
        archive.check(member, deep=False)
    for one in archive.chain()[:-1]:
        for member in one.manifest.members:
            if (member.kind == "journal" and member.origin is None) or (
                one is link and member.kind in ("files", "files-index", "config")
            ):
                one.check(member, deep=False)


@contextmanager
def _target(fleet: Fleet, work: _Work) -> Generator[tuple[Tenant, bool]]:
    """The tenant to restore into, and whether it was made for this; on failure such a one is removed.

    While it is filled it is quarantined: nothing works on it, also where this process is killed.
    """
    plan, config = work.plan, work.config
    found = fleet.registry.find([plan.target])
    if bool(found) == (plan.mode == NEW):
        raise InputError(
            "whether there is such a tenant changed since the plan.",
            where=f"tenant {plan.target}",
            fix="Plan again.",
        )
    if found:
        yield found[0].require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED), False
        return
    provision(fleet, plan.target, tier_name=config.tier, admin_email=config.admin_email)
    try:
        with fleet.control.transaction() as connection:
            made = fleet.registry.get(plan.target)
            fleet.registry.move(connection, made, State.QUARANTINED, UNFINISHED)
        yield fleet.registry.get(plan.target), True
    except BaseException:
        offboard(fleet, plan_offboard(fleet, plan.target), safety_copy=None)
        raise


@contextmanager
def loaded_beside(
    fleet: Fleet,
    tenant: Tenant,
    plan: RestorePlan,
    archive: Archive,
    schema: str,
    progress: Progress,
    *,
    complete: bool = True,
) -> Generator[tuple[OwnerSessions, Loaded]]:
    """A schema of the tenant's owner with what a chain holds at a moment; gone again where the block fails.

    Args:
        fleet: The fleet.
        tenant: Held by the caller.
        plan: For the moment, and whether the backup is trusted.
        archive: Checked.
        schema: What to call it.
        progress: Told of each table.
        complete: Also make keys, indexes, views, triggers and rights.
    """
    owner = sql.Identifier(tenant.role("owner"))
    names = tenant_names(tenant)
    roles = {what: name for what, name in names.items() if what not in ("schema", "stage")}
    named = names_for(schema, names["stage"], roles, final_schema=names["schema"])
    trusted = plan.encrypted or plan.trusted
    with ExitStack() as stack:
        with fleet.database(tenant).transaction() as connection:
            connection.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), owner)
            )
        stack.callback(swapping.drop_schema, fleet, tenant, schema)
        with owner_sessions(fleet, tenant, WORKERS, trusted=trusted) as sessions:
            loaded = load(
                sessions.connections,
                archive,
                schema,
                named,
                until=plan.until,
                complete=complete,
                progress=progress,
            )
            yield sessions, loaded
        stack.pop_all()


def _replace_content(
    fleet: Fleet, tenant: Tenant, work: _Work, progress: Progress, safety: str | None, *, created: bool
) -> _Done:
    """Load beside, then exchange."""
    names = swapping.names_of_swap(fleet, tenant, fleet.clock())
    followed, clock = is_followed(fleet, tenant), perf_counter()
    try:
        unpack_files(work.link, names.new_files)
        with loaded_beside(fleet, tenant, work.plan, work.archive, names.new_schema, progress) as (
            sessions,
            loaded,
        ):
            seconds = perf_counter() - clock

        def also(connection: psycopg.Connection) -> None:
            own = str(tenant.id) == work.archive.header.tenant_id
            swapping.forget_later_loads(connection, tenant, loaded.reached if own else None)
            with fleet.control_within(tenant, connection) as control:
                version = work.link.manifest.tenant.get("version")
                fleet.registry.put_back(control, tenant, version=version, config=work.config.config)
                if tenant.state is State.QUARANTINED and tenant.state_reason == UNFINISHED:
                    fleet.registry.move(control, tenant, State.ACTIVE)
                note_restore(fleet, control, tenant, work.plan, work.archive, safety, seconds)

        note = {"version": tenant.version, "config": tenant.config}
        try:
            swapping.exchange(fleet, tenant, names, note, comes=names.new_schema, also=also)
        except BaseException:
            swapping.drop_schema(fleet, tenant, names.new_schema)
            raise
    except BaseException:
        shutil.rmtree(names.new_files, ignore_errors=True)
        raise
    swapping.swap_files(names)
    warnings, journal = _journal(fleet, tenant, followed=followed)
    if created:  # what a new tenant was provisioned with is not worth keeping
        discard_replaced(fleet, tenant, keep=0)
    previous = None if created else names.old_schema
    return _Done(loaded, previous, (*sessions.warnings, *warnings), journal, seconds)


def _merge_content(
    fleet: Fleet, tenant: Tenant, work: _Work, progress: Progress, safety: str | None
) -> _Done:
    """Load beside, then bring live rows and files to what was loaded."""
    names = swapping.names_of_swap(fleet, tenant, fleet.clock())
    clock = perf_counter()
    with loaded_beside(
        fleet, tenant, work.plan, work.archive, names.new_schema, progress, complete=False
    ) as (sessions, loaded):
        seconds = perf_counter() - clock

        def also(control: psycopg.Connection) -> None:
            note_restore(fleet, control, tenant, work.plan, work.archive, safety, seconds)

        link = work.link if work.plan.mode == MERGE else None
        merged = merge(fleet, tenant, names, work.plan, sessions.connections[0], link, also)
    swapping.drop_schema(fleet, tenant, names.new_schema)
    journal = "it recorded every row that was changed" if is_followed(fleet, tenant) else "none is kept"
    warnings = (*sessions.warnings, *merged.warnings)
    return _Done(loaded, names.merged_schema, warnings, journal, seconds, merged, merged.files)


def preview_merge(
    fleet: Fleet, tenant: Tenant, plan: RestorePlan, progress: Progress
) -> tuple[tuple[TableDifference, ...], tuple[str, ...]]:
    """What a merge would change and what forbids it: the backup is loaded beside, compared, and dropped."""
    archive, _ = _open_planned(fleet, replace(plan, fresh_backup=False), progress)
    check_chain(archive)
    plan = replace(plan, until=LAST_TICK) if plan.fresh_backup else plan
    with (
        in_sentences(tenant.slug, "comparing with the backup", "Plan again."),
        fleet.lock(tenant, "look at a restore"),
    ):
        swapping.finish_interrupted(fleet, tenant)
        names = swapping.names_of_swap(fleet, tenant, fleet.clock())
        beside = loaded_beside(fleet, tenant, plan, archive, names.new_schema, progress, complete=False)
        with beside as (sessions, _):
            found = preview(sessions.connections[0], tenant, plan, names.new_schema)
        swapping.drop_schema(fleet, tenant, names.new_schema)
    return found


def _journal(fleet: Fleet, tenant: Tenant, *, followed: bool) -> tuple[tuple[str, ...], str]:
    """The restore is done: where the journal cannot follow the new tables that is told, not raised."""
    try:
        return (), follow_again(fleet, tenant, was_followed=followed)
    except OperationFailed as error:
        return (f"the journal does not follow the restored tables yet: {error}",), "it does not follow"


def note_restore(
    fleet: Fleet,
    control: psycopg.Connection,
    tenant: Tenant,
    plan: RestorePlan,
    archive: Archive,
    safety: str | None,
    seconds: float,
) -> None:
    """Tell the audit log; where it can be in the transaction of the restore. Plans take its speed from it."""
    record_event(
        control,
        chain=str(tenant.id),
        at=fleet.clock(),
        actor=fleet.settings.actor,
        action="backup.restored",
        detail={
            "backup": archive.id,
            "source": plan.source,
            "mode": plan.mode,
            "moment": plan.reached,
            "safety": safety,
            "bytes": plan.raw_bytes,
            "seconds": round(seconds, 4),
        },
    )


def _open_planned(fleet: Fleet, plan: RestorePlan, progress: Progress) -> tuple[Archive, str | None]:
    """The backup the plan was made for, or the incremental that must be taken first to reach the moment."""
    archive = catalog.open_backup(fleet, catalog.find_backup(fleet, plan.path))
    if archive.manifest_sha256 != plan.manifest_sha256:
        raise InputError("the backup changed since the plan.", where=plan.path, fix="Plan again.")
    if not plan.fresh_backup:
        return archive, None
    source = fleet.registry.get(plan.source)
    report = execute_backup(
        fleet,
        plan_backup(fleet, source, backup_type="incremental"),
        progress=progress,
        reason=f"to restore {plan.source} to {plan.reached}",
    )
    fresh = catalog.open_backup(fleet, catalog.find_backup(fleet, report.backup_id))
    if fresh.chain()[0].id != archive.chain()[0].id:
        raise OperationFailed(
            f"the chain of backups could not be gone on with, so nothing reaches {plan.reached}; "
            f"a full backup was taken instead. The nearest moment before is {archive.manifest.taken_at}.",
            where=f"tenant {plan.source}",
            fix=f"Restore that one: --to-backup {archive.id}.",
        )
    return fresh, fresh.id


def _config(archive: Archive) -> TenantConfig:
    for member in archive.manifest.members:
        if member.kind == "config":
            return records.decode(TenantConfig, archive.read(member), archive.named(member.path))
    raise DamagedBackup("it holds no configuration.", where=f"backup {archive.id}")


def _verified(loaded: Loaded) -> str:
    left = len(loaded.tables) - len(loaded.verified)
    known = f"rows and hashes of {len(loaded.verified)} tables"
    return f"{known}; {left} tables as the journal left them" if left else known
