"""A chain is put back to a moment between two ticks, or says how near to it it comes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups.journal import (
    Anchor,
    AsSeenBy,
    AtTime,
    BeforeTransaction,
    SegmentInfo,
    WithoutTransaction,
    reach,
)
from tenant_ops.backups.journal.until import sees
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.chains import Chain, segment
from tenant_ops_tests.backups.journal.conftest import as_login, run

Begin = Callable[[str], Chain]
SONGS = """
    CREATE TABLE song (id integer PRIMARY KEY, n integer);
    CREATE TABLE play (song integer, word text);
    CREATE TABLE mother (id integer, v integer);
    CREATE TABLE daughter () INHERITS (mother);
    INSERT INTO song SELECT g, 0 FROM generate_series(1, 5) g;
"""
NUMBERS = "SELECT array_agg(n ORDER BY id) FROM song"


@pytest.fixture
def timed(timed_fleet: Fleet, timed_tenant: Tenant) -> Chain:
    """A chain on a server that keeps the times of commits."""
    run(timed_fleet, timed_tenant, SONGS)
    return Chain.begin(timed_fleet, timed_tenant)


def commit(connection: psycopg.Connection, *statements: str) -> tuple[int, datetime]:
    """Run statements as one transaction; its id, and a time between its commit and the next."""
    connection.execute("BEGIN")
    for statement in statements:
        connection.execute(statement.encode())
    row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    connection.execute("COMMIT")
    time = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None and time is not None
    return row[0], time[0]


@pytest.mark.slow
def test_every_commit_is_a_moment_where_the_server_keeps_their_times(timed: Chain) -> None:
    with as_login(timed.fleet, timed.tenant) as login:
        done = []
        for number in range(1, 7):
            done.append(commit(login, f"UPDATE song SET n = {number} WHERE id % 2 = {number % 2}"))
            if number % 3 == 0:
                timed.tick()
    odd_and_even = ((1, 0), (1, 2), (3, 2), (3, 4), (5, 4), (5, 6))
    expected = [[odd, even, odd, even, odd] for odd, even in odd_and_even]
    for (_, time), numbers in zip(done, expected, strict=True):
        with timed.replayed(AtTime(time)) as replayed:
            assert replayed.rows(NUMBERS) == [(numbers,)]
            assert replayed.report.reach.exact
    for (xid, _), numbers in zip(done[1:], expected, strict=False):
        with timed.replayed(BeforeTransaction(xid)) as replayed:
            assert replayed.rows(NUMBERS) == [(numbers,)]
            assert xid in replayed.report.left_out


@pytest.mark.slow
def test_the_order_is_that_of_commits_not_of_statements(timed: Chain) -> None:
    with as_login(timed.fleet, timed.tenant) as early, as_login(timed.fleet, timed.tenant) as late:
        early.execute("BEGIN")
        early.execute("UPDATE song SET n = 1 WHERE id = 1")
        _, between = commit(late, "UPDATE song SET n = 2 WHERE id = 2")
        early.execute("COMMIT")
    timed.tick()
    with timed.replayed(AtTime(between)) as replayed:
        assert replayed.rows(NUMBERS) == [([0, 2, 0, 0, 0],)]


@pytest.mark.slow
def test_a_truncated_table_is_full_again_a_moment_before(timed: Chain) -> None:
    with as_login(timed.fleet, timed.tenant) as login:
        _, before = commit(
            login, "INSERT INTO play VALUES (1, 'x'), (1, 'x')", "UPDATE song SET n = 9 WHERE id = 1"
        )
    run(timed.fleet, timed.tenant, "TRUNCATE song, play; INSERT INTO song VALUES (7, 7)")
    timed.tick()
    with timed.replayed(AtTime(before)) as replayed:
        assert replayed.rows(NUMBERS) == [([9, 0, 0, 0, 0],)]
        assert replayed.rows("SELECT count(*) FROM play") == [(2,)]
    with timed.replayed() as replayed:
        assert replayed.rows(NUMBERS) == [([7],)]


@pytest.mark.slow
def test_tables_that_are_copied_whole_say_that_they_are_behind(timed: Chain) -> None:
    with as_login(timed.fleet, timed.tenant) as login:
        commit(login, "INSERT INTO daughter VALUES (1, 1)")
        timed.tick()
        _, before = commit(login, "UPDATE song SET n = 1")
        commit(login, "UPDATE mother SET v = 2")
        timed.tick()
    with timed.replayed(AtTime(before)) as replayed:
        assert replayed.rows("SELECT v FROM mother") == [(1,)]
        assert set(replayed.report.behind) == {"daughter", "mother"}
    with timed.replayed() as replayed:
        assert replayed.rows("SELECT v FROM mother") == [(2,)]
        assert replayed.report.behind == ()


def test_without_times_the_nearest_tick_is_taken_and_said(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    with as_login(fleet, tenant) as login:
        commit(login, "UPDATE song SET n = 1")
        first = chain.tick()
        commit(login, "UPDATE song SET n = 2")
        xid, time = commit(login, "UPDATE song SET n = 3")
        chain.tick()
    for until in (AtTime(time), BeforeTransaction(xid)):
        with chain.replayed(until) as replayed:
            assert replayed.rows(NUMBERS) == [([1] * 5,)]
            found = replayed.report.reach
        assert (found.segments, found.exact, found.reached) == (1, False, first.anchor.taken_at)


def test_a_snapshot_somebody_noted_is_a_moment_on_any_server(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    with as_login(fleet, tenant) as login, as_login(fleet, tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE song SET n = 8 WHERE id = 5")
        commit(login, "UPDATE song SET n = 1 WHERE id < 5", "INSERT INTO play VALUES (1, 'x')")
        noted = login.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert noted is not None
        commit(login, "UPDATE song SET n = 2 WHERE id < 5", "DELETE FROM play")
        slow.execute("COMMIT")
    chain.tick()
    with chain.replayed(AsSeenBy(noted[0])) as replayed:
        assert replayed.rows(NUMBERS) == [([1, 1, 1, 1, 0],)]
        assert replayed.rows("SELECT * FROM play") == [(1, "x")]
        assert len(replayed.report.left_out) == 2


def test_a_moment_leaves_out_what_came_later_and_nothing_that_only_resembles_it(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """The slow transaction wrote first and was committed last, with rows like those of the quick one."""
    chain = begin(
        """
        CREATE TABLE play (word text);
        CREATE TABLE part (id integer PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);
        CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20);
        INSERT INTO play VALUES ('old'); INSERT INTO part VALUES (1), (11);
        """
    )
    with as_login(fleet, tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("INSERT INTO play VALUES ('same'), ('old')")
        slow.execute("INSERT INTO part_low VALUES (2)")
        run(fleet, tenant, "INSERT INTO play VALUES ('same'); DELETE FROM play WHERE word = 'old'")
        run(fleet, tenant, "TRUNCATE part_high")
        with fleet.session(tenant) as connection:
            noted = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        slow.execute("COMMIT")
    chain.tick()
    assert noted is not None
    with chain.replayed(AsSeenBy(noted[0])) as replayed:
        assert replayed.rows("SELECT word FROM play") == [("same",)]
        assert replayed.rows("SELECT id FROM part") == [(1,)]
        assert len(replayed.report.left_out) == 1


@pytest.mark.slow
def test_times_that_contradict_the_order_of_writing_are_refused(timed: Chain) -> None:
    with as_login(timed.fleet, timed.tenant) as login:
        _, first = commit(login, "UPDATE song SET n = 1 WHERE id = 1")
        commit(login, "UPDATE song SET n = 2 WHERE id = 1")
    info = timed.tick()
    with timed.segments[0].open() as source:
        early, late = source.read().splitlines(keepends=True)
    times = [line.split(b"\t")[2] for line in (early, late)]
    turned = early.replace(times[0], times[1]) + late.replace(times[1], times[0])
    timed.segments = [segment(info, turned)]
    with pytest.raises(OperationFailed, match="clock was set back"), timed.replayed(AtTime(first)):
        pass
    with timed.replayed() as replayed:
        assert replayed.rows(NUMBERS) == [([2, 0, 0, 0, 0],)]


def test_leaving_out_one_transaction_leaves_out_what_built_on_it(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    with as_login(fleet, tenant) as login:
        bad, _ = commit(login, "UPDATE song SET n = -1 WHERE id < 3", "INSERT INTO play VALUES (1, 'bad')")
        built, _ = commit(login, "UPDATE song SET n = n * 10 WHERE id IN (2, 3)")
        chain.tick()
        later, _ = commit(login, "UPDATE song SET n = n + 5 WHERE id = 3")
        gone, _ = commit(login, "DELETE FROM play WHERE word = 'bad'")
        commit(login, "UPDATE song SET n = 7 WHERE id = 5", "INSERT INTO play VALUES (2, 'good')")
        chain.tick()
    with chain.replayed(WithoutTransaction(bad)) as replayed:
        assert replayed.rows(NUMBERS) == [([0, 0, 0, 0, 7],)]
        assert replayed.rows("SELECT word FROM play") == [("good",)]
        assert replayed.report.left_out == (bad, built, later, gone)


def test_leaving_out_a_truncate_leaves_out_what_was_written_after_it(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    with fleet.session(tenant) as connection:
        row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        connection.execute("TRUNCATE song")
    assert row is not None
    with as_login(fleet, tenant) as login:
        after, _ = commit(login, "INSERT INTO song VALUES (9, 9)")
        commit(login, "INSERT INTO play VALUES (1, 'kept')")
    chain.tick()
    with chain.replayed(WithoutTransaction(row[0])) as replayed:
        assert replayed.rows(NUMBERS) == [([0] * 5,)]
        assert replayed.rows("SELECT word FROM play") == [("kept",)]
        assert replayed.report.left_out == (row[0], after)


@pytest.mark.slow
def test_a_transaction_open_over_ticks_is_in_the_one_that_saw_it_end_and_told_until_then(
    timed: Chain,
) -> None:
    with as_login(timed.fleet, timed.tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE song SET n = 1 WHERE id = 1")
        slow.execute("SAVEPOINT here")
        slow.execute("UPDATE song SET n = 2 WHERE id = 2")
        info = timed.tick()
        assert info.entries == 0
        assert [(one.prepared, one.since is not None) for one in info.open] == [(None, True)]
        slow.execute("ROLLBACK TO here")
        slow.execute("UPDATE song SET n = 3 WHERE id = 3")
        timed.tick()
        slow.execute(f"PREPARE TRANSACTION '{timed.tenant.key}'".encode())
        (prepared,) = timed.tick().open
        assert prepared.prepared == timed.tenant.key
        assert prepared.xid == info.open[0].xid
        slow.execute(f"COMMIT PREPARED '{timed.tenant.key}'".encode())
    last = timed.tick()
    assert (last.entries, last.transactions, last.open) == (2, 1, ())
    with timed.replayed() as replayed:
        assert replayed.rows(NUMBERS) == [([1, 0, 3, 0, 0],)]


def test_transactions_of_other_tenants_are_not_told(
    begin: Begin, fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    chain = begin(SONGS)
    other = new_tenant(f"{tenant.slug}_other")
    with fleet.session(other) as connection:
        connection.execute("CREATE TABLE theirs (n integer)")
        assert chain.tick().open == ()


START = datetime(2026, 11, 20, 14, tzinfo=UTC)


def anchor(snapshot: str, minute: int) -> Anchor:
    return Anchor(snapshot, (START + timedelta(minutes=minute)).isoformat(), "1", "1", "f", "i")


def info(number: int, snapshots: list[str], *, times: bool) -> SegmentInfo:
    end = anchor(snapshots[number + 1], number + 1)
    return SegmentInfo(snapshots[number], end, 1, 1, 1, times, (), (), (), (), ())


SNAPSHOTS = ["10:10:", "10:14:10,12", "12:20:12", "20:20:"]


def at(minutes: float) -> AtTime:
    return AtTime(START + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("until", "with_times", "without"),
    [
        (at(0), (1, True), (0, True)),
        (at(0.5), (1, True), (0, False)),
        (at(1), (2, True), (1, True)),
        (at(2.9), (3, True), (2, False)),
        (at(3), (3, True), (3, True)),
        (at(9), (3, False), (3, False)),
        (BeforeTransaction(11), (1, True), (0, False)),
        (BeforeTransaction(10), (2, True), (1, False)),
        (BeforeTransaction(12), (3, True), (2, False)),
        (WithoutTransaction(11), (3, True), (3, True)),
        (AsSeenBy("10:10:"), (0, True), (0, True)),
        (AsSeenBy("10:12:10"), (1, True), (1, True)),
        (AsSeenBy("12:16:12,15"), (2, True), (2, True)),
        (AsSeenBy("20:25:20,21,22,23,24"), (3, True), (3, True)),
        (AsSeenBy("20:25:21"), (3, False), (3, False)),
    ],
)
def test_how_near_a_chain_comes(until, with_times: tuple[int, bool], without: tuple[int, bool]) -> None:
    for times, expected in ((True, with_times), (False, without)):
        segments = [info(number, SNAPSHOTS, times=times) for number in range(3)]
        found = reach(anchor(SNAPSHOTS[0], 0), segments, until)
        assert (found.segments, found.exact) == expected


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (at(-1), "before the base"),
        (AtTime(datetime(2026, 11, 20)), "no time zone"),
        (BeforeTransaction(9), "the base already holds transaction 9"),
        (WithoutTransaction(20), "ends before transaction 20 does"),
        (AsSeenBy("9:9:"), "before the base"),
        (AsSeenBy("yesterday"), "'yesterday' is no snapshot"),
    ],
)
def test_targets_a_chain_does_not_hold_are_refused(until, said: str) -> None:
    segments = [info(number, SNAPSHOTS, times=True) for number in range(3)]
    with pytest.raises(InputError, match=said):
        reach(anchor(SNAPSHOTS[0], 0), segments, until)


def test_a_transaction_that_wrote_nothing_here_is_no_moment(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS)
    with as_login(fleet, tenant) as login:
        xid, _ = commit(login, "SELECT 1")
        commit(login, "UPDATE song SET n = 1")
    timed_info = replace(chain.tick(), commit_times=True)
    with chain.segments[0].open() as source:
        chain.segments = [segment(timed_info, source.read())]
    with (
        pytest.raises(InputError, match=f"transaction {xid} wrote nothing"),
        chain.replayed(BeforeTransaction(xid)),
    ):
        pass


@given(
    end=st.integers(1, 30),
    running=st.frozensets(st.integers(1, 29)),
    xid=st.integers(1, 40),
)
def test_what_a_snapshot_sees(end: int, running: frozenset[int], xid: int) -> None:
    listed = sorted(one for one in running if one < end)
    snapshot = f"{listed[0] if listed else end}:{end}:{','.join(map(str, listed))}"
    assert sees(snapshot, xid) == (xid < end and xid not in running)
