"""Row security: where a table declares it, it must hold back what it is there to hold back.

No dataset needs it, because a tenant has a schema of its own: these rules speak where somebody declared it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN, Relation, read, relations
from tenant_ops.validation.rules import Rule, Sighting, rule


def _tables(evidence: Evidence) -> Iterator[Relation]:
    return (one for one in evidence.told(relations) if one.kind in "rp")


def _known(evidence: Evidence, table: str) -> str | None:
    return table if table in evidence.catalog else None


@rule(level="security", severity="error", remediation="CREATE POLICY, or DISABLE ROW LEVEL SECURITY.")
def row_security_without_policy(evidence: Evidence) -> Iterator[Sighting]:
    """A table with row security has a policy; without one nobody but its owner sees a row."""
    with_policy = {table for table, *_ in evidence.told(_policies)}
    for table in _tables(evidence):
        if table.row_security and table.name not in with_policy:
            message = f"{table.name} has row security and no policy."
            yield Sighting(table.name, message, _known(evidence, table.name))


@rule(level="security", severity="error", remediation="ENABLE ROW LEVEL SECURITY, or drop the policy.")
def policy_without_row_security(evidence: Evidence) -> Iterator[Sighting]:
    """A policy is on a table with row security; otherwise it does nothing."""
    enabled = {table.name for table in _tables(evidence) if table.row_security}
    for table, policy, *_ in evidence.told(_policies):
        if table not in enabled:
            message = f"{table} has the policy {policy}, and row security is off."
            yield Sighting(f"{table}.{policy}", message, _known(evidence, table))


@rule(level="security", severity="warning", remediation="Write the condition that rows must meet.")
def policy_always_true(evidence: Evidence) -> Iterator[Sighting]:
    """A policy that lets rows through has a condition that some rows do not meet."""
    for table, policy, permissive, condition, check in evidence.told(_policies):
        if permissive and "true" in (condition, check):
            message = f"The policy {policy} on {table} lets every row through."
            yield Sighting(f"{table}.{policy}", message, _known(evidence, table))


@rule(level="security", severity="warning", remediation="ALTER TABLE ... FORCE ROW LEVEL SECURITY.")
def row_security_not_forced(evidence: Evidence) -> Iterator[Sighting]:
    """Row security binds the table's owner as well, as whom views and definer functions read."""
    for table in _tables(evidence):
        if table.row_security and not table.forced:
            message = f"The row security of {table.name} does not bind its owner."
            yield Sighting(table.name, message, _known(evidence, table.name))


def _policies(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    return read(connection, _POLICIES, tenants)


_POLICIES = OWN + sql.SQL("""
SELECT t.place, c.relname::text, p.polname::text, p.polpermissive,
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_policy p JOIN things t ON t.classid = 'pg_class'::regclass AND t.objid = p.polrelid
JOIN pg_class c ON c.oid = p.polrelid
ORDER BY 1, 2, 3
""")

ROW_SECURITY_RULES: tuple[Rule, ...] = (
    row_security_without_policy,
    policy_without_row_security,
    policy_always_true,
    row_security_not_forced,
)
