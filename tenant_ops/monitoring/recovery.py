"""What monitoring may repair by itself: end forgotten transactions, renew stale statistics.

Here: these two actions, each for tenants that were read to need it, written into their audit logs. Not here:
anything that could lose data or stop work in progress.

Only sessions of a tenant's own login are ended, only when they have been idle inside a transaction for longer
than the limit, and at most 20 in one look. A statement that is running is never touched.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.monitoring.collectors import by_placement, connect
from tenant_ops.monitoring.records import Reading, RecoveryAction
from tenant_ops.platform.errors import TenantOpsError, first_line
from tenant_ops.tenants import Fleet, Tenant

IDLE_LIMIT_S = 300.0
STALE_SHARE = 0.5
MOST_SESSIONS = MOST_TABLES = 20
ANALYZE_TIMEOUT_S = 60.0


def recover(fleet: Fleet, readings: Sequence[Reading]) -> tuple[RecoveryAction, ...]:
    """Repair what the readings show, and write down what was done."""
    idle = _beyond(readings, "idle_in_transaction_s", IDLE_LIMIT_S)
    stale = _beyond(readings, "unanalyzed_share", STALE_SHARE)
    actions = [
        *(action for group in by_placement(idle).values() for action in _end_idle(fleet, group)),
        *(action for group in by_placement(stale).values() for action in _analyze(fleet, group)),
    ]
    _write_down(fleet, [*idle, *stale], actions)
    return tuple(actions)


def _beyond(readings: Sequence[Reading], metric: str, limit: float) -> list[Tenant]:
    return [reading.tenant for reading in readings if reading.metrics.get(metric, 0.0) > limit]


def _end_idle(fleet: Fleet, tenants: Sequence[Tenant]) -> list[RecoveryAction]:
    logins = {tenant.role("app"): tenant for tenant in tenants}
    try:
        with connect(fleet, tenants) as connection:
            rows = connection.execute(_END_IDLE, (list(logins), IDLE_LIMIT_S, MOST_SESSIONS)).fetchall()
    except (TenantOpsError, psycopg.Error) as error:
        return [_failed(tenant, "terminate", "idle sessions", error) for tenant in tenants]
    return [
        RecoveryAction(
            tenant=logins[login].slug,
            action="terminate",
            target=f"session {pid}",
            done=done,
            reason=f"idle in a transaction for {seconds:.0f} s",
        )
        for login, pid, seconds, done in rows
    ]


def _analyze(fleet: Fleet, tenants: Sequence[Tenant]) -> Iterator[RecoveryAction]:
    schemas = {tenant.schema_name: tenant for tenant in tenants}
    try:
        with connect(fleet, tenants) as connection:
            found = connection.execute(_STALE, (list(schemas), STALE_SHARE, MOST_TABLES)).fetchall()
    except (TenantOpsError, psycopg.Error) as error:
        yield from (_failed(tenant, "analyze", "tables", error) for tenant in tenants)
        return
    for schema, table, changed in found:
        tenant = schemas[schema]
        try:
            with fleet.session(tenant, statement_timeout_s=ANALYZE_TIMEOUT_S) as connection:
                connection.execute("SET LOCAL lock_timeout = '1s'")
                connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
        except (TenantOpsError, psycopg.Error) as error:
            yield _failed(tenant, "analyze", table, error)
        else:
            yield RecoveryAction(
                tenant.slug, "analyze", table, True, f"{changed} rows changed since the last"
            )


def _failed(
    tenant: Tenant, action: Literal["terminate", "analyze"], target: str, error: Exception
) -> RecoveryAction:
    return RecoveryAction(tenant.slug, action, target, False, first_line(error))


def _write_down(fleet: Fleet, tenants: Sequence[Tenant], actions: Sequence[RecoveryAction]) -> None:
    by_slug = {tenant.slug: tenant for tenant in tenants}
    with fleet.control.transaction() as connection:
        for slug in sorted({action.tenant for action in actions}):
            record(
                connection,
                chain=str(by_slug[slug].id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="monitoring.recover",
                detail={
                    "actions": [
                        {"action": one.action, "target": one.target, "done": one.done, "reason": one.reason}
                        for one in actions
                        if one.tenant == slug
                    ]
                },
            )


# MATERIALIZED: the sessions are chosen first, once, and only then ended.
_END_IDLE = """
WITH idle AS MATERIALIZED (
    SELECT usename, pid, state_change FROM pg_stat_activity
    WHERE usename = ANY(%s) AND datname = current_database()
      AND state IN ('idle in transaction', 'idle in transaction (aborted)')
      AND state_change < clock_timestamp() - make_interval(secs => %s)
    ORDER BY state_change LIMIT %s
)
SELECT usename, pid, extract(epoch FROM clock_timestamp() - state_change), pg_terminate_backend(pid) FROM idle
"""

_STALE = """
SELECT schemaname, relname, n_mod_since_analyze FROM pg_stat_all_tables
WHERE schemaname = ANY(%s) AND n_mod_since_analyze > 1000
  AND n_mod_since_analyze > %s * greatest(n_live_tup, 1)
ORDER BY n_mod_since_analyze DESC LIMIT %s
"""
