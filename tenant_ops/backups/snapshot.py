"""One moment of a tenant's schema, held still while it is read.

Here: the transaction, the locks, what belongs to the moment beside rows (sequences, server, definition).
Not here: how rows are read (`content.py`), where they go (`taking.py`).

The order matters: every table is locked (ACCESS SHARE, which only DDL waits for) before the snapshot is
taken. TRUNCATE and other DDL are not MVCC-safe: with the snapshot first, 6 of 43 snapshots under a busy
workload showed tables empty that never were; with the locks first, none of 34.

The locks are asked for all at once and never waited for: a transaction that truncates one table and then
another would be in a deadlock with whoever holds the second and waits for the first, and might be the one
the server ends.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.backups.content import SESSION_FORMAT
from tenant_ops.backups.ddl import SchemaDefinition, read_definition
from tenant_ops.backups.layout import SequenceValue
from tenant_ops.platform.errors import InputError, OperationFailed, first_line
from tenant_ops.tenants import Fleet, Tenant

LOCK_WAIT_S = 60
_LOOK_AGAIN_S = 0.05
_ATTEMPTS = 5
_SESSION = (
    "SET LOCAL search_path = ''",
    "SET LOCAL row_security = off",  # a policy that would hide rows becomes an error
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    *SESSION_FORMAT,
)


@dataclass(frozen=True)
class Snapshot:
    """A transaction that sees one moment of the schema.

    Attributes:
        connection: Reads that moment; nothing can be written through it.
        schema: Its name.
        definition: Everything but the rows.
        id: The moment as Postgres names it (`pg_current_snapshot`), the anchor of later incrementals.
        taken_at: The server's clock at that moment, ISO 8601.
        server: Version, system identifier and locale of the server.
    """

    connection: psycopg.Connection
    schema: str
    definition: SchemaDefinition
    id: str
    taken_at: str
    server: dict[str, str]

    def table(self, name: str) -> sql.Identifier:
        """A table of the schema, qualified."""
        return sql.Identifier(self.schema, name)

    def sequences(self) -> tuple[SequenceValue, ...]:
        """Where the sequences stand now.

        Sequences are not transactional: read after the rows, they are never behind them.
        """
        names = self.definition.sequences
        if not names:
            return ()
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, last_value, is_called FROM {}").format(sql.Literal(name), self.table(name))
            for name in names
        )
        return tuple(SequenceValue(*row) for row in self.connection.execute(query))


def tenant_names(tenant: Tenant) -> dict[str, str]:
    """The tenant's own names, as statements of its schema may hold them."""
    roles = {kind: tenant.role(kind) for kind in ("owner", "admin", "editor", "viewer", "app")}
    return {"schema": tenant.schema_name, "stage": tenant.stage_schema, **roles}


@contextmanager
def hold_snapshot(fleet: Fleet, tenant: Tenant) -> Generator[Snapshot]:
    """Hold one moment of the tenant's schema for as long as the block runs.

    Raises:
        InputError: the tenant has no schema.
        OperationFailed: its tables could not be locked, change faster than they can be, or hide rows from
            the role that reads them.
    """
    database = fleet.database(tenant)
    give_up = time.monotonic() + LOCK_WAIT_S
    attempts = 0
    while attempts < _ATTEMPTS:
        attempts += 1
        with database.transaction() as connection:
            found = _tables(connection, tenant)
        with database.transaction(isolation=psycopg.IsolationLevel.REPEATABLE_READ) as connection:
            try:
                _prepare(connection, tenant, found)
                moment = _moment(connection)
                definition = read_definition(connection, tenant_names(tenant))
            except psycopg.errors.UndefinedTable:
                continue  # dropped between the look and the lock
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > give_up:
                    raise OperationFailed(
                        f"its tables stayed locked by another session for {LOCK_WAIT_S:g} s.",
                        where=f"tenant {tenant.slug}",
                        fix="Wait for the migration or maintenance that holds them, and run it again.",
                    ) from None
                attempts -= 1
            except psycopg.Error as error:
                raise OperationFailed(
                    f"its schema cannot be read: {first_line(error)}.",
                    where=f"tenant {tenant.slug}",
                ) from error
            else:
                if {table.name for table in definition.tables} <= set(found):
                    yield Snapshot(connection, tenant.schema_name, definition, *moment)
                    return
        time.sleep(_LOOK_AGAIN_S)
    raise OperationFailed(
        f"tables were made or dropped during each of {_ATTEMPTS} attempts to look at them.",
        where=f"tenant {tenant.slug}",
        fix="Run it again when the migration is done.",
    )


def _tables(connection: psycopg.Connection, tenant: Tenant) -> dict[str, bool]:
    """Tables to lock, and whether each forces row security on its owner."""
    row = connection.execute("SELECT to_regnamespace(%s)::oid", (tenant.schema_name,)).fetchone()
    if row is None or row[0] is None:
        raise InputError(
            "its schema does not exist.",
            where=f"tenant {tenant.slug}",
            fix=f"Provision it with: tenant-ops init-tenant --tenant-id {tenant.slug}",
        )
    rows = connection.execute(
        """
        SELECT c.relname, c.relforcerowsecurity
        FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %s AND d.classid = 'pg_class'::regclass
          AND c.relkind IN ('r', 'p')
        ORDER BY c.oid
        """,
        (row[0],),
    )
    return dict(rows.fetchall())


def _prepare(connection: psycopg.Connection, tenant: Tenant, tables: dict[str, bool]) -> None:
    """Set the session up and lock the tables, by commands that take no snapshot."""
    forced = sorted(name for name, forces in tables.items() if forces)
    commands = [*_SESSION, f"SET LOCAL lock_timeout = {int(LOCK_WAIT_S * 1000)}"]
    if forced:
        _require_superuser(connection, tenant, forced)
    else:
        commands.insert(
            0, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(tenant.role("owner"))).as_string()
        )
    if tables:
        names = sql.SQL(", ").join(sql.Identifier(tenant.schema_name, name) for name in tables)
        commands.append(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT").format(names).as_string())
    # One round trip for all of them.
    connection.execute("; ".join([*commands, "SET TRANSACTION READ ONLY"]).encode())


def _require_superuser(connection: psycopg.Connection, tenant: Tenant, forced: list[str]) -> None:
    """Tables that force row security hide rows even from their owner."""
    if not _is_superuser(connection):
        raise OperationFailed(
            f"row security is forced on these tables, so not all rows can be read: {', '.join(forced)}.",
            where=f"tenant {tenant.slug}",
            fix="ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or connect as a superuser.",
        )


def _is_superuser(connection: psycopg.Connection) -> bool:
    return connection.pgconn.parameter_status(b"is_superuser") == b"on"


def _moment(connection: psycopg.Connection) -> tuple[str, str, dict[str, str]]:
    """The first query of the transaction: takes the snapshot, and says which and when."""
    row = connection.execute(
        """
        SELECT pg_current_snapshot()::text,
               to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               current_setting('server_version_num'), current_setting('server_version'),
               (SELECT system_identifier::text FROM pg_control_system()),
               (SELECT timeline_id::text FROM pg_control_checkpoint()),
               (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())
        """
    ).fetchone()
    assert row is not None
    keys = ("version_num", "version", "system_identifier", "timeline", "encoding")
    return row[0], row[1], dict(zip(keys, map(str, row[2:]), strict=True))
