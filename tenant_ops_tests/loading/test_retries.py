"""A load whose connections, server or disk fail waits and goes on by itself, or says why it cannot."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_ops.loading import LoadReport, execute_load, merge
from tenant_ops.platform import embedded
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.platform.progress import Silent
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.loading.faults import (
    HEADER,
    Wire,
    calm,
    ledger_of,
    on_a_small_disk,
    outcome,
    stock,
    through_a_network,
)
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


@contextmanager
def backends_ended(shop: Shop, query: str, most: int, every_s: float = 0.0) -> Iterator[list[int]]:
    """Ends backends of this database that run such a query, and says how many."""
    over = threading.Event()
    ended: list[int] = []

    def watch() -> None:
        with psycopg.connect(shop.fleet.control.url, autocommit=True) as connection:
            while len(ended) < most and not over.wait(0.001):
                found = connection.execute(
                    """
                    SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                      AND query LIKE %s AND (state <> 'idle' OR query LIKE '%%advisory_lock%%')
                    ORDER BY random() LIMIT 1
                    """,
                    (query,),
                ).fetchall()
                ended.extend(pid for pid, _ in found)
                time.sleep(every_s if found else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield ended
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("query", ["COPY %stage_customers%", "INSERT INTO %customers%"])
def test_a_backend_that_is_ended_costs_a_retry_and_nothing_else(shop: Shop, query: str) -> None:
    rows = [(number, f"c{number}@x.org", f"name {number}") for number in range(60_000)]
    shop.csv("customers.csv", [HEADER, *rows])
    with backends_ended(shop, query, most=1) as ended:
        report = shop.load(batch_rows=2_000)
    assert (len(ended), report.retries) == (1, 1)
    assert (report.read, report.inserted) == (60_000, 60_000)
    assert report.datasets[0].stage.read == 60_000


@pytest.mark.slow
@pytest.mark.parametrize("parallel_files", [1, 3])
def test_a_load_whose_backends_are_ended_at_random_ends_by_itself(
    stocked: Shop, undisturbed: Any, parallel_files: int
) -> None:
    plan = stocked.plan(batch_rows=10, parallel_files=parallel_files)
    with backends_ended(stocked, "%", most=6, every_s=0.03) as ended:
        report = execute_load(stocked.fleet, plan)
    assert 1 <= report.retries <= len(ended)
    assert (report.read, report.inserted, report.quarantined) == (3006, 3000, 6)
    assert outcome(stocked) == undisturbed


def numbers(report: LoadReport) -> Any:
    """What a report counts, for comparison with another load of the same files."""
    return [replace(load.merge, tenant="", load_id=None, seconds=0.0, checks=()) for load in report.datasets]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_connection_lost_in_any_commit_counts_and_does_nothing_twice(stocked: Shop, lost: str) -> None:
    """The server has committed when the reply is lost, and has not when the request is."""
    stocked.csv("Orders.csv", [(1, 1, 5), (2, 1, 5), (9999, 1, 5)], ("Customer", "No.", "Total amount"))
    provision(stocked.fleet, "quiet")
    quiet = replace(stocked, tenant=stocked.fleet.registry.get("quiet"))
    expected = numbers(quiet.load(batch_rows=500))
    for number in range(1, 100):
        commits = iter(range(1, 100))

        def is_the_one(wire: Wire, data: bytes, commits: Iterator[int] = commits, at: int = number) -> bool:
            wire.marked = b"COMMIT" in data and next(commits) == at
            return wire.marked and lost == "request"

        with through_a_network(stocked) as (away, network):
            plan = away.plan(batch_rows=500)
            network.on_request = is_the_one
            network.on_reply = lambda wire, data: wire.marked and lost == "reply"
            report = execute_load(away.fleet, plan)
        assert numbers(report) == expected, f"the connection was lost in commit {number}"
        assert outcome(stocked) == outcome(quiet)
        assert report.retries == network.cuts
        if network.cuts == 0:
            assert number > 8
            return
        empty(stocked)


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_merge_by_itself_tells_of_a_commit_nobody_told_it_of(stocked: Shop, lost: str) -> None:
    expected = calm(stocked)
    stocked.stage("customers")
    with through_a_network(stocked) as (away, network):
        plan = away.plan(datasets=["customers"])

        def is_the_last(wire: Wire, data: bytes) -> bool:
            merged = b"state = 'merged'" in data
            wire.marked = wire.marked or merged
            return wire.marked and b"COMMIT" in data and network.cuts == 0 and lost == "request"

        network.on_request = is_the_last
        network.on_reply = lambda wire, data: (
            wire.marked and b"COMMIT" in data and network.cuts == 0 and lost == "reply"
        )
        report = merge(away.fleet, away.tenant, plan, "customers")
    assert network.cuts == 1
    assert (report.state, report.read, report.inserted, report.quarantined) == ("merged", 3006, 3000, 6)
    assert outcome(stocked) == outcome(expected)
    assert merge(stocked.fleet, stocked.tenant, plan, "customers").state == "unchanged"


def test_a_plan_is_made_again_too(stocked: Shop) -> None:
    expected = stocked.plan()
    with through_a_network(stocked) as (away, network):
        network.on_request = lambda wire, data: b"COMMIT" in data and network.cuts == 0
        assert away.plan() == expected
    assert network.cuts == 1


def empty(shop: Shop) -> None:
    """As if nothing had ever been loaded."""
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("TRUNCATE customers CASCADE")
        for table in ("load", "quarantine"):
            connection.execute(f"TRUNCATE {shop.tenant.stage_schema}.{table}".encode())


@pytest.mark.slow
def test_a_network_that_drops_connections_at_any_byte_only_delays_a_load(
    stocked: Shop, undisturbed: Any
) -> None:
    chance = random.Random(3)

    def drops(wire: Wire, data: bytes) -> bool:
        return network.cuts < 6 and chance.random() < 0.01

    with through_a_network(stocked) as (away, network):
        network.on_request = network.on_reply = drops
        report = away.load(batch_rows=20)
    assert network.cuts > 0
    assert (report.read, report.inserted, report.quarantined) == (3006, 3000, 6)
    assert outcome(stocked) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("death", [signal.SIGQUIT, signal.SIGKILL])
def test_a_load_outlives_its_server(stocked: Shop, undisturbed: Any, tmp_path: Path, death: int) -> None:
    """The stage is unlogged, so it is empty after a crash, and staged anew."""
    home = tmp_path / "server"
    url = embedded.postgres(home)
    fleet = Fleet.open(replace(stocked.fleet.settings, home=home, database_url=url), catalog=SHOP)
    provision(fleet, "acme")
    shop = replace(stocked, fleet=fleet, tenant=fleet.registry.get("acme"))

    class Crash(Silent):
        chunks = 0

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            self.chunks += 1
            if self.chunks in {5, 25}:
                pid = int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
                os.kill(pid, death)
                restart = threading.Timer(0.3, lambda: embedded.postgres(home))
                restart.start()

    try:
        report = execute_load(fleet, shop.plan(batch_rows=CHUNK), progress=Crash())
        assert report.retries >= 2
        assert (report.read, report.inserted, report.quarantined) == (3006, 3000, 6)
        assert outcome(shop) == undisturbed
    finally:
        fleet.close()
        embedded.stop(home)


@pytest.mark.slow
def test_a_full_disk_is_named_and_not_waited_for(stocked: Shop, undisturbed: Any) -> None:
    rows = [(number, "", "x" * 20) for number in range(10_000, 60_000)]
    stocked.csv("customers.3.csv", [HEADER, *rows])
    with on_a_small_disk(stocked, megabytes=2) as disk:
        with pytest.raises(OperationFailed, match="the server's disk is full") as caught:
            stocked.load(batch_rows=1_000)
        assert "goes on with the chunk" in caught.value.fix
        assert stocked.rows("customers") == []
        before = ledger_of(stocked)
        assert before.files[0].complete
        assert not before.complete
        disk.grow(64)
        report = stocked.load(batch_rows=1_000)
        assert (report.read, report.inserted, report.quarantined) == (53_006, 53_000, 6)
        assert str(report.datasets[0].merge.load_id) == str(before.id), "what was staged was not read again"
        assert tuple(sorted(map(str, stocked.faults()))) == undisturbed[1]
