"""What a restore replaced: kept under another name, brought back, or discarded.

Here: the swap by renaming, its reversal, and dropping what is no longer wanted. Not here: loading
(`loading.py`), when a restore swaps (`restoring.py`).

A replaced schema is called `<schema>__old_<UTC time>`; the replaced directory of files carries the same time.
Its comment remembers what the registry said of it, so that undoing needs nothing but the database.
"""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.audit import record as record_event
from tenant_ops.backups.reports import UndoReport
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

_OLD = "__old_"
_NEW = "__new_"


@dataclass(frozen=True)
class Names:
    """What the pieces of one swap are called."""

    schema: str
    stamp: str
    files: Path

    @property
    def new_schema(self) -> str:
        """Where a restore loads."""
        return f"{self.schema}{_NEW}{self.stamp}"

    @property
    def old_schema(self) -> str:
        """What the live schema is renamed to."""
        return f"{self.schema}{_OLD}{self.stamp}"

    @property
    def new_files(self) -> Path:
        """Where files are unpacked."""
        return self.files.with_name(f"{self.files.name}{_NEW}{self.stamp}")

    @property
    def old_files(self) -> Path:
        """What the live directory of files is renamed to."""
        return self.files.with_name(f"{self.files.name}{_OLD}{self.stamp}")


def names_of_swap(fleet: Fleet, tenant: Tenant, now: datetime) -> Names:
    """Names no earlier swap has used."""
    return Names(tenant.schema_name, f"{now.astimezone(UTC):%Y%m%d%H%M%S%f}", fleet.files(tenant))


def swap_schema(connection: psycopg.Connection, names: Names, tenant: Tenant) -> None:
    """The loaded schema takes the live one's place; the live one is set aside with a note."""
    _set_aside(connection, names, {"version": tenant.version, "config": tenant.config})
    _rename(connection, names.new_schema, names.schema)


def swap_files(names: Names) -> bool:
    """The unpacked directory takes the live one's place; False when there was nothing to set aside."""
    had = names.files.exists() and not names.old_files.exists()
    if had:
        names.files.rename(names.old_files)
    names.new_files.rename(names.files)
    return had


def finish_interrupted(fleet: Fleet, tenant: Tenant) -> None:
    """Complete, or clear away, what a restore left that died between its commit and the swap of files.

    The schema set aside and the unpacked files carry the same time: files whose schema was swapped follow it,
    files whose schema was not are of a restore that never happened. For holders of the tenant's lock.
    """
    files = fleet.files(tenant)
    waiting = sorted(files.parent.glob(f"{files.name}{_NEW}*"))
    if not waiting:
        return
    with fleet.database(tenant).transaction() as connection:
        swapped = replaced_schemas(connection, tenant)
    for folder in waiting:
        names = Names(tenant.schema_name, folder.name.rpartition(_NEW)[2], files)
        if names.old_schema in swapped:
            swap_files(names)
        else:
            shutil.rmtree(folder)


def replaced_schemas(connection: psycopg.Connection, tenant: Tenant) -> tuple[str, ...]:
    """Schemas that restores of this tenant set aside, newest first."""
    rows = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) ORDER BY nspname DESC",
        (f"{tenant.schema_name}{_OLD}",),
    )
    return tuple(row[0] for row in rows)


def undo_restore(fleet: Fleet, tenant: Tenant) -> UndoReport:
    """Bring back what the last restore replaced; what it had restored is set aside in turn.

    Undoing an undo is therefore the restored content again.

    Raises:
        InputError: nothing is set aside.
    """
    with fleet.lock(tenant, "undo restore"):
        finish_interrupted(fleet, tenant)
        now = names_of_swap(fleet, tenant, fleet.clock())
        with fleet.database(tenant).transaction() as connection:
            found = replaced_schemas(connection, tenant)
            if not found:
                raise InputError("no restore is there to take back.", where=f"tenant {tenant.slug}")
            old = found[0]
            note = _note(connection, old)
            _set_aside(connection, now, {"version": tenant.version, "config": tenant.config})
            _rename(connection, old, now.schema)
            _comment(connection, now.schema, note.get("comment"))
        version = note.get("version")
        with fleet.control.transaction() as connection:
            fleet.registry.put_back(
                connection, tenant, version=version, config=note.get("config", tenant.config)
            )
            record_event(
                connection,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="restore.undone",
                detail={"schema": old, "set_aside": now.old_schema},
            )
        swapped = _swap_files_back(now, old)
    return UndoReport(tenant.slug, old, now.old_schema, swapped, version)


def discard_replaced(fleet: Fleet, tenant: Tenant, *, keep: int = 1) -> tuple[str, ...]:
    """Drop what restores set aside, but the `keep` newest; the names of the schemas dropped."""
    with fleet.lock(tenant, "discard replaced"):
        with fleet.database(tenant).transaction() as connection:
            dropped = replaced_schemas(connection, tenant)[keep:]
            for schema in dropped:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        for schema in dropped:
            shutil.rmtree(_files_of(fleet.files(tenant), schema), ignore_errors=True)
    return dropped


def _set_aside(connection: psycopg.Connection, names: Names, note: dict[str, Any]) -> None:
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (names.schema,)
    ).fetchone()
    if row is None:
        return
    _rename(connection, names.schema, names.old_schema)
    _comment(connection, names.old_schema, json.dumps({**note, "comment": row[0]}))


def _note(connection: psycopg.Connection, schema: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    try:
        note = json.loads(row[0]) if row and row[0] else {}
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _rename(connection: psycopg.Connection, schema: str, name: str) -> None:
    connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), sql.Identifier(name))
    )


def _comment(connection: psycopg.Connection, schema: str, text: str | None) -> None:
    connection.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(text))
    )


def _swap_files_back(now: Names, old_schema: str) -> bool:
    old = _files_of(now.files, old_schema)
    if not old.exists():
        return False
    if now.files.exists():
        now.files.rename(now.old_files)
    old.rename(now.files)
    return True


def _files_of(files: Path, old_schema: str) -> Path:
    return files.with_name(f"{files.name}{_OLD}{old_schema.rpartition(_OLD)[2]}")
