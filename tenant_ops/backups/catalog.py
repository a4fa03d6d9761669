"""The catalog: which backups there are. A convenience; the store alone is the truth.

Here: records in the control plane, and rebuilding them from a store. Not here: reading archives
(`reading.py`), removing them (`retention.py`).
"""

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tenant_ops.audit import record as record_event
from tenant_ops.backups.containers import Container, Directory
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.keys import key_finder
from tenant_ops.backups.layout import BACKUP_ID, COMPLETE
from tenant_ops.backups.reading import Archive, open_archive, read_header, read_key_block
from tenant_ops.backups.reports import BackupRecord, RebuildReport
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed, TenantOpsError
from tenant_ops.tenants import Fleet, Tenant

_COLUMNS = (
    "id",
    "tenant_id",
    "tenant_slug",
    "type",
    "parent",
    "path",
    "store",
    "format",
    "fallback",
    "codec",
    "encrypted",
    "key_id",
    "manifest_sha256",
    "version",
    "tables",
    "rows",
    "raw_bytes",
    "stored_bytes",
    "referenced_bytes",
    "started_at",
    "finished_at",
    "taken_at",
    "base_id",
    "depth",
    "anchor",
    "journal_from",
    "journal_to",
    "changes",
    "verified_at",
    "verified_level",
    "damaged_at",
    "damage",
    "pinned",
    "legal_hold",
    "held_by",
    "held_at",
    "removing_at",
    "reason",
)


def store_root(fleet: Fleet, output_path: str | None = None) -> Path:
    """The directory backups go to.

    Raises:
        NotAvailable: the path is a URL of a store this version does not write to.
    """
    path = output_path or fleet.settings.backup_path
    if "://" in path:
        raise NotAvailable(
            "only directories can hold backups in this version.",
            where=path,
            fix="Give a directory; sync it to the object store with its own tool.",
        )
    return Path(path).expanduser().resolve()


def tenant_folder(root: Path, tenant_id: str | UUID) -> Path:
    """Where the backups of one tenant lie in a store."""
    return root / str(tenant_id)


def list_backups(fleet: Fleet, tenant: Tenant | UUID | None = None) -> tuple[BackupRecord, ...]:
    """The backups of a tenant, or all, newest first. Those that are gone say so."""
    tenant_id = tenant.id if isinstance(tenant, Tenant) else tenant
    with fleet.control.transaction() as connection:
        rows = (
            _select(connection, "tenant_id = %(tenant)s", tenant=tenant_id)
            if tenant_id
            else _select(connection)
        )
    return tuple(_as_found(row) for row in rows)


def find_backup(fleet: Fleet, reference: str) -> BackupRecord:
    """The backup of an id, an id's beginning, or a path.

    Raises:
        InputError: there is none, or several begin like that.
        DamagedBackup: there is one at the path, but it is not what was written.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        return _at_path(fleet, path.resolve())
    with fleet.control.transaction() as connection:
        rows = _select(connection, "starts_with(id, %(id)s)", id=reference)
    exact = [row for row in rows if row.id == reference] or rows
    if len(exact) == 1:
        return _as_found(exact[0])
    if exact:
        raise InputError(f"{len(exact)} backups begin with {reference!r}.", fix="Give more of the id.")
    raise InputError(
        f"there is no backup {reference!r}.",
        fix="See `tenant-ops backup list`; for one that is not in the catalog give its path.",
    )


def open_backup(fleet: Fleet, backup: BackupRecord) -> Archive:
    """Open a backup, and those it builds on, and make sure it is the one the catalog recorded.

    Raises:
        InputError: it is not there, or its key is not at hand.
        DamagedBackup: it is not what was written, or not what the catalog recorded.
    """
    archive = _open(fleet, container_at(backup.path))
    if archive.manifest_sha256 != backup.manifest_sha256:
        raise DamagedBackup(
            "it was replaced: it is sound in itself, but not the backup that was recorded.",
            where=f"backup {backup.id}",
            fix="Find out who could write to the store; another copy may still be the original.",
        )
    return archive


def container_at(where: str) -> Container:
    """The place a catalog record names."""
    return Directory(Path(where))


def _open(fleet: Fleet, container: Container) -> Archive:
    def find_parent(container: Container, backup_id: str) -> Container:
        beside = container.sibling(backup_id)
        if beside.size(COMPLETE) is not None:
            return beside
        with fleet.control.transaction() as connection:
            known = _select(connection, "id = %(id)s", id=backup_id)
        return container_at(known[0].path) if known else beside

    return open_archive(container, key_finder(fleet), find_parent)


def add(connection: psycopg.Connection, record: BackupRecord) -> bool:
    """Enter a backup; False when it was there already."""
    columns = [name for name in _COLUMNS if name != "tenant_slug"]
    values = {name: getattr(record, name) for name in columns}
    added = connection.execute(
        sql.SQL("INSERT INTO tenant_ops.backup ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
            sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
            sql.SQL(", ").join(map(sql.Placeholder, _COLUMNS)),
        ),
        {**values, "tenant_slug": record.tenant, "anchor": Jsonb(record.anchor) if record.anchor else None},
    )
    return added.rowcount == 1


def mark_verified(fleet: Fleet, backup_id: str, level: str = "full") -> None:
    """Note that the backup was just read back whole; a quick check never takes the place of a full one."""
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            UPDATE tenant_ops.backup SET damaged_at = NULL, damage = NULL, verified_at = %(now)s,
                   verified_level = %(level)s
            WHERE id = %(id)s AND (%(level)s = 'full' OR verified_level IS DISTINCT FROM 'full')
            """,
            {"now": fleet.clock(), "level": level, "id": backup_id},
        )


