"""What is backed up comes back, over its tenant, over another or as a new one; a restore can be undone."""

import subprocess
from collections.abc import Callable

import pytest
from psycopg import sql

from tenant_ops.backups import (
    BackupRecord,
    compare,
    discard_replaced,
    execute_restore,
    list_backups,
    plan_restore,
    undo_restore,
    verify_backup,
)
from tenant_ops.platform.embedded import programs
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, State, Tenant, offboard, plan_offboard
from tenant_ops_tests.backups.conftest import songs

Take = Callable[..., BackupRecord]


def test_a_schema_of_everything_comes_back_as_another_tenant(
    fleet: Fleet, full_tenant: Tenant, take: Take
) -> None:
    backup = take(full_tenant)
    report = execute_restore(fleet, plan_restore(fleet, backup, f"{full_tenant.slug}_copy"))
    copy = fleet.registry.get(f"{full_tenant.slug}_copy")
    compared = compare(fleet, full_tenant, copy)
    assert compared.equal, [table for table in compared.tables if not table.equal]
    assert compared.rows == backup.rows > 500
    assert report.created
    assert report.skipped == ()
    assert dump(fleet, copy) == dump(fleet, full_tenant)
    assert copy.version == full_tenant.version
    assert (fleet.files(copy) / "notes.txt").stat().st_mode & 0o777 == 0o640
    assert (fleet.files(copy) / "empty").is_dir()


