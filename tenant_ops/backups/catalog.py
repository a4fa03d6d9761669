"""The catalog: which backups there are. A convenience; the store alone is the truth.

Here: records in the control plane, opening and removing the backups they name. Not here: making them again
from the stores (`rebuilding.py`), reading archives (`reading.py`), which ones go (`retention/`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from tenant_ops.backups.containers import PACKED, Container
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.keys import key_finder
from tenant_ops.backups.layout import COMPLETE
from tenant_ops.backups.reading import Archive, open_archive, read_header
from tenant_ops.backups.recording import record_of
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.stores import Folder, Store, container_at, open_store
from tenant_ops.platform.errors import InputError, OperationFailed, TenantOpsError
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


class UnknownBackup(InputError):
    """No backup has that id, and nothing lies at that path (exit code 2)."""


def store_at(fleet: Fleet, where: str | None = None) -> Store:
    """The store at a path or URL; the configured one when left out.

    Raises:
        InputError: the URL is of no known kind or holds a secret.
        NotAvailable: the driver of such stores is not installed.
    """
    return open_store(where or fleet.settings.backup_path, fleet.settings.home / "backup-spool")


def folder_of(fleet: Fleet, backup: BackupRecord) -> Folder:
    """The folder of a store a backup lies in."""
    return store_at(fleet, backup.store).folder(backup.tenant_id)


def list_backups(fleet: Fleet, tenant: Tenant | UUID | None = None) -> tuple[BackupRecord, ...]:
    """The backups of a tenant, or all, newest first. Those that are gone say so."""
    tenant_id = tenant.id if isinstance(tenant, Tenant) else tenant
    with fleet.control.transaction() as connection:
        rows = (
            _select(connection, "tenant_id = %(tenant)s", tenant=tenant_id)
            if tenant_id
            else _select(connection)
        )
    return _as_found(fleet, rows)


def find_backup(fleet: Fleet, reference: str) -> BackupRecord:
    """The backup of an id, an id's beginning, a path, or a URL.

    Raises:
        UnknownBackup: there is none.
        InputError: several begin like that, or what lies at the path is no complete backup.
        DamagedBackup: there is one at the path, but it is not what was written.
    """
    if "://" in reference or Path(reference).expanduser().exists():
        _refuse_folder_of_backups(Path(reference).expanduser())
        return _at(fleet, container_at(reference))
    with fleet.control.transaction() as connection:
        rows = _select(connection, "starts_with(id, %(id)s)", id=reference)
    exact = [row for row in rows if row.id == reference] or rows
    if len(exact) == 1:
        return _as_found(fleet, exact)[0]
    if exact:
        raise InputError(f"{len(exact)} backups begin with {reference!r}.", fix="Give more of the id.")
    raise UnknownBackup(
        f"there is no backup {reference!r}.",
        fix="See `tenant-ops backup list`; for one that is not in the catalog give its path.",
    )


def _refuse_folder_of_backups(path: Path) -> None:
    """Whoever named the store, or a tenant's folder in it, is told what lies there."""
    if not path.is_dir() or (path / COMPLETE).exists():
        return
    complete = {
        mark.parent for pattern in (f"*/{COMPLETE}", f"*/*/{COMPLETE}") for mark in path.glob(pattern)
    }
    packed = {file for kind in PACKED for level in ("*", "*/*") for file in path.glob(f"{level}.{kind}")}
    if found := sorted(complete | packed, key=lambda backup: backup.name):
        raise InputError(
            f"this is no backup but a folder that holds {len(found)}.",
            where=str(path),
            fix=f"Name one of them; the newest is {found[-1]}",
        )


def open_backup(fleet: Fleet, backup: BackupRecord) -> Archive:
    """Open a backup, and those it builds on, and make sure it is the one the catalog recorded.

    Raises:
        InputError: it is not there, or its key is not at hand.
        DamagedBackup: it is not what was written, or not what the catalog recorded.
    """
    archive = open_container(fleet, container_at(backup.path))
    if archive.manifest_sha256 != backup.manifest_sha256:
        raise DamagedBackup(
            "it was replaced: it is sound in itself, but not the backup that was recorded.",
            where=f"backup {backup.id}",
            fix="Find out who could write to the store; another copy may still be the original.",
        )
    return archive


def open_container(
    fleet: Fleet, container: Container, elsewhere: Mapping[str, Container] | None = None
) -> Archive:
    """Open what lies in a container, with the chain it builds on; see `reading.open_archive` for errors.

    Args:
        fleet: The fleet.
        container: Where it lies.
        elsewhere: Where backups lie that the catalog may not know yet.
    """
    return open_archive(
        container, key_finder(fleet), lambda child, parent: parent_of(fleet, child, parent, elsewhere or {})
    )


def parent_of(
    fleet: Fleet, container: Container, parent: str, elsewhere: Mapping[str, Container]
) -> Container:
    """Where a backup lies that the one in `container` builds on: beside it, or in another store."""
    beside = container.sibling(parent)
    if is_complete(beside):
        return beside
    if parent in elsewhere:
        return elsewhere[parent]
    with fleet.control.transaction() as connection:
        known = _select(connection, "id = %(id)s", id=parent)
    return container_at(known[0].path) if known else beside


def is_complete(container: Container) -> bool:
    """Whether there is a backup."""
    return container.size(COMPLETE) is not None


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
    """Note that the backup was just read back whole.

    A quick check never takes the place of a full one, nor does it clear what a full one found.
    """
    with fleet.control.transaction() as connection:
        connection.execute(
            """
            UPDATE tenant_ops.backup SET damaged_at = NULL, damage = NULL, verified_at = %(now)s,
                   verified_level = %(level)s
            WHERE id = %(id)s
              AND (%(level)s = 'full' OR (verified_level IS DISTINCT FROM 'full' AND damage IS NULL))
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
        OSError: the file system refused; the removal can be repeated.
        StoreFailed: the store refused; likewise.
    """
    with fleet.control.transaction() as connection:
        _claim(connection, backup, fleet.clock())
    folder_of(fleet, backup).remove(backup.id)
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


def _at(fleet: Fleet, container: Container) -> BackupRecord:
    header = read_header(container)
    with fleet.control.transaction() as connection:
        rows = _select(connection, "id = %(id)s", id=header.backup_id)
    # A copy is the backup wherever it lies; `open_backup` compares its hash with the recorded one.
    if rows:
        return replace(rows[0], path=container.where, format=container.format)
    return record_of(open_container(fleet, container))


def _as_found(fleet: Fleet, records: Sequence[BackupRecord]) -> tuple[BackupRecord, ...]:
    """The records, with whether each is still there; each folder is looked through once."""
    there = {
        (record.store, record.tenant_id): frozenset[str]() for record in records if record.removing_at is None
    }
    for store, tenant_id in there:
        # A store that does not answer makes its backups missing, not the list of all others.
        with suppress(TenantOpsError, OSError):
            there[store, tenant_id] = frozenset(store_at(fleet, store).folder(tenant_id).backups())
    return tuple(
        replace(record, present=record.id in there.get((record.store, record.tenant_id), ()))
        if record.removing_at is None
        else replace(record, present=False)
        for record in records
    )


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
