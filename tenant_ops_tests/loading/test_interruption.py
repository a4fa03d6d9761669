"""A load that is killed, or whose server is, goes on where it was and ends as if nothing had happened."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tenant_ops.loading import execute_load, merging, pieces, plan_load, stage, staging
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.platform.progress import Silent
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
from tenant_ops_tests.loading.shop import SHOP, Shop

HEADER = ("id", "email", "name")


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with three files of customers, some rows of them bad."""
    for part in range(3):
        first = part * 1000
        rows = [(first + number, f"c{first + number}@x.org", f"name {number}") for number in range(1, 1001)]
        shop.csv(f"customers.{part}.csv", [HEADER, *rows, ("bad", "", "x"), (first + 1, "", "again")])
    return shop


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def load_and_die(settings: Settings, folder: Any, module: str, function: str, call: int) -> None:
    """Load, but be killed at the given call of a function the load makes."""
    holder = {"pieces": pieces, "staging": staging, "merging": merging}[module]
    real, calls = getattr(holder, function), iter(range(1, 100))

    def fatal(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            die()
        return real(*arguments, **options)

    setattr(holder, function, fatal)
    fleet = Fleet.open(settings, catalog=SHOP)
    execute_load(fleet, plan_load(fleet, fleet.registry.get("acme"), source=folder, batch_rows=300))


def kill_at(shop: Shop, module: str, function: str, call: int) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (shop.fleet.settings, shop.folder, module, function, call)
    process = context.Process(target=load_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def outcome(shop: Shop) -> tuple[Any, ...]:
    return shop.rows("customers", "id email name"), sorted(shop.faults()), shop.stages()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        ("pieces", "check", 1),  # nothing is staged yet
        ("pieces", "check", 7),  # in the middle of the second file
        ("staging", "findings", 1),  # everything is staged, nothing was reported
        ("merging", "mark_violations", 1),
        ("merging", "_merge", 1),  # bad rows are in quarantine, good ones not in the table
        ("merging", "drop_stage", 1),  # merged, not committed
        ("merging", "_record", 1),  # merged, not in the audit log
    ],
)
def test_a_killed_load_ends_as_an_undisturbed_one(
    stocked: Shop, module: str, function: str, call: int
) -> None:
    kill_at(stocked, module, function, call)
    assert len(stocked.rows("customers")) in {0, 3000}
    stocked.load()
    assert len(stocked.rows("customers")) == 3000
    faults = sorted(stocked.faults())
    assert len(faults) == 6
    assert stocked.stages() == []
    assert stocked.load().read == 0


@pytest.mark.slow
def test_staged_files_are_not_read_again_after_a_kill(stocked: Shop) -> None:
    kill_at(stocked, "pieces", "check", 10)
    with stocked.fleet.session(stocked.tenant) as connection:
        table = f"{stocked.tenant.stage_schema}.load"
        query = f"SELECT jsonb_path_query_array(files, '$[*] ? (@.complete == true).name') FROM {table}"
        assert connection.execute(query.encode()).fetchall() == [(["customers.0.csv", "customers.1.csv"],)]
    read: list[str] = []

    class Watcher(Silent):
        def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
            read.append(task)

    report = stage(stocked.fleet, stocked.tenant, stocked.plan(), "customers", progress=Watcher())
    assert read == ["customers customers.2.csv"]
    assert report.read == 3006


def test_a_stage_the_server_lost_in_a_crash_is_made_again(stocked: Shop) -> None:
    stocked.stage("customers")
    with stocked.fleet.session(stocked.tenant) as connection:
        # What a crash leaves of an unlogged table.
        connection.execute(f"TRUNCATE {stocked.tenant.stage_schema}.stage_customers".encode())
    with pytest.raises(OperationFailed, match="its stage is not complete"):
        stocked.merge("customers")
    assert stocked.load().inserted == 3000
    assert len(stocked.faults()) == 6


def test_a_stage_that_was_dropped_is_made_again(stocked: Shop) -> None:
    stocked.stage("customers")
    with stocked.fleet.session(stocked.tenant) as connection:
        connection.execute(f"DROP TABLE {stocked.tenant.stage_schema}.stage_customers".encode())
    assert stocked.load().inserted == 3000


@contextmanager
def backend_killed_when(shop: Shop, query: str) -> Iterator[None]:
    """Ends the first backend of this tenant's load that runs such a query."""
    done = threading.Event()

    def watch() -> None:
        with psycopg.connect(shop.fleet.control.url, autocommit=True) as connection:
            while not done.wait(0.001):
                killed = connection.execute(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
                      AND query LIKE %s
                    """,
                    (query,),
                ).fetchall()
                if killed:
                    return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize("query", ["COPY %stage_customers%", "INSERT INTO %customers%"])
def test_a_lost_connection_loses_nothing_and_says_so_in_a_sentence(shop: Shop, query: str) -> None:
    rows = [(number, f"c{number}@x.org", f"name {number}") for number in range(60_000)]
    shop.csv("customers.csv", [HEADER, *rows])
    with backend_killed_when(shop, query), pytest.raises(OperationFailed, match="Postgres did not go on"):
        shop.load(batch_rows=2_000)
    assert shop.rows("customers") == []
    assert shop.load().inserted == 60_000


def test_two_loads_of_one_tenant_follow_one_another(stocked: Shop) -> None:
    reports = run_together([stocked.load, stocked.load])
    assert sorted(report.inserted for report in reports) == [0, 3000]
    assert len(stocked.faults()) == 6


def run_together(works: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(works)

    def run(place: int) -> None:
        results[place] = works[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
