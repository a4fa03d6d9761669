"""Undoing a cleanup: every row, cascaded rows and emptied references included, comes back as it was."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenant_ops.audit import history
from tenant_ops.cleanup import execute_cleanup, past_cleanups, plan_cleanup, undo_cleanup
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cleanup.conftest import NOW
from tenant_ops_tests.cleanup.making import AGES, USERS, contents, fill, rows


def clean(fleet: Fleet, tenant: Tenant, **options: object) -> str:
    report = execute_cleanup(fleet, plan_cleanup(fleet, tenant, **options), safety_copy=None)  # pyright: ignore[reportArgumentType]
    assert report.cleanup_id
    return report.cleanup_id


def test_every_table_is_as_before(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute("UPDATE listening_events SET played_at = %s", (NOW,))  # stay, but lose sign-ins
        connection.execute("UPDATE ai_messages SET sent_at = %s", (NOW,))  # go with their conversations
    before = contents(fleet, aged)
    cleanup_id = clean(fleet, aged)
    emptied = rows(fleet, aged, "SELECT count(*) FROM listening_events WHERE session_id IS NULL")
    assert emptied == [(2 * USERS,)]
    report = undo_cleanup(fleet, aged, cleanup_id)
    assert contents(fleet, aged) == before
    assert {item.subject: item.restored for item in report.items} == {
        "ai_messages": 2 * 2 * USERS,
        "ai_sessions": 2 * USERS,
        "api_requests": 3 * USERS,
        "sessions": 2 * USERS,
        "listening_events.session_id": 2 * USERS,
    }
    assert not any(item.kept_back for item in report.items)


def test_the_trash_is_empty_after_undoing(fleet: Fleet, aged: Tenant) -> None:
    before = contents(fleet, aged, aged.stage_schema)
    undo_cleanup(fleet, aged, clean(fleet, aged))
    assert contents(fleet, aged, aged.stage_schema) == before
    assert past_cleanups(fleet, aged)[0].state == "undone"


def test_a_value_given_since_is_not_overwritten(fleet: Fleet, aged: Tenant) -> None:
    with fleet.session(aged) as connection:
        connection.execute("UPDATE listening_events SET played_at = %s", (NOW,))
    cleanup_id = clean(fleet, aged)
    with fleet.session(aged) as connection:  # one event gets another sign-in, one is deleted
        connection.execute(
            """
            WITH two AS (SELECT event_id, row_number() OVER () AS n FROM listening_events
                          WHERE session_id IS NULL LIMIT 2),
                 gone AS (DELETE FROM listening_events e USING two WHERE e.event_id = two.event_id AND n = 2)
            UPDATE listening_events e SET session_id = (SELECT session_id FROM sessions LIMIT 1)
            FROM two WHERE e.event_id = two.event_id AND n = 1
            """
        )
    report = undo_cleanup(fleet, aged, cleanup_id)
    links = next(item for item in report.items if item.unit == "links")
    assert (links.restored, links.kept_back) == (2 * USERS - 2, 2)


def test_a_row_whose_key_is_taken_again_stays_in_the_trash(fleet: Fleet, aged: Tenant) -> None:
    cleanup_id = clean(fleet, aged)
    fill_again = "INSERT INTO api_requests SELECT * FROM {}.{} LIMIT 1"
    place = next(name for name in contents(fleet, aged, aged.stage_schema) if name.startswith("trash"))
    with fleet.session(aged) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relname ~ '^trash'",
            (aged.stage_schema,),
        ).fetchall()
        place = next(name for (name,) in tables if _columns(connection, aged, name) >= {"latency_ms"})
        connection.execute(fill_again.format(aged.stage_schema, place))  # pyright: ignore[reportArgumentType]
        connection.execute(
            "UPDATE api_requests SET status = 418 WHERE requested_at < %s", (NOW - timedelta(90),)
        )
    report = undo_cleanup(fleet, aged, cleanup_id)
    requests = next(item for item in report.items if item.subject == "api_requests")
    assert (requests.restored, requests.kept_back) == (3 * USERS - 1, 1)
    assert rows(fleet, aged, "SELECT count(*) FROM api_requests WHERE status = 418") == [(1,)]
    assert place in contents(fleet, aged, aged.stage_schema), "kept until it expires"


def test_rows_of_a_user_erased_since_do_not_come_back(fleet: Fleet, aged: Tenant) -> None:
    cleanup_id = clean(fleet, aged)
    with fleet.session(aged) as connection:
        connection.execute("DELETE FROM users WHERE email = 'u1@acme.example'")
    report = undo_cleanup(fleet, aged, cleanup_id)
    kept_back = {item.subject: item.kept_back for item in report.items if item.kept_back}
    assert kept_back == {
        "sessions": 2,
        "ai_sessions": 2,
        "ai_messages": 4,
        "listening_events": 2,
        "api_requests": 3,
    }


def test_rows_do_not_come_back_into_a_table_that_lost_a_column(fleet: Fleet, aged: Tenant) -> None:
    cleanup_id = clean(fleet, aged)
    with fleet.session(aged) as connection:
        connection.execute("ALTER TABLE api_requests DROP COLUMN latency_ms")
    before = contents(fleet, aged)
    with pytest.raises(OperationFailed, match="api_requests has lost latency_ms"):
        undo_cleanup(fleet, aged, cleanup_id)
    assert contents(fleet, aged) == before
    assert past_cleanups(fleet, aged)[0].state == "undoable"


def test_rows_that_break_a_newer_rule_are_explained_and_nothing_comes_back(
    fleet: Fleet, aged: Tenant
) -> None:
    cleanup_id = clean(fleet, aged)
    with fleet.session(aged) as connection:
        connection.execute("ALTER TABLE sessions ADD CONSTRAINT app CHECK (device <> 'web') NOT VALID")
    before = contents(fleet, aged)
    with pytest.raises(OperationFailed, match='violates check constraint "app"'):
        undo_cleanup(fleet, aged, cleanup_id)
    assert contents(fleet, aged) == before


@pytest.mark.parametrize("lost", ["one table", "all tables"])
def test_trash_that_is_gone_is_reported_not_skipped(fleet: Fleet, aged: Tenant, lost: str) -> None:
    cleanup_id = clean(fleet, aged)
    places = [name for name in contents(fleet, aged, aged.stage_schema) if name.startswith("trash")]
    with fleet.session(aged) as connection:
        for place in places if lost == "all tables" else places[:1]:
            connection.execute(f"DROP TABLE {aged.stage_schema}.{place}")  # pyright: ignore[reportArgumentType]
    if lost == "all tables":
        with pytest.raises(OperationFailed, match="nothing of it lies in the trash any more"):
            undo_cleanup(fleet, aged, cleanup_id)
    else:
        report = undo_cleanup(fleet, aged, cleanup_id)
        assert sum(item.kept_back for item in report.items) > 0
        assert report.rows > 0


def test_cleanups_are_undone_one_by_one_newest_first(fleet: Fleet, aged: Tenant) -> None:
    before = contents(fleet, aged)
    first = clean(fleet, aged)
    second = clean(replace(fleet, clock=lambda: NOW + timedelta(minutes=5)), aged, retention_days=20)
    assert [past.cleanup_id for past in past_cleanups(fleet, aged)] == [second, first]
    undo_cleanup(fleet, aged, second)
    undo_cleanup(fleet, aged, first)
    assert contents(fleet, aged) == before


def test_undoing_twice_is_refused(fleet: Fleet, aged: Tenant) -> None:
    cleanup_id = clean(fleet, aged)
    undo_cleanup(fleet, aged, cleanup_id)
    with pytest.raises(InputError, match="undone already"):
        undo_cleanup(fleet, aged, cleanup_id)


def test_an_unknown_cleanup_is_refused_with_the_known_ones(fleet: Fleet, aged: Tenant) -> None:
    with pytest.raises(InputError, match="Nothing of this tenant lies in the trash"):
        undo_cleanup(fleet, aged, "1; DROP TABLE users")
    cleanup_id = clean(fleet, aged)
    with pytest.raises(InputError, match=f"It can undo: {cleanup_id}"):
        undo_cleanup(fleet, aged, str(uuid4()))


def test_another_tenants_cleanup_cannot_be_undone(
    fleet: Fleet, aged: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    cleanup_id = clean(fleet, aged)
    with pytest.raises(InputError, match="there is no cleanup"):
        undo_cleanup(fleet, new_tenant("globex"), cleanup_id)


def test_undoing_is_in_the_audit_log(fleet: Fleet, aged: Tenant) -> None:
    undo_cleanup(fleet, aged, clean(fleet, aged))
    with fleet.control.transaction() as connection:
        actions = [event.action for event in history(connection, str(aged.id), limit=2)]
    assert actions == ["cleanup.undo", "cleanup.execute"]


def test_expired_trash_is_purged_by_the_next_cleanup_and_can_no_longer_be_undone(
    fleet: Fleet, aged: Tenant
) -> None:
    before = contents(fleet, aged, aged.stage_schema)
    cleanup_id = clean(fleet, aged, types=["expired"])
    soon = replace(fleet, clock=lambda: NOW + timedelta(days=6, hours=23))
    assert not [item for item in plan_cleanup(soon, aged).items if item.type == "trash"]
    later = replace(fleet, clock=lambda: NOW + timedelta(days=7, minutes=1))
    plan = plan_cleanup(later, aged, types=["trash"])
    assert {item.unit for item in plan.items} == {"tables"}
    execute_cleanup(later, plan, safety_copy=None)
    assert contents(fleet, aged, aged.stage_schema) == before
    assert past_cleanups(later, aged)[0].state == "purged"
    with pytest.raises(InputError, match="purged for good"):
        undo_cleanup(later, aged, cleanup_id)


ACTIONS = st.sampled_from(["CASCADE", "SET NULL", "RESTRICT"])
PARENTS = {"a": ("sessions",), "b": ("a",), "c": ("a", "b")}
SIGN_INS = USERS * len(AGES)


@dataclass(frozen=True)
class Table:
    """A table of the tenant's own, with rows numbered from 1.

    Attributes:
        up: What happens to a row when the row of the same table it refers to is deleted.
        down: The same for the rows of each of the table's `PARENTS`.
        rows: For each row what it refers to: number in its own table, then in each parent.
    """

    up: str
    down: tuple[str, ...]
    rows: tuple[tuple[int | None, ...], ...] = ()


NONE = Table("CASCADE", ("CASCADE", "CASCADE"))


@st.composite
def tables_below_sessions(draw: st.DrawFn) -> dict[str, Table]:
    """Three tables below `sessions` and themselves, any actions, any rows; a row may refer to itself."""
    made: dict[str, Table] = {}
    for name, parents in PARENTS.items():
        found = [SIGN_INS if parent == "sessions" else len(made[parent].rows) for parent in parents]
        numbers = [st.none() | st.integers(1, most) if most else st.none() for most in found]
        made[name] = Table(
            draw(ACTIONS),
            tuple(draw(ACTIONS) for _ in parents),
            tuple(
                (draw(st.none() | st.integers(1, number)), *(draw(choice) for choice in numbers))
                for number in range(1, draw(st.integers(0, 6)) + 1)
            ),
        )
    return made


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(
    {  # b's fourth row goes with a's, and its third, which it refers to by RESTRICT, would go one step later
        "a": Table("CASCADE", ("CASCADE",), ((None, None), (None, 3), (None, None), (None, 7))),
        "b": Table("RESTRICT", ("CASCADE",), ((None, None), (None, None), (None, 2), (3, 4))),
        "c": NONE,
    }
)
@example(
    {
        "a": Table("RESTRICT", ("CASCADE",), ((None, 4), (1, 3))),
        "b": Table("CASCADE", ("CASCADE",)),
        "c": NONE,
    }
)
@example(
    {  # a row of b needs the second row of a, which would go with the first, which refers to itself
        "a": Table("CASCADE", ("CASCADE",), ((1, 3), (1, None))),
        "b": Table("CASCADE", ("RESTRICT",), ((1, 2),)),
        "c": NONE,
    }
)
@example(
    {  # a row that refers to itself by RESTRICT keeps nobody
        "a": Table("RESTRICT", ("CASCADE",), ((1, 3),)),
        "b": Table("RESTRICT", ("CASCADE",), ((1, 1),)),
        "c": NONE,
    }
)
@given(tables=tables_below_sessions())
def test_whatever_refers_to_whatever_the_plan_is_exact_and_undo_brings_all_back(
    fleet: Fleet, new_tenant: Callable[..., Tenant], tables: dict[str, Table]
) -> None:
    tenant = new_tenant(f"t{uuid4().hex[:12]}", "professional")
    fill(fleet, tenant, NOW)
    with fleet.session(tenant) as connection:
        for name, table in tables.items():
            _make(connection, name, table)
    before = contents(fleet, tenant)
    plan = plan_cleanup(fleet, tenant, types=["expired"])
    planned = {item.subject: item.count for item in plan.items if item.unit == "rows" and item.count}
    report = execute_cleanup(fleet, plan, safety_copy=None)
    after = contents(fleet, tenant)
    gone = {name: count - after[name][0] for name, (count, _) in before.items() if count != after[name][0]}
    assert gone == planned == {item.subject: item.done for item in report.items if item.done}
    undo_cleanup(fleet, tenant, report.cleanup_id or "")
    assert contents(fleet, tenant) == before


def _make(connection, name: str, table: Table) -> None:
    connection.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, up int REFERENCES {name} ON DELETE {table.up})"
    )
    for parent, action in zip(PARENTS[name], table.down, strict=True):
        kind = "uuid" if parent == "sessions" else "int"
        connection.execute(
            f"ALTER TABLE {name} ADD {parent}_id {kind} REFERENCES {parent} ON DELETE {action}"
        )
    sign_ins = [row[0] for row in connection.execute("SELECT session_id FROM sessions ORDER BY 1")]
    for number, (up, *parents) in enumerate(table.rows, start=1):
        if name == "a" and parents[0]:
            parents = [sign_ins[parents[0] - 1]]
        values = [number, up, *parents]
        connection.execute(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(values))})", values)


def _columns(connection, tenant: Tenant, table: str) -> set[str]:
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0",
        (f"{tenant.stage_schema}.{table}",),
    )
    return {name for (name,) in found}
