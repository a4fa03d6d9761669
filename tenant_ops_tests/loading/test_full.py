"""Mode full: afterwards a dataset is what its files say, or it is what it was."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.audit import history
from tenant_ops.backups import execute_restore, find_backup, plan_restore
from tenant_ops.datasets import Catalog, Clean, Column, Dataset, ForeignKey, MapValues
from tenant_ops.loading import ConflictStrategy, LoadReport, Mode, execute_load, merge, plan_load, stage
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.loading.shop import Shop

CUSTOMER = ("id", "email", "name", "referred_by")
ORDER = ("Customer", "No.", "Total amount")


def customers(shop: Shop, *rows: Sequence[Any]) -> None:
    shop.csv("customers.csv", rows, CUSTOMER)


def orders(shop: Shop, *rows: Sequence[Any]) -> None:
    shop.csv("Orders.csv", rows, ORDER)


def replace_all(shop: Shop, *datasets: str, **options: Any) -> LoadReport:
    plan = shop.plan(mode=Mode.FULL, datasets=datasets or None, **options)
    return execute_load(shop.fleet, plan, safety_copy=lambda _: "a copy")


def contents(shop: Shop) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "customers": shop.rows("customers", " ".join(CUSTOMER)),
        "orders": shop.rows("orders", "customer_id number total"),
    }


def sql(shop: Shop, statement: str) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with three customers and an order of each."""
    customers(shop, (1, "a@x.org", "Ada", ""), (2, "b@x.org", "Ben", 1), (3, "c@x.org", "Cem", 1))
    orders(shop, (1, 1, 10), (2, 1, 20), (3, 1, 30))
    shop.load()
    return shop


def test_rows_the_files_do_not_have_are_deleted(stocked: Shop) -> None:
    orders(stocked, (1, 1, 10), (1, 2, 11), (3, 1, 33))
    report = replace_all(stocked, "orders")
    assert contents(stocked)["orders"] == [(1, 1, 10), (1, 2, 11), (3, 1, 33)]
    merged = report.datasets[0].merge
    assert (merged.inserted, merged.updated, merged.unchanged, merged.deleted) == (1, 1, 1, 1)
    assert (merged.total, merged.safety_backup, report.deleted) == (3, "a copy", 1)
    with stocked.fleet.control.transaction() as connection:
        event = history(connection, str(stocked.tenant.id))[0]
    assert event.detail["deleted"] == {"orders": 1}
    assert event.detail["safety_backup"] == "a copy"


def test_the_backup_taken_before_brings_everything_back(stocked: Shop) -> None:
    before = contents(stocked)
    customers(stocked, (2, "b@x.org", "Ben", ""))
    orders(stocked, (2, 2, 5))
    report = stocked.load(mode=Mode.FULL)
    assert contents(stocked) == {"customers": [(2, "b@x.org", "Ben", None)], "orders": [(2, 2, 5)]}
    backup = report.datasets[0].merge.safety_backup
    assert backup
    found = find_backup(stocked.fleet, backup)
    assert found.reason == "before full load"
    execute_restore(stocked.fleet, plan_restore(stocked.fleet, found, target="acme"))
    restored = replace(stocked, tenant=stocked.fleet.registry.get("acme"))
    assert contents(restored) == before


def test_no_backup_is_taken_when_nothing_is_deleted(stocked: Shop) -> None:
    orders(stocked, (1, 1, 10), (2, 1, 21), (3, 1, 30), (3, 2, 5))
    report = execute_load(
        stocked.fleet,
        stocked.plan(mode=Mode.FULL, datasets=["orders"]),
        safety_copy=lambda _: pytest.fail("there is nothing to bring back"),
    )
    assert (report.inserted, report.updated, report.deleted) == (1, 1, 0)
    assert report.datasets[0].merge.safety_backup is None


def test_replacing_contents_by_the_same_writes_nothing(stocked: Shop) -> None:
    def versions() -> list[tuple[Any, ...]]:
        return [
            (*row, dataset)
            for dataset in ("customers", "orders")
            for row in stocked.rows(dataset, "ctid xmin")
        ]

    before = versions()
    report = replace_all(stocked, force=True)
    assert (report.unchanged, report.inserted, report.updated, report.deleted) == (6, 0, 0, 0)
    assert versions() == before


def test_a_bad_row_does_not_cost_the_row_that_is_there(stocked: Shop) -> None:
    orders(stocked, (1, 1, 5000), (2, 1, "?"), (2, 1, 20), (9, 1, 1))
    report = replace_all(stocked, "orders")
    assert contents(stocked)["orders"] == [(1, 1, 10), (2, 1, 20)]
    assert (report.deleted, report.quarantined, report.unchanged) == (1, 3, 1)


