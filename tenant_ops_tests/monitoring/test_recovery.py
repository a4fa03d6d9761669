"""Auto-recovery: only what is safe, only of the tenants concerned, only when allowed, always written down."""

from collections.abc import Callable
from time import sleep

import psycopg
import pytest

from tenant_ops.audit import history
from tenant_ops.monitoring import monitor, recovery
from tenant_ops.tenants import Fleet, Tenant

Connect = Callable[[Tenant], psycopg.Connection]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "IDLE_LIMIT_S", 0.2)


def forget(connection: psycopg.Connection) -> psycopg.Connection:
    """Leave a transaction open and idle."""
    connection.execute("SELECT 1")
    return connection


def alive(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def events(fleet: Fleet, tenant: Tenant) -> list[str]:
    with fleet.control.transaction() as connection:
        return [event.action for event in history(connection, str(tenant.id))]


def test_a_forgotten_transaction_of_the_tenants_login_is_ended(
    fleet: Fleet, tenant: Tenant, connect: Connect
) -> None:
    session = forget(connect(tenant))
    sleep(0.3)
    report = monitor(fleet, auto_recovery=True)
    (action,) = report.recovery
    assert (action.tenant, action.action, action.done) == ("acme", "terminate", True)
    assert not alive(session)
    assert events(fleet, tenant)[0] == "monitoring.recover"


def test_nothing_is_ended_unless_it_is_allowed(fleet: Fleet, tenant: Tenant, connect: Connect) -> None:
    session = forget(connect(tenant))
    sleep(0.3)
    assert monitor(fleet).recovery == ()
    assert alive(session)
    assert "monitoring.recover" not in events(fleet, tenant)


def test_young_running_and_foreign_sessions_are_left_alone(
    fleet: Fleet,
    tenant: Tenant,
    new_tenant: Callable[..., Tenant],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "IDLE_LIMIT_S", 1.0)
    other = new_tenant("globex")
    forgotten, unwatched = forget(connect(tenant)), forget(connect(other))
    idle = connect(tenant)
    idle.autocommit = True
    idle.execute("SELECT 1")  # no transaction open
    with fleet.control.transaction() as operator:
        operator.execute("SELECT 1")
        sleep(1.1)
        young = forget(connect(tenant))
        report = monitor(fleet, tenants=["acme"], auto_recovery=True)
        assert alive(operator)
    assert len(report.recovery) == 1
    assert [alive(session) for session in (forgotten, young, idle, unwatched)] == [False, True, True, True]


def test_stale_statistics_are_renewed(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO artists SELECT gen_random_uuid(), 'x', NULL, NULL, 1, now() "
            "FROM generate_series(1, 2000)"
        )
        connection.execute("SELECT pg_stat_force_next_flush()")
    report = monitor(fleet, auto_recovery=True)
    assert [(action.action, action.target, action.done) for action in report.recovery] == [
        ("analyze", "artists", True)
    ]
    assert monitor(fleet, auto_recovery=True).recovery == ()


def test_a_repair_that_does_not_work_says_why(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO artists SELECT gen_random_uuid(), 'x', NULL, NULL, 1, now() "
            "FROM generate_series(1, 2000)"
        )
        connection.execute("SELECT pg_stat_force_next_flush()")
    with fleet.session(tenant) as owner:
        owner.execute("LOCK TABLE artists IN ACCESS EXCLUSIVE MODE")
        (action,) = monitor(fleet, auto_recovery=True).recovery
    assert not action.done
    assert "lock timeout" in action.reason
