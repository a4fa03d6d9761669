"""A load that is killed, or whose server is, goes on where it was and ends as if nothing had happened."""

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.loading import Reading, execute_load, ledger, merging, pieces, plan_load, stage, staging
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.progress import Silent
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
from tenant_ops_tests.loading.faults import HEADER, calm, ledger_of, outcome, stock
from tenant_ops_tests.loading.shop import SHOP, Shop

CHUNK = 100


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with three files of customers, some rows of them bad."""
    return stock(shop)


@pytest.fixture
def undisturbed(stocked: Shop) -> Any:
    """What another tenant has after the same load, to which nothing happened."""
    return outcome(calm(stocked))


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


def in_a_process_of_its_own(work: Callable[..., None], *arguments: Any) -> int | None:
    """The exit code of a process that does the work; one that has the libraries loaded is forked for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tenant_ops_tests.loading.shop"])
    process = context.Process(target=work, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


def kill_at(shop: Shop, module: str, function: str, call: int) -> None:
    arguments = (shop.fleet.settings, shop.folder, module, function, call)
    assert in_a_process_of_its_own(load_and_die, *arguments) == -signal.SIGKILL


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


class Interrupted(Exception):
    """What stops a load in these tests."""


class StopAfter(Silent):
    """Stops a load when it has been told of so many pieces."""

    def __init__(self, pieces_: int) -> None:
        self.left = pieces_

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
        self.left -= 1
        if self.left == 0:
            raise Interrupted


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each batch that is checked from now on."""
    rows: list[int] = []
    real = pieces.check

    def check(dataset: Any, batch: Any, *arguments: Any, **options: Any) -> Any:
        rows.append(batch.rows)
        return real(dataset, batch, *arguments, **options)

    monkeypatch.setattr(pieces, "check", check)
    return rows


def stage_until(shop: Shop, pieces_: int, **options: Any) -> None:
    """Stage the customers, and stop in the middle."""
    with pytest.raises(Interrupted):
        stage(shop.fleet, shop.tenant, shop.plan(**options), "customers", progress=StopAfter(pieces_))


def test_a_stage_goes_on_in_the_middle_of_a_file(stocked: Shop, checked: list[int], undisturbed: Any) -> None:
    checked.clear()
    stage_until(stocked, 16, batch_rows=CHUNK)  # 11 chunks of the first file, 4 of the second are committed
    first, second, third = ledger_of(stocked).files
    assert (first.complete, first.batches, first.read) == (True, 11, 1002)
    assert (second.complete, second.batches, second.read, second.batch_rows) == (False, 4, 400, CHUNK)
    assert (third.batches, third.complete) == (0, False)
    checked.clear()
    report = stocked.stage("customers", batch_rows=777)
    assert (report.state, report.read, report.quarantined) == ("staged", 3006, 3)
    assert checked == [*[100] * 6, 2, 777, 225], "the second file as it was begun, the third as asked"
    assert stocked.merge("customers").inserted == 3000
    stocked.load()
    assert outcome(stocked) == undisturbed


def test_a_file_begun_otherwise_than_the_ledger_says_is_staged_anew(stocked: Shop, undisturbed: Any) -> None:
    stage_until(stocked, 16, batch_rows=CHUNK)
    with stocked.fleet.session(stocked.tenant) as connection:
        connection.execute(
            f"UPDATE {stocked.tenant.stage_schema}.load "
            "SET files = jsonb_set(files, '{1,batches}', '3')".encode()
        )
    stocked.load()
    assert outcome(stocked) == undisturbed


def test_a_file_that_changed_since_it_was_begun_is_staged_anew(stocked: Shop) -> None:
    stage_until(stocked, 16, batch_rows=CHUNK)
    stocked.csv("customers.1.csv", [HEADER, (5001, "new@x.org", "new")])
    report = stocked.stage("customers")
    assert [file.read for file in report.files] == [1002, 1, 1002]
    assert stocked.merge("customers").inserted == 2001


def test_nothing_stays_of_a_file_that_changes_while_it_is_read(stocked: Shop) -> None:
    class Meanwhile(Silent):
        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            if task.endswith("customers.1.csv"):
                with (stocked.folder / "customers.1.csv").open("a") as file:
                    file.write("9999,,late\n")

    with pytest.raises(InputError, match=r"customers\.1\.csv: the file changed after the load was planned"):
        plan = stocked.plan(batch_rows=CHUNK)
        stage(stocked.fleet, stocked.tenant, plan, "customers", progress=Meanwhile())
    first, second, _ = ledger_of(stocked).files
    assert (first.complete, second.batches, second.read) == (True, 0, 0)
    assert {file for file, *_ in stocked.faults()} == {"customers.0.csv"}
    assert stocked.load().inserted == 3001


def test_a_load_another_process_went_on_with_is_left_to_it(stocked: Shop) -> None:
    class Overtaken(Silent):
        done = False

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            if task.endswith("customers.1.csv") and not self.done:
                self.done = True
                with stocked.fleet.session(stocked.tenant) as connection:
                    table = f"{stocked.tenant.stage_schema}.load"
                    other = "jsonb_set(files, '{1,batches}', '3')"
                    connection.execute(f"UPDATE {table} SET files = {other}".encode())

    with pytest.raises(OperationFailed, match="somebody else is loading it"):
        plan = stocked.plan(batch_rows=CHUNK)
        stage(stocked.fleet, stocked.tenant, plan, "customers", progress=Overtaken())


def test_files_that_come_or_go_meanwhile_leave_the_staged_ones(stocked: Shop, checked: list[int]) -> None:
    stage_until(stocked, 8, batch_rows=300)  # the first file, and 3 chunks of the second
    (stocked.folder / "customers.2.csv").unlink()
    stocked.csv("customers.3.csv", [HEADER, (7001, "z@x.org", "z")])
    checked.clear()
    report = stocked.stage("customers")
    assert [file.read for file in report.files] == [1002, 1002, 1]
    assert checked == [102, 1]


def test_a_database_that_was_read_in_part_is_read_again_and_a_whole_one_is_not(
    shop: Shop, checked: list[int]
) -> None:
    path = shop.folder / "shop.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE customers (id, name)")
        rows = [(number or "bad", "somebody") for number in range(250)]
        database.executemany("INSERT INTO customers VALUES (?, ?)", rows)
    options: dict[str, Any] = {
        "source": f"sqlite:///{path}",
        "reading": Reading(snapshot="this run"),
        "datasets": ["customers"],
        "batch_rows": CHUNK,
    }
    stage_until(shop, 3, **options)
    assert (ledger_of(shop).files[0].read, len(shop.faults())) == (200, 1)
    checked.clear()
    report = shop.stage("customers", **options)
    assert (report.read, checked) == (250, [100, 100, 50])
    assert len(shop.faults()) == 1
    checked.clear()
    assert (shop.stage("customers", **options).state, checked) == ("reused", [])
    options["reading"] = Reading(snapshot="another run")
    assert (shop.stage("customers", **options).state, sum(checked)) == ("staged", 250)
    assert shop.merge("customers", **options).inserted == 249


def killed_at_chunk(settings: Settings, folder: Path, chunks: int, after: bool) -> None:
    """Load, but be killed while a chunk is entered into the ledger, or just after."""
    real, calls = ledger.enter_chunk, iter(range(1, 1000))

    def fatal(*arguments: Any, **options: Any) -> Any:
        if (last := next(calls) == chunks) and not after:
            die()
        real(*arguments, **options)
        if last:
            die()

    ledger.enter_chunk = fatal
    fleet = Fleet.open(settings, catalog=SHOP)
    execute_load(fleet, plan_load(fleet, fleet.registry.get("acme"), source=folder, batch_rows=CHUNK))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_load_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    stocked: Shop, undisturbed: Any, seed: int
) -> None:
    chance, kills = random.Random(seed), 0
    while True:
        chunks, after = chance.randint(2, 9), chance.random() < 0.5
        arguments = (stocked.fleet.settings, stocked.folder, chunks, after)
        exit_code = in_a_process_of_its_own(killed_at_chunk, *arguments)
        if exit_code == 0:
            break
        assert exit_code == -signal.SIGKILL
        kills += 1
        assert kills < 30, "it gets further every time"
    assert kills >= 3
    assert outcome(stocked) == undisturbed


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