@pytest.mark.parametrize("key", ["?", "", "99999999999"])
def test_nothing_is_deleted_while_a_bad_row_may_be_any_row(stocked: Shop, key: str) -> None:
    before = contents(stocked)
    orders(stocked, (1, 1, 10), (key, 1, 20))
    with pytest.raises(
        InputError, match="1 rows were left out whose customer_id and number is not known, and 2 rows"
    ):
        replace_all(stocked, "orders")
    assert contents(stocked) == before
    assert len(stocked.faults()) == 1


def test_a_row_that_is_none_may_be_any_row_too(stocked: Shop) -> None:
    stocked.write("Orders.csv", "Customer,No.,Total amount\n1,1\n2,1,20\n")
    with pytest.raises(InputError, match="is not known"):
        replace_all(stocked, "orders")


def test_bad_rows_that_may_be_any_row_are_in_nobodys_way_when_nothing_is_deleted(stocked: Shop) -> None:
    orders(stocked, (1, 1, 10), (2, 1, 20), (3, 1, 30), ("?", 1, 5))
    assert replace_all(stocked, "orders").quarantined == 1


def test_nothing_is_deleted_when_the_quarantine_has_lost_rows_of_the_load(stocked: Shop) -> None:
    orders(stocked, (1, 1, 5000), (2, 1, 20))
    stocked.stage("orders", mode=Mode.FULL)
    sql(stocked, f"DELETE FROM {stocked.tenant.stage_schema}.quarantine")
    with pytest.raises(InputError, match="1 rows were left out"):
        stocked.merge("orders", mode=Mode.FULL, datasets=["orders"])


def test_rows_that_others_refer_to_stay_when_those_are_not_replaced_too(stocked: Shop) -> None:
    before = contents(stocked)
    customers(stocked, (1, "a@x.org", "Ada", ""))
    with pytest.raises(
        InputError, match=r"2 rows that are not in the files .* 2 of orders\. Nothing was merged"
    ):
        replace_all(stocked, "customers")
    assert contents(stocked) == before


def test_rows_that_refer_to_deleted_ones_go_first_when_they_are_replaced_too(stocked: Shop) -> None:
    customers(stocked, (1, "a@x.org", "Ada", ""))
    orders(stocked, (1, 1, 10), (2, 1, 20))
    report = replace_all(stocked)
    assert contents(stocked) == {"customers": [(1, "a@x.org", "Ada", None)], "orders": [(1, 1, 10)]}
    first, second = (load.merge for load in report.datasets)
    assert (first.deleted, first.taken_along) == (2, {"orders": 2})
    assert (second.deleted, second.unchanged, second.quarantined) == (0, 1, 1)
    assert report.deleted == 4


def test_datasets_of_one_run_go_together_though_each_is_planned_alone(stocked: Shop) -> None:
    customers(stocked, (1, "a@x.org", "Ada", ""))
    together = ["customers", "orders"]
    report = replace_all(stocked, "customers", together=together)
    assert report.datasets[0].merge.taken_along == {"orders": 2}


def test_rows_come_back_with_the_row_they_refer_to(stocked: Shop) -> None:
    before = contents(stocked)
    customers(stocked, (1, "a@x.org", "Ada", ""))
    replace_all(stocked)
    customers(stocked, (1, "a@x.org", "Ada", ""), (2, "b@x.org", "Ben", 1), (3, "c@x.org", "Cem", 1))
    replace_all(stocked)
    assert contents(stocked) == before


def test_files_loaded_before_a_full_load_are_loaded_again_after_it(stocked: Shop) -> None:
    first = (stocked.folder / "Orders.csv").rename(stocked.folder / "Orders.csv.aside")
    stocked.csv("Orders.other.csv", [(1, 5, 5)], ORDER)
    replace_all(stocked, "orders")
    first.rename(stocked.folder / "Orders.csv")
    assert stocked.load().datasets[1].merge.files == ("Orders.csv",)
    assert len(stocked.rows("orders")) == 4


def test_files_whose_rows_were_taken_along_are_loaded_again(stocked: Shop) -> None:
    customers(stocked, (1, "a@x.org", "Ada", ""))
    replace_all(stocked, "customers", together=["customers", "orders"])
    assert stocked.load(datasets=["orders"]).quarantined == 2


