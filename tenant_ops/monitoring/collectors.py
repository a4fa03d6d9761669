"""Looking at all tenants at once: a few set-based queries per server, however many tenants it holds.

Here: what is read and how. Not here: what it means (`rules.py`), storing it (`samples.py`).

A look opens a connection of its own, so a server that no longer lets anybody in is noticed even while pooled
connections still work. Sizes are what the server counted when it last vacuumed or analysed a table; only
tables that changed much since are measured. Measuring all of them takes 30 times as long (a fresh connection
has to learn every table and index of the fleet) and waits behind whoever holds one exclusively.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tenant_ops.monitoring.records import Reading, ServerHealth
from tenant_ops.platform.errors import TenantOpsError, first_line
from tenant_ops.tenants import Fleet, Tenant

LOADS = ("load", "merge")
"""Operations whose report says that data came in."""
VALIDATION = "validate"
LOCK_TIMEOUT_MS = 1_000
STATEMENT_TIMEOUT_MS = 60_000

Metrics = dict[str, dict[str, float]]
"""Values by tenant key and metric."""


@dataclass(frozen=True)
class Look:
    """Everything one look saw."""

    readings: tuple[Reading, ...]
    servers: tuple[ServerHealth, ...]
    notes: tuple[str, ...]


def collect(fleet: Fleet, tenants: Sequence[Tenant]) -> Look:
    """Read every metric of every tenant: three queries per server and one in the control plane.

    A server that does not answer is reported, not raised, and its tenants are marked as not reached.
    """
    metrics: Metrics = {tenant.key: {} for tenant in tenants}
    servers: list[ServerHealth] = []
    notes: list[str] = []
    for placement, group in by_placement(tenants).items():
        server, remarks = _look_at_server(fleet, placement, group, metrics)
        servers.append(server)
        notes += remarks
    for tenant in tenants:
        metrics[tenant.key]["files_bytes"] = float(sum(_file_sizes(fleet.files(tenant))))
    with fleet.control.transaction() as connection:
        _read_records(connection, fleet, tenants, metrics)
    reached = {server.placement for server in servers if server.reached}
    readings = (Reading(tenant, metrics[tenant.key], tenant.placement in reached) for tenant in tenants)
    return Look(tuple(readings), tuple(servers), tuple(dict.fromkeys(notes)))


@contextmanager
def connect(fleet: Fleet, tenants: Sequence[Tenant]) -> Iterator[psycopg.Connection]:
    """A fresh connection to the server these tenants are on, which never waits for long.

    Raises:
        OperationFailed: it does not answer.
        InputError: their placement names no server.
    """
    with fleet.database(tenants[0]).session() as connection:
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
            (str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS)),
        )
        yield connection


def by_placement(tenants: Sequence[Tenant]) -> dict[str, list[Tenant]]:
    """The tenants of each server."""
    groups: dict[str, list[Tenant]] = {}
    for tenant in tenants:
        groups.setdefault(tenant.placement, []).append(tenant)
    return groups


def _look_at_server(
    fleet: Fleet, placement: str, tenants: Sequence[Tenant], metrics: Metrics
) -> tuple[ServerHealth, list[str]]:
    try:
        with connect(fleet, tenants) as connection:
            notes = _read_tables(connection, tenants, metrics)
            notes += _read_sessions(connection, tenants, metrics)
            row = connection.execute(_SERVER).fetchone()
    except (TenantOpsError, psycopg.Error) as error:
        return ServerHealth(placement, reached=False, problem=first_line(error)), []
    assert row is not None
    connections, limit, statistics = row
    embedded = placement == "default" and fleet.settings.database_url is None
    return ServerHealth(placement, True, connections, limit), [*notes, _statement_note(statistics, embedded)]


def _read_tables(connection: psycopg.Connection, tenants: Sequence[Tenant], metrics: Metrics) -> list[str]:
    schemas = [name for tenant in tenants for name in (tenant.schema_name, tenant.stage_schema)]
    notes: list[str] = []
    try:
        rows = connection.execute(_TABLES, {"schemas": schemas, "measure": True}).fetchall()
    except psycopg.errors.LockNotAvailable:
        rows = connection.execute(_TABLES, {"schemas": schemas, "measure": False}).fetchall()
        notes.append("No table was measured this time: one was held exclusively; sizes are older estimates.")
    for key, size, live, dead, unanalyzed, quarantined in rows:
        metrics[key] |= {
            "size_bytes": float(size),
            "live_rows": float(live),
            "dead_share": float(dead / (live + dead)) if live + dead else 0.0,
            "unanalyzed_share": float(unanalyzed),
            "quarantine_rows": float(quarantined),
        }
    return notes


def _read_sessions(connection: psycopg.Connection, tenants: Sequence[Tenant], metrics: Metrics) -> list[str]:
    logins = [tenant.role("app") for tenant in tenants]
    found = {login: values for login, *values in connection.execute(_SESSIONS, {"logins": logins})}
    hidden = 0
    for tenant in tenants:
        count, transaction, idle, waiting, unseen = found.get(tenant.role("app"), (0, 0, 0, 0, 0))
        metrics[tenant.key]["connections"] = float(count)
        hidden += unseen
        if not unseen:
            metrics[tenant.key] |= {
                "longest_transaction_s": float(transaction),
                "idle_in_transaction_s": float(idle),
                "lock_wait_s": float(waiting),
            }
    if not hidden:
        return []
    return [
        f"What {hidden} sessions of tenants do cannot be seen here, because this role may not read other "
        "roles' activity: GRANT pg_read_all_stats to it."
    ]


def _read_records(
    connection: psycopg.Connection, fleet: Fleet, tenants: Sequence[Tenant], metrics: Metrics
) -> None:
    rows = connection.execute(
        _RECORDS,
        {
            "ids": [tenant.id for tenant in tenants],
            "now": fleet.clock(),
            "loads": list(LOADS),
            "validation": VALIDATION,
        },
    )
    for key, *values in rows:
        for name, value in zip(("backup_age_s", "load_age_s", "validation_score"), values, strict=True):
            if value is not None:
                metrics[key][name] = max(float(value), 0.0)


def _statement_note(statistics: str, embedded: bool) -> str:
    if statistics == "installed":
        return "pg_stat_statements is installed here, but statistics per query are not read yet."
    if statistics == "available":
        reason = "pg_stat_statements is not installed in this database (preload it, then CREATE EXTENSION)"
    else:
        owner = "the embedded Postgres carries" if embedded else "this server has"
        reason = f"{owner} no pg_stat_statements"
    return f"Statistics per query are not available here, because {reason}."


def _file_sizes(folder: Path) -> Iterator[int]:
    if not folder.is_dir():
        return
    for _, _, names, descriptor in os.fwalk(folder):
        for name in names:
            try:
                yield os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
            except FileNotFoundError:
                continue


# 50 rows and 10 % is when autovacuum analyses a table; after that the server's own count of pages is good.
_TABLES = r"""
WITH held AS MATERIALIZED (
    SELECT relation FROM pg_locks
    WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), indexes AS MATERIALIZED (
    SELECT i.indrelid AS oid, sum(x.relpages) AS pages
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid GROUP BY i.indrelid
), tables AS MATERIALIZED (
    SELECT c.oid, substr(n.nspname, 3) AS key, n.nspname LIKE 't\_%%' AS live,
           n.nspname LIKE 's\_%%' AND c.relname = 'quarantine' AS quarantine,
           pg_stat_get_live_tuples(c.oid) AS rows,
           pg_stat_get_dead_tuples(c.oid) AS dead,
           pg_stat_get_mod_since_analyze(c.oid) AS changed,
           greatest(c.reltuples, 0) AS counted,
           coalesce(toast.relpages = 0 AND pg_stat_get_live_tuples(toast.oid) > 0, false) AS long_uncounted,
           c.relpages + coalesce(toast.relpages, 0) + coalesce(own.pages, 0) + coalesce(theirs.pages, 0)
           AS pages
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
    LEFT JOIN indexes own ON own.oid = c.oid
    LEFT JOIN indexes theirs ON theirs.oid = c.reltoastrelid
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'm')
), sized AS (
    SELECT *, CASE
        WHEN %(measure)s AND (changed > 50 + 0.1 * counted OR long_uncounted)
             AND oid NOT IN (SELECT relation FROM held)
        THEN pg_total_relation_size(oid)
        ELSE pages * current_setting('block_size')::bigint END AS bytes
    FROM tables
)
SELECT key, coalesce(sum(bytes), 0), coalesce(sum(rows) FILTER (WHERE live), 0),
       coalesce(sum(dead) FILTER (WHERE live), 0),
       coalesce(max(least(1, changed::float8 / greatest(rows, 1)))
                FILTER (WHERE live AND changed > 1000), 0),
       coalesce(sum(rows) FILTER (WHERE quarantine), 0)
