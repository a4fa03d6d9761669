"""Exchanging what is live with what was loaded, by renaming; finishing an exchange that was interrupted.

Here: the names, the exchange of schemas and directories, what a restore left that died. Not here: loading
(`loading.py`), taking a restore back (`undoing.py`).

While it is filled a schema is called `<schema>__new_<UTC time>`, a replaced one `<schema>__old_<UTC time>`;
directories of files carry the same time. The comment of a replaced schema remembers what the registry said of
it, so that undoing needs nothing but the database.

Writers are kept out for the moment of the exchange, readers never: `SHARE ROW EXCLUSIVE` locks let no
transaction write half of its rows into the old tables and half into the new. Whoever waits for such a lock
makes every later writer wait behind it, so it is waited for shortly, and often.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.audit import record as record_event
from tenant_ops.backups.journal.capture import LOCK_WAIT_MS, PATIENCE
from tenant_ops.backups.journal.functions import KEPT
from tenant_ops.backups.restoring.login import drop_logins
from tenant_ops.backups.restoring.merged_files import finish_merged_files, take_back_files
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.platform.retry import retrying
from tenant_ops.tenants import Fleet, Tenant

NEW = "__new_"
OLD = "__old_"
MERGED = "__merged_"
# What lies in the schema of a merge that was done, and of one that was taken back.
MERGED_ROWS = "rows"
TAKEN_BACK = "taken back"


@dataclass(frozen=True)
class Names:
    """What the pieces of one restore are called."""

    schema: str
    stamp: str
    files: Path

    @property
    def new_schema(self) -> str:
        """Where a restore loads."""
        return f"{self.schema}{NEW}{self.stamp}"

    @property
    def old_schema(self) -> str:
        """What the live schema is renamed to."""
        return f"{self.schema}{OLD}{self.stamp}"

    @property
    def merged_schema(self) -> str:
        """Where a merge keeps the rows it changed."""
        return f"{self.schema}{MERGED}{self.stamp}"

    @property
    def new_files(self) -> Path:
        """Where files are unpacked."""
        return self.files.with_name(f"{self.files.name}{NEW}{self.stamp}")

    @property
    def old_files(self) -> Path:
        """What the live directory of files is renamed to."""
        return self.files.with_name(f"{self.files.name}{OLD}{self.stamp}")

    @property
    def merged_files(self) -> Path:
        """Where a merge keeps the files it changed."""
        return self.files.with_name(f"{self.files.name}{MERGED}{self.stamp}")


def names_of_swap(fleet: Fleet, tenant: Tenant, now: datetime) -> Names:
    """Names no earlier restore has used."""
    return Names(tenant.schema_name, f"{now.astimezone(UTC):%Y%m%d%H%M%S%f}", fleet.files(tenant))


def names_like(fleet: Fleet, tenant: Tenant, name: str) -> Names:
    """The names of the restore that one of its schemas or directories belongs to."""
    return Names(tenant.schema_name, name.rpartition("_")[2], fleet.files(tenant))


def exchange(
    fleet: Fleet,
    tenant: Tenant,
    names: Names,
    note: dict[str, Any],
    *,
    comes: str,
    also: Callable[[psycopg.Connection], None],
) -> None:
    """The schema `comes` takes the live one's place, in one transaction with whatever else must happen.

    What is set aside keeps a note. Chains of backups end here: the journal of the replaced tables tells
    nothing of those that come.

    Args:
        fleet: The fleet.
        tenant: Held by the caller.
        names: The live schema becomes `old_schema`.
        note: To be remembered with it.
        comes: What the schema is called that becomes the live one.
        also: Run in the transaction, as its last part.

    Raises:
        OperationFailed: a session kept its tables locked for a minute; nothing was changed.
    """

    def work(_: int) -> None:
        with fleet.database(tenant).transaction() as connection:
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}".encode())
            _keep_writers_out(connection, names.schema)
            _set_aside(connection, names, note)
            rename(connection, comes, names.schema)
            end_chains(connection, tenant)
            also(connection)

    try:
        retrying(work, f"exchange the schemas of {tenant.slug}", patience=PATIENCE)
    except psycopg.errors.LockNotAvailable as error:
        raise OperationFailed(
            "a session held its tables for a minute, so they could not be exchanged; nothing was changed.",
            where=f"tenant {tenant.slug}",
            fix="Look for long transactions in pg_stat_activity, end them, and restore again.",
        ) from error


def swap_files(names: Names) -> bool:
    """The unpacked directory takes the live one's place; False when there was nothing to set aside."""
    had = names.files.exists() and not names.old_files.exists()
    if had:
        names.files.rename(names.old_files)
    names.new_files.rename(names.files)
    return had


def swap_files_back(names: Names, old: Path) -> bool:
    """A directory set aside is live again, and the live one set aside; False when there is none."""
    if not old.exists():
        return False
    if names.files.exists() and not names.old_files.exists():
        names.files.rename(names.old_files)
    old.rename(names.files)
    return True


def finish_interrupted(fleet: Fleet, tenant: Tenant) -> None:
    """Complete, or clear away, what a restore left that died. For holders of the tenant's lock.

    A schema and a directory of one restore carry the same time. Files whose schema was exchanged follow it;
    files and schemas that never got so far are of a restore that did not happen.
    """
    database = fleet.database(tenant)
    with database.transaction() as connection:
        schemas = set(_schemas(connection, tenant))
    drop_logins(database, tenant)  # and with them sessions that may still be at work
    for schema in sorted(name for name in schemas if NEW in name):
        drop_schema(fleet, tenant, schema)
    for schema in [name for name in schemas if MERGED in name]:
        if not _finish_merge(fleet, tenant, schema):
            schemas.discard(schema)
    for folder in sorted(fleet.files(tenant).parent.glob(f"{fleet.files(tenant).name}__*")):
        _finish_folder(fleet, tenant, folder, schemas)


