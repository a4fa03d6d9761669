"""Putting a backup back: over its tenant, over another, or as a new one.

Here: the plan, the order of the work, the swap, and taking it back. Not here: loading (`loading.py`).

Everything is authenticated before the first write. The backup is loaded beside the live schema and compared
with its manifest; then schemas and directories change places by renaming. What was live stays, renamed, so a
restore is taken back in milliseconds. Loading, comparing and renaming are one transaction: a restore that is
killed leaves nothing, and readers see the old content until they see the new.
"""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog, replaced
from tenant_ops.backups.ddl import names_for
from tenant_ops.backups.files import count_files, unpack_files
from tenant_ops.backups.loading import load
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord, RestorePlan, RestoreReport
from tenant_ops.backups.snapshot import tenant_names
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard, provision

MODES = ("replace", "new")


def plan_restore(fleet: Fleet, backup: BackupRecord, target: str, *, mode: str | None = None) -> RestorePlan:
    """Look at what restoring would do; nothing is written.

    Args:
        fleet: The fleet.
        backup: From `find_backup` or `list_backups`.
        target: Slug of the tenant to restore into.
        mode: `replace` an existing tenant, make a `new` one; None chooses by whether it exists.

    Raises:
        InputError: the backup's key is not at hand, or mode and target do not fit.
        DamagedBackup: header or manifest is not what was written.
    """
    archive = catalog.open_backup(fleet, backup)
    found = fleet.registry.find([target])
    mode = _mode(mode, target, exists=bool(found))
    warnings = list(archive.manifest.warnings)
    warnings += [f"not in the backup: {item.name} ({item.reason})" for item in archive.manifest.not_carried]
    if not backup.encrypted:
        warnings.append(
            "the backup is not encrypted, so nothing proves who wrote it, and its functions will run here: "
            "restore it only if you trust the place it comes from."
        )
    rows = files = 0
    if found:
        tenant = found[0].require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED)
        rows = _estimated_rows(fleet, tenant)
        files = count_files(fleet.files(tenant))[0]
        if str(tenant.id) != backup.tenant_id:
            warnings.append(
                f"{target} is another tenant than {backup.tenant}: it will hold that one's content."
            )
        warnings += _outside_readers(fleet, tenant)
    home = next(p for p in (fleet.settings.home, *fleet.settings.home.parents) if p.is_dir())
    manifest = archive.manifest
    return RestorePlan(
        backup_id=backup.id,
        path=backup.path,
        source=backup.tenant,
        target=target,
        mode=mode,
        encrypted=backup.encrypted,
        type=backup.type,
        taken_at=manifest.taken_at,
        tables=tuple((table.name, table.rows or 0) for table in manifest.tables),
        rows=backup.rows,
        files=manifest.files,
        raw_bytes=backup.raw_bytes,
        replaces_rows=rows,
        replaces_files=files,
        safety_backup=bool(found),
        free_bytes=shutil.disk_usage(home).free,
        conflicts=tuple(_conflicts(fleet, found[0] if found else None, archive)),
        warnings=tuple(warnings),
        manifest_sha256=archive.manifest_sha256,
    )


