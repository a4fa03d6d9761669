"""What no transaction that is taken back can show: use counted by the server, sessions, and mending."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Finding, execute_validation, plan_validation
from tenant_ops.validation.levels.performance import activity


def found(fleet: Fleet, tenant: Tenant, rule: str) -> list[Finding]:
    report = execute_validation(fleet, plan_validation(fleet, tenant, types=["performance"]))
    return [one for one in report.findings if one.rule == f"performance.{rule}"]


def work(fleet: Fleet, tenant: Tenant, *statements: str) -> None:
    """Run statements as the owner, and let the server count them at once."""
    with fleet.session(tenant, "owner") as connection:
        for statement in statements:
            connection.execute(statement)  # pyright: ignore[reportArgumentType]
        connection.execute("SELECT pg_stat_force_next_flush()")


def big_table(rows: int) -> tuple[str, ...]:
    return (
        "CREATE TABLE notes (id integer PRIMARY KEY, note text)",
        f"INSERT INTO notes SELECT n, md5(n::text) FROM generate_series(1, {rows}) n",
        "ANALYZE notes",
    )


def test_an_index_nobody_uses_is_found_once_its_table_is_read_enough(fleet: Fleet, tenant: Tenant) -> None:
    work(fleet, tenant, *big_table(1_000), "CREATE INDEX notes_note ON notes (note)")
    with fleet.control.transaction() as connection:  # as big as a million rows would make it
        connection.execute(
            "UPDATE pg_catalog.pg_class SET relpages = 4000 WHERE oid = %s::regclass",
            (f"{tenant.schema_name}.notes_note",),
        )
    assert found(fleet, tenant, "unused_index") == []
    read = "DO $$BEGIN FOR n IN 1..1000 LOOP PERFORM FROM notes WHERE id = n; END LOOP; END$$"
    work(fleet, tenant, read)
    (one,) = found(fleet, tenant, "unused_index")
    assert one.subject == "notes.notes_note"
    work(fleet, tenant, "SET LOCAL enable_seqscan = off", "SELECT FROM notes WHERE note = 'x'")
    assert found(fleet, tenant, "unused_index") == []


def test_a_big_table_that_is_read_whole_all_the_time_is_found(fleet: Fleet, tenant: Tenant) -> None:
    work(fleet, tenant, *big_table(12_000))
    scans = "DO $$BEGIN FOR n IN 1..{} LOOP PERFORM count(note) FROM notes; END LOOP; END$$"
    work(fleet, tenant, scans.format(300))
    assert found(fleet, tenant, "sequential_scans") == [], "now and then is fine"
    work(fleet, tenant, scans.format(900))
    (one,) = found(fleet, tenant, "sequential_scans")
    assert one.subject == "notes"


@contextmanager
def login(fleet: Fleet, tenant: Tenant) -> Iterator[psycopg.Connection]:
    """A session of the tenant's login; `SET SESSION AUTHORIZATION` would not change who is connected."""
    url = psycopg.conninfo.make_conninfo(fleet.settings.database_url or "", user=tenant.role("app"))
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(tenant.schema_name)))
        connection.commit()
        yield connection


def test_forgotten_long_and_waiting_transactions_are_found(
    fleet: Fleet, new_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, globex = new_tenant("acme"), new_tenant("globex")
    for name in ("IDLE_S", "RUNNING_S", "WAITING_S"):
        monkeypatch.setattr(activity, name, 0)
    with login(fleet, acme) as forgotten, login(fleet, acme) as waiting:
        forgotten.execute("SELECT pg_advisory_lock(4711)")
        waits = threading.Thread(target=waiting.execute, args=["SELECT pg_advisory_lock(4711)"])
        waits.start()
        while not found(fleet, acme, "lock_wait"):
            waits.join(0.05)
            assert waits.is_alive()
        by_rule = {
            rule: [one.subject for one in found(fleet, acme, rule)]
            for rule in ("idle_in_transaction", "long_transaction", "lock_wait")
        }
        neighbours = [found(fleet, globex, rule) for rule in by_rule]
        forgotten.execute("SELECT pg_advisory_unlock(4711)")
        waits.join()
        assert by_rule == {
            "idle_in_transaction": [f"process {forgotten.info.backend_pid}"],
            "long_transaction": [f"process {waiting.info.backend_pid}"],
            "lock_wait": [f"process {waiting.info.backend_pid}"],
        }
        assert neighbours == [[], [], []], "a neighbour sees none of it"


def test_a_short_transaction_is_no_finding(fleet: Fleet, tenant: Tenant) -> None:
    with login(fleet, tenant) as connection:
        connection.execute("SELECT 1")
        for rule in ("idle_in_transaction", "long_transaction", "lock_wait"):
            assert found(fleet, tenant, rule) == []


def test_what_is_safe_is_mended(fleet: Fleet, tenant: Tenant) -> None:
    work(
        fleet,
        tenant,
        "ALTER TABLE artists ADD COLUMN number bigint GENERATED BY DEFAULT AS IDENTITY",
        "INSERT INTO artists (artist_id, name, followers, created_at, number) "
        "VALUES (gen_random_uuid(), 'Ada', 1, now(), 9)",
    )
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = %s::regclass",
            (f"{tenant.schema_name}.artists_name_idx",),
        )
    before = execute_validation(fleet, plan_validation(fleet, tenant, types=["performance"]))
    assert {one.rule for one in before.findings} == {
        "performance.invalid_index",
        "performance.sequence_behind",
    }
    after = execute_validation(fleet, plan_validation(fleet, tenant, types=["performance"], auto_fix=True))
    assert after.findings == ()
    assert {one.key for one in after.mended} == {one.key for one in before.findings}
    with fleet.session(tenant, "owner") as connection:
        row = connection.execute("SELECT nextval(pg_get_serial_sequence('artists', 'number'))").fetchone()
    assert row == (10,)
