"""Quarantined rows are loaded again: each ends up merged or quarantined, never both and never neither."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.loading import (
    ConflictStrategy,
    LoadReport,
    Mode,
    drop_quarantine,
    execute_load,
    merging,
    plan_drop,
    plan_load,
)
from tenant_ops.loading.quarantine.repair import repair_row
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.gallery import VISITORS
from tenant_ops_tests.loading.shop import SHOP, Shop

CUSTOMER = ("id", "email", "name")
ORDER = ("Customer", "No.", "Total amount")


def replay(shop: Shop, repaired: Path | None = None, **options: Any) -> LoadReport:
    return shop.load(source=repaired, replay=True, **options)


def row_ids(shop: Shop) -> list[int]:
    return [entry["id"] for entry in shop.quarantine() if entry["raw"] is not None]


@pytest.fixture
def early(shop: Shop) -> Shop:
    """Two orders came before the customer they are of."""
    shop.csv("Orders.csv", [ORDER, (7, 1, "12.3456789012345678901"), (8, 1, 5)])
    shop.load()
    (shop.folder / "Orders.csv").unlink()
    shop.csv("customers.csv", [CUSTOMER, (7, "", "late")])
    shop.load()
    return shop


def test_rows_that_are_good_by_now_are_merged_and_leave_the_quarantine(early: Shop) -> None:
    report = replay(early)
    assert (report.read, report.inserted, report.quarantined) == (2, 1, 1)
    assert early.rows("orders", "customer_id number total") == [(7, 1, Decimal("12.3456789012345678901"))]
    assert early.faults() == [("Orders.csv", 3, "customer_id", "8", "no row of customers has this id")]
    assert early.stages() == []


def test_rows_that_are_bad_again_stay_with_their_file_and_line_under_the_new_load(early: Shop) -> None:
    (before,) = [entry for entry in early.quarantine() if entry["line"] == 3]
    replay(early)
    (after,) = early.quarantine()
    assert (after["file"], after["line"], after["raw"]) == (before["file"], before["line"], before["raw"])
    assert after["load_id"] != before["load_id"]
    assert after["id"] > before["id"]


def test_the_plan_is_the_original_files_and_changes_nothing(early: Shop) -> None:
    plan = early.plan(source=None, replay=True)
    (file,) = plan.of("orders").files
    assert (file.name, file.format, plan.source) == ("Orders.csv", "quarantine", "quarantine")
    assert plan.of("customers").files == ()
    assert early.plan(source=None, replay=True) == plan
    assert len(early.quarantine()) == 2


def test_one_dataset_is_replayed_without_the_others(early: Shop) -> None:
    early.csv("customers.csv", [CUSTOMER, (9, "", "x" * 30)])
    early.load()
    replay(early, datasets=["orders"])
    assert sorted(entry["dataset"] for entry in early.quarantine()) == ["customers", "orders"]
    assert early.rows("orders", "customer_id") == [(7,)]


def test_nothing_in_quarantine_is_nothing_to_do(shop: Shop) -> None:
    report = replay(shop)
    assert (report.read, {load.merge.state for load in report.datasets}) == (0, {"unchanged"})


def test_a_replay_does_not_make_the_original_file_look_loaded_or_changed(early: Shop) -> None:
    early.csv("Orders.csv", [ORDER, (7, 1, "12.3456789012345678901"), (8, 1, 5)])
    before = len(early.plan().of("orders").files)
    replay(early)
    assert before == len(early.plan().of("orders").files) == 0


def test_rows_are_held_against_the_strategy_of_the_replay(early: Shop) -> None:
    early.csv("Orders.csv", [ORDER, (7, 1, 99)])
    early.load()
    assert replay(early, conflict=ConflictStrategy.SKIP).skipped == 1
    assert early.rows("orders", "total") == [(Decimal(99),)]


def test_rows_do_not_win_over_those_that_are_there_unless_they_are_told_to(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "", "first"), (1, "", "second")])
    shop.load()
    report = replay(shop)
    assert (report.updated, report.quarantined) == (0, 1)
    assert shop.rows("customers", "name") == [("first",)]
    assert [entry["reason"] for entry in shop.quarantine()] == ["a row with this key is there and differs"]
    assert replay(shop, conflict=ConflictStrategy.OVERWRITE).updated == 1
    assert shop.rows("customers", "name") == [("second",)]


def test_rows_kept_beside_the_one_that_is_there_can_be_chosen_afterwards(shop: Shop) -> None:
    for name in ("old", "new"):
        shop.csv("customers.csv", [CUSTOMER, (1, "", name)])
        shop.load(conflict=ConflictStrategy.KEEP_BOTH)
    assert replay(shop).quarantined == 1
    assert len(shop.quarantine()) == 1
    assert replay(shop, conflict=ConflictStrategy.OVERWRITE).updated == 1
    assert (shop.rows("customers", "name"), shop.quarantine()) == ([("new",)], [])


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.INCREMENTAL])
def test_some_rows_are_never_taken_for_all_or_for_the_latest(early: Shop, mode: Mode) -> None:
    with pytest.raises(InputError, match="quarantined rows are some rows of a dataset"):
        early.plan(source=None, replay=True, mode=mode)


def test_rows_of_one_line_are_each_replayed(shop: Shop) -> None:
    rows = [{"id": "a", "name": ""}, {"id": "b", "name": "y"}, {"id": "c", "name": "z"}]
    shop.write("customers.json", json.dumps(rows))
    shop.load()
    assert [entry["line"] for entry in shop.quarantine()] == [1] * 4
    repair_row(shop.fleet, shop.tenant, row_ids(shop)[0], {"id": "1", "name": "x"})
    assert replay(shop).inserted == 1
    left = [(entry["raw"]["id"], entry["column_name"]) for entry in shop.quarantine()]
    assert left == [("b", "id"), ("c", "id")]


def test_text_that_is_no_row_waits_until_somebody_makes_it_one(shop: Shop) -> None:
    shop.write("customers.csv", "id,name\n1,a,b\n2,c\nx,d\n")
    shop.load()
    text, _ = row_ids(shop)
    assert replay(shop).read == 1
    assert text in row_ids(shop)
    repair_row(shop.fleet, shop.tenant, text, {"id": "1", "name": "a, b"})
    assert replay(shop).inserted == 1
    assert shop.rows("customers", "id name") == [(1, "a, b"), (2, "c")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("customers.csv", b"id,name\n1,\xff\n2,a\x00b\n"),
        ("customers.ndjson", b'{"id": 3, "name": "\\ud800"}\n{"id": 4, "name": "a\\u0000b"}\n'),
    ],
)
def test_what_is_no_text_is_bad_again_rather_than_loaded_as_what_it_is_shown_as(
    shop: Shop, name: str, content: bytes
) -> None:
    shop.write(name, content)
    assert shop.load().quarantined == 2
    report = replay(shop)
    assert (report.read, report.inserted, report.quarantined) == (2, 0, 2)
    assert [entry["column_name"] for entry in shop.quarantine()] == ["name", "name"]
    repair_row(shop.fleet, shop.tenant, row_ids(shop)[0], {"name": "e"})
    assert replay(shop).inserted == 1


def test_rows_of_files_with_different_columns_are_not_mixed(shop: Shop) -> None:
    shop.csv("customers.csv", [("id", "name"), ("x", "a")])
    shop.load()
    shop.csv("customers.csv", [CUSTOMER, ("y", "", "b")])
    shop.load()
    with pytest.raises(InputError, match=r"differ in having the columns email.*quarantine export --file"):
        shop.plan(source=None, replay=True)


def test_columns_the_file_did_not_have_keep_their_values(shop: Shop) -> None:
    shop.csv("customers.csv", [CUSTOMER, (1, "a@b.cd", "a")])
    shop.load()
    shop.csv("customers.csv", [("id", "name"), (1, "n" * 30)])
    shop.load()
    repair_row(shop.fleet, shop.tenant, row_ids(shop)[0], {"name": "b"})
    assert replay(shop, conflict=ConflictStrategy.OVERWRITE).updated == 1
    assert shop.rows("customers", "id email name") == [(1, "a@b.cd", "b")]


def test_rows_of_an_older_version_are_brought_up_as_their_load_brought_them(
    settings: Settings, tmp_path: Path
) -> None:
    older = replace(VISITORS, version="1.1.0", upcasts=VISITORS.upcasts[:1])
    (tmp_path / "people.csv").write_text("id,full_name,tier,email\nx,Ada Roe,pro,a@x.org\n")
    fleet = Fleet.open(settings, catalog=older)
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    load = plan_load(fleet, tenant, source=tmp_path, source_version="1.0.0")
    assert execute_load(fleet, load).quarantined == 1
    # The release after it changed the files again.
    later = Shop(replace(fleet, catalog=VISITORS), tenant, tmp_path)
    repair_row(later.fleet, tenant, row_ids(later)[0], {"id": "1"})
    assert later.plan(source=None, replay=True).of("people").upcasts == ("1.1.0", "1.2.0")
    assert replay(later).inserted == 1
    assert later.rows("people") == [(1, "Ada", "Roe", "professional", "a@x.org")]
    fleet.close()


def test_too_many_bad_rows_merge_nothing_and_every_row_stays(early: Shop) -> None:
    before = early.quarantine()
    with pytest.raises(OperationFailed, match="1 of 2 rows"):
        replay(early, max_bad_rows=0)
    kept = {entry["load_id"] for entry in before}
    assert [entry for entry in early.quarantine() if entry["load_id"] in kept] == before
    assert early.rows("orders") == []
    report = replay(early)
    assert (report.inserted, report.quarantined, len(early.quarantine())) == (1, 1, 1)


def test_another_load_in_between_takes_a_staged_replay_back(early: Shop) -> None:
    early.stage("orders", source=None, replay=True)
    early.csv("customers.csv", [CUSTOMER, (8, "", "later")])
    early.csv("Orders.csv", [ORDER, (8, 2, 5)])
    early.load()
    assert len(early.quarantine()) == 2
    assert replay(early).inserted == 2
    assert early.quarantine() == []


def test_a_row_that_was_repaired_since_it_was_staged_is_not_merged_as_it_was(early: Shop) -> None:
    early.stage("orders", source=None, replay=True)
    repair_row(early.fleet, early.tenant, row_ids(early)[0], {"Total amount": "6"})
    with pytest.raises(OperationFailed, match="changed or removed since they were staged"):
        early.merge("orders", source=None, replay=True)
    assert early.rows("orders") == []
    replay(early)
    assert early.rows("orders", "total") == [(Decimal(6),)]


def test_a_row_that_was_dropped_since_it_was_staged_is_not_merged(early: Shop) -> None:
    early.stage("orders", source=None, replay=True)
    drop_quarantine(early.fleet, plan_drop(early.fleet, early.tenant, ids=row_ids(early)[:1]))
    with pytest.raises(OperationFailed, match="changed or removed since they were staged"):
        early.merge("orders", source=None, replay=True)
    assert replay(early).read == 1
    assert early.rows("orders") == []


def test_a_plan_does_not_load_rows_that_changed_since(early: Shop) -> None:
    plan = early.plan(source=None, replay=True)
    repair_row(early.fleet, early.tenant, row_ids(early)[0], {"Total amount": "6"})
    with pytest.raises(InputError, match="changed after the load was planned"):
        execute_load(early.fleet, plan)
    assert early.rows("orders") == []


def die_before(settings: Settings, function: str) -> None:
    """Replay, but be killed when the merge calls a function."""
    fleet = Fleet.open(settings, catalog=SHOP)
    setattr(merging, function, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    execute_load(fleet, plan_load(fleet, fleet.registry.get("acme"), replay=True))


@pytest.mark.slow
@pytest.mark.parametrize("function", ["mark_violations", "_merge", "settle_replayed", "drop_stage"])
def test_a_replay_killed_between_stage_and_merge_loses_nothing(early: Shop, function: str) -> None:
    before = early.quarantine()
    process = multiprocessing.get_context("spawn").Process(
        target=die_before, args=(early.fleet.settings, function)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    kept = {entry["load_id"] for entry in before}
    assert [entry for entry in early.quarantine() if entry["load_id"] in kept] == before
    assert early.rows("orders") == []
    report = replay(early)
    assert (report.read, report.inserted, report.quarantined) == (2, 1, 1)
    assert [entry["line"] for entry in early.quarantine()] == [3]
    assert replay(early).quarantined == 1


CELLS = st.sampled_from(["", "1", "2", "3", "4", "x", "99"])
ROWS = st.lists(st.tuples(CELLS, st.sampled_from(["", "a", "b" * 30]), CELLS), min_size=1, max_size=8)
REPAIRS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["id", "name", "referred_by"]), CELLS))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(ROWS, min_size=1, max_size=2), rounds=st.lists(REPAIRS, min_size=1, max_size=3))
def test_what_was_read_is_merged_or_still_quarantined(
    shop: Shop, files: list[list[tuple[str, ...]]], rounds: list[list[tuple[int, str, str]]]
) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        stage = shop.tenant.stage_schema
        connection.execute(f"TRUNCATE customers CASCADE; TRUNCATE {stage}.quarantine, {stage}.load".encode())
    for path in shop.folder.iterdir():
        path.unlink()
    for number, rows in enumerate(files):
        shop.csv(f"customers.{number}.csv", rows, ("id", "name", "referred_by"))
    read = shop.load().read
    for repairs in rounds:
        for place, column, value in repairs:
            ids = row_ids(shop)
            if ids:
                repair_row(shop.fleet, shop.tenant, ids[place % len(ids)], {column: value or None})
        replay(shop)
        unchanged = read - len(shop.rows("customers")) - len(row_ids(shop))
        assert unchanged == merged_as_unchanged(shop), "those that were equal to a row that was there"
        lines = Counter((entry["file"], entry["line"]) for entry in shop.quarantine() if entry["raw"])
        assert max(lines.values(), default=1) == 1, "a row is in quarantine once"


def merged_as_unchanged(shop: Shop) -> int:
    with shop.fleet.session(shop.tenant) as connection:
        load = f"{shop.tenant.stage_schema}.load"
        query = f"SELECT coalesce(sum((report->>'unchanged')::int), 0) FROM {load}"
        found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return found[0]