def _finish_merge(fleet: Fleet, tenant: Tenant, schema: str) -> bool:
    """Whether a merge was done: one that was not, or was taken back, leaves no schema."""
    names = names_like(fleet, tenant, schema)
    rows, back = (sql.Identifier(schema, name).as_string() for name in (MERGED_ROWS, TAKEN_BACK))
    with fleet.database(tenant).transaction() as connection:
        row = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL", (rows, back)
        ).fetchone()
        recorded = bool(read_note(connection, schema))
    assert row is not None
    done, taken_back = row
    if taken_back:
        take_back_files(names.files, names.merged_files)
    if not done:
        drop_schema(fleet, tenant, schema)
    elif not recorded:
        with fleet.control.transaction() as control:
            record_event(
                control,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="backup.restored",
                detail={"mode": "merge", "schema": schema, "interrupted": True},
            )
        note_recorded(fleet, tenant, schema)
    return done


def note_recorded(fleet: Fleet, tenant: Tenant, schema: str) -> None:
    """Remember with the schema of a merge that the audit log knows of it."""
    with fleet.database(tenant).transaction() as connection:
        comment(connection, schema, json.dumps({"recorded": True}))


def _finish_folder(fleet: Fleet, tenant: Tenant, folder: Path, schemas: set[str]) -> None:
    names = names_like(fleet, tenant, folder.name)
    if folder == names.new_files:
        if names.old_schema in schemas:
            swap_files(names)
        elif names.merged_schema in schemas:
            finish_merged_files(names.files, folder, names.merged_files)
        else:
            shutil.rmtree(folder)
    elif folder == names.merged_files and names.merged_schema not in schemas:
        shutil.rmtree(folder)
    elif folder == names.old_files and names.old_schema not in schemas:
        with fleet.database(tenant).transaction() as connection:
            undone = next(_undone(connection, schemas, names.stamp), None)
        if undone is None:
            shutil.rmtree(folder)  # its schema was discarded
        else:
            swap_files_back(names_like(fleet, tenant, undone), folder)


def _undone(connection: psycopg.Connection, schemas: set[str], stamp: str) -> Iterator[str]:
    """The schema that was set aside when the one of that time came back."""
    for schema in schemas:
        if OLD in schema and read_note(connection, schema).get("undone") == stamp:
            yield schema


def set_aside(connection: psycopg.Connection, tenant: Tenant) -> tuple[str, ...]:
    """Schemas that restores of this tenant set aside, newest first."""
    found = [name for name in _schemas(connection, tenant) if OLD in name or MERGED in name]
    return tuple(sorted(found, key=lambda name: name.rpartition("_")[2], reverse=True))


def drop_schema(fleet: Fleet, tenant: Tenant, schema: str) -> None:
    """Drop a schema that is not live."""
    with fleet.database(tenant).transaction() as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def end_chains(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Let no backup go on from one before: the next one is a full one."""
    kept = sql.Identifier(tenant.stage_schema, KEPT)
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (kept.as_string(),)).fetchone()
    if row and row[0]:
        connection.execute(sql.SQL("DELETE FROM {}").format(kept))


def read_note(connection: psycopg.Connection, schema: str) -> dict[str, Any]:
    """What is remembered with a schema that was set aside; empty when nothing is."""
    text = _comment_of(connection, schema)
    try:
        note = json.loads(text) if text else {}
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def rename(connection: psycopg.Connection, schema: str, name: str) -> None:
    """Give a schema another name."""
    connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), sql.Identifier(name))
    )


def comment(connection: psycopg.Connection, schema: str, text: str | None) -> None:
    """Set a schema's comment."""
    connection.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(text))
    )


def _keep_writers_out(connection: psycopg.Connection, schema: str) -> None:
    rows = connection.execute(
        """
        SELECT c.relname::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(quote_ident(%s))::oid
          AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p')
        ORDER BY c.oid
        """,
        (schema,),
    ).fetchall()
    if rows:
        tables = sql.SQL(", ").join(sql.Identifier(schema, name) for (name,) in rows)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(tables))


def _schemas(connection: psycopg.Connection, tenant: Tenant) -> Iterator[str]:
    prefix = f"{tenant.schema_name}__"
    # As a range, so that the catalog's index serves: other tenants' schemas are thousands.
    for (name,) in connection.execute(
        "SELECT nspname::text FROM pg_namespace WHERE nspname >= %s::name AND nspname < %s::name",
        (prefix, f"{prefix}~"),
    ):
        yield name


def _set_aside(connection: psycopg.Connection, names: Names, note: dict[str, Any]) -> None:
    text = _comment_of(connection, names.schema)
    rename(connection, names.schema, names.old_schema)
    comment(connection, names.old_schema, json.dumps({**note, "comment": text}))


def _comment_of(connection: psycopg.Connection, schema: str) -> str | None:
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    return row[0] if row else None


def forget_later_loads(connection: psycopg.Connection, tenant: Tenant, reached: str | None) -> None:
    """The ledger of loads must not claim files whose rows the restored content does not have.

    Args:
        connection: In the transaction of the exchange.
        tenant: The restored one.
        reached: The moment of the content, ISO 8601; None when it is another tenant's.
    """
    ledger = sql.Identifier(tenant.stage_schema, "load")
    connection.execute(
        sql.SQL(
            "DELETE FROM {} WHERE state = 'merged' AND (%(at)s::timestamptz IS NULL OR finished_at > %(at)s)"
        ).format(ledger),
        {"at": reached},
    )
