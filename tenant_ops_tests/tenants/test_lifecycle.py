"""Suspend, resume, change tier, offboard: the login, the limits and the state move together."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tenant_ops.audit import history, verify_chain
from tenant_ops.platform.errors import InputError, TenantBusy, UnknownTenant
from tenant_ops.tenants import (
    Fleet,
    State,
    Tenant,
    change_tier,
    login_password,
    offboard,
    plan_offboard,
    provision,
    resume,
    suspend,
)


def connect(fleet: Fleet, tenant: Tenant) -> psycopg.Connection:
    return psycopg.connect(
        fleet.control.url, user=tenant.role("app"), password=login_password(fleet, tenant), autocommit=True
    )


def test_suspending_ends_sessions_and_locks_the_login_out(fleet: Fleet, tenant: Tenant) -> None:
    session = connect(fleet, tenant)
    report = suspend(fleet, "acme", reason="unpaid")
    assert report.sessions_ended == 1
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        connect(fleet, tenant)
    assert fleet.registry.get("acme").state_reason == "unpaid"


def test_resuming_lets_the_login_in_again(fleet: Fleet, tenant: Tenant) -> None:
    suspend(fleet, "acme", reason="unpaid")
    resume(fleet, "acme")
    with connect(fleet, tenant) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_suspended_tenant_cannot_be_suspended_again(fleet: Fleet, tenant: Tenant) -> None:
    suspend(fleet, "acme", reason="unpaid")
    with pytest.raises(InputError, match="suspended"):
        suspend(fleet, "acme", reason="again")


def test_changing_tier_changes_the_logins_limits(fleet: Fleet, tenant: Tenant) -> None:
    change_tier(fleet, "acme", "enterprise")
    with connect(fleet, tenant) as session:
        row = session.execute(
            "SELECT current_setting('statement_timeout'), rolconnlimit FROM pg_roles "
            "WHERE rolname = current_user"
        ).fetchone()
    assert row == ("5min", 100)


def test_offboarding_removes_everything_and_keeps_the_audit_chain(fleet: Fleet, tenant: Tenant) -> None:
    (fleet.files(tenant) / "logo.png").write_bytes(b"png")
    plan = plan_offboard(fleet, "acme")
    assert (plan.files, plan.tables) == (1, 15)
    offboard(fleet, plan, safety_copy=None)
    with fleet.control.transaction() as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s", (f"t\\_{tenant.key}\\_%",)
        ).fetchone()
        keys = connection.execute("SELECT wrapped FROM tenant_ops.tenant_key").fetchall()
        actions = [event.action for event in history(connection, str(tenant.id))]
        assert verify_chain(connection, str(tenant.id)).intact
    assert left == (0,)
    assert keys == [(None,)]
    assert actions == ["tenant.erased", "tenant.offboard", "tenant.provision"]
    assert not fleet.files(tenant).parent.exists()
    with pytest.raises(UnknownTenant):
        fleet.registry.get("acme")


def test_a_safety_copy_is_taken_first_and_keeps_the_key(fleet: Fleet, tenant: Tenant) -> None:
    seen: list[str] = []

    def copy(subject: Tenant) -> str:
        with fleet.session(subject) as connection:
            seen.append(str(connection.execute("SELECT count(*) FROM users").fetchone()))
        return "backup-1"

    report = offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=copy)
    assert report.backup == "backup-1"
    assert seen == ["(0,)"]
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT wrapped IS NOT NULL FROM tenant_ops.tenant_key").fetchone()
    assert row == (True,)


def test_a_failing_safety_copy_stops_the_offboarding(fleet: Fleet, tenant: Tenant) -> None:
    def copy(subject: Tenant) -> str:
        raise RuntimeError("store is full")

    with pytest.raises(RuntimeError):
        offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=copy)
    assert fleet.registry.get("acme").state is State.ACTIVE


def test_a_slug_is_free_after_offboarding_and_the_new_tenant_shares_nothing(
    fleet: Fleet, tenant: Tenant
) -> None:
    plan = plan_offboard(fleet, "acme")
    offboard(fleet, plan, safety_copy=None)
    provision(fleet, "acme")
    assert fleet.registry.get("acme").id != tenant.id
    with pytest.raises(InputError, match="earlier tenant"):
        offboard(fleet, plan, safety_copy=None)


def test_a_locked_tenant_says_who_waits_and_others_go_on(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("other")

    def intrude() -> None:
        with fleet.lock(tenant, "backup", wait_s=0.1):
            raise AssertionError("two operations at once")

    with (
        fleet.lock(tenant, "load"),
        fleet.lock(tenant, "safety copy"),
        fleet.lock(other, "load"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(TenantBusy, match="backup waited"),
    ):
        pool.submit(intrude).result()
