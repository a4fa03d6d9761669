"""Errors that pass by themselves are told from those that stay, and only the former are tried again."""

import socket
import threading
from collections.abc import Callable
from itertools import pairwise

import psycopg
import psycopg_pool
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError, OperationFailed, TenantBusy
from tenant_ops.platform.retry import Patience, is_transient, retried, retrying


def error_of(work: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (errors.SerializationFailure(), True),
        (errors.DeadlockDetected(), True),
        (errors.TooManyConnections(), True),
        (errors.AdminShutdown(), True),
        (errors.CrashShutdown(), True),
        (errors.CannotConnectNow(), True),
        (errors.ConnectionFailure(), True),
        (errors.LockNotAvailable(), True),
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (psycopg_pool.PoolTimeout("couldn't get a connection after 60.00 sec"), True),
        (errors.DiskFull(), False),
        (errors.OutOfMemory(), False),
        (errors.QueryCanceled(), False),
        (errors.InvalidPassword(), False),
        (errors.UndefinedTable(), False),
        (errors.UniqueViolation(), False),
        (errors.InvalidTextRepresentation(), False),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), False),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), False),
        (ValueError("of no database"), False),
    ],
)
def test_the_sqlstate_says_whether_an_error_passes(error: Exception, passes: bool) -> None:
    assert is_transient(error) is passes


def chained(*links: Exception) -> Exception:
    """The last of these errors, raised because of the ones before it."""
    for earlier, later in pairwise(links):
        later.__cause__ = earlier
    return links[-1]


def test_a_sentence_is_judged_by_the_error_behind_it() -> None:
    assert is_transient(chained(errors.AdminShutdown(), OperationFailed("Postgres did not go on.")))
    assert not is_transient(chained(errors.DiskFull(), OperationFailed("the disk is full.")))
    assert not is_transient(OperationFailed("for no reason"))


def test_the_error_nearest_to_the_end_decides() -> None:
    assert not is_transient(chained(errors.AdminShutdown(), errors.UndefinedTable()))
    assert is_transient(chained(errors.UndefinedTable(), errors.AdminShutdown()))
    assert is_transient(chained(errors.DeadlockDetected(), errors.InFailedSqlTransaction()))


def test_bad_input_and_a_busy_tenant_stay_whatever_led_to_them() -> None:
    assert not is_transient(chained(errors.AdminShutdown(), InputError("the file is empty.")))
    assert not is_transient(chained(errors.LockNotAvailable(), TenantBusy("another holds it.")))


def test_an_error_that_was_dealt_with_does_not_count() -> None:
    def raise_anew() -> None:
        try:
            raise errors.AdminShutdown
        except psycopg.Error:
            raise OperationFailed("something else.") from None

    assert not is_transient(error_of(raise_anew))


def test_a_backend_that_was_ended_is_a_lost_connection(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        connection = psycopg.connect(postgres_url, autocommit=True)
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        assert is_transient(error_of(lambda: connection.execute("SELECT 1")))
        assert is_transient(error_of(lambda: connection.execute("SELECT 1"))), "and it stays lost"


def test_a_server_that_is_not_there_may_come_back() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = Database(f"postgresql://postgres@127.0.0.1:{port}/x")

    def use() -> None:
        with database.transaction():
            pass

    assert is_transient(error_of(use))


def test_an_unknown_user_or_database_stays_unknown(postgres_url: str) -> None:
    parts = conninfo_to_dict(postgres_url)
    for change in ({"user": "nobody at all"}, {"dbname": "nowhere"}):
        url = make_conninfo("", **{**parts, **change})
        assert not is_transient(error_of(lambda url=url: psycopg.connect(url)))


class Flaky:
    """Work that fails with each of these errors in turn, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[int] = []

    def __call__(self, retries: int) -> str:
        self.calls.append(retries)
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def test_work_is_told_how_often_it_was_tried_before() -> None:
    work = Flaky(errors.AdminShutdown(), errors.DeadlockDetected())
    assert retrying(work, "load", sleep=lambda _: None) == "done"
    assert work.calls == [0, 1, 2]


def test_an_error_that_stays_is_raised_at_once() -> None:
    work = Flaky(errors.DiskFull())
    with pytest.raises(errors.DiskFull):
        retrying(work, "load", sleep=lambda _: pytest.fail("waited"))
    assert work.calls == [0]


def test_the_last_error_is_raised_when_patience_ends() -> None:
    last = errors.DeadlockDetected("the last")
    work = Flaky(errors.AdminShutdown(), errors.AdminShutdown(), last)
    with pytest.raises(errors.DeadlockDetected, match="the last"):
        retrying(work, "load", patience=Patience(attempts=3), sleep=lambda _: None)


def test_waits_are_drawn_below_bounds_that_double_up_to_the_longest() -> None:
    bounds: list[tuple[float, float]] = []
    slept: list[float] = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return high / 4

    work = Flaky(*(errors.AdminShutdown() for _ in range(5)))
    patience = Patience(first_s=0.2, longest_s=1.0)
    retrying(work, "load", patience=patience, sleep=slept.append, random=draw)
    assert bounds == [(0.0, 0.2), (0.0, 0.4), (0.0, 0.8), (0.0, 1.0), (0.0, 1.0)]
    assert slept == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_no_attempt_begins_after_the_time_is_over() -> None:
    work = Flaky(*(errors.AdminShutdown() for _ in range(5)))
    patience = Patience(first_s=100, longest_s=100, total_s=50)
    with pytest.raises(errors.AdminShutdown):
        retrying(work, "load", patience=patience, sleep=lambda _: None, random=lambda _, high: high)
    assert work.calls == [0]


def test_a_tenant_held_by_a_lost_connection_is_waited_for() -> None:
    busy = TenantBusy("another holds it.")
    assert retrying(Flaky(errors.AdminShutdown(), busy), "load", sleep=lambda _: None) == "done"
    with pytest.raises(TenantBusy):
        retrying(Flaky(busy), "load", sleep=lambda _: pytest.fail("waited"))


def test_only_the_outermost_work_is_repeated() -> None:
    inner = Flaky(errors.AdminShutdown())
    outer: list[int] = []

    def whole(retries: int) -> str:
        outer.append(retries)
        return retrying(inner, "stage", sleep=lambda _: pytest.fail("waited inside"))

    assert retrying(whole, "load", sleep=lambda _: None) == "done"
    assert (outer, inner.calls) == ([0, 1], [0, 0])


def test_threads_retry_each_for_itself() -> None:
    began = threading.Barrier(2)

    def attempt(retries: int) -> str:
        if retries == 0:
            began.wait(10)
            raise errors.AdminShutdown
        return "done"

    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(retrying(attempt, "load", sleep=lambda _: None)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["done", "done"]


def test_a_decorated_function_is_repeated_and_keeps_its_name() -> None:
    failures = [errors.AdminShutdown()]

    @retried("merge")
    def merge(dataset: str, *, force: bool = False) -> tuple[str, bool]:
        """Merges."""
        if failures:
            raise failures.pop()
        return dataset, force

    assert merge("users", force=True) == ("users", True)
    assert (merge.__name__, merge.__doc__) == ("merge", "Merges.")


def test_each_retry_is_logged_without_anybodys_data(caplog: pytest.LogCaptureFixture) -> None:
    work = Flaky(errors.AdminShutdown("terminated while reading ada@example.org"))
    retrying(work, "load of acme", sleep=lambda _: None)
    (record,) = caplog.records
    assert "trying again" in record.getMessage()
    assert "load of acme" in record.getMessage()
    assert "ada@example.org" not in record.getMessage()
