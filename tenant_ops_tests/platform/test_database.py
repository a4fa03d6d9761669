"""Connections: bounded, replaced when they die, and explained when there are none."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import IsolationLevel, sql

from tenant_ops.platform import database as module
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import OperationFailed


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """The session's server, over a pool of three."""
    database = Database(postgres_url, pool_size=3, application="test of the pool")
    yield database
    database.close()


def backend(connection: psycopg.Connection) -> int:
    return connection.info.backend_pid


def test_an_unreachable_server_gives_a_sentence_at_once() -> None:
    nowhere = Database("postgresql://user:hunter2@127.0.0.1:1/shop")
    started = monotonic()
    with pytest.raises(OperationFailed, match="does not answer") as failed, nowhere.transaction():
        pass
    assert monotonic() - started < 5
    assert str(failed.value).startswith("127.0.0.1/shop: ")
    assert "hunter2" not in str(failed.value) + repr(nowhere)


def test_a_wrong_database_gives_the_servers_reason(postgres_url: str) -> None:
    wrong = Database(postgres_url.replace("/tenant_ops?", "/no_such_database?"))
    with pytest.raises(OperationFailed, match='database "no_such_database" does not exist'), wrong.session():
        pass


def test_the_pool_never_exceeds_its_size(database: Database) -> None:
    def work(_: int) -> int:
        with database.transaction() as connection:
            row = connection.execute(
                "SELECT count(*), pg_sleep(0.02) FROM pg_stat_activity WHERE application_name = %s",
                ("test of the pool",),
            ).fetchone()
        assert row
        return row[0]

    with ThreadPoolExecutor(12) as threads:
        seen = list(threads.map(work, range(48)))
    assert 2 <= max(seen) <= 3


def test_waiting_in_vain_for_a_connection_gives_a_sentence(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_FOR_CONNECTION_S", 0.1)
    with (
        database.transaction(),
        database.transaction(),
        database.transaction(),
        pytest.raises(OperationFailed, match="no free connection"),
        database.transaction(),
    ):
        pass


def test_a_server_that_went_away_is_named_as_the_reason(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_FOR_CONNECTION_S", 0.3)
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        operator.execute("CREATE DATABASE short_lived")
        database = Database(postgres_url.replace("/tenant_ops?", "/short_lived?"))
        with database.transaction() as connection:
            connection.execute("SELECT 1")
        operator.execute("DROP DATABASE short_lived WITH (FORCE)")
        with pytest.raises(OperationFailed, match='"short_lived" does not exist'), database.transaction():
            pass
        database.close()


def test_a_killed_connection_is_replaced(database: Database) -> None:
    with database.transaction() as connection:
        killed = backend(connection)
    with database.session() as operator:
        operator.execute("SELECT pg_terminate_backend(%s)", (killed,))
        while operator.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (killed,)).fetchone():
            sleep(0.01)
    with database.transaction() as connection:
        assert backend(connection) != killed
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_killed_in_use_fails_that_transaction_only(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError), database.transaction() as connection:
        with database.session() as operator:
            operator.execute("SELECT pg_terminate_backend(%s)", (backend(connection),))
        connection.execute("SELECT pg_sleep(5)")
    with database.transaction() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_commits_at_its_end_and_rolls_back_on_an_error(database: Database) -> None:
    table = sql.Identifier("rows_of_test_database")
    with database.transaction() as connection:
        connection.execute(sql.SQL("CREATE TABLE {} (id int)").format(table))
    try:
        with pytest.raises(ZeroDivisionError), database.transaction() as connection:
            connection.execute(sql.SQL("INSERT INTO {} VALUES (1)").format(table))
            raise ZeroDivisionError
        with database.transaction() as connection:
            assert connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone() == (0,)
    finally:
        with database.transaction() as connection:
            connection.execute(sql.SQL("DROP TABLE {}").format(table))


def test_a_stricter_isolation_ends_with_its_transaction(database: Database) -> None:
    levels: list[tuple[int, str]] = []
    for isolation in (IsolationLevel.REPEATABLE_READ, None, IsolationLevel.SERIALIZABLE, None):
        with database.transaction(isolation=isolation) as connection:
            row = connection.execute("SHOW transaction_isolation").fetchone()
            assert row
            levels.append((backend(connection), row[0]))
    assert [level for _, level in levels] == [
        "repeatable read",
        "read committed",
        "serializable",
        "read committed",
    ]
    assert len({pid for pid, _ in levels}) == 1, "it was the same connection each time"


def test_a_closed_database_opens_again_on_use(database: Database) -> None:
    with database.transaction() as connection:
        first = backend(connection)
    database.close()
    with database.transaction() as connection:
        assert backend(connection) != first


def test_the_engine_reaches_the_same_database(database: Database) -> None:
    with database.engine().connect() as connection:
        assert connection.execute(sa.text("SELECT current_database()")).scalar() == "tenant_ops"
