"""Many files into one tenant at once: the same rows, the same quarantine, and nobody waits for ever."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from tenant_ops.loading import StageReport, execute_load
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import Silent
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.faults import outcome
from tenant_ops_tests.loading.shop import SHOP, Shop

CUSTOMER = ("id", "email", "name")
ORDER = ("Customer", "No.", "Total amount", "paid", "placed_at")
FILES = 12


@pytest.fixture
def crowded(shop: Shop) -> Shop:
    """Twelve files, whose rows repeat one another's keys, on lines of their own and on shared ones."""
    chance = random.Random(1)
    for part in range(FILES // 2):
        rows: list[tuple[Any, ...]] = [
            (chance.randint(1, 900), f"c{chance.randint(1, 900)}@x.org", f"part {part}") for _ in range(300)
        ]
        rows.insert(100, ("none", "", "bad"))
        shop.csv(f"customers.{part}.csv", rows, CUSTOMER)
        orders = [(chance.randint(1, 1000), chance.randint(1, 5), part, "t", "") for _ in range(300)]
        if part % 2:
            objects = (dict(zip(ORDER, order, strict=True)) for order in orders)
            shop.write(f"Orders.{part}.json", json.dumps(list(objects)))
        else:
            shop.csv(f"Orders.{part}.csv", orders, ORDER)
    return shop


@pytest.fixture
def one_by_one(crowded: Shop) -> Any:
    """What another tenant has whose files were loaded one after the other."""
    return outcome(patient(crowded))


def patient(shop: Shop) -> Shop:
    """Another tenant, which has loaded the same files one after the other."""
    provision(shop.fleet, "patient")
    other = replace(shop, tenant=shop.fleet.registry.get("patient"))
    other.load(batch_rows=70)
    return other


@pytest.mark.parametrize("attempt", range(3))
def test_files_at_once_give_what_they_give_one_by_one(crowded: Shop, one_by_one: Any, attempt: int) -> None:
    report = crowded.load(batch_rows=37, parallel_files=4)
    assert outcome(crowded) == one_by_one
    assert report.retries == 0
    for load in report.datasets:
        assert [file.name for file in load.stage.files] == sorted(file.name for file in load.stage.files)
        assert all(file.complete and file.read in {300, 301} for file in load.stage.files)


def test_of_rows_on_one_line_the_first_stays_too(crowded: Shop) -> None:
    for path in crowded.folder.glob("Orders*"):
        path.unlink()
    for part in range(4):
        orders = [
            {"Customer": 1, "No.": part, "Total amount": place, "paid": True, "placed_at": None}
            for place in range(100)
        ]
        crowded.write(f"Orders.{part}.json", json.dumps(orders))
    crowded.csv("customers.0.csv", [(1, "", "Ada")], CUSTOMER)
    crowded.load(batch_rows=7, parallel_files=4)
    assert crowded.rows("orders", "number total") == [(part, 0) for part in range(4)]


def test_the_quarantine_keeps_the_entries_of_a_row_together(crowded: Shop) -> None:
    for part in range(4):
        rows = [("none", "x", "a name that is much too long") for _ in range(50)]
        crowded.csv(f"customers.bad.{part}.csv", rows, CUSTOMER)
    crowded.stage("customers", batch_rows=30, parallel_files=4)
    entries = [(entry["file"], entry["line"], entry["raw"] is not None) for entry in crowded.quarantine()]
    place: tuple[str, int] | None = None
    for file, line, first in entries:
        if first:
            place = (file, line)
        assert (file, line) == place


def test_files_of_different_datasets_are_staged_at_once(crowded: Shop) -> None:
    running: set[str] = set()
    together: set[frozenset[str]] = set()

    class Watcher(Silent):
        def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
            running.add(task)

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            together.add(frozenset(name.split()[0] for name in running))

        def finish(self, task: str) -> None:
            running.discard(task)

    plan = crowded.plan(batch_rows=20, parallel_files=4)
    report = execute_load(crowded.fleet, plan, progress=Watcher())
    assert frozenset({"customers", "orders"}) in together
    assert [load.dataset for load in report.datasets] == ["customers", "orders"]


def test_the_first_file_that_cannot_be_used_is_named_and_the_others_go_on_later(crowded: Shop) -> None:
    crowded.write("customers.3.csv", "id,surname\n1,x\n")
    with pytest.raises(InputError, match=r"customers\.3\.csv, line 1, column 2"):
        crowded.load(batch_rows=50, parallel_files=4)
    assert crowded.rows("customers") == []
    crowded.csv("customers.3.csv", [(2000, "", "repaired")], CUSTOMER)
    crowded.load(batch_rows=50)
    assert outcome(crowded) == outcome(patient(crowded))


def test_more_files_at_once_than_the_pool_has_connections_wait_for_one(
    crowded: Shop, one_by_one: Any
) -> None:
    settings = replace(crowded.fleet.settings, pool_size=2)
    narrow = replace(crowded, fleet=Fleet.open(settings, catalog=SHOP))
    narrow.load(batch_rows=50, parallel_files=32)
    assert outcome(narrow) == one_by_one
    narrow.fleet.close()


def test_files_with_other_columns_are_refused_at_once_as_one_by_one(shop: Shop) -> None:
    for part in range(4):
        shop.csv(f"customers.{part}.csv", [(part, "a name")], ("id", "name"))
    shop.csv("customers.4.csv", [(4, "a name", "gold")], ("id", "name", "tier"))
    with pytest.raises(InputError, match=r"customers\.\d\.csv: the columns tier are in only one"):
        shop.load(parallel_files=4)
    assert shop.rows("customers") == []


def test_no_fewer_than_one_file_can_be_read_at_once(crowded: Shop) -> None:
    with pytest.raises(InputError, match="0 files cannot be read at once"):
        crowded.plan(parallel_files=0)


def test_a_report_counts_what_was_read_now(crowded: Shop) -> None:
    first = crowded.stage("customers", parallel_files=4)
    size = sum(path.stat().st_size for path in crowded.folder.glob("customers.*"))
    assert (first.read, first.bytes) == (6 * 301, size)
    assert first.rows_per_second is not None
    assert first.mb_per_second is not None
    again: StageReport = crowded.stage("customers", parallel_files=4)
    assert (again.read, again.bytes, again.rows_per_second, again.mb_per_second) == (1806, size, None, None)
