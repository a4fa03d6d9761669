"""Incremental loads: what earlier ones had is passed over, and nothing else is."""

from dataclasses import replace
from typing import Any

import pytest

from tenant_ops.datasets import Catalog, Column, Dataset
from tenant_ops.datasets.tables import sql_type
from tenant_ops.loading import LoadReport, Mode, execute_load, stage
from tenant_ops.loading.stages import latest_cursor
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop

ORDER = ("Customer", "No.", "Total amount", "paid", "placed_at")
DAYS = {day: f"2024-05-{day:02d}T10:00:00Z" for day in range(1, 32)}


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """A shop with a customer, who has ordered on three days."""
    shop.csv("customers.csv", [(1, "Ada")], ("id", "name"))
    shop.load()
    (shop.folder / "customers.csv").unlink()
    ordered(shop, "Orders.csv", 1, 2, 3)
    return shop


def ordered(shop: Shop, name: str, *days: int | None, total: int = 5) -> None:
    """A file with an order of each day."""
    moments = ["" if day is None else DAYS[day] for day in days]
    rows = [(1, day or 99, total, "t", moment) for day, moment in zip(days, moments, strict=True)]
    shop.csv(name, rows, ORDER)


def catch_up(shop: Shop, **options: Any) -> LoadReport:
    """Load what is new by the time it was placed."""
    options.setdefault("incremental_by", "placed_at")
    return shop.load(mode=Mode.INCREMENTAL, datasets=["orders"], **options)


def counts(report: LoadReport) -> tuple[int, int, int, int, int]:
    return report.read, report.inserted, report.updated, report.unchanged, report.passed_over


def test_rows_before_the_latest_are_passed_over(busy: Shop) -> None:
    first = catch_up(busy)
    assert counts(first) == (3, 3, 0, 0, 0)
    assert first.datasets[0].merge.cursor == "2024-05-03 10:00:00+00"
    ordered(busy, "Orders.csv", 1, 2, 3, 4, 5, total=6)
    assert busy.plan(mode=Mode.INCREMENTAL, incremental_by="placed_at", datasets=["orders"]).of(
        "orders"
    ).after == ("2024-05-03 10:00:00+00")
    second = catch_up(busy)
    assert counts(second) == (5, 2, 1, 0, 2), "rows as late as the latest may be new, and are looked at"
    assert second.datasets[0].merge.cursor == "2024-05-05 10:00:00+00"
    assert [int(total) for (total,) in busy.rows("orders", "total")] == [5, 5, 6, 6, 6]


def test_the_same_bytes_again_are_not_even_read(busy: Shop) -> None:
    catch_up(busy)
    assert catch_up(busy).read == 0


def test_rows_without_a_value_are_never_passed_over(busy: Shop) -> None:
    catch_up(busy)
    ordered(busy, "Orders.2.csv", 1, None)
    assert counts(catch_up(busy)) == (2, 1, 0, 0, 1)


def test_an_old_file_moves_nothing_back(busy: Shop) -> None:
    catch_up(busy)
    ordered(busy, "Orders.2.csv", 1, 2)
    late = catch_up(busy)
    assert counts(late) == (2, 0, 0, 0, 2)
    assert late.datasets[0].merge.cursor == "2024-05-03 10:00:00+00"


def test_a_bad_row_moves_nothing_forward(busy: Shop) -> None:
    busy.csv(
        "Orders.csv", [(1, 1, 5, "t", DAYS[2]), (1, 2, "dear", "t", DAYS[9]), (7, 3, 5, "t", DAYS[8])], ORDER
    )
    report = catch_up(busy)
    assert (report.inserted, report.quarantined) == (1, 2)
    assert report.datasets[0].merge.cursor == "2024-05-02 10:00:00+00"


def test_each_column_has_come_its_own_way(busy: Shop) -> None:
    catch_up(busy)
    ordered(busy, "Orders.2.csv", 1, 2, total=7)
    report = catch_up(busy, incremental_by="number")
    assert counts(report) == (2, 0, 2, 0, 0)
    assert report.datasets[0].merge.cursor == "2"
    ordered(busy, "Orders.3.csv", 1, 2, total=8)
    assert counts(catch_up(busy, incremental_by="number")) == (2, 0, 1, 0, 1)


