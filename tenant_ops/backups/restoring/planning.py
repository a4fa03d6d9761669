"""Planning a restore: what it would do, up to which moment, and what forbids it.

Here: the plan. Not here: which backups lead to a moment (`moments.py`), what the server lacks
(`requirements.py`), doing it (`executing.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import reach_of
from tenant_ops.backups.files import count_files
from tenant_ops.backups.journal import LAST_TICK, AtTime, Reach, Until
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.restoring import requirements
from tenant_ops.backups.restoring.executing import preview_merge
from tenant_ops.backups.restoring.merging import check_tables
from tenant_ops.backups.restoring.moments import (
    find_time,
    find_transaction,
    granularity,
    read_size,
    used_links,
)
from tenant_ops.backups.restoring.reports import MERGE, MODES, NEW, REPLACE, TABLES, WORDS, RestorePlan
from tenant_ops.backups.restoring.statements import read_statements
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, State, Tenant


def plan_restore(
    fleet: Fleet,
    backup: BackupRecord,
    target: str,
    *,
    mode: str | None = None,
    until: Until = LAST_TICK,
    fresh: bool = False,
    tables: Sequence[str] = (),
    words: Sequence[str] = WORDS,
    trusted: bool = False,
    look: bool = False,
    progress: Progress = SILENT,
) -> RestorePlan:
    """Look at what restoring would do; nothing of the tenant is written.

    Args:
        fleet: The fleet.
        backup: From `find_backup` or `list_backups`.
        target: Slug of the tenant to restore into.
        mode: `replace` an existing tenant, make a `new` one, put back single `tables`, `merge` rows and
            files; None chooses replace or new by whether it exists.
        until: Up to which moment of the backup's chain.
        fresh: No backup reaches the moment: take an incremental first.
        tables: For mode tables: which.
        words: For mode merge: which of create, update and delete to do.
        trusted: Let functions of an unencrypted backup run with more rights than the tenant's, where the
            server lets in no login of its own.
        look: For modes tables and merge: load the backup beside and count what would change.
        progress: Told of each table that is loaded for that.

    Raises:
        InputError: the backup's key is not at hand, mode and target do not fit, or the chain does not hold
            the moment.
        DamagedBackup: header or manifest is not what was written.
    """
    archive = catalog.open_backup(fleet, backup)
    found = fleet.registry.find([target])
    mode = _mode(mode, target, exists=bool(found), tables=tables, words=words)
    tenant = found[0].require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED) if found else None
    reach = reach_of(archive) if fresh else reach_of(archive, until)
    raw_bytes, link = read_size(archive, reach.segments), used_links(archive, reach.segments)[-1]
    manifest, speed = archive.manifest, requirements.measured_speed(fleet)
    needed = requirements.needed_room(archive, raw_bytes)
    live_files = count_files(fleet.files(tenant)) if tenant else (0, 0)
    plan = RestorePlan(
        backup_id=backup.id,
        path=backup.path,
        source=backup.tenant,
        target=target,
        mode=mode,
        encrypted=backup.encrypted,
        type=backup.type,
        taken_at=manifest.taken_at,
        tables=tuple((table.name, table.rows) for table in manifest.tables),
        rows=manifest.rows,
        files=0 if mode == TABLES else link.manifest.files,
        raw_bytes=raw_bytes,
        replaces_rows=requirements.replaced_rows(fleet, tenant) if tenant else 0,
        replaces_files=live_files[0],
        safety_backup=tenant is not None,
        free_bytes=requirements.files_room(fleet),
        conflicts=(),
        warnings=tuple(_warnings(fleet, tenant, backup, archive, mode, target)),
        manifest_sha256=archive.manifest_sha256,
        until=until,
        reached=_reached(until, reach, fresh=fresh),
        exact=reach.exact or fresh,
        granularity=_nearness(until, reach, fresh=fresh),
        fresh_backup=fresh,
        chain=tuple(one.id for one in used_links(archive, reach.segments)),
        placement=tenant.placement if tenant else "default",
        needed_bytes=needed,
        database_free_bytes=requirements.database_room(fleet.database(tenant) if tenant else fleet.control),
        files_needed_bytes=link.manifest.file_bytes,
        eta_s=None if speed is None else round(raw_bytes / speed, 1),
        eta="no measure yet: no restore or drill was done here"
        if speed is None
        else f"about {raw_bytes / speed:,.0f} s at {speed / 1e6:,.1f} MB/s, as the last restores and drills",
        chosen=tuple(tables),
        words=tuple(word for word in WORDS if word in words) if mode in (TABLES, MERGE) else (),
        trusted=trusted,
    )
    plan = replace(plan, conflicts=tuple(_conflicts(fleet, tenant, archive, plan)))
    if look and tenant and mode in (TABLES, MERGE) and not plan.conflicts:
        differences, dangling = preview_merge(fleet, tenant, plan, progress)
        plan = replace(plan, differences=differences, conflicts=dangling)
    return plan


def plan_restore_to(
    fleet: Fleet,
    source: Tenant,
    target: str,
    *,
    to: datetime | None = None,
    before_transaction: int | None = None,
    mode: str | None = None,
    tables: Sequence[str] = (),
    words: Sequence[str] = WORDS,
    trusted: bool = False,
    look: bool = False,
    progress: Progress = SILENT,
) -> RestorePlan:
    """Like `plan_restore`, from the backups of a tenant that come nearest to a moment.

    Where the moment lies after the newest backup and the tenant is live, an incremental is taken first.

    Args:
        fleet: The fleet.
        source: Whose backups.
        target: Slug of the tenant to restore into.
        to: What was committed up to this time, by the server's clock.
        before_transaction: What was committed before this transaction was.
        mode: As in `plan_restore`.
        tables: As there.
        words: As there.
        trusted: As there.
        look: As there.
        progress: As there.

    Raises:
        InputError: no moment or two are named, or no chain of backups holds it.
    """
    if (to is None) == (before_transaction is None):
        raise InputError("exactly one moment must be named.", where="restore")
    if to is not None:
        moment = find_time(fleet, source, to)
    else:
        assert before_transaction is not None
        moment = find_transaction(fleet, source, before_transaction)
    return plan_restore(
        fleet,
        moment.backup,
        target,
        mode=mode,
        until=moment.until,
        fresh=moment.fresh,
        tables=tables,
        words=words,
        trusted=trusted,
        look=look,
        progress=progress,
    )


def _mode(mode: str | None, target: str, *, exists: bool, tables: Sequence[str], words: Sequence[str]) -> str:
    mode = mode or (TABLES if tables else REPLACE if exists else NEW)
    where = f"tenant {target}"
    if mode not in MODES:
        raise InputError(
            f"{mode!r} is no way to restore.", where="mode", fix=f"Use one of: {', '.join(MODES)}."
        )
    if mode == NEW and exists:
        raise InputError("the tenant exists.", where=where, fix="Use mode replace, or another id.")
    if mode != NEW and not exists:
        raise InputError("there is no such tenant.", where=where, fix="Use mode new to make it.")
    if bool(tables) != (mode == TABLES):
        raise InputError("tables are named for mode tables, and only for it.", where="tables")
    if unknown := set(words) - set(WORDS):
        raise InputError(
            f"{', '.join(sorted(unknown))} is nothing a merge does.",
            where="merge",
            fix=f"Use some of: {', '.join(WORDS)}.",
        )
    if not words:
        raise InputError("a merge that does nothing.", where="merge", fix=f"Use some of: {', '.join(WORDS)}.")
    return mode


def _warnings(
    fleet: Fleet, tenant: Tenant | None, backup: BackupRecord, archive: Archive, mode: str, target: str
) -> Iterator[str]:
    manifest = archive.manifest
    yield from manifest.warnings
    for item in manifest.not_carried:
        yield f"not in the backup: {item.name} ({item.reason})"
    if not backup.encrypted:
        yield (
            "the backup is not encrypted, so nothing proves who wrote it, and its functions will run here: "
            "restore it only if you trust the place it comes from."
        )
    for role in requirements.missing_roles(fleet, tenant, read_statements(archive)):
        yield f"the role {role}, which has rights in the backup, does not exist here: it will have none."
    if tenant is None:
        return
    if str(tenant.id) != backup.tenant_id:
        yield f"{target} is another tenant than {backup.tenant}: it will hold that one's content."
    if mode == REPLACE:
        yield from requirements.outside_readers(fleet, tenant)


def _conflicts(fleet: Fleet, tenant: Tenant | None, archive: Archive, plan: RestorePlan) -> Iterator[str]:
    yield from requirements.conflicts(fleet, tenant, archive)
    free = plan.database_free_bytes
    if free is not None and free < plan.needed_bytes:
        yield f"the database needs about {plan.needed_bytes:,} bytes of room, {free:,} are free"
    if plan.free_bytes < plan.files_needed_bytes:
        yield f"the files need {plan.files_needed_bytes:,} bytes of room, {plan.free_bytes:,} are free"
    if tenant and plan.mode in (TABLES, MERGE):
        yield from check_tables(fleet, tenant, archive, plan.chosen)


def _reached(until: Until, reach: Reach, *, fresh: bool) -> str:
    """What is asked for, where a backup that is taken first will lead there."""
    if not fresh:
        return reach.reached
    return until.at.isoformat() if isinstance(until, AtTime) else f"before {until}"


def _nearness(until: Until, reach: Reach, *, fresh: bool) -> str:
    if not fresh:
        return granularity(until, reach)
    return (
        f"no backup reaches it yet: an incremental is taken first, which tells that moment where the server "
        f"keeps the times of commits; otherwise it is the tick at {reach.reached}"
    )
