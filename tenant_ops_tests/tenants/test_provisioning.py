"""Provisioning: whole or not at all, once however often it is asked for."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tenant_ops.audit import verify_chain
from tenant_ops.datasets import MUSIC, Catalog, Column, Dataset
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, State, Tenant, login_password, plan_provision, provision


def objects_of(fleet: Fleet, tenant: Tenant) -> int:
    with fleet.control.transaction() as connection:
        row = connection.execute(
            """
            SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE %(prefix)s)
                 + (SELECT count(*) FROM pg_namespace WHERE nspname IN (%(live)s, %(stage)s))
            """,
            {
                "prefix": f"t\\_{tenant.key}\\_%",
                "live": tenant.schema_name,
                "stage": tenant.stage_schema,
            },
        ).fetchone()
    assert row
    return row[0]


def test_a_provisioned_tenant_has_every_table_at_the_newest_version(fleet: Fleet) -> None:
    report = provision(fleet, "acme", tier_name="professional", admin_email="ops@acme.example")
    tenant = fleet.registry.get("acme")
    with fleet.session(tenant) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema")
        tables = {row[0] for row in rows}
    assert tables == set(MUSIC.names)
    assert (report.created, tenant.state, tenant.version) == (True, State.ACTIVE, MUSIC.version)


def test_provisioning_twice_changes_nothing(fleet: Fleet) -> None:
    first = provision(fleet, "acme")
    again = provision(fleet, "acme")
    assert (again.created, again.schema) == (False, first.schema)


def test_two_at_once_make_one_tenant(fleet: Fleet) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: provision(fleet, "acme"), range(4)))
    assert len({report.schema for report in reports}) == 1
    assert fleet.registry.get("acme").state is State.ACTIVE


def test_a_failure_leaves_no_schema_role_or_file(fleet: Fleet) -> None:
    broken = Dataset("broken", "Cannot be made.", (Column("id", "integer", default="no_such()"),), ("id",))
    faulty = Fleet(fleet.settings, fleet.control, Catalog("faulty", "1.0.0", (broken,)), fleet.clock)
    with pytest.raises(OperationFailed, match="no_such"):
        provision(faulty, "acme")
    tenant = fleet.registry.get("acme")
    assert tenant.state is State.FAILED
    assert "no_such" in (tenant.state_reason or "")
    assert objects_of(fleet, tenant) == 0
    assert not fleet.files(tenant).exists()


def test_a_failed_tenant_is_finished_by_asking_again(fleet: Fleet) -> None:
    broken = Dataset("broken", "Cannot be made.", (Column("id", "integer", default="no_such()"),), ("id",))
    faulty = Fleet(fleet.settings, fleet.control, Catalog("faulty", "1.0.0", (broken,)), fleet.clock)
    with pytest.raises(OperationFailed):
        provision(faulty, "acme")
    assert plan_provision(fleet, "acme").action == "resume from failed"
    provision(fleet, "acme")
    assert fleet.registry.get("acme").state is State.ACTIVE


def test_the_login_works_with_its_sealed_password_and_sees_its_own_schema(fleet: Fleet) -> None:
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    password = login_password(fleet, tenant)
    with psycopg.connect(fleet.control.url, user=tenant.role("app"), password=password) as connection:
        row = connection.execute("SELECT current_schema(), current_setting('statement_timeout')").fetchone()
    assert row == (tenant.schema_name, "15s")


def test_the_password_is_stored_sealed_only(fleet: Fleet) -> None:
    provision(fleet, "acme")
    password = login_password(fleet, fleet.registry.get("acme"))
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT sealed FROM tenant_ops.credential").fetchone()
        verifier = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname LIKE 't\\_%%\\_app' AND rolname = %s",
            (fleet.registry.get("acme").role("app"),),
        ).fetchone()
    assert row and verifier
    assert password.encode() not in row[0]
    assert verifier[0].startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize(
    "slug", ["", "a", "Acme", "a-b", "1acme", 'x"; DROP SCHEMA public', "a" * 49, "../etc", "a,b", "acme\n"]
)
def test_a_slug_that_breaks_the_rule_is_refused_before_anything_happens(fleet: Fleet, slug: str) -> None:
    with pytest.raises(InputError, match="cannot name a tenant"):
        provision(fleet, slug)
    assert fleet.registry.slugs(tuple(State)) == ()


def test_a_slug_cannot_be_taken_over_with_another_tier(fleet: Fleet) -> None:
    provision(fleet, "acme", tier_name="starter")
    with pytest.raises(InputError, match="change-tier"):
        provision(fleet, "acme", tier_name="enterprise")


@pytest.mark.parametrize("address", ["nobody", "a@b", "a b@c.d", "a@b.c\nBcc: x@y.z"])
def test_a_bad_admin_address_is_refused(fleet: Fleet, address: str) -> None:
    with pytest.raises(InputError, match="e-mail"):
        provision(fleet, "acme", admin_email=address)


def test_provisioning_is_in_the_audit_log(fleet: Fleet) -> None:
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    with fleet.control.transaction() as connection:
        verdict = verify_chain(connection, str(tenant.id))
    assert (verdict.intact, verdict.events) == (True, 1)