def mark_damaged(fleet: Fleet, backup_id: str, problem: str) -> None:
    """Note that the backup could not be read back: from now on it takes no other backup's place."""
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            UPDATE tenant_ops.backup
            SET damaged_at = %s, damage = %s, verified_at = NULL, verified_level = NULL
            WHERE id = %s
            """,
            (fleet.clock(), problem, backup_id),
        )


def remove(fleet: Fleet, backup: BackupRecord, *, why: str) -> None:
    """Delete a backup for good.

    That it goes is written down first, so that it cannot be pinned, held or built on any more and a removal
    that is interrupted is finished by whoever finds it. COMPLETE goes before the rest: what is left of it no
    reader takes for a backup.

    Args:
        fleet: The fleet.
        backup: Which.
        why: For the audit log.

    Raises:
        OperationFailed: it is pinned or held, or another backup builds on it.
        OSError: the store refused; the removal can be repeated.
    """
    with fleet.control.transaction() as connection:
        _claim(connection, backup, fleet.clock())
    path = Path(backup.path)
    (path / COMPLETE).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE id = %s", (backup.id,))
        record_event(
            connection,
            chain=backup.tenant_id,
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="backup.removed",
            detail={"backup": backup.id, "manifest": backup.manifest_sha256, "why": why},
        )


def _claim(connection: psycopg.Connection, backup: BackupRecord, at: datetime) -> None:
    """Mark a backup as going; its row stays locked, so whoever pins or holds it waits and then finds out."""
    row = connection.execute(
        "SELECT pinned, legal_hold FROM tenant_ops.backup WHERE id = %s FOR UPDATE", (backup.id,)
    ).fetchone()
    builds = connection.execute(
        "SELECT id FROM tenant_ops.backup WHERE parent = %s LIMIT 1", (backup.id,)
    ).fetchone()
    where = f"backup {backup.id}"
    if row and row[1] is not None:
        raise OperationFailed(
            f"it is under legal hold: {row[1]}.",
            where=where,
            fix="Release it first: tenant-ops backup release.",
        )
    if row and row[0]:
        raise OperationFailed("it is pinned.", where=where, fix="Release it: tenant-ops backup pin --off.")
    if builds:
        raise OperationFailed(f"{builds[0]} builds on it.", where=where, fix="Remove that one first.")
    connection.execute(
        "UPDATE tenant_ops.backup SET removing_at = coalesce(removing_at, %s) WHERE id = %s", (at, backup.id)
    )


def rebuild(fleet: Fleet, root: Path | None = None) -> RebuildReport:
    """Enter every complete backup of a store, and forget those of this store whose directory is gone.

    Backups that cannot be opened (another master key, damage) are named, not entered.
    """
    root = root or store_root(fleet)
    records: list[BackupRecord] = []
    unreadable: list[str] = []
    for path in sorted(root.glob("*/*")):
        if BACKUP_ID.match(path.name) and (path / COMPLETE).is_file():
            try:
                records.append(_read_record(fleet, path))
            except TenantOpsError as error:
                unreadable.append(f"{path.name}: {error}")
    with fleet.control.transaction() as connection:
        added = sum(add(connection, record) for record in records)
        gone = [
            row.id
            for row in _select(connection)
            if Path(row.path).is_relative_to(root) and not (Path(row.path) / COMPLETE).is_file()
        ]
        connection.execute("DELETE FROM tenant_ops.backup WHERE id = ANY(%s)", (gone,))
    return RebuildReport(str(root), len(records) + len(unreadable), added, len(gone), tuple(unreadable))


def _at_path(fleet: Fleet, path: Path) -> BackupRecord:
    header = read_header(Directory(path))
    with fleet.control.transaction() as connection:
        rows = _select(connection, "id = %(id)s", id=header.backup_id)
    # A copy is the backup wherever it lies; `open_backup` compares its hash with the recorded one.
    return replace(rows[0], path=str(path)) if rows else _read_record(fleet, path)


def _read_record(fleet: Fleet, path: Path) -> BackupRecord:
    archive = _open(fleet, Directory(path))
    header, manifest = archive.header, archive.manifest
    key_id = read_key_block(archive.container).tenant_key_id if header.cipher else None
    finished = manifest.taken_at
    return BackupRecord(
        id=header.backup_id,
        tenant_id=header.tenant_id,
        tenant=str(manifest.tenant.get("slug", "")),
        type=header.type,
        parent=header.parent,
        path=str(path),
        codec=header.codec,
        encrypted=header.cipher is not None,
        key_id=key_id,
        manifest_sha256=archive.manifest_sha256,
        version=manifest.tenant.get("version"),
        tables=len(manifest.tables),
        rows=manifest.rows,
        raw_bytes=sum(member.raw_bytes for member in manifest.members if member.origin is None),
        stored_bytes=sum(member.stored_bytes for member in manifest.members if member.origin is None),
        started_at=header.created_at,
        finished_at=finished,
        taken_at=manifest.taken_at,
        store=str(path.parent.parent),
        base_id=header.backup_id,
    )


def _as_found(record: BackupRecord) -> BackupRecord:
    return replace(record, present=record.removing_at is None and (Path(record.path) / COMPLETE).is_file())


def _select(
    connection: psycopg.Connection, where: LiteralString = "true", **parameters: Any
) -> list[BackupRecord]:
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    query = sql.SQL("SELECT {} FROM tenant_ops.backup WHERE {} ORDER BY taken_at DESC, id DESC")
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query.format(columns, sql.SQL(where)), parameters).fetchall()
    return [
        BackupRecord(
            **{"tenant" if name == "tenant_slug" else name: _plain(value) for name, value in row.items()}
        )
        for row in rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
