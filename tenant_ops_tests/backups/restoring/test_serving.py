"""A tenant goes on serving while it is restored: nobody gets an error, no transaction is torn in two."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import BackupRecord, execute_restore, plan_restore, undo_restore
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.platform.retry import Patience
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_sql
from tenant_ops_tests.backups.journal.conftest import as_login

Take = Callable[..., BackupRecord]

BOTH = """
CREATE TABLE one (id uuid PRIMARY KEY, n int);
CREATE TABLE two (id uuid PRIMARY KEY REFERENCES one ON DELETE CASCADE, n int);
INSERT INTO one SELECT gen_random_uuid(), g FROM generate_series(1, 500) g;
INSERT INTO two SELECT id, n FROM one;
"""


@pytest.fixture
def serving(fleet: Fleet, tenant: Tenant) -> Tenant:
    run_sql(fleet, tenant, BOTH)
    return tenant


@contextmanager
def application(fleet: Fleet, tenant: Tenant) -> Iterator[list[int]]:
    """Four sessions of the application, prepared statements and all; what they have done so far."""
    stop = threading.Event()
    failures: list[BaseException] = []
    done = [0, 0, 0, 0]

    def write(number: int) -> None:
        try:
            with as_login(fleet, tenant) as connection:
                while not stop.is_set():
                    key = uuid4()
                    with connection.transaction():
                        connection.execute("INSERT INTO one VALUES (%s, 0)", (key,), prepare=True)
                        stop.wait(0.002)
                        connection.execute("INSERT INTO two VALUES (%s, 0)", (key,), prepare=True)
                    connection.execute("UPDATE one SET n = n + 1 WHERE n = 7", prepare=True)
                    done[number] += 1
        except BaseException as error:
            failures.append(error)

    def read(number: int) -> None:
        try:
            with as_login(fleet, tenant) as connection:
                while not stop.is_set():
                    query = "SELECT count(*) FROM one JOIN two USING (id) WHERE one.n > 0"
                    row = connection.execute(query, prepare=True).fetchone()
                    assert row is not None and row[0] >= 500, row
                    done[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(at,)) for at, work in enumerate((write, write, read, read))
    ]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def torn(fleet: Fleet, tenant: Tenant) -> int:
    """Rows of one table, in whatever schema of the tenant, whose other half lies elsewhere."""
    with fleet.control.transaction() as connection:
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (tenant.schema_name,)
        ).fetchall()
        found = 0
        for (schema,) in schemas:
            row = connection.execute(
                sql.SQL(
                    "SELECT count(*) FROM {} a FULL JOIN {} b USING (id) WHERE a.n IS NULL OR b.n IS NULL"
                ).format(sql.Identifier(schema, "one"), sql.Identifier(schema, "two"))
            ).fetchone()
            assert row is not None
            found += row[0]
    return found


def test_nobody_gets_an_error_while_a_tenant_is_restored_and_restored_back(
    fleet: Fleet, serving: Tenant, take: Take
) -> None:
    backup = take(serving)
    with application(fleet, serving) as done:
        for _ in range(2):
            execute_restore(fleet, plan_restore(fleet, backup, serving.slug))
            undo_restore(fleet, serving)
        execute_restore(fleet, plan_restore(fleet, backup, serving.slug))
        before = list(done)
        while any(now == then for now, then in zip(done, before, strict=True)):
            threading.Event().wait(0.01)
    assert min(done) > 0
    assert torn(fleet, serving) == 0


def test_nobody_gets_an_error_while_rows_are_merged(fleet: Fleet, serving: Tenant, take: Take) -> None:
    backup = take(serving)
    run_sql(
        fleet,
        serving,
        "DELETE FROM one WHERE n > 400;"
        "INSERT INTO one SELECT gen_random_uuid(), 501 FROM generate_series(1, 100)",
    )
    run_sql(fleet, serving, "INSERT INTO two SELECT id, n FROM one WHERE n = 501")
    with application(fleet, serving):
        execute_restore(
            fleet, plan_restore(fleet, backup, serving.slug, mode="merge", words=["create", "update"])
        )
    assert run_sql(fleet, serving, "SELECT count(*) FROM two WHERE n BETWEEN 401 AND 500") == [(100,)]
    assert torn_in(fleet, serving) == []


def torn_in(fleet: Fleet, tenant: Tenant) -> list[tuple]:
    return run_sql(
        fleet, tenant, "SELECT id FROM one FULL JOIN two USING (id) WHERE one.n IS NULL OR two.n IS NULL"
    )


def test_a_session_that_holds_a_table_is_waited_for_and_others_go_on_meanwhile(
    fleet: Fleet, serving: Tenant, take: Take
) -> None:
    backup = take(serving)
    holder = as_login(fleet, serving)
    holder.execute("BEGIN")
    holder.execute("UPDATE two SET n = n WHERE n = 1")
    letting_go = threading.Timer(1.5, holder.close)
    with application(fleet, serving):
        letting_go.start()
        execute_restore(fleet, plan_restore(fleet, backup, serving.slug))
    letting_go.join()
    assert torn(fleet, serving) == 0


def test_a_session_that_never_lets_go_fails_the_restore_and_nothing_else(
    fleet: Fleet, serving: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenant_ops.backups.restoring import swapping

    monkeypatch.setattr(swapping, "PATIENCE", Patience(attempts=2, first_s=0.01, total_s=1.0))
    backup = take(serving)
    with as_login(fleet, serving) as holder, holder.transaction():
        holder.execute("UPDATE two SET n = n WHERE n = 1")
        with pytest.raises(OperationFailed, match="held its tables"):
            execute_restore(fleet, plan_restore(fleet, backup, serving.slug))
    with psycopg.connect(fleet.control.url) as connection:
        query = "SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, %s)"
        assert connection.execute(query, (serving.schema_name,)).fetchone() == (1,)
