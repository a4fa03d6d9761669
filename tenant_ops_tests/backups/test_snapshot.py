"""A backup is one moment: what other sessions write meanwhile is in it whole or not at all."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import BackupRecord, execute_restore, plan_backup, plan_restore
from tenant_ops.backups.content import copy_out
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant

Take = Callable[..., BackupRecord]


def test_concurrent_writers_never_show_half_a_transaction(fleet: Fleet, tenant: Tenant, take: Take) -> None:
    """Transactions move rows between tables, one of them by TRUNCATE: there are always 1,000."""
    with fleet.session(tenant) as connection:
        connection.execute(
            "CREATE TABLE a (n int, PRIMARY KEY (n)); CREATE TABLE b (n int); CREATE TABLE c (n int)"
        )
        connection.execute("INSERT INTO a SELECT generate_series(1, 1000)")
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(job: Callable[[psycopg.Connection], None]) -> None:
        try:
            while not stop.is_set():
                with fleet.session(tenant, "owner") as connection:
                    job(connection)
        except BaseException as error:
            failures.append(error)

    def move(connection: psycopg.Connection) -> None:
        connection.execute(
            "WITH moved AS (DELETE FROM a WHERE n IN (SELECT n FROM a ORDER BY random() LIMIT 20 FOR UPDATE "
            "SKIP LOCKED) RETURNING n) INSERT INTO b SELECT n FROM moved"
        )

    def truncate(connection: psycopg.Connection) -> None:
        connection.execute("LOCK TABLE b, c")
        connection.execute("INSERT INTO c SELECT n FROM b")
        connection.execute("TRUNCATE b")
        connection.execute("INSERT INTO a SELECT n FROM c ON CONFLICT DO NOTHING")
        connection.execute("DELETE FROM c")

    writers = [threading.Thread(target=work, args=(job,)) for job in (move, move, truncate)]
    for writer in writers:
        writer.start()
    try:
        backups = [take(tenant) for _ in range(6)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert failures == []
    extra = {backup.rows - 1000 for backup in backups}
    assert extra == {0}


def test_rows_a_policy_would_hide_are_in_the_backup(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    with fleet.session(small_tenant) as connection:
        connection.execute("ALTER TABLE plays ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY few ON plays USING (id < 10)")
    assert take(small_tenant).rows == 100


def test_forced_row_security_is_read_past_or_refused_never_obeyed(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fleet.session(small_tenant) as connection:
        connection.execute("ALTER TABLE plays FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY few ON plays USING (id < 10)")
    assert take(small_tenant).rows == 100  # the tests connect as a superuser
    monkeypatch.setattr("tenant_ops.backups.snapshot._is_superuser", lambda _: False)
    with pytest.raises(OperationFailed, match="row security is forced on these tables"):
        plan_backup(fleet, small_tenant)


def test_a_table_the_owner_may_not_read_is_an_error_not_a_gap(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(
            sql.SQL("CREATE TABLE {} (n int)").format(
                sql.Identifier(small_tenant.schema_name, "foreign_owned")
            )
        )
    with pytest.raises(OperationFailed, match="permission denied"):
        take(small_tenant)


def test_a_table_locked_by_a_migration_is_waited_for_and_then_named(
    fleet: Fleet, small_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant_ops.backups.snapshot.LOCK_WAIT_S", 0.2)
    with fleet.session(small_tenant) as migration:
        migration.execute("LOCK TABLE plays IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationFailed, match="locked by another session"):
            plan_backup(fleet, small_tenant)


def test_a_backup_is_in_no_deadlock_with_a_transaction_that_truncates_one_table_after_another(
    fleet: Fleet, tenant: Tenant
) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE first (n int); CREATE TABLE second (n int)")
    found: list[str] = []

    def look() -> None:
        with hold_snapshot(fleet, tenant) as held:
            found.append(held.id)

    backup = threading.Thread(target=look)
    with fleet.session(tenant) as connection:
        connection.execute("TRUNCATE second")
        backup.start()
        backup.join(0.5)  # long enough to hold the first and wait for the second, if it did that
        connection.execute("SET LOCAL lock_timeout = '5s'")
        connection.execute("TRUNCATE first")
    backup.join()
    assert len(found) == 1


def test_tables_made_between_the_look_and_the_lock_are_seen(
    fleet: Fleet, small_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenant_ops.backups import snapshot

    look = snapshot._tables
    made = iter(("late_one", "late_two"))

    def look_then_change(connection: psycopg.Connection, tenant: Tenant) -> dict[str, bool]:
        found = look(connection, tenant)
        if name := next(made, None):
            with fleet.session(tenant) as other:
                other.execute(sql.SQL("CREATE TABLE {} (n int)").format(sql.Identifier(name)))
                other.execute("DROP TABLE IF EXISTS late_one") if name == "late_two" else None
        return found

    monkeypatch.setattr(snapshot, "_tables", look_then_change)
    with hold_snapshot(fleet, small_tenant) as held:
        names = {table.name for table in held.definition.tables}
    assert names >= {"plays", "late_two"}
    assert "late_one" not in names


def test_a_tenant_without_a_schema_is_named(fleet: Fleet, small_tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(small_tenant.schema_name)))
    with pytest.raises(InputError, match="schema does not exist"):
        plan_backup(fleet, small_tenant)


def test_a_backup_reads_only_its_own_tenant(
    fleet: Fleet, small_tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    neighbour = new_tenant(f"{small_tenant.slug}_next")
    with hold_snapshot(fleet, small_tenant) as held, pytest.raises(psycopg.errors.InsufficientPrivilege):
        copy_out(held.connection, sql.Identifier(neighbour.schema_name, "users"), ())


def test_objects_made_by_one_tenant_cannot_capture_the_queries_that_read_it(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    """Functions and operators named like the catalog's would run as the operator if a path led to them."""
    with fleet.session(small_tenant) as connection:
        connection.execute(
            """
            CREATE FUNCTION format_type(oid, integer) RETURNS text LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''captured''; END';
            CREATE FUNCTION captured(oid, oid) RETURNS boolean LANGUAGE plpgsql
                AS 'BEGIN RAISE EXCEPTION ''captured''; END';
            CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = captured);
            CREATE TABLE pg_class (oid oid);
            """
        )
    backup = take(small_tenant)
    plan = plan_restore(fleet, backup, f"{small_tenant.slug}_copy")
    assert execute_restore(fleet, plan).equal
