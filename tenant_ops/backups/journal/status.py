"""How a tenant's journal is doing: what monitoring watches and what a report of recovery points shows.

Here: looking, while nothing is held and nothing written. Not here: whether a chain goes on (`chain.py`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg import sql

from tenant_ops.backups.journal.capture import explained, owner_session
from tenant_ops.backups.journal.functions import KEPT
from tenant_ops.backups.journal.inspection import inspect
from tenant_ops.backups.journal.tables import Unit
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class OpenTransaction:
    """One that was not committed at the tick: what it wrote will be in the segment in which it is.

    Attributes:
        xid: Its id.
        prepared: The name of a prepared transaction, which nothing ends by itself.
        since: When it began or was prepared, ISO 8601; None where this role may not know.
    """

    xid: int
    prepared: str | None
    since: str | None


@dataclass(frozen=True)
class JournalStatus:
    """What can be recovered of a tenant, and what stands in the way.

    Attributes:
        tenant: Its slug.
        at: The server's clock, ISO 8601.
        installed: Whether there is a journal.
        problems: What keeps it from following every table, in sentences.
        bytes: Room it takes; it grows while nothing prunes it.
        kept_since: When the oldest backup a segment may start from was taken, ISO 8601; None without one.
        kept_until: The same of the newest: what was committed since then is in the journal alone.
        granularity: `commit` where the server keeps the times of commits and every one can be restored to;
            `tick` where only backups can.
        open: Transactions that wrote and have not ended; no segment holds them yet.
    """

    tenant: str
    at: str
    installed: bool
    problems: tuple[str, ...]
    bytes: int
    kept_since: str | None
    kept_until: str | None
    granularity: Literal["commit", "tick"]
    open: tuple[OpenTransaction, ...]

    @property
    def healthy(self) -> bool:
        """Whether every change is logged."""
        return self.installed and not self.problems

    @property
    def longest_open_s(self) -> float:
        """Seconds since the oldest of the open transactions began; 0 without one whose beginning is known."""
        now = datetime.fromisoformat(self.at)
        ages = (now - datetime.fromisoformat(one.since) for one in self.open if one.since)
        return max((age.total_seconds() for age in ages), default=0.0)


def journal_status(fleet: Fleet, tenant: Tenant) -> JournalStatus:
    """Look at the journal of one tenant; takes milliseconds and waits for nobody.

    Raises:
        OperationFailed: the tenant's schemas cannot be read.
    """
    with explained(tenant), owner_session(fleet, tenant) as connection:
        health = inspect(connection, tenant)
        row = connection.execute(
            f"SELECT {_UTC.format('clock_timestamp()')}, pg_current_snapshot()::text".encode()
        ).fetchone()
        assert row is not None
        at, snapshot = row
        kept = _kept(connection, tenant) if health.installed else (None, None)
        return JournalStatus(
            tenant=tenant.slug,
            at=at,
            installed=health.installed,
            problems=health.problems,
            bytes=health.bytes,
            kept_since=kept[0],
            kept_until=kept[1],
            granularity="commit" if tells_times(connection) else "tick",
            open=open_transactions(connection, health.units, snapshot),
        )


def tells_times(connection: psycopg.Connection) -> bool:
    """Whether the server keeps the times of commits."""
    row = connection.execute("SELECT current_setting('track_commit_timestamp') = 'on'").fetchone()
    return row is not None and row[0]


def open_transactions(
    connection: psycopg.Connection, units: tuple[Unit, ...], snapshot: str
) -> tuple[OpenTransaction, ...]:
    """Transactions that hold a writer's lock on one of the tables and have an id the snapshot does not see.

    A snapshot lists those that run among ended ones; those that began after the last to end are not in it.
    When they began is asked as whoever is connected: the owner is not told of other roles' sessions.
    """
    role = connection.execute("SELECT current_setting('role'), set_config('role', 'none', true)").fetchone()
    assert role is not None
    rows = connection.execute(
        """
        WITH writers AS (
            SELECT DISTINCT virtualtransaction, pid FROM pg_locks
            WHERE relation = ANY(%s) AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        )
        SELECT array_agg(l.transactionid::text::bigint), p.gid,
               to_char(coalesce(p.prepared, a.xact_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        FROM writers w
        JOIN pg_locks l ON l.virtualtransaction = w.virtualtransaction AND l.locktype = 'transactionid'
             AND l.mode = 'ExclusiveLock'
        LEFT JOIN pg_stat_activity a ON a.pid = w.pid
        LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
        GROUP BY w.virtualtransaction, w.pid, p.gid, p.prepared, a.xact_start
        """,
        ([oid for unit in units for oid, _ in unit.members],),
    ).fetchall()
    connection.execute("SELECT set_config('role', %s, true)", (role[0],))
    end = int(snapshot.split(":")[1])
    # Of a transaction and its subtransactions the first id is its own.
    found = [OpenTransaction(min(_full_id(xid, end) for xid in xids), *rest) for xids, *rest in rows]
    return tuple(sorted(found, key=lambda one: one.xid))


def _full_id(xid: int, end: int) -> int:
    """The 64-bit id of a running transaction from its last 32 bits: the nearest to a snapshot's end."""
    return end + (xid - end + (1 << 31)) % (1 << 32) - (1 << 31)


def _kept(connection: psycopg.Connection, tenant: Tenant) -> tuple[str | None, str | None]:
    row = connection.execute(
        sql.SQL("SELECT {}, {} FROM {}").format(
            sql.SQL(_UTC.format("min(taken_at)")),
            sql.SQL(_UTC.format("max(taken_at)")),
            sql.Identifier(tenant.stage_schema, KEPT),
        )
    ).fetchone()
    assert row is not None
    return row


_UTC = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