def test_a_table_no_dataset_knows_of_keeps_what_it_refers_to(stocked: Shop) -> None:
    sql(stocked, "CREATE TABLE notes (customer int REFERENCES customers ON DELETE CASCADE)")
    sql(stocked, "INSERT INTO notes VALUES (3)")
    customers(stocked, (1, "a@x.org", "Ada", ""), (2, "b@x.org", "Ben", 1))
    with pytest.raises(InputError, match=r"1 rows .* 1 of notes"):
        replace_all(stocked)
    assert len(stocked.rows("customers")) == 3


def test_rows_that_stay_lose_only_the_reference_the_files_took_from_them(stocked: Shop) -> None:
    customers(stocked, (2, "b@x.org", "Ben", ""), (3, "c@x.org", "Cem", 2), (4, "", "Dot", 3))
    orders(stocked, (2, 1, 20), (3, 1, 30))
    report = replace_all(stocked)
    assert contents(stocked)["customers"] == [
        (2, "b@x.org", "Ben", None),
        (3, "c@x.org", "Cem", 2),
        (4, None, "Dot", 3),
    ]
    merged = report.datasets[0].merge
    assert (merged.inserted, merged.updated, merged.unchanged, merged.deleted) == (1, 2, 0, 1)
    assert report.datasets[1].merge.unchanged == 2


def test_a_row_that_refers_to_a_deleted_one_of_its_own_dataset_is_bad(stocked: Shop) -> None:
    customers(stocked, (2, "b@x.org", "Ben", ""), (4, "", "Dot", 3), (5, "", "Eve", 2))
    orders(stocked, (2, 1, 20))
    assert replace_all(stocked).datasets[0].merge.quarantined == 1
    assert stocked.rows("customers", "id") == [(2,), (5,)]
    assert stocked.faults()[0][2:] == ("referred_by", "3", "no row of customers has this id")


def test_a_row_kept_for_a_bad_one_keeps_what_it_refers_to(stocked: Shop) -> None:
    customers(stocked, (2, "b@x.org", "much longer than twenty", ""), (3, "c@x.org", "Cem", ""))
    with pytest.raises(InputError, match=r"1 rows .* 1 of customers, 1 of orders"):
        replace_all(stocked, "customers")


def test_a_unique_value_of_a_deleted_row_is_free(stocked: Shop) -> None:
    customers(stocked, (11, "a@x.org", "Ada", ""), (12, "b@x.org", "Ben", 11))
    orders(stocked, (12, 1, 20))
    report = replace_all(stocked)
    assert report.quarantined == 0
    assert contents(stocked)["customers"] == [(11, "a@x.org", "Ada", None), (12, "b@x.org", "Ben", 11)]


def test_files_without_rows_empty_a_dataset_only_when_forced(stocked: Shop) -> None:
    orders(stocked)
    with pytest.raises(
        InputError, match="the files have no row that can be merged, which would delete all 3"
    ):
        replace_all(stocked, "orders")
    assert replace_all(stocked, "orders", force=True).deleted == 3
    assert stocked.rows("orders") == []


def test_a_dataset_without_files_is_not_replaced(stocked: Shop) -> None:
    (stocked.folder / "Orders.csv").unlink()
    with pytest.raises(
        InputError, match="dataset orders: mode full would replace its rows, and there are no"
    ):
        replace_all(stocked)


def test_other_strategies_than_overwriting_are_refused(stocked: Shop) -> None:
    with pytest.raises(InputError, match="conflict skip decides nothing"):
        stocked.plan(mode=Mode.FULL, conflict=ConflictStrategy.SKIP)


def test_a_stage_of_other_files_replaces_nothing(stocked: Shop) -> None:
    orders(stocked, (1, 2, 5))
    stocked.stage("orders")
    stocked.csv("Orders.more.csv", [(1, 3, 5)], ORDER)
    with pytest.raises(InputError, match="other files are staged"):
        stocked.merge("orders", mode=Mode.FULL, datasets=["orders"])


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders VALUES (1, 9, 9)",
        "UPDATE orders SET total = 7 WHERE customer_id = 3",
        "DELETE FROM orders WHERE customer_id = 3",
    ],
)
def test_rows_written_after_the_backup_are_not_deleted_with_those_in_it(
    stocked: Shop, statement: str
) -> None:
    orders(stocked, (1, 1, 11))

    def copy(tenant: Tenant) -> str:
        sql(stocked, statement)
        return "a copy"

    plan = stocked.plan(mode=Mode.FULL, datasets=["orders"])
    stage(stocked.fleet, stocked.tenant, plan, "orders")
    with pytest.raises(OperationFailed, match="rows were written while the safety backup was taken"):
        merge(stocked.fleet, stocked.tenant, plan, "orders", safety_copy=copy)
    assert (1, 1, 10) in contents(stocked)["orders"]
    merged = merge(stocked.fleet, stocked.tenant, plan, "orders", safety_copy=lambda _: "another")
    assert contents(stocked)["orders"] == [(1, 1, 11)]
    assert merged.safety_backup == "another"


