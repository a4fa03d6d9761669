"""Settings somebody made to help once and forgot: they slow down, or break, what comes later.

Not here: what provisioning sets (`tenants/provisioning.py`), limits of the tier (the business level).
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import psycopg

from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule, Sighting, rule


@rule(
    level="performance",
    severity="warning",
    remediation="ALTER TABLE ... RESET (autovacuum_enabled).",
)
def autovacuum_off(evidence: Evidence) -> Iterator[Sighting]:
    """Autovacuum looks after every table."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text FROM pg_class
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relkind IN ('r', 'm')
        AND EXISTS (
            SELECT FROM pg_options_to_table(reloptions)
            WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean
        )
        ORDER BY 1
        """,
        evidence.contents,
    )
    for (table,) in rows:
        said = f"Autovacuum is switched off for {table}: nobody frees its rows or keeps its statistics."
        yield Sighting(table, said, table if table in evidence.catalog else None)


@rule(
    level="performance",
    severity="warning",
    remediation="ALTER TABLE ... ALTER COLUMN ... SET STATISTICS -1, then ANALYZE.",
)
def statistics_off(evidence: Evidence) -> Iterator[Sighting]:
    """The planner may know the values of every column."""
    rows = evidence.connection.execute(
        """
        SELECT c.relname::text, a.attname::text
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attrelid = ANY (%(pg_class)s::oid[]) AND c.relkind IN ('r', 'm') AND a.attnum > 0
        AND a.attstattarget = 0 AND NOT a.attisdropped
        ORDER BY 1, 2
        """,
        evidence.contents,
    )
    for table, column in rows:
        said = f"No statistics are kept of {table}.{column}."
        yield Sighting(f"{table}.{column}", said, table if table in evidence.catalog else None)


def _planner_switches(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, tuple[tuple[str, str], ...]]:
    """Settings of the tenants' roles that forbid the planner something, all of them in one query."""
    roles = {
        tenant.role(kind): tenant.id
        for tenant in tenants
        for kind in ("owner", "admin", "editor", "viewer", "app")
    }
    found: dict[UUID, tuple[tuple[str, str], ...]] = {tenant.id: () for tenant in tenants}
    rows = connection.execute(
        """
        SELECT r.rolname::text, split_part(setting, '=', 1)
        FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) setting
        WHERE r.rolname = ANY (%s::text[])
        AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        AND setting ~ '^enable_[a-z_]+=(off|false|no|0)$'
        ORDER BY 1, 2
        """,
        (list(roles),),
    )
    for role, name in rows:
        found[roles[role]] += ((role, name),)
    return found


@rule(
    level="performance",
    severity="warning",
    remediation="ALTER ROLE ... RESET it: what one statement needed slows down all others.",
)
def planner_switched_off(evidence: Evidence) -> Iterator[Sighting]:
    """The planner may do for the tenant's roles all it can."""
    for role, name in evidence.told(_planner_switches):
        yield Sighting(f"role {role} {name}", f"{name} is switched off for {role}.")


TUNING_RULES: tuple[Rule, ...] = (autovacuum_off, statistics_off, planner_switched_off)
