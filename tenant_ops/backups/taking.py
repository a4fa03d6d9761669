"""Taking a backup: plan it, then write it.

Here: the order of the work. Not here: its parts (`snapshot.py`, `content.py`, `files.py`, `archive.py`).

The database's moment comes first, the files after it: a row may only name a file that exists, and files are
written before the rows that name them.
"""

import errno
import re
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import psycopg

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog
from tenant_ops.backups.archive import ArchiveWriter, MemberWriter, Published, TenantKey, remove_partials
from tenant_ops.backups.codec import check_codec
from tenant_ops.backups.content import ROW_HASH, copy_out
from tenant_ops.backups.ddl import TableShape, encode_statements
from tenant_ops.backups.files import PackedFiles, count_files, pack_files
from tenant_ops.backups.keys import keep_key_beside, sealing_key
from tenant_ops.backups.layout import (
    FORMAT,
    VERSION,
    Header,
    Manifest,
    SequenceValue,
    TableContent,
    new_backup_id,
)
from tenant_ops.backups.replaced import finish_interrupted
from tenant_ops.backups.reports import BackupPlan, BackupRecord, BackupReport
from tenant_ops.backups.snapshot import Snapshot, hold_snapshot, tenant_names
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed, first_line
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.platform.reports import dumps
from tenant_ops.tenants import Fleet, State, Tenant

_SHIPPED = Path(__file__).parent / "shipped"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def plan_backup(
    fleet: Fleet,
    tenant: Tenant,
    *,
    backup_type: str = "full",
    compression: str = "zstd",
    level: int | None = None,
    encryption: bool | None = None,
    output_path: str | None = None,
) -> BackupPlan:
    """Look at what a backup would hold; nothing is written.

    Args:
        fleet: The fleet.
        tenant: Whose backup; active or suspended.
        backup_type: `full`.
        compression: `zstd`, `gzip` or `none`.
        level: Of the compression; None is the fastest that compresses well.
        encryption: None seals it with the tenant's key, as True does; False writes it in the clear.
        output_path: Directory to write below; None is the configured store.

    Raises:
        InputError: an argument cannot be used, the tenant cannot be backed up, or there is no key.
        NotAvailable: the type or the store is one of a later version.
    """
    if backup_type != "full":
        raise _unknown_type(backup_type)
    codec, chosen_level = check_codec(compression, level)
    tenant.require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED, State.OFFBOARDING)
    key = sealing_key(fleet, tenant, encryption)
    folder = catalog.tenant_folder(catalog.store_root(fleet, output_path), tenant.id)
    with hold_snapshot(fleet, tenant) as snapshot:
        sizes = _sizes(snapshot)
        definition = snapshot.definition
    files, file_bytes = count_files(fleet.files(tenant))
    return BackupPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        type="full",
        codec=codec,
        level=chosen_level,
        encrypted=key is not None,
        key_id=key.id if key else None,
        folder=str(folder),
        tables=tuple((table.name, sizes.get(table.name, (0, 0))[0]) for table in definition.tables),
        statements=len(definition.statements),
        files=files,
        estimated_bytes=sum(size for _, size in sizes.values()) + file_bytes,
        free_bytes=_free_bytes(folder),
        not_carried=definition.not_carried,
        warnings=definition.warnings,
    )


def execute_backup(
    fleet: Fleet, plan: BackupPlan, *, progress: Progress = SILENT, reason: str | None = None
) -> BackupReport:
    """Write the backup; it is visible, in the store and in the catalog, only when it is complete.

    Killed at any point, it leaves nothing that counts as a backup; the next one clears what is left.

    Args:
        fleet: The fleet.
        plan: Made by `plan_backup`.
        progress: Told of each table.
        reason: Why it is taken, for the catalog, when it is not on request.

    Raises:
        InputError: the key of the plan is no longer the tenant's.
        OperationFailed: the database or the file system refused; nothing is left behind.
    """
    tenant = fleet.registry.get(plan.tenant)
    started, clock = fleet.clock(), perf_counter()
    folder = Path(plan.folder)
    with fleet.lock(tenant, "backup"):
        key = sealing_key(fleet, tenant, plan.encrypted)
        if (key.id if key else None) != plan.key_id:
            raise InputError(
                "its key changed since the plan.", where=f"tenant {tenant.slug}", fix="Plan again."
            )
        with _explained(folder, tenant):
            finish_interrupted(fleet, tenant)
            leftovers = remove_partials(folder)
            if key:
                keep_key_beside(fleet, tenant, key, folder)
            published = _write(fleet, tenant, plan, key, started, progress)
        record = _record(plan, published, started, fleet.clock(), reason)
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
    seconds = perf_counter() - clock
    manifest = published.manifest
    return BackupReport(
        tenant=tenant.slug,
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
        warnings=manifest.warnings,
        removed_leftovers=tuple(leftovers),
    )