def test_restoring_over_a_tenant_replaces_content_and_keeps_the_old(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    with fleet.session(small_tenant) as connection:
        connection.execute("DELETE FROM plays WHERE id > 10")
        connection.execute("CREATE TABLE later (id int)")
    (fleet.files(small_tenant) / "one.txt").unlink()
    report = execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    assert songs(fleet, small_tenant) == 100
    assert tables(fleet, small_tenant) >= {"plays"}
    assert "later" not in tables(fleet, small_tenant)
    assert (fleet.files(small_tenant) / "one.txt").read_text() == "one"
    assert report.previous_schema is not None
    safety = next(record for record in list_backups(fleet, small_tenant) if record.id == report.safety_backup)
    assert safety.reason == f"before restoring {backup.id}"


def test_a_restore_is_taken_back_by_renaming_and_that_again(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    with fleet.session(small_tenant) as connection:
        connection.execute("DELETE FROM plays WHERE id > 10")
        connection.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS 'mine'").format(sql.Identifier(small_tenant.schema_name))
        )
    (fleet.files(small_tenant) / "one.txt").write_text("changed")
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    report = undo_restore(fleet, small_tenant)
    assert report.files_swapped
    assert songs(fleet, small_tenant) == 10
    assert schema_comment(fleet, small_tenant) == "mine"
    assert (fleet.files(small_tenant) / "one.txt").read_text() == "changed"
    undo_restore(fleet, small_tenant)
    assert songs(fleet, small_tenant) == 100
    assert schema_comment(fleet, small_tenant) is None
    assert len(discard_replaced(fleet, small_tenant, keep=0)) == 1
    with pytest.raises(InputError, match="no restore"):
        undo_restore(fleet, small_tenant)
    assert [path.name for path in fleet.files(small_tenant).parent.iterdir()] == ["files"]


def test_a_backup_of_a_tenant_that_is_gone_comes_back_as_a_new_one(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    offboard(fleet, plan_offboard(fleet, small_tenant.slug), safety_copy=lambda _: backup.id)
    report = execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    reborn = fleet.registry.get(small_tenant.slug)
    assert report.created
    assert reborn.id != small_tenant.id
    assert songs(fleet, reborn) == 100


def test_the_plan_says_when_another_tenants_content_would_be_put_in(
    fleet: Fleet, small_tenant: Tenant, new_tenant: Callable[..., Tenant], take: Take
) -> None:
    other = new_tenant(f"{small_tenant.slug}_other")
    plan = plan_restore(fleet, take(small_tenant), other.slug)
    assert plan.mode == "replace"
    assert any("another tenant" in warning for warning in plan.warnings)
    execute_restore(fleet, plan)
    assert songs(fleet, other) == songs(fleet, small_tenant) == 100


@pytest.mark.parametrize(("mode", "target"), [("new", "itself"), ("replace", "nobody"), ("merge", "nobody")])
def test_a_mode_that_does_not_fit_the_target_is_refused(
    fleet: Fleet, small_tenant: Tenant, take: Take, mode: str, target: str
) -> None:
    with pytest.raises(InputError):
        plan_restore(fleet, take(small_tenant), target.replace("itself", small_tenant.slug), mode=mode)


def test_inserts_work_after_a_restore_even_past_rows_with_given_ids(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    with fleet.session(small_tenant) as connection:
        connection.execute("INSERT INTO plays VALUES (5000, 'by hand')")
    execute_restore(fleet, plan_restore(fleet, take(small_tenant), f"{small_tenant.slug}_copy"))
    with fleet.session(fleet.registry.get(f"{small_tenant.slug}_copy")) as connection:
        row = connection.execute("INSERT INTO plays (song) VALUES ('next') RETURNING id").fetchone()
    assert row == (5001,)


def test_the_restored_tenants_roles_have_the_rights_they_had(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    execute_restore(fleet, plan_restore(fleet, take(small_tenant), f"{small_tenant.slug}_copy"))
    copy = fleet.registry.get(f"{small_tenant.slug}_copy")
    with fleet.session(copy, "viewer") as connection:
        assert connection.execute("SELECT count(*) FROM plays").fetchone() == (100,)
    with fleet.session(copy, "editor") as connection:
        connection.execute("INSERT INTO plays (song) VALUES ('x')")
    with fleet.session(copy) as connection:
        connection.execute("CREATE TABLE later (id int)")
    with fleet.session(copy, "viewer") as connection:
        connection.execute("SELECT * FROM later")


def test_functions_that_name_their_schema_follow_to_the_new_tenant(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    schema = small_tenant.schema_name
    with fleet.session(small_tenant) as connection:
        connection.execute(
            f"""
            CREATE FUNCTION counted() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT
                AS 'BEGIN RETURN (SELECT count(*) FROM {schema}.plays); END';
            CREATE VIEW named AS SELECT '{schema}.plays'::text AS text, '{schema}.plays'::regclass AS class;
            """.encode()  # type: ignore[arg-type]
        )
    backup = take(small_tenant)
    plan = plan_restore(fleet, backup, f"{small_tenant.slug}_copy")
    assert any("counted() names its schema" in warning for warning in plan.warnings)
    execute_restore(fleet, plan)
    copy = fleet.registry.get(f"{small_tenant.slug}_copy")
    with fleet.session(copy) as connection:
        connection.execute("DELETE FROM plays WHERE id > 7")
        assert connection.execute("SELECT counted()").fetchone() == (7,)
        row = connection.execute("SELECT text, class = 'plays'::regclass FROM named").fetchone()
    assert row == (f"{copy.schema_name}.plays", True)


def test_a_load_into_the_replaced_rows_is_forgotten(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    """Else loading the same file again would be skipped as done, though its rows are gone."""
    ledger = sql.Identifier(small_tenant.stage_schema, "load")
    insert = sql.SQL(
        "INSERT INTO {} (id, dataset, definition, columns, files, state, started_at, finished_at) "
        "VALUES (gen_random_uuid(), %s, '', '{{}}', '[]', 'merged', now(), clock_timestamp())"
    ).format(ledger)
    with fleet.session(small_tenant) as connection:
        connection.execute(insert, ("before",))
    backup = take(small_tenant)
    with fleet.session(small_tenant) as connection:
        connection.execute(insert, ("after",))
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    with fleet.session(small_tenant) as connection:
        assert connection.execute(sql.SQL("SELECT dataset FROM {}").format(ledger)).fetchall() == [
            ("before",)
        ]


def test_a_suspended_tenant_can_be_backed_up(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    with fleet.control.transaction() as connection:
        fleet.registry.move(connection, small_tenant, State.SUSPENDED)
    assert verify_backup(fleet, take(fleet.registry.get(small_tenant.slug))).sound


def test_comparing_finds_a_changed_row_a_missing_table_and_a_changed_file(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    execute_restore(fleet, plan_restore(fleet, take(small_tenant), f"{small_tenant.slug}_copy"))
    copy = fleet.registry.get(f"{small_tenant.slug}_copy")
    with fleet.session(copy) as connection:
        connection.execute("UPDATE plays SET song = 'song 2' WHERE id = 1")
        connection.execute("CREATE TABLE extra (id int)")
    compared = compare(fleet, small_tenant, copy)
    assert {table.table for table in compared.tables if not table.equal} == {"plays", "extra"}
    assert compared.files_equal
    (fleet.files(copy) / "one.txt").write_text("two")
    assert not compare(fleet, small_tenant, copy).files_equal


def test_comparing_does_not_mind_the_order_of_rows_and_columns(
    fleet: Fleet, small_tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant(f"{small_tenant.slug}_other")
    with fleet.session(other) as connection:
        connection.execute("CREATE TABLE plays (song text, id bigint PRIMARY KEY)")
        connection.execute("INSERT INTO plays SELECT 'song ' || g, g FROM generate_series(100, 1, -1) g")
    plays = next(table for table in compare(fleet, small_tenant, other).tables if table.table == "plays")
    assert plays.equal


def dump(fleet: Fleet, tenant: Tenant) -> list[str]:
    """What pg_dump says of the schema, without the tenant's own names, in an order that does not matter."""
    result = subprocess.run(
        [str(programs() / "pg_dump"), "--schema-only", "--schema", tenant.schema_name, fleet.control.url],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.replace(tenant.key, "key").splitlines()
    # The token of \restrict differs in every dump; grants come in the order they were given.
    return sorted(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


def tables(fleet: Fleet, tenant: Tenant) -> set[str]:
    with fleet.session(tenant) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (tenant.schema_name,)
        )
        return {row[0] for row in rows}


def schema_comment(fleet: Fleet, tenant: Tenant) -> str | None:
    with fleet.session(tenant) as connection:
        row = connection.execute(
            "SELECT obj_description(%s::regnamespace, 'pg_namespace')", (tenant.schema_name,)
        ).fetchone()
    assert row is not None
    return row[0]
