"""What the tests of fixes share: a loaded tenant's content as one value, planting faults for good, fixing."""

from collections.abc import Sequence

from psycopg import sql

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    FixPlan,
    FixReport,
    Policies,
    Rule,
    execute_fixes,
    execute_validation,
    find_fixes,
    plan_validation,
)
from tenant_ops_tests.validation.conftest import named


def contents(fleet: Fleet, tenant: Tenant) -> dict[str, str | None]:
    """The MD5 of every row of every table, as text."""
    found: dict[str, str | None] = {}
    with fleet.session(tenant) as connection:
        for dataset in fleet.catalog:
            row = connection.execute(
                sql.SQL(
                    """SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")) FROM {} t"""
                ).format(sql.Identifier(dataset.name))
            ).fetchone()
            found[dataset.name] = row[0] if row else None
    return found


def plant(fleet: Fleet, tenant: Tenant, *statements: str) -> None:
    """Run statements as the operator in the tenant's schema, and leave what they did."""
    with fleet.database(tenant).transaction() as connection:
        connection.execute("SELECT set_config('search_path', %s, true)", (tenant.schema_name,))
        for statement in statements:
            connection.execute(named(statement, tenant))


def keys(fleet: Fleet, tenant: Tenant, *types: str, rules: Sequence[Rule] = ()) -> dict[str, int]:
    """What validation finds, with counts."""
    report = execute_validation(fleet, plan_validation(fleet, tenant, types=types, rules=rules))
    return {finding.key: finding.count for finding in report.findings}


def planned(
    fleet: Fleet,
    tenant: Tenant,
    *asked: str,
    types: Sequence[str] = ("schema", "data", "business", "security"),
    policies: Policies = Policies(),  # noqa: B008 - frozen
    rules: Sequence[Rule] = (),
) -> FixPlan:
    """The plan of the safe fixes, or of those asked for."""
    plan = plan_validation(fleet, tenant, types=types, rules=rules)
    return find_fixes(fleet, plan, rules=asked or None, policies=policies)


def fixed(
    fleet: Fleet,
    tenant: Tenant,
    *asked: str,
    types: Sequence[str] = ("schema", "data", "business", "security"),
    policies: Policies = Policies(),  # noqa: B008 - frozen
    rules: Sequence[Rule] = (),
) -> FixReport:
    """What applying it did."""
    plan = plan_validation(fleet, tenant, types=types, rules=rules)
    return execute_fixes(
        fleet, plan, planned(fleet, tenant, *asked, types=types, policies=policies, rules=rules)
    )
