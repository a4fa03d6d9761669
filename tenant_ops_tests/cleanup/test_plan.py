"""A cleanup plan counts exactly what goes, and changes nothing."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tenant_ops.cleanup import CleanupItem, CleanupPlan, plan_cleanup
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant, suspend
from tenant_ops_tests.cleanup.conftest import NOW
from tenant_ops_tests.cleanup.making import USERS, contents, rows


def item(plan: CleanupPlan, subject: str) -> CleanupItem:
    return next(item for item in plan.items if item.subject == subject)


def test_every_row_past_its_time_is_counted(fleet: Fleet, aged: Tenant) -> None:
    plan = plan_cleanup(fleet, aged)
    assert (item(plan, "listening_events").count, item(plan, "api_requests").count) == (2 * USERS, 3 * USERS)


def test_a_plan_says_from_when_to_when_and_how_much(fleet: Fleet, aged: Tenant) -> None:
    found = item(plan_cleanup(fleet, aged), "listening_events")
    assert (found.oldest, found.newest) == (NOW - timedelta(days=800), NOW - timedelta(days=400))
    assert 500 < (found.bytes or 0) < 5_000


def test_rows_that_go_with_others_are_counted_apart(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:  # messages written long after their conversation began
        connection.execute("UPDATE ai_messages SET sent_at = %s", (NOW,))
    plan = plan_cleanup(fleet, aged, types=["expired"])
    messages = item(plan, "ai_messages")
    assert (messages.count, messages.cascaded) == (2 * 2 * USERS, 2 * 2 * USERS)


def test_references_that_become_empty_are_counted(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:  # events that stay, of sign-ins that go
        connection.execute("UPDATE listening_events SET played_at = %s", (NOW,))
    plan = plan_cleanup(fleet, aged, types=["expired"])
    assert item(plan, "listening_events.session_id").count == 2 * USERS
    assert item(plan, "listening_events.session_id").unit == "links"


def test_rows_that_others_need_are_held(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute(
            "CREATE TABLE invoices (event_id uuid REFERENCES listening_events ON DELETE RESTRICT)"
        )
        connection.execute("INSERT INTO invoices SELECT event_id FROM listening_events LIMIT 100")
    plan = plan_cleanup(fleet, aged, types=["expired"])
    events = item(plan, "listening_events")
    assert (events.count, events.held) == (0, 2 * USERS)


def test_planning_changes_nothing(fleet: Fleet, aged: Tenant) -> None:
    before = contents(fleet, aged), contents(fleet, aged, aged.stage_schema)
    plan_cleanup(fleet, aged)
    assert (contents(fleet, aged), contents(fleet, aged, aged.stage_schema)) == before


def test_two_plans_of_the_same_rows_have_the_same_digest(fleet: Fleet, aged: Tenant) -> None:
    first, again = plan_cleanup(fleet, aged), plan_cleanup(fleet, aged)
    with fleet.session(aged) as connection:
        connection.execute("DELETE FROM api_requests WHERE requested_at < %s - interval '500 days'", (NOW,))
    other = plan_cleanup(fleet, aged)
    assert first.digest == again.digest != other.digest


def test_a_plan_is_json(fleet: Fleet, aged: Tenant) -> None:
    document = as_document(plan_cleanup(fleet, aged))
    assert document["items"][0]["type"] == "expired"
    assert document["made_at"] == NOW.isoformat()


def test_another_tenants_rows_are_not_counted(
    fleet: Fleet, aged: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    assert plan_cleanup(fleet, new_tenant("globex")).items == ()


def test_a_suspended_tenant_can_be_cleaned_up(fleet: Fleet, aged: Tenant) -> None:
    suspend(fleet, "acme", reason="unpaid")
    assert plan_cleanup(fleet, fleet.registry.get("acme")).rows > 0


def test_rows_without_a_date_stay(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute("ALTER TABLE api_requests ALTER COLUMN requested_at DROP NOT NULL")
        connection.execute("UPDATE api_requests SET requested_at = NULL")
    assert rows(fleet, aged, "SELECT count(*) FROM api_requests") == [(4 * USERS,)]
    assert "api_requests" not in {found.subject for found in plan_cleanup(fleet, aged).items}


def test_a_tenant_at_an_older_version_lacks_a_table_and_is_cleaned_up_all_the_same(
    fleet: Fleet, aged: Tenant
) -> None:
    with fleet.session(aged) as connection:
        connection.execute("DROP TABLE ai_messages")
    assert item(plan_cleanup(fleet, aged), "ai_sessions").count == 2 * USERS


def test_a_reference_from_another_schema_is_refused(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute(f"CREATE TABLE {aged.stage_schema}.peek (id uuid REFERENCES sessions)")
    with pytest.raises(InputError, match="refers to its table sessions"):
        plan_cleanup(fleet, aged)


@pytest.mark.parametrize(
    ("ddl", "reason"),
    [
        ("CREATE TABLE notes (session_id uuid REFERENCES sessions ON DELETE SET NULL)", "no primary key"),
        (
            "CREATE TABLE notes (id int PRIMARY KEY, s uuid REFERENCES sessions ON DELETE SET DEFAULT)",
            "SET DEFAULT",
        ),
    ],
)
def test_a_foreign_key_that_could_not_be_undone_is_refused(
    fleet: Fleet, aged: Tenant, ddl: str, reason: str
) -> None:
    with fleet.session(aged) as connection:
        connection.execute(ddl)
    with pytest.raises(InputError, match=reason):
        plan_cleanup(fleet, aged)