def _write(
    fleet: Fleet,
    tenant: Tenant,
    plan: BackupPlan,
    key: TenantKey | None,
    started: datetime,
    progress: Progress,
) -> Published:
    header = Header(
        format=FORMAT,
        version=VERSION,
        tenant_id=plan.tenant_id,
        backup_id=new_backup_id(started),
        type=plan.type,
        parent=None,
        created_at=started.astimezone(UTC).isoformat(),
        codec=plan.codec,
        cipher=None,
    )
    archive = ArchiveWriter(Path(plan.folder), header, tenant_key=key, level=plan.level)
    try:
        for name in ("RESTORE.md", "restore.py"):
            archive.add(name, "readme", (_SHIPPED / name).read_bytes(), readable=True)
        with hold_snapshot(fleet, tenant) as snapshot:
            archive.add("schema/statements.json", "schema", encode_statements(snapshot.definition.statements))
            tables = tuple(
                _write_table(snapshot, archive, progress, number, table)
                for number, table in enumerate(snapshot.definition.tables, 1)
            )
            sequences = snapshot.sequences()
        packed = pack_files(fleet.files(tenant), archive)
        archive.add("config/config.json", "config", _config(tenant))
        return archive.publish(_manifest(header, tenant, snapshot, tables, sequences, packed))
    except BaseException:
        archive.abandon()
        raise


def _write_table(
    snapshot: Snapshot, archive: ArchiveWriter, progress: Progress, number: int, table: TableShape
) -> TableContent:
    task = f"back up {table.name}"
    before = len(archive.members)
    progress.start(task)
    try:
        # The member is made with the first rows: of 1,000 small tenants most tables are empty.
        with ExitStack() as opened:
            member: MemberWriter | None = None

            def write(text: bytes, rows: int) -> None:
                nonlocal member
                if member is None:
                    stem = f"data/{number:04}-{_safe(table.name)}.copy"
                    member = opened.enter_context(archive.member(stem, "data"))
                member.write(text)
                progress.advance(task, rows, bytes=len(text))

            content = copy_out(snapshot.connection, snapshot.table(table.name), table.columns, write)
    finally:
        progress.finish(task)
    parts = tuple(part.path for part in archive.members[before:])
    return TableContent(table.name, table.columns, content.rows, content.content_hash, parts)


def _manifest(
    header: Header,
    tenant: Tenant,
    snapshot: Snapshot,
    tables: tuple[TableContent, ...],
    sequences: tuple[SequenceValue, ...],
    packed: PackedFiles,
) -> Manifest:
    definition = snapshot.definition
    return Manifest(
        version=VERSION,
        tenant_id=header.tenant_id,
        backup_id=header.backup_id,
        header_sha256="",
        parent_manifest_sha256=None,
        taken_at=snapshot.taken_at,
        snapshot=snapshot.id,
        server=snapshot.server,
        tenant={
            "slug": tenant.slug,
            "key": tenant.key,
            "tier": tenant.tier_name,
            "version": tenant.version,
            "names": tenant_names(tenant),
        },
        schema_sha256=definition.fingerprint,
        row_hash=ROW_HASH,
        members=(),
        tables=tables,
        sequences=sequences,
        extensions=definition.extensions,
        not_carried=(*definition.not_carried, *packed.not_carried),
        warnings=definition.warnings,
        files=packed.files,
        file_bytes=packed.total_bytes,
    )


def _record(
    plan: BackupPlan, published: Published, started: datetime, finished: datetime, reason: str | None
) -> BackupRecord:
    manifest = published.manifest
    return BackupRecord(
        id=manifest.backup_id,
        tenant_id=manifest.tenant_id,
        tenant=plan.tenant,
        type=plan.type,
        parent=None,
        path=str(published.path),
        codec=plan.codec,
        encrypted=plan.encrypted,
        key_id=plan.key_id,
        manifest_sha256=published.manifest_sha256,
        version=manifest.tenant["version"],
        tables=len(manifest.tables),
        rows=manifest.rows,
        raw_bytes=sum(member.raw_bytes for member in manifest.members),
        stored_bytes=published.stored_bytes,
        started_at=started.isoformat(),
        finished_at=finished.isoformat(),
        taken_at=manifest.taken_at,
        store=str(Path(plan.folder).parent),
        base_id=manifest.backup_id,
        reason=reason,
    )


def _config(tenant: Tenant) -> bytes:
    """What the registry holds of the tenant. Credentials are not here: a restored tenant keeps its own."""
    return dumps(
        {
            "slug": tenant.slug,
            "display_name": tenant.display_name,
            "tier": tenant.tier_name,
            "state": tenant.state,
            "placement": tenant.placement,
            "version": tenant.version,
            "admin_email": tenant.admin_email,
            "config": tenant.config,
        }
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


def _unknown_type(backup_type: str) -> InputError | NotAvailable:
    if backup_type in ("incremental", "differential"):
        return NotAvailable(
            f"{backup_type} backups need the change journal, which this version does not keep.",
            where="backup type",
            fix="Use full.",
        )
    return InputError(f"{backup_type!r} is not a type of backup.", where="backup type", fix="Use full.")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free


@contextmanager
def _explained(folder: Path, tenant: Tenant) -> Generator[None]:
    """What the file system or the database says, as a sentence with the tenant's name and a remedy."""
    try:
        yield
    except OSError as error:
        full = error.errno in _NO_ROOM
        room = f" ({_free_bytes(folder):,} bytes are free)" if full else ""
        raise OperationFailed(
            f"the backup could not be written: {error.strerror}{room}; nothing of it was kept.",
            where=f"tenant {tenant.slug}, {folder}",
            fix="Free some room or choose another --output-path."
            if full
            else "Check the path and its rights.",
        ) from error
    except psycopg.Error as error:
        raise OperationFailed(
            f"the database refused: {first_line(error)}.", where=f"tenant {tenant.slug}"
        ) from error
