"""`tenant-ops drift` as an operator and as a build server use it."""

from collections.abc import Callable

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FINDINGS, Outcome

Run = Callable[..., Outcome]


def test_a_fleet_as_defined_ends_well(tenant_ops: Run, tenant: Tenant) -> None:
    told = tenant_ops("drift", "--fail-on-drift")
    assert told.code == DONE, told.err
    assert "1 of 1 tenants" in told.out


def test_drift_is_told_and_fails_when_asked_to(tenant_ops: Run, fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant, "owner") as connection:
        connection.execute("ALTER TABLE artists ADD COLUMN label text")
    told = tenant_ops("drift")
    assert told.code == DONE, told.err
    assert "+artists.label column" in told.out
    assert "validate-data --tenant-id acme" in told.err
    failed = tenant_ops("drift", "--tenant-id", "acme", "--fail-on-drift", "--json")
    assert (failed.code, failed.json["groups"][0]["tenants"]) == (FINDINGS, ["acme"])


def test_an_unknown_tenant_is_bad_input(tenant_ops: Run, tenant: Tenant) -> None:
    assert tenant_ops("drift", "--tenant-id", "nobody").code == BAD_INPUT
