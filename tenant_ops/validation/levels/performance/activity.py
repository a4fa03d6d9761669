"""Activity: what the tenant's roles hold up now, and what took long before.

Not here: how often and when (`monitoring/`).
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import psycopg

from tenant_ops.platform.errors import NotAvailable
from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule, Sighting, rule

SLOW_MS, SLOW_CALLS = 1_000, 5
# A transaction that does nothing for five minutes was forgotten; whatever it locked stays locked, and vacuum
# frees no row it could see, in any tenant's tables.
IDLE_S = 300
# Longer than any request, and than the longest statement of any tier.
RUNNING_S = 3_600
# Whoever waits half a minute for a lock is given up on by most clients.
WAITING_S = 30

Session = tuple[int, str, str | None, float, float, float]
"""Of a connection: process, state, what it waits for; seconds of its transaction, state and statement."""


def _sessions(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, tuple[Session, ...]]:
    """The connections of the tenants' logins, all of them in one query."""
    logins = {tenant.role("app"): tenant.id for tenant in tenants}
    found: dict[UUID, tuple[Session, ...]] = dict.fromkeys(logins.values(), ())
    rows = connection.execute(
        """
        SELECT usename::text, pid, coalesce(state, ''), wait_event_type,
               coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8,
               coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float8,
               coalesce(extract(epoch FROM clock_timestamp() - query_start), 0)::float8
        FROM pg_stat_activity WHERE usename = ANY (%s::text[]) AND pid <> pg_backend_pid() ORDER BY pid
        """,
        (list(logins),),
    )
    for login, *session in rows:
        found[logins[login]] += (tuple(session),)  # pyright: ignore[reportArgumentType]
    return found


@rule(
    level="performance",
    severity="warning",
    remediation="End it with pg_terminate_backend; set idle_in_transaction_session_timeout for the login.",
)
def idle_in_transaction(evidence: Evidence) -> Iterator[Sighting]:
    """No transaction of the tenant's login is left open."""
    for pid, state, _, _, idle, _ in evidence.told(_sessions, operator=True):
        if state.startswith("idle in transaction") and idle > IDLE_S:
            yield Sighting(f"process {pid}", f"Its transaction is open and idle for {idle:,.0f} s.")


@rule(
    level="performance",
    severity="warning",
    remediation="Look it up in pg_stat_activity by its process; split what it does, or cancel it.",
)
def long_transaction(evidence: Evidence) -> Iterator[Sighting]:
    """No transaction of the tenant's login runs for an hour."""
    for pid, state, _, age, _, _ in evidence.told(_sessions, operator=True):
        if state == "active" and age > RUNNING_S:
            yield Sighting(f"process {pid}", f"Its transaction runs for {age:,.0f} s.")


@rule(
    level="performance",
    severity="warning",
    remediation="SELECT pg_blocking_pids(<process>) names who holds the lock.",
)
def lock_wait(evidence: Evidence) -> Iterator[Sighting]:
    """No statement of the tenant's login waits long for a lock."""
    for pid, _, waits, _, _, since in evidence.told(_sessions, operator=True):
        if waits == "Lock" and since > WAITING_S:
            yield Sighting(f"process {pid}", f"It waits for a lock for {since:,.0f} s.")


@rule(
    level="performance",
    severity="warning",
    remediation="Look the statement up by its number in pg_stat_statements and EXPLAIN it.",
)
def slow_statements(evidence: Evidence) -> Iterator[Sighting]:
    """No statement of the tenant's login takes more than a second on average."""
    with evidence.as_operator() as connection:
        found = connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_stat_statements'"
        ).fetchone()
        if found is None:
            raise NotAvailable("Not available here, because the server has no pg_stat_statements.")
        connection.execute("SELECT set_config('search_path', %s, true)", (found[0],))
        rows = connection.execute(
            """
            SELECT s.queryid, s.calls, s.mean_exec_time
            FROM pg_stat_statements s
            JOIN pg_roles r ON r.oid = s.userid
            JOIN pg_database d ON d.oid = s.dbid
            WHERE d.datname = current_database() AND r.rolname = %s
            AND s.mean_exec_time > %s AND s.calls >= %s
            ORDER BY s.mean_exec_time * s.calls DESC LIMIT 20
            """,
            (evidence.tenant.role("app"), SLOW_MS, SLOW_CALLS),
        ).fetchall()
    for number, calls, mean in rows:
        yield Sighting(f"statement {number}", f"{mean:,.0f} ms on average over {calls:,} calls.", count=calls)


ACTIVITY_RULES: tuple[Rule, ...] = (idle_in_transaction, long_transaction, lock_wait, slow_statements)
