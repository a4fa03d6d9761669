"""Trying restores: for real, into a schema and a directory nobody uses, compared, recorded, taken away.

Here: the order of the work and what is measured. Not here: the choice (`planning.py`), loading and comparing,
which is what a restore does (`loading.py`).

The tenant is not locked: a drill of an hour must not keep backups and loads away. Nothing live is touched:
rows go into the schema `<schema>__drill`, files into the directory `files__drill` beside the tenant's. Only
one drill of a tenant runs at a time, so whoever begins one may clear away what a killed one left.
"""

import shutil
import zlib
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter

import psycopg
from psycopg import sql

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import note_of
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import names_for
from tenant_ops.backups.drills.recording import record_drill
from tenant_ops.backups.drills.recovery import HOUR_S, read_standings
from tenant_ops.backups.drills.reports import Drill, DrillPlan, DrillReport, DrillTarget, Granularity
from tenant_ops.backups.files import unpack_files
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.restoring.executing import WORKERS
from tenant_ops.backups.restoring.executing import check_chain as authenticate
from tenant_ops.backups.restoring.loading import Loaded, load
from tenant_ops.backups.restoring.login import DRILL, drop_logins, owner_sessions
from tenant_ops.backups.restoring.moments import read_size
from tenant_ops.backups.restoring.swapping import drop_schema
from tenant_ops.backups.snapshot import tenant_names
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.platform.errors import InputError, TenantBusy, TenantOpsError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, State, Tenant

SCRATCH = "__drill"
DRILLED = (State.ACTIVE, State.SUSPENDED, State.QUARANTINED)


def execute_drill(fleet: Fleet, plan: DrillPlan, *, progress: Progress = SILENT) -> DrillReport:
    """Try the restores of a plan, one after the other, and record what each came to.

    A backup that cannot be read or put back, or is not what was backed up, is a drill that failed: recorded,
    its problems named. Where no restore could be tried, because the tenant is gone or another drill of it
    runs, the tenant is named; the others go on.

    Args:
        fleet: The fleet.
        plan: Made by `plan_drill`.
        progress: Told of each table.
    """
    drills, failed, swept = [], [], []
    for target in plan.targets:
        try:
            tenant = fleet.registry.get(target.tenant).require(*DRILLED)
            with _alone(fleet, tenant):
                swept += _clear(fleet, tenant)
                drills.append(_drill(fleet, tenant, target, progress))
        except (TenantOpsError, psycopg.Error) as error:
            failed.append(f"{target.tenant}: {error}")
    return DrillReport(tuple(drills), tuple(failed), tuple(swept))


def sweep(fleet: Fleet, tenants: Iterable[Tenant]) -> tuple[str, ...]:
    """Remove the schemas, logins and directories that killed drills of these tenants left; their names.

    Of a tenant whose drill runs now nothing is touched. A drill does this for its own tenant first.
    """
    swept: list[str] = []
    for tenant in tenants:
        try:
            with _alone(fleet, tenant):
                swept += _clear(fleet, tenant)
        except TenantBusy:
            continue
    return tuple(swept)


def _drill(fleet: Fleet, tenant: Tenant, target: DrillTarget, progress: Progress) -> Drill:
    started = fleet.clock()
    (standing,) = read_standings(fleet, [tenant], started)
    backup = catalog.find_backup(fleet, target.backup_id)
    measured = _measured(fleet, tenant, backup, progress) if target.measure else None
    trial = _tried(fleet, tenant, measured or backup, progress)
    if trial.problems:
        _still_there(fleet, trial.backup)
    rpo_s = standing.age_s(started)
    drill = _judged(target, tenant, started, rpo_s, trial, measured=measured is not None)
    record_drill(fleet, drill)
    return drill


def _measured(fleet: Fleet, tenant: Tenant, backup: BackupRecord, progress: Progress) -> BackupRecord | None:
    """An incremental that goes on from the backup and knows all its rows; None where the backup does.

    None, too, where the tenant's chain cannot go on there: then the backup is tried as it is.
    """
    try:
        archive = catalog.open_backup(fleet, backup)
        if all(table.rows is not None for table in archive.manifest.tables):
            return None
        plan = plan_backup(fleet, tenant, backup_type="incremental", measure=True)
        if plan.type == "full":
            return None
        report = execute_backup(fleet, plan, progress=progress, reason="restore drill")
    except TenantOpsError:
        return None  # what is wrong with the backup the drill itself will say
    return catalog.find_backup(fleet, report.backup_id)


@dataclass(frozen=True)
class _Trial:
    """What trying one backup came to."""

    backup: BackupRecord
    seconds: float
    archive: Archive | None = None
    loaded: Loaded | None = None
    files: int = 0
    problems: tuple[str, ...] = ()


