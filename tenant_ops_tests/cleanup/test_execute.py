"""Carrying a cleanup out: exactly the plan, after a safety copy, in small steps, never a silent cascade."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from psycopg import sql

from tenant_ops.audit import history, verify_chain
from tenant_ops.cleanup import execute_cleanup, plan_cleanup, undo_cleanup
from tenant_ops.cleanup import rows as row_moves
from tenant_ops.platform.errors import InputError, OperationFailed, TenantBusy
from tenant_ops.tenants import Fleet, Tenant, offboard, plan_offboard, provision
from tenant_ops_tests.cleanup.conftest import NOW
from tenant_ops_tests.cleanup.making import USERS, contents, fill, rows


def test_exactly_the_planned_rows_go(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged)
    before = contents(fleet, aged)
    report = execute_cleanup(fleet, plan, safety_copy=None)
    after = contents(fleet, aged)
    planned = {item.subject: item.count for item in plan.items if item.unit == "rows"}
    assert {item.subject: item.done for item in report.items} == planned
    for table, (count, _) in before.items():
        assert count - after[table][0] == planned.get(table, 0)
    assert plan_cleanup(fleet, aged).items == ()


def test_other_tenants_stay_as_they_are(
    fleet: Fleet, aged: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("globex", "professional")
    fill(fleet, other, NOW)
    before = contents(fleet, other)
    execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=None)
    assert contents(fleet, other) == before


def test_the_safety_copy_sees_every_row_and_its_id_is_reported(fleet: Fleet, aged: Tenant) -> None:
    seen: list[tuple] = []

    def copy(tenant: Tenant) -> str:
        seen.extend(rows(fleet, tenant, "SELECT count(*) FROM api_requests"))
        return "backup-7"

    report = execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=copy)
    assert (seen, report.backup) == ([(4 * USERS,)], "backup-7")


def test_a_failing_safety_copy_stops_the_cleanup(fleet: Fleet, aged: Tenant) -> None:
    def copy(tenant: Tenant) -> str:
        raise RuntimeError("store is full")

    before = contents(fleet, aged)
    with pytest.raises(RuntimeError):
        execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=copy)
    assert contents(fleet, aged) == before


def test_nothing_to_do_takes_no_copy_and_leaves_no_trace(fleet: Fleet, tenant: Tenant) -> None:
    def copy(tenant: Tenant) -> str:
        raise AssertionError("no copy is needed")

    report = execute_cleanup(fleet, plan_cleanup(fleet, tenant), safety_copy=copy)
    assert (report.cleanup_id, report.rows, report.items) == (None, 0, ())


def test_a_plan_that_grew_is_refused(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged, types=["expired"])
    with fleet.session(aged) as connection:
        connection.execute("UPDATE listening_events SET played_at = '2000-01-01'")
    before = contents(fleet, aged)
    with pytest.raises(OperationFailed, match="20 rows of listening_events would go, the plan said 10"):
        execute_cleanup(fleet, plan, safety_copy=None)
    assert contents(fleet, aged) == before


def test_a_changed_plan_is_refused(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged)
    with pytest.raises(InputError, match="changed after it was made"):
        execute_cleanup(fleet, replace(plan, rules=plan.rules[:1]), safety_copy=None)


def test_a_plan_for_an_earlier_tenant_of_that_name_is_refused(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged)
    offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=None)
    provision(fleet, "acme")
    with pytest.raises(InputError, match="earlier tenant"):
        execute_cleanup(fleet, plan, safety_copy=None)


def test_no_other_operation_has_the_tenant_meanwhile(fleet: Fleet, aged: Tenant) -> None:
    def intrude() -> None:
        with fleet.lock(aged, "load", wait_s=0.1):
            raise AssertionError("two operations at once")

    def copy(tenant: Tenant) -> str:
        with ThreadPoolExecutor(1) as pool, pytest.raises(TenantBusy, match="load waited"):
            pool.submit(intrude).result()
        return "backup-1"

    assert execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=copy).backup == "backup-1"


def test_many_batches_move_every_row_once(
    fleet: Fleet, aged: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_moves, "PAGES_PER_BATCH", 2)
    with fleet.session(aged) as connection:
        connection.execute(
            """
            INSERT INTO api_requests (request_id, method, path, status, latency_ms, requested_at)
            SELECT gen_random_uuid(), 'GET', '/', 200, 1, %s::timestamptz - make_interval(days => n %% 200)
            FROM generate_series(1, 5000) AS n
            """,
            (NOW,),
        )
    plan = plan_cleanup(fleet, aged, types=["expired"])
    planned = next(item.count for item in plan.items if item.subject == "api_requests")
    report = execute_cleanup(fleet, plan, safety_copy=None)
    assert next(item.done for item in report.items if item.subject == "api_requests") == planned
    assert rows(fleet, aged, "SELECT count(*) FROM api_requests") == [(5_000 + 4 * USERS - planned,)]


def test_rows_somebody_has_locked_stay_and_are_reported(
    fleet: Fleet, aged: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_moves, "LOCK_TIMEOUT_MS", 100)
    plan = plan_cleanup(fleet, aged, types=["expired"])
    with fleet.session(aged) as other:
        other.execute("SELECT 1 FROM api_requests FOR UPDATE")
        report = execute_cleanup(fleet, plan, safety_copy=None)
    requests = next(item for item in report.items if item.subject == "api_requests")
    assert (requests.done, requests.left) == (0, 3 * USERS)
    assert any("15 rows of api_requests stay" in note for note in report.notes)


def test_a_row_added_below_a_doomed_one_saves_it_instead_of_going_with_it(fleet: Fleet, aged: Tenant) -> None:
    """The child is added after the plan and after the children were moved, just before the parent goes."""
    plan = plan_cleanup(fleet, aged, types=["expired"])
    talk = rows(fleet, aged, "SELECT ai_session_id FROM ai_sessions ORDER BY started_at LIMIT 1")[0][0]
    genuine = row_moves._batches
    added: list[int] = []

    def late(*arguments: object) -> list[int]:
        found = genuine(*arguments)  # pyright: ignore[reportArgumentType]
        if arguments[3] == "ai_sessions" and not added:
            with fleet.session(aged) as other:
                added.append(
                    other.execute(
                        "INSERT INTO ai_messages VALUES (gen_random_uuid(), %s, 9, 'user', 'wait', 1, %s)",
                        (talk, NOW),
                    ).rowcount
                )
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_moves, "_batches", late)
        report = execute_cleanup(fleet, plan, safety_copy=None)
    talks = next(item for item in report.items if item.subject == "ai_sessions")
    assert (talks.done, talks.left) == (2 * USERS - 1, 1)
    assert rows(fleet, aged, f"SELECT body FROM ai_messages WHERE ai_session_id = '{talk}'") == [("wait",)]


def test_a_killed_cleanup_loses_no_row_and_can_be_undone(fleet: Fleet, aged: Tenant) -> None:
    before = contents(fleet, aged)
    genuine = row_moves._move
    calls: list[int] = []

    def dies(*arguments: object) -> int:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return genuine(*arguments)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(row_moves, "_move", dies)
        execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=None)
    halfway = contents(fleet, aged)
    assert halfway != before
    with fleet.control.transaction() as connection:
        (cleanup_id,) = connection.execute("SELECT DISTINCT id FROM tenant_ops.cleanup_undo").fetchall()
    undo_cleanup(fleet, aged, str(cleanup_id[0]))
    assert contents(fleet, aged) == before


def test_a_failing_cleanup_says_so_in_the_audit_log(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no %%', 'thanks'; END $$".replace("%%", "%")
        )
        connection.execute("CREATE TRIGGER refuse BEFORE DELETE ON sessions EXECUTE FUNCTION refuse()")
    with pytest.raises(OperationFailed, match="no thanks"):
        execute_cleanup(fleet, plan_cleanup(fleet, aged), safety_copy=None)
    with fleet.control.transaction() as connection:
        assert history(connection, str(aged.id))[0].action == "cleanup.failed"


def test_a_cleanup_is_in_the_audit_log_with_its_plan_and_counts(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged)
    report = execute_cleanup(fleet, plan, safety_copy=lambda _: "backup-1")
    with fleet.control.transaction() as connection:
        event = history(connection, str(aged.id))[0]
        assert verify_chain(connection, str(aged.id)).intact
    assert (event.action, event.actor) == ("cleanup.execute", "tester")
    assert event.detail["plan"] == plan.digest
    assert event.detail["cleanup_id"] == report.cleanup_id
    assert event.detail["removed"]["expired api_requests"] == 3 * USERS


def test_tables_the_tenant_made_itself_are_followed_whatever_they_are_called(
    fleet: Fleet, aged: Tenant
) -> None:
    awkward = 'we"ird %s table'
    with fleet.session(aged) as connection:
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (id int PRIMARY KEY, {} uuid REFERENCES sessions ON DELETE CASCADE)"
            ).format(sql.Identifier(awkward), sql.Identifier("100% of; --"))
        )
        connection.execute(
            sql.SQL("INSERT INTO {} SELECT row_number() OVER (), session_id FROM sessions").format(
                sql.Identifier(awkward)
            )
        )
    before = contents(fleet, aged)
    report = execute_cleanup(fleet, plan_cleanup(fleet, aged, types=["expired"]), safety_copy=None)
    assert next(item.done for item in report.items if item.subject == awkward) == 2 * USERS
    undo_cleanup(fleet, aged, report.cleanup_id or "")
    assert contents(fleet, aged) == before
