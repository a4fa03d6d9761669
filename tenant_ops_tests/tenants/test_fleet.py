"""A fleet's sessions and locks: one tenant's role and path at a time, one operation at a time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic

import psycopg
import pytest
from psycopg import IsolationLevel

from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError, TenantBusy
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard, provision
from tenant_ops_tests.conftest import at_database

HOLDER = """
import sys
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
fleet = Fleet.open(Settings.load({"DATABASE_URL": sys.argv[1], "TENANT_OPS_HOME": sys.argv[2]}))
with fleet.lock(fleet.registry.get("acme"), "load"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def fleet(module_fleet: Fleet) -> Fleet:
    """One fleet for every test here."""
    return module_fleet


@pytest.fixture(scope="module")
def module_tenant(fleet: Fleet) -> Tenant:
    """One tenant for every test here."""
    provision(fleet, "acme")
    return fleet.registry.get("acme")


@pytest.fixture
def tenant(fleet: Fleet, module_tenant: Tenant) -> Tenant:
    """That tenant, with no artists."""
    with fleet.session(module_tenant) as connection:
        connection.execute("TRUNCATE artists CASCADE")
    return module_tenant


def try_lock(fleet: Fleet, tenant: Tenant, wait_s: float = 0.1) -> str:
    """What another thread gets when it wants the tenant."""

    def attempt() -> str:
        try:
            with fleet.lock(tenant, "intruder", wait_s=wait_s):
                return "locked"
        except TenantBusy as busy:
            return str(busy)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(attempt).result()


@pytest.mark.parametrize(
    ("role", "suffix"), [("owner", "own"), ("admin", "adm"), ("editor", "edt"), ("viewer", "vwr")]
)
def test_a_session_acts_as_one_role_in_one_schema_in_utc(
    fleet: Fleet, tenant: Tenant, role: str, suffix: str
) -> None:
    with fleet.session(tenant, role, statement_timeout_s=1.5) as connection:
        row = connection.execute(
            "SELECT current_user::text, current_schemas(false)::text, current_setting('statement_timeout'), "
            "current_setting('TimeZone')"
        ).fetchone()
    assert row == (f"t_{tenant.key}_{suffix}", f"{{{tenant.schema_name}}}", "1500ms", "UTC")


def test_a_session_without_a_time_limit_has_none(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_a_statement_over_its_time_limit_is_cancelled(fleet: Fleet, tenant: Tenant) -> None:
    with (
        pytest.raises(psycopg.errors.QueryCanceled),
        fleet.session(tenant, statement_timeout_s=0.05) as connection,
    ):
        connection.execute("SELECT pg_sleep(5)")


def test_a_session_commits_at_its_end_and_rolls_back_on_an_error(fleet: Fleet, tenant: Tenant) -> None:
    insert = "INSERT INTO artists VALUES (gen_random_uuid(), 'x', NULL, NULL, 1, now())"
    with fleet.session(tenant) as connection:
        connection.execute(insert)
    with pytest.raises(ZeroDivisionError), fleet.session(tenant) as connection:
        connection.execute(insert)
        raise ZeroDivisionError
    with fleet.session(tenant) as connection:
        assert connection.execute("SELECT count(*) FROM artists").fetchone() == (1,)


def test_a_session_may_ask_for_one_moment_in_time(fleet: Fleet, tenant: Tenant) -> None:
    insert = "INSERT INTO artists VALUES (gen_random_uuid(), 'x', NULL, NULL, 1, now())"
    with fleet.session(tenant, isolation=IsolationLevel.REPEATABLE_READ) as still:
        still.execute("SELECT count(*) FROM artists")
        with fleet.session(tenant) as other:
            other.execute(insert)
        assert still.execute("SELECT count(*) FROM artists").fetchone() == (0,)
    with fleet.session(tenant) as later:
        assert later.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_an_unknown_placement_is_named(fleet: Fleet, tenant: Tenant) -> None:
    lost = replace(tenant, placement="nowhere")
    with pytest.raises(InputError, match="tenant acme: its placement 'nowhere' is not a known server"):
        fleet.database(lost)


def test_a_tenant_may_live_on_another_server_than_the_control_plane(
    fleet: Fleet, postgres_url: str, new_database: Callable[[], str]
) -> None:
    far = Database(at_database(new_database(), "postgres"))
    spread = replace(fleet, servers={"far": far})
    spread.registry.register("remote", placement="far")
    provision(spread, "remote")
    tenant = spread.registry.get("remote")
    with spread.session(tenant) as connection:
        assert connection.info.dbname == "postgres"
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT to_regnamespace(%s)", (tenant.schema_name,)).fetchone()
    assert row == (None,)
    with spread.lock(tenant, "load"):
        assert "intruder waited" in try_lock(spread, tenant)
    offboard(spread, plan_offboard(spread, "remote"), safety_copy=None)
    assert spread.registry.by_id(tenant.id).state is State.ERASED
    far.close()


def test_a_lock_keeps_other_threads_out_and_is_free_again_after_an_error(
    fleet: Fleet, tenant: Tenant
) -> None:
    with pytest.raises(ZeroDivisionError), fleet.lock(tenant, "load"):
        assert "tenant acme: another operation holds it; intruder waited 0.1 s" in try_lock(fleet, tenant)
        raise ZeroDivisionError
    assert try_lock(fleet, tenant) == "locked"


def test_the_holder_may_lock_again_and_still_holds_it_afterwards(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.lock(tenant, "cleanup"):
        with fleet.lock(tenant, "safety copy"):
            pass
        assert "intruder waited" in try_lock(fleet, tenant)
    assert try_lock(fleet, tenant) == "locked"


def test_locks_of_different_tenants_do_not_meet(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("globex")
    with fleet.lock(tenant, "load"):
        assert try_lock(fleet, other) == "locked"


def test_who_waits_gets_the_tenant_when_it_is_free(fleet: Fleet, tenant: Tenant) -> None:
    with ThreadPoolExecutor(4) as threads:

        def work(_: int) -> None:
            with fleet.lock(tenant, "load", wait_s=20), fleet.session(tenant) as connection:
                row = connection.execute("SELECT count(*) FROM artists").fetchone()
                assert row
                connection.execute(
                    "INSERT INTO artists VALUES (gen_random_uuid(), %s, NULL, NULL, 1, now())", (str(row[0]),)
                )

        list(threads.map(work, range(8)))
    with fleet.session(tenant) as connection:
        names = connection.execute("SELECT name FROM artists ORDER BY name").fetchall()
    assert names == [(str(number),) for number in range(8)], "each saw the work of all before it"


def test_a_killed_holder_lets_go_of_the_tenant(fleet: Fleet, tenant: Tenant) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, fleet.control.url, str(fleet.settings.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "held\n"
    assert "intruder waited" in try_lock(fleet, tenant), "across processes"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    started = monotonic()
    assert try_lock(fleet, tenant, wait_s=10) == "locked"
    assert monotonic() - started < 5
    holder.stdin.close()
    holder.stdout.close()