def execute_restore(fleet: Fleet, plan: RestorePlan, *, progress: Progress = SILENT) -> RestoreReport:
    """Restore as planned. Until the swap at the end nothing of the target changes.

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
    archive = _open_planned(fleet, plan)
    for member in archive.manifest.members:
        archive.check(member)
    config = _config(archive)
    with _target(fleet, plan, config) as (tenant, created), fleet.lock(tenant, "restore"):
        replaced.finish_interrupted(fleet, tenant)
        safety = None
        if not created:
            safety = execute_backup(
                fleet,
                plan_backup(fleet, tenant),
                progress=progress,
                reason=f"before restoring {plan.backup_id}",
            ).backup_id
        previous, skipped = _replace_content(fleet, tenant, archive, config, progress, created=created)
        _note_restore(fleet, tenant, plan, safety)
    seconds = perf_counter() - clock
    return RestoreReport(
        backup_id=plan.backup_id,
        source=plan.source,
        target=plan.target,
        mode=plan.mode,
        created=created,
        tables=len(plan.tables),
        rows=sum(rows for _, rows in plan.tables),
        files=plan.files,
        raw_bytes=plan.raw_bytes,
        equal=True,
        previous_schema=previous,
        safety_backup=safety,
        skipped=skipped,
        warnings=plan.warnings,
        seconds=round(seconds, 4),
        mb_per_s=round(plan.raw_bytes / 1e6 / seconds, 2),
    )


@contextmanager
def _target(fleet: Fleet, plan: RestorePlan, config: dict[str, Any]) -> Generator[tuple[Tenant, bool]]:
    """The tenant to restore into, and whether it was made for this; on failure such a one is removed."""
    found = fleet.registry.find([plan.target])
    _mode(plan.mode, plan.target, exists=bool(found))
    if found:
        yield found[0].require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED), False
        return
    provision(fleet, plan.target, tier_name=config["tier"], admin_email=config.get("admin_email"))
    try:
        yield fleet.registry.get(plan.target), True
    except BaseException:
        offboard(fleet, plan_offboard(fleet, plan.target), safety_copy=None)
        raise


def _replace_content(
    fleet: Fleet,
    tenant: Tenant,
    archive: Archive,
    config: dict[str, Any],
    progress: Progress,
    *,
    created: bool,
) -> tuple[str | None, tuple[str, ...]]:
    """Load beside, then swap; the schema set aside (None when nothing was) and what was skipped."""
    swap = replaced.names_of_swap(fleet, tenant, fleet.clock())
    owner = sql.Identifier(tenant.role("owner"))
    names = tenant_names(tenant)
    roles = {what: name for what, name in names.items() if what not in ("schema", "stage")}
    try:
        unpack_files(archive, swap.new_files)
        with fleet.database(tenant).transaction() as connection:
            connection.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(swap.new_schema), owner)
            )
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
            skipped = load(
                connection,
                archive,
                swap.new_schema,
                names_for(swap.new_schema, names["stage"], roles, final_schema=names["schema"]),
                progress,
            )
            connection.execute("SET LOCAL ROLE NONE")
            replaced.swap_schema(connection, swap, tenant)
            _forget_later_loads(connection, tenant, archive)
            if fleet.database(tenant) is fleet.control:
                _put_back(fleet, connection, tenant, archive, config)
    except BaseException:
        shutil.rmtree(swap.new_files, ignore_errors=True)
        raise
    replaced.swap_files(swap)
    if fleet.database(tenant) is not fleet.control:
        with fleet.control.transaction() as connection:
            _put_back(fleet, connection, tenant, archive, config)
    if created:  # what a new tenant was provisioned with is not worth keeping
        replaced.discard_replaced(fleet, tenant, keep=0)
    return None if created else swap.old_schema, skipped


def _put_back(
    fleet: Fleet, connection: psycopg.Connection, tenant: Tenant, archive: Archive, config: dict[str, Any]
) -> None:
    version = archive.manifest.tenant.get("version")
    fleet.registry.put_back(connection, tenant, version=version, config=config.get("config", {}))


def _forget_later_loads(connection: psycopg.Connection, tenant: Tenant, archive: Archive) -> None:
    """The ledger of loads must not claim files whose rows the restored content does not have."""
    ledger = sql.Identifier(tenant.stage_schema, "load")
    if str(tenant.id) == archive.header.tenant_id:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE state = 'merged' AND finished_at > %s").format(ledger),
            (archive.manifest.taken_at,),
        )
    else:
        connection.execute(sql.SQL("DELETE FROM {} WHERE state = 'merged'").format(ledger))


def _note_restore(fleet: Fleet, tenant: Tenant, plan: RestorePlan, safety: str | None) -> None:
    with fleet.control.transaction() as connection:
        record_event(
            connection,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="backup.restored",
            detail={"backup": plan.backup_id, "source": plan.source, "mode": plan.mode, "safety": safety},
        )


def _open_planned(fleet: Fleet, plan: RestorePlan) -> Archive:
    archive = catalog.open_backup(fleet, catalog.find_backup(fleet, plan.path))
    if archive.manifest_sha256 != plan.manifest_sha256:
        raise InputError("the backup changed since the plan.", where=plan.path, fix="Plan again.")
    return archive


def _mode(mode: str | None, target: str, *, exists: bool) -> str:
    if mode is None:
        return "replace" if exists else "new"
    if mode not in MODES:
        raise InputError(
            f"{mode!r} is no way to restore.", where="mode", fix=f"Use one of: {', '.join(MODES)}."
        )
    if mode == "new" and exists:
        raise InputError(
            "the tenant exists.", where=f"tenant {target}", fix="Use mode replace, or another id."
        )
    if mode == "replace" and not exists:
        raise InputError("there is no such tenant.", where=f"tenant {target}", fix="Use mode new to make it.")
    return mode


def _config(archive: Archive) -> dict[str, Any]:
    member = next(member for member in archive.manifest.members if member.kind == "config")
    return json.loads(archive.read(member))


def _conflicts(fleet: Fleet, tenant: Tenant | None, archive: Archive) -> Generator[str]:
    """What would make the restore fail on the target's server."""
    database = fleet.database(tenant) if tenant else fleet.control
    with database.transaction() as connection:
        have = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
        version = connection.info.server_version
    missing = sorted(set(archive.manifest.extensions) - have)
    if missing:
        yield f"extensions the backup needs are not installed here: {', '.join(missing)}"
    taken_on = int(archive.manifest.server.get("version_num", 0))
    if taken_on // 10000 > version // 10000:
        yield f"the backup was taken on Postgres {taken_on // 10000}, this server is {version // 10000}"


def _estimated_rows(fleet: Fleet, tenant: Tenant) -> int:
    with fleet.database(tenant).transaction() as connection:
        row = connection.execute(
            """
            SELECT COALESCE(sum(c.reltuples) FILTER (WHERE c.reltuples > 0), 0)::bigint
            FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
            WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(%s)::oid
              AND d.classid = 'pg_class'::regclass AND c.relkind = 'r'
            """,
            (tenant.schema_name,),
        ).fetchone()
    return row[0] if row else 0


def _outside_readers(fleet: Fleet, tenant: Tenant) -> Generator[str]:
    """Views elsewhere keep reading the replaced tables: they are bound to tables, not to names."""
    with fleet.database(tenant).transaction() as connection:
        rows = connection.execute(
            """
            SELECT DISTINCT v.oid::regclass::text
            FROM pg_depend s
            JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.objid
                            AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite r ON r.oid = d.objid
            JOIN pg_class v ON v.oid = r.ev_class
            WHERE s.refclassid = 'pg_namespace'::regclass AND s.refobjid = to_regnamespace(%(schema)s)::oid
              AND s.classid = 'pg_class'::regclass AND v.relnamespace <> to_regnamespace(%(schema)s)::oid
            """,
            {"schema": tenant.schema_name},
        ).fetchall()
    for (view,) in rows:
        yield f"the view {view} outside the tenant will go on reading the replaced tables."
