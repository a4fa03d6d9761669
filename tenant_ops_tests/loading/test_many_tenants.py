"""One source into many tenants: each file is read once, and every tenant has what it would have alone."""

import random
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.datasets import Catalog, Hash
from tenant_ops.loading import (
    LoadFailure,
    LoadReport,
    PreparedFiles,
    load_many,
    pieces,
    plan_load,
)
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import Silent
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.faults import outcome
from tenant_ops_tests.loading.shop import Shop

SLUGS = ("acme", "globex", "initech", "umbrella")
CUSTOMER = ("id", "email", "name")


@pytest.fixture
def chain(shop: Shop) -> Shop:
    """A shop with branches, and the files all of them load: good rows, bad ones, and lines that are none."""
    for slug in SLUGS[1:]:
        provision(shop.fleet, slug)
    chance = random.Random(2)
    for part in range(3):
        rows = [(chance.randint(1, 500), f"c{chance.randint(1, 500)}@x.org", 'a "name"') for _ in range(200)]
        shop.csv(f"customers.{part}.csv", [*rows, ("bad", "x", ""), (1, "too", "many", "values")], CUSTOMER)
    orders = [{"Customer": number, "No.": 1, "Total amount": 1.5, "paid": True} for number in range(300)]
    shop.ndjson("Orders.ndjson", orders)
    return shop


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each source is opened."""
    times: Counter[str] = Counter()
    real = pieces.open_source

    @contextmanager
    def open_source(file: Any, *arguments: Any, **options: Any) -> Any:
        times[file.name] += 1
        with real(file, *arguments, **options) as source:
            yield source

    monkeypatch.setattr(pieces, "open_source", open_source)
    return times


def plans(shop: Shop, fleet: Fleet | None = None, **options: Any) -> list[Any]:
    fleet = fleet or shop.fleet
    return [plan_load(fleet, fleet.registry.get(slug), source=shop.folder, **options) for slug in SLUGS]


def outcomes(shop: Shop) -> list[Any]:
    return [outcome(replace(shop, tenant=shop.fleet.registry.get(slug))) for slug in SLUGS]


def test_each_file_is_read_once_and_every_tenant_has_all_of_it(chain: Shop, opened: Counter[str]) -> None:
    provision(chain.fleet, "alone")
    alone = replace(chain, tenant=chain.fleet.registry.get("alone"))
    alone.load(batch_rows=50)
    expected = outcome(alone)
    opened.clear()
    report = load_many(chain.fleet, plans(chain, batch_rows=50), threads=3)
    assert report.failures == ()
    assert set(opened.values()) == {1}
    assert (len(opened), report.files_read) == (4, 4)
    assert outcomes(chain) == [expected] * len(SLUGS)
    assert [load.tenant for load in report.loads] == list(SLUGS)
    assert report.read == 4 * (3 * 202 + 300)
    assert report.read == sum(load.read for load in report.loads if isinstance(load, LoadReport))
    assert report.quarantined > 0


def test_what_fails_one_tenant_fails_no_other(chain: Shop) -> None:
    with chain.fleet.session(chain.fleet.registry.get("globex")) as connection:
        connection.execute("ALTER TABLE customers DROP COLUMN email")
    report = load_many(chain.fleet, plans(chain))
    (failure,) = report.failures
    assert failure.tenant == "globex"
    assert "dataset customers: the live table is not as the dataset is defined" in failure.reason
    assert [isinstance(load, LoadFailure) for load in report.loads] == [False, True, False, False]
    done = [outcome(replace(chain, tenant=chain.fleet.registry.get(slug))) for slug in ("acme", "initech")]
    assert done[0] == done[1]


def test_a_file_that_cannot_be_used_fails_everybody_and_is_tried_by_each(
    chain: Shop, opened: Counter[str]
) -> None:
    chain.write("customers.1.csv", 'id,name\n1,"never closed\n')
    report = load_many(chain.fleet, plans(chain), threads=2)
    assert [failure.tenant for failure in report.failures] == list(SLUGS)
    assert all("customers.1.csv, line 2" in failure.reason for failure in report.failures)
    assert opened["customers.1.csv"] == len(SLUGS)


def test_a_preparation_that_is_stopped_is_begun_again_by_the_next(chain: Shop, opened: Counter[str]) -> None:
    first = threading.Event()

    class FailOnce(Silent):
        def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
            if not first.is_set():
                first.set()
                raise InputError("not this one.")

    report = load_many(chain.fleet, plans(chain), threads=1, progress=FailOnce())
    assert [failure.tenant for failure in report.failures] == ["acme"]
    assert set(opened.values()) == {1}


def test_files_that_were_read_before_serve_later_loads(chain: Shop, opened: Counter[str]) -> None:
    with PreparedFiles() as prepared:
        for plan in plans(chain):
            load_many(chain.fleet, [plan], prepared=prepared)
        assert prepared.files_read == 4
    assert set(opened.values()) == {1}


def test_other_ways_to_read_a_file_are_other_preparations(chain: Shop, opened: Counter[str]) -> None:
    first, second, *_ = plans(chain)
    with PreparedFiles() as prepared:
        load_many(chain.fleet, [first], prepared=prepared)
        load_many(chain.fleet, [replace(second, validate=False)], prepared=prepared)
    assert set(opened.values()) == {2}


def test_rows_that_depend_on_the_tenant_are_read_for_each(chain: Shop, opened: Counter[str]) -> None:
    customers = chain.fleet.catalog["customers"]
    columns = tuple(replace(column, rules=()) for column in customers.columns)
    hashed = replace(customers, columns=columns, transforms=(Hash("name"),))
    catalog = Catalog("shop", "1.0.0", (chain.fleet.catalog["orders"], hashed))
    fleet = replace(chain.fleet, catalog=catalog)
    for slug in SLUGS:
        with fleet.session(fleet.registry.get(slug)) as connection:
            connection.execute("ALTER TABLE customers DROP CONSTRAINT customers_name_check")
    report = load_many(fleet, plans(chain, fleet))
    assert report.failures == ()
    assert opened["customers.0.csv"] == len(SLUGS)
    assert opened["Orders.ndjson"] == 1
    names = {
        row
        for slug in SLUGS
        for row in replace(chain, tenant=fleet.registry.get(slug)).rows("customers", "name")
    }
    assert len(names) == len(SLUGS), "one name in the files, hashed by each tenant's own key"


def test_nothing_of_a_source_stays_on_disk(chain: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    seen: list[list[Path]] = []

    class Look(Silent):
        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            seen.append(list(folder.iterdir()))

    with PreparedFiles(folder) as prepared:
        load_many(chain.fleet, plans(chain), prepared=prepared, progress=Look())
    assert seen
    assert all(not files for files in seen), "not even while it is used, so not after a kill either"
    assert folder.stat().st_mode & 0o077 == 0


def test_a_small_pool_is_enough(chain: Shop) -> None:
    narrow = Fleet.open(replace(chain.fleet.settings, pool_size=2), catalog=chain.fleet.catalog)
    try:
        report = load_many(narrow, plans(chain, narrow, parallel_files=4), threads=8)
        assert report.failures == ()
    finally:
        narrow.close()


def test_an_interrupted_load_goes_on_from_the_spool(chain: Shop, opened: Counter[str]) -> None:
    class StopGlobex(Silent):
        left = 5

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            self.left -= 1
            if self.left == 0:
                raise InterruptedError

    acme, globex, *_ = plans(chain, batch_rows=50)
    with PreparedFiles() as prepared:
        load_many(chain.fleet, [acme], prepared=prepared)
        stopped = load_many(chain.fleet, [globex], prepared=prepared, progress=StopGlobex())
        assert len(stopped.failures) == 1
        report = load_many(chain.fleet, [globex], prepared=prepared)
    assert report.failures == ()
    assert set(opened.values()) == {1}
    done = outcomes(chain)
    assert done[0] == done[1]