def test_forced_loads_and_those_of_another_mode_pass_nothing_over(busy: Shop) -> None:
    catch_up(busy)
    ordered(busy, "Orders.2.csv", 1, 2, total=7)
    assert counts(catch_up(busy)) == (2, 0, 0, 0, 2)
    assert counts(busy.load(datasets=["orders"])) == (2, 0, 2, 0, 0), "it was read, but not loaded"
    ordered(busy, "Orders.2.csv", 1, 2, total=8)
    assert counts(catch_up(busy, force=True)) == (5, 0, 2, 1, 0), "two repeat the keys of others"


def test_a_dataset_may_say_by_which_column(busy: Shop) -> None:
    orders = replace(busy.fleet.catalog["orders"], cursor="placed_at")
    catalog = replace(busy.fleet.catalog, datasets=(busy.fleet.catalog["customers"], orders))
    shop = replace(busy, fleet=replace(busy.fleet, catalog=catalog))
    catch_up(shop, incremental_by=None)
    ordered(shop, "Orders.2.csv", 1, 4)
    assert counts(catch_up(shop, incremental_by=None)) == (2, 1, 0, 0, 1)


def test_without_a_column_it_goes_by_the_bytes_of_files(busy: Shop) -> None:
    catch_up(busy, incremental_by=None)
    ordered(busy, "Orders.2.csv", 1, 4, total=7)
    assert counts(catch_up(busy, incremental_by=None)) == (2, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("column", "problem"),
    [("placed", "there is no column placed"), ("paid", "paid is boolean")],
)
def test_a_column_that_cannot_grow_is_refused(busy: Shop, column: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        catch_up(busy, incremental_by=column)


def test_a_stage_begun_after_another_value_is_not_gone_on_with(busy: Shop) -> None:
    catch_up(busy)
    ordered(busy, "Orders.2.csv", 1, 2, 4)
    plan = busy.plan(mode=Mode.INCREMENTAL, incremental_by="placed_at", datasets=["orders"])
    earlier = replace(plan, datasets=(replace(plan.of("orders"), after=DAYS[2]),))
    assert stage(busy.fleet, busy.tenant, plan, "orders").passed_over == 2
    assert counts(execute_load(busy.fleet, earlier)) == (3, 1, 0, 1, 1)


VALUES: dict[str, list[str]] = {
    "integer": ["9", "10", "-3"],
    "bigint": ["9007199254740993", "9007199254740992", "12"],
    "numeric": ["0.1", "0.10000000000000000001", "1e3", "-7"],
    "double": ["1e20", "-0.5", "3"],
    "date": ["2024-02-29", "1999-12-31", "2024-03-01"],
    "timestamptz": ["2024-05-06T07:08:09.123456Z", "2024-05-06 09:08:10+02", "2024-05-06"],
    "text": ["a", "B", "ä", "Z", "10", "9", ""],
}


@pytest.mark.parametrize("type_", VALUES)
def test_the_latest_value_is_the_same_here_and_in_postgres(shop: Shop, type_: Any) -> None:
    items = Dataset("items", "", (Column("id", "integer"), Column("at", type_, nullable=True)), ("id",))
    fleet = replace(shop.fleet, catalog=Catalog("items", "1.0.0", (items,)))
    with fleet.session(shop.tenant) as connection:
        connection.execute(
            f"CREATE TABLE items (id integer PRIMARY KEY, at {sql_type(items.by_name['at'])})".encode()
        )
    other = replace(shop, fleet=fleet)
    other.csv("items.csv", [(number, value) for number, value in enumerate(VALUES[type_])], ("id", "at"))
    found = other.load(mode=Mode.INCREMENTAL, incremental_by="at").datasets[0].merge.cursor
    assert found is not None
    other.csv("items.csv", [(number, value) for number, value in enumerate(VALUES[type_], 10)], ("id", "at"))
    again = other.load(mode=Mode.INCREMENTAL, incremental_by="at")
    assert again.passed_over >= len(VALUES[type_]) - 2, "all but the latest and its equals"
    assert again.inserted + again.passed_over == len(VALUES[type_])
    assert again.datasets[0].merge.cursor == found


def test_a_stage_says_how_far_its_good_rows_come(busy: Shop) -> None:
    busy.stage("orders")
    with busy.fleet.session(busy.tenant) as connection:
        orders = busy.fleet.catalog["orders"]
        assert latest_cursor(connection, busy.tenant, orders, "number", None) == "3"
        assert latest_cursor(connection, busy.tenant, orders, "number", "17") == "17"