FROM sized GROUP BY key
"""

_SESSIONS = """
WITH waits AS MATERIALIZED (SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY pid)
SELECT a.usename, count(*),
       coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0),
       coalesce(max(extract(epoch FROM clock_timestamp() - a.state_change))
                FILTER (WHERE a.state LIKE 'idle in transaction%%'), 0),
       coalesce(max(extract(epoch FROM clock_timestamp() - waits.since)), 0),
       count(*) FILTER (WHERE a.query = '<insufficient privilege>')
FROM pg_stat_activity a LEFT JOIN waits USING (pid)
WHERE a.usename = ANY(%(logins)s) AND a.datname = current_database()
GROUP BY a.usename
"""

_SERVER = """
SELECT (SELECT sum(numbackends)::int FROM pg_stat_database), current_setting('max_connections')::int,
       CASE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') THEN 'installed'
            WHEN EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')
            THEN 'available' ELSE 'absent' END
"""

_RECORDS = """
SELECT t.key,
       extract(epoch FROM %(now)s - coalesce(backup.finished_at, t.activated_at, t.created_at)),
       extract(epoch FROM %(now)s - load.finished_at),
       validation.score
FROM tenant_ops.tenant t
LEFT JOIN LATERAL (
    SELECT finished_at FROM tenant_ops.backup
    WHERE tenant_id = t.id ORDER BY finished_at DESC LIMIT 1) AS backup ON true
LEFT JOIN LATERAL (
    SELECT max(finished_at) AS finished_at FROM tenant_ops.report
    WHERE tenant_id = t.id AND operation = ANY(%(loads)s) AND outcome <> 'failed') AS load ON true
LEFT JOIN LATERAL (
    SELECT (body->>'score')::float8 AS score FROM tenant_ops.report
    WHERE tenant_id = t.id AND operation = %(validation)s AND outcome <> 'failed'
    ORDER BY finished_at DESC LIMIT 1) AS validation ON true
WHERE t.id = ANY(%(ids)s)
"""
