"""Drift of a fleet: who is not as defined, grouped, in one query."""

from collections.abc import Callable

import pytest

from tenant_ops.datasets import MUSIC
from tenant_ops.datasets.structure import expected_structure, fingerprint, fingerprints, live_structure
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.drift import find_drift
from tenant_ops_tests.validation.conftest import named
from tenant_ops_tests.validation.planted.schema import SCHEMA


def alter(fleet: Fleet, tenant: Tenant, *statements: str) -> None:
    with fleet.session(tenant, "owner") as connection:
        for statement in statements:
            connection.execute(named(statement, tenant))


def test_a_fleet_as_defined_has_no_drift(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> None:
    for slug in ("acme", "globex"):
        new_tenant(slug)
    report = find_drift(fleet)
    assert (report.tenants, report.as_defined, report.groups) == (2, 2, ())


def test_tenants_that_differ_alike_are_one_group(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> None:
    tenants = [new_tenant(slug) for slug in ("acme", "beta", "gamma", "delta")]
    for tenant in tenants[:2]:
        alter(fleet, tenant, "ALTER TABLE artists ADD COLUMN label text")
    alter(fleet, tenants[2], "DROP INDEX artists_name_idx")
    report = find_drift(fleet)
    assert report.as_defined == 1
    assert [group.tenants for group in report.groups] == [("acme", "beta"), ("gamma",)]
    both, one = report.groups
    assert {(part.kind, part.name) for part in both.surplus} >= {("column", "label"), ("type", "label")}
    assert both.missing == ()
    assert [(part.kind, part.name) for part in one.missing] == [("index", "artists_name_idx")]
    assert find_drift(fleet, tenants[3:]).groups == (), "a neighbour's tables are not one's own"


def test_a_tenant_without_tables_is_told_as_such(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(f'DROP SCHEMA "{tenant.schema_name}" CASCADE')
    (group,) = find_drift(fleet).groups
    assert (group.fingerprint, group.surplus) == ("", ())
    assert {part.table for part in group.missing} == set(MUSIC.names)


# As the owner, who may not write to the server's catalogs.
BY_OWNER = [name for name, (statements, _) in SCHEMA.items() if "pg_catalog" not in statements[0]]


@pytest.mark.parametrize("fault", BY_OWNER)
def test_the_server_and_the_parts_say_the_same_fingerprint(fleet: Fleet, tenant: Tenant, fault: str) -> None:
    statements, _ = SCHEMA[fault]
    alter(fleet, tenant, *statements)
    with fleet.session(tenant, "owner") as connection:
        live = live_structure(connection, tenant.schema_name)
    with fleet.database(tenant).transaction() as connection:
        told = fingerprints(connection, [tenant.schema_name, "no such schema"])
    assert told == {tenant.schema_name: fingerprint(live)}
    assert told[tenant.schema_name] != fingerprint(expected_structure(fleet.database(tenant), MUSIC))