def _tried(fleet: Fleet, tenant: Tenant, backup: BackupRecord, progress: Progress) -> _Trial:
    clock = perf_counter()
    archive: Archive | None = None
    try:
        archive = catalog.open_backup(fleet, backup)
        authenticate(archive)
        files = _try_files(fleet, tenant, archive)
        with _loaded(fleet, tenant, archive, progress) as loaded:
            seconds = perf_counter() - clock  # what follows is taking it away again
    except (OSError, TenantOpsError) as error:
        return _Trial(backup, perf_counter() - clock, archive, problems=(str(error),))
    return _Trial(backup, seconds, archive, loaded, files)


def _try_files(fleet: Fleet, tenant: Tenant, archive: Archive) -> int:
    folder = _folder(fleet, tenant)
    try:
        return unpack_files(archive, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _loaded(fleet: Fleet, tenant: Tenant, archive: Archive, progress: Progress) -> Generator[Loaded]:
    """The scratch schema, filled and compared as a restore does it."""
    schema, names = _schema(tenant), tenant_names(tenant)
    roles = {what: name for what, name in names.items() if what not in ("schema", "stage")}
    named = names_for(schema, names["stage"], roles, final_schema=names["schema"])
    trusted = archive.header.cipher is not None
    with ExitStack() as stack:
        stack.callback(drop_schema, fleet, tenant, schema)
        with fleet.database(tenant).transaction() as connection:
            connection.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(
                    sql.Identifier(schema), sql.Identifier(tenant.role("owner"))
                )
            )
        with owner_sessions(fleet, tenant, WORKERS, trusted=trusted, purpose=DRILL) as sessions:
            loaded = load(sessions.connections, archive, schema, named, progress=progress)
        yield loaded


def _judged(
    target: DrillTarget, tenant: Tenant, started: datetime, rpo_s: float, trial: _Trial, *, measured: bool
) -> Drill:
    chain = trial.archive.chain() if trial.archive else ()
    raw_bytes = read_size(trial.archive, len(chain) - 1) if trial.archive else 0
    loaded = trial.loaded
    tables = loaded.tables if loaded else ()
    return Drill(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        tier=tenant.tier_name,
        backup_id=trial.backup.id,
        aim=target.aim,
        depth=max(len(chain) - 1, 0),
        measured=measured,
        moment=trial.backup.taken_at,
        granularity=_granularity(chain),
        started_at=started.isoformat(),
        rpo_s=round(rpo_s, 1),
        rpo_target_s=tenant.tier.rpo_h * HOUR_S,
        rto_s=round(trial.seconds, 4),
        rto_target_s=tenant.tier.rto_s,
        mb_per_s=round(raw_bytes / 1e6 / trial.seconds, 2),
        tables=len(tables),
        rows=loaded.rows if loaded else 0,
        files=trial.files,
        raw_bytes=raw_bytes,
        equal=not trial.problems,
        not_compared=tuple(name for name, _ in tables if loaded and name not in loaded.verified),
        problems=trial.problems,
    )


def _granularity(chain: tuple[Archive, ...]) -> Granularity:
    """Exact where every segment of the chain tells when its transactions were committed."""
    segments = [note_of(link.manifest).segment for link in chain[1:]]
    exact = bool(segments) and all(info and (info.commit_times or not info.entries) for info in segments)
    return "exact" if exact else "tick"


def _still_there(fleet: Fleet, backup: BackupRecord) -> None:
    """A backup that retention removed while it was read was not wrong.

    Raises:
        InputError: it is gone.
    """
    try:
        found = catalog.find_backup(fleet, backup.id)
    except (InputError, DamagedBackup):
        found = None
    if found is None or found.removing_at is not None:
        raise InputError(f"backup {backup.id} was removed while it was tried.", fix="Plan the drill again.")


@contextmanager
def _alone(fleet: Fleet, tenant: Tenant) -> Generator[None]:
    """Hold the tenant's drill: the server's lock, gone with its holder.

    Raises:
        TenantBusy: another drill of it runs.
    """
    number = zlib.crc32(tenant.key.encode()) | (0x7D << 32)  # `Fleet.lock` has 0x7E
    with fleet.database(tenant).session() as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (number,)).fetchone()
        if row is None or not row[0]:
            raise TenantBusy(
                "another drill of it runs.", where=f"tenant {tenant.slug}", fix="Wait until it has ended."
            )
        yield


def _clear(fleet: Fleet, tenant: Tenant) -> list[str]:
    """Take away what a killed drill left; for holders of the drill's lock."""
    database, schema, folder = fleet.database(tenant), _schema(tenant), _folder(fleet, tenant)
    left = [*drop_logins(database, tenant, DRILL)]
    with database.transaction() as connection:
        row = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,)).fetchone()
    if row and row[0]:
        drop_schema(fleet, tenant, schema)
        left.append(schema)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        left.append(str(folder))
    return left


def _schema(tenant: Tenant) -> str:
    return f"{tenant.schema_name}{SCRATCH}"


def _folder(fleet: Fleet, tenant: Tenant) -> Path:
    files = fleet.files(tenant)
    return files.with_name(f"{files.name}{SCRATCH}")