def test_a_reader_sees_the_old_rows_or_the_new_ones(shop: Shop) -> None:
    customers(shop, *[(number, "", "old", "") for number in range(1, 3001)])
    shop.load()
    customers(shop, *[(number, "", "new", "") for number in range(2001, 6001)])
    seen: set[tuple[Any, ...]] = set()
    done, begun = threading.Event(), threading.Event()

    def read() -> None:
        last = False
        while not last:
            last = done.is_set()
            with shop.fleet.session(shop.tenant, "viewer") as connection:
                query = "SELECT count(*), min(name), max(name), min(id), max(id) FROM customers"
                seen.update(connection.execute(query).fetchall())
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait()
    try:
        replace_all(shop, "customers")
    finally:
        done.set()
        reader.join()
    assert seen == {(3000, "old", "old", 1, 3000), (4000, "new", "new", 2001, 6000)}


FOLDERS = Dataset(
    name="folders",
    description="Each in another, the topmost in itself.",
    columns=(Column("id", "integer"), Column("name", "text"), Column("parent", "integer")),
    key=("id",),
    foreign_keys=(ForeignKey(("parent",), "folders", ("id",), on_delete="cascade"),),
)


PRICES = Dataset(
    name="prices",
    description="Of articles.",
    columns=(Column("code", "text"), Column("price", "integer")),
    key=("code",),
    transforms=(Clean("code", lower=True), MapValues("code", {"none": None})),
)


def test_the_key_of_a_bad_row_is_known_through_its_transforms(settings: Settings, tmp_path: Path) -> None:
    fleet = Fleet.open(settings, catalog=Catalog("prices", "1.0.0", (PRICES,)))
    provision(fleet, "acme")
    prices = Shop(fleet, fleet.registry.get("acme"), tmp_path / "prices")
    prices.csv("prices.csv", [("code", "price"), ("ab", 1), ("cd", 2), ("ef", 3)])
    prices.load()
    prices.csv("prices.csv", [("code", "price"), (" AB ", "?"), ("CD", 4)])
    report = replace_all(prices)
    assert prices.rows("prices") == [("ab", 1), ("cd", 4)]
    assert (report.quarantined, report.deleted) == (1, 1)
    prices.csv("prices.csv", [("code", "price"), ("None", 5), ("CD", 4)])
    with pytest.raises(InputError, match="1 rows were left out whose code is not known"):
        replace_all(prices)
    fleet.close()


@pytest.fixture
def folders(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Replaces the folders of a tenant by those given."""
    fleet = Fleet.open(settings, catalog=Catalog("folders", "1.0.0", (FOLDERS,)))
    provision(fleet, "acme")
    drawer = Shop(fleet, fleet.registry.get("acme"), tmp_path / "folders")

    def load(*rows: tuple[int, str, int]) -> tuple[LoadReport, list[tuple[Any, ...]]]:
        drawer.csv("folders.csv", rows, ("id", "name", "parent"))
        return replace_all(drawer), drawer.rows("folders")

    yield load
    fleet.close()


def test_a_reference_that_may_not_be_empty_can_be_moved_from_a_deleted_row(
    folders: Callable[..., Any],
) -> None:
    folders((1, "root", 1), (2, "old", 1), (3, "kept", 2), (4, "deep", 3))
    report, rows = folders((1, "root", 1), (3, "kept", 5), (4, "deep", 3), (5, "new", 1))
    assert rows == [(1, "root", 1), (3, "kept", 5), (4, "deep", 3), (5, "new", 1)]
    assert (report.inserted, report.updated, report.unchanged, report.deleted) == (1, 1, 2, 1)


def test_a_tree_of_rows_goes_at_once(folders: Callable[..., Any]) -> None:
    folders((1, "root", 1), (2, "a", 1), (3, "b", 2), (4, "c", 3))
    report, rows = folders((1, "root", 1))
    assert (rows, report.deleted) == ([(1, "root", 1)], 3)


def test_a_full_load_is_planned_for_all_of_its_files(stocked: Shop) -> None:
    stocked.csv("Orders.more.csv", [(1, 3, 5)], ORDER)
    plan = plan_load(
        stocked.fleet, stocked.tenant, source=stocked.folder, mode=Mode.FULL, datasets=["orders"]
    )
    assert [file.name for file in plan.of("orders").files] == ["Orders.csv", "Orders.more.csv"]
