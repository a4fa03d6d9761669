"""Rows and files of a backup are merged into a live tenant, table by table, and taken out again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tenant_ops.backups import BackupRecord, discard_replaced, execute_restore, plan_restore, undo_restore
from tenant_ops.backups.journal import health, install
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_sql

Take = Callable[..., BackupRecord]

SHOP = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE NOT NULL,
                     mood mood, boss bigint REFERENCES people,
                     shout text GENERATED ALWAYS AS (upper(email)) STORED);
CREATE TABLE teams (id int PRIMARY KEY, lead bigint REFERENCES people, note json);
ALTER TABLE people ADD team int REFERENCES teams;
CREATE TABLE orders (id int PRIMARY KEY, person bigint NOT NULL REFERENCES people ON DELETE CASCADE,
                     total numeric);
CREATE TABLE visits (page text, seconds int);
CREATE TABLE spread (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE spread_eu PARTITION OF spread FOR VALUES IN ('eu');
CREATE TABLE spread_us PARTITION OF spread FOR VALUES IN ('us');
INSERT INTO people (email, mood) VALUES ('a@x', 'good'), ('b@x', 'bad'), ('c@x', NULL);
INSERT INTO teams VALUES (1, 1, '{"a": 1}'), (2, 2, NULL);
UPDATE people SET team = 1, boss = 1 WHERE id < 3;
INSERT INTO orders VALUES (1, 1, 1.0), (2, 1, 2.5), (3, 2, 9);
INSERT INTO visits VALUES ('/', 1), ('/', 1), ('/a', 2);
INSERT INTO spread VALUES (1, 'eu', 1), (2, 'us', 2), (3, 'eu', 3);
"""
TABLES = ("people", "teams", "orders", "visits", "spread")


@pytest.fixture
def shop(fleet: Fleet, tenant: Tenant) -> Tenant:
    run_sql(fleet, tenant, SHOP)
    files = fleet.files(tenant)
    (files / "a").mkdir()
    for name in ("a/one.txt", "two.txt", "three.txt"):
        (files / name).write_text(name)
    return tenant


def content(fleet: Fleet, tenant: Tenant) -> dict[str, list[str]]:
    return {
        table: [row for (row,) in run_sql(fleet, tenant, f"SELECT t::text FROM {table} t ORDER BY 1")]
        for table in TABLES
    }


def files_of(fleet: Fleet, tenant: Tenant) -> dict[str, str]:
    folder = fleet.files(tenant)
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def disturb(fleet: Fleet, tenant: Tenant) -> None:
    """Change rows in every way: also what refers in a circle, to itself, and a unique value that moved."""
    run_sql(
        fleet,
        tenant,
        """
        UPDATE people SET boss = NULL, team = NULL;
        DELETE FROM teams WHERE id = 1;
        DELETE FROM people WHERE email = 'a@x';
        INSERT INTO people (email, boss) VALUES ('a@x', 2), ('d@x', 3);
        INSERT INTO teams VALUES (3, 4, '{}');
        UPDATE people SET team = 3, mood = 'good' WHERE id = 2;
        INSERT INTO orders VALUES (4, 4, 4), (5, 5, 5);
        UPDATE orders SET total = 9.00 WHERE id = 3;
        DELETE FROM visits WHERE page = '/a'; INSERT INTO visits VALUES ('/', 1), ('/b', 3);
        UPDATE spread SET region = 'us' WHERE id = 1; DELETE FROM spread WHERE id = 3;
        INSERT INTO spread VALUES (4, 'eu', 4);
        """,
    )
    files = fleet.files(tenant)
    (files / "a" / "one.txt").unlink()
    (files / "two.txt").write_text("changed")
    (files / "new.txt").write_text("new")


def test_a_merge_makes_rows_and_files_what_they_were_and_is_taken_back(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    backup, before, files = take(shop), content(fleet, shop), files_of(fleet, shop)
    disturb(fleet, shop)
    disturbed, other_files = content(fleet, shop), files_of(fleet, shop)
    report = execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    assert content(fleet, shop) == before
    assert files_of(fleet, shop) == files
    assert report.files_changed == (1, 1, 1)
    changed = {one.table: (one.create, one.update, one.delete) for one in report.changed}
    assert changed == {
        "people": (1, 1, 2),
        "teams": (1, 0, 1),
        "orders": (2, 1, 2),
        "visits": (1, 0, 2),
        "spread": (2, 0, 2),
    }
    assert report.warnings == ()
    undone = undo_restore(fleet, shop)
    assert undone.kept == 0
    assert content(fleet, shop) == disturbed
    assert files_of(fleet, shop) == other_files
    with pytest.raises(InputError, match="no restore"):
        undo_restore(fleet, shop)


def test_the_plan_counts_what_would_change_with_keys_and_without_values_and_changes_nothing(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    disturbed = content(fleet, shop)
    plan = plan_restore(fleet, backup, shop.slug, mode="merge", look=True)
    assert plan.conflicts == ()
    assert plan.differences is not None
    people = next(one for one in plan.differences if one.table == "people")
    assert (people.create, people.update, people.delete) == (1, 1, 2)
    assert set(people.sample) == {"(1)", "(2)", "(4)", "(5)"}
    assert content(fleet, shop) == disturbed
    assert schemas(fleet, shop) == {shop.schema_name}


@pytest.mark.parametrize(
    ("words", "orders"),
    [
        (("create",), {1, 2, 3, 4}),
        (("delete",), {3}),
        (("create", "delete"), {1, 2, 3}),
        (("update",), {3, 4}),
    ],
)
def test_each_of_creating_updating_and_deleting_can_be_left_out(
    fleet: Fleet, shop: Tenant, take: Take, words: tuple[str, ...], orders: set[int]
) -> None:
    backup = take(shop)
    run_sql(
        fleet,
        shop,
        "DELETE FROM orders WHERE id < 3; UPDATE orders SET total = 0; INSERT INTO orders VALUES (4, 2, 4)",
    )
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge", words=words))
    rows = run_sql(fleet, shop, "SELECT id, total::text FROM orders")
    assert {row[0] for row in rows} == orders
    assert ((3, "9") in rows) == ("update" in words)


def test_a_single_table_comes_back_and_the_others_stay(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup, before = take(shop), content(fleet, shop)
    disturb(fleet, shop)
    disturbed = content(fleet, shop)
    report = execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["visits", "spread"]))
    assert report.mode == "tables"
    now = content(fleet, shop)
    assert now == {**disturbed, "visits": before["visits"], "spread": before["spread"]}
    assert files_of(fleet, shop)["two.txt"] == "changed"


def test_a_single_table_is_refused_where_its_rows_would_refer_to_nothing(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    plan = plan_restore(fleet, backup, shop.slug, tables=["orders"], look=True)
    assert any("orders would refer to rows of people" in conflict for conflict in plan.conflicts)
    disturbed = content(fleet, shop)
    with pytest.raises(InputError, match="would refer"):
        execute_restore(fleet, replace(plan, conflicts=()))
    assert content(fleet, shop) == disturbed


def test_a_single_table_is_refused_where_others_refer_to_rows_that_would_go_even_if_they_would_go_too(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    """Orders go with their person by ON DELETE CASCADE: nobody asked for that."""
    backup = take(shop)
    run_sql(fleet, shop, "INSERT INTO people (email) VALUES ('n@x'); INSERT INTO orders VALUES (9, 4, 1)")
    plan = plan_restore(fleet, backup, shop.slug, tables=["people"], look=True)
    assert any("orders would refer to rows of people" in conflict for conflict in plan.conflicts)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["people", "orders"]))
    assert len(content(fleet, shop)["orders"]) == 3


@pytest.mark.parametrize(
    ("table", "why"), [("spread_eu", "partition"), ("nothing", "no table"), ("gone", "no table")]
)
def test_tables_that_cannot_be_restored_alone_are_named(
    fleet: Fleet, shop: Tenant, take: Take, table: str, why: str
) -> None:
    run_sql(fleet, shop, "CREATE TABLE gone (id int)")
    backup = take(shop)
    run_sql(fleet, shop, "DROP TABLE gone")
    assert any(why in one for one in plan_restore(fleet, backup, shop.slug, tables=[table]).conflicts)


def test_columns_the_tenant_has_no_more_are_a_conflict_and_those_it_has_since_are_kept(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    backup = take(shop)
    run_sql(fleet, shop, "ALTER TABLE visits ADD more text DEFAULT 'x'; DELETE FROM orders WHERE id = 1")
    run_sql(fleet, shop, "ALTER TABLE orders ADD state text NOT NULL DEFAULT 'open'")
    run_sql(fleet, shop, "UPDATE orders SET state = 'paid', total = 0 WHERE id = 2")
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["orders"]))
    rows = run_sql(fleet, shop, "SELECT id, total::text, state FROM orders ORDER BY id")
    assert rows == [(1, "1.0", "open"), (2, "2.5", "paid"), (3, "9", "open")]
    run_sql(fleet, shop, "ALTER TABLE visits DROP seconds")
    conflicts = plan_restore(fleet, backup, shop.slug, tables=["visits"]).conflicts
    assert any("seconds" in conflict for conflict in conflicts)


def test_taking_back_leaves_rows_that_were_changed_since(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    run_sql(fleet, shop, "UPDATE orders SET total = 77 WHERE id = 3")
    (fleet.files(shop) / "two.txt").write_text("again")
    undone = undo_restore(fleet, shop)
    assert undone.kept == 2
    assert (77,) in run_sql(fleet, shop, "SELECT total::int FROM orders WHERE id = 3")
    assert files_of(fleet, shop)["two.txt"] == "again"


def test_taking_back_is_refused_where_rows_that_stay_would_refer_to_nothing(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    run_sql(fleet, shop, "INSERT INTO orders VALUES (10, 1, 1)")
    before = content(fleet, shop)
    with pytest.raises(InputError, match="orders would refer to rows of people"):
        undo_restore(fleet, shop)
    assert content(fleet, shop) == before


def test_taking_back_is_refused_when_the_tables_changed_shape(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    before = content(fleet, shop)["orders"]
    run_sql(fleet, shop, "ALTER TABLE orders ALTER total TYPE double precision")
    with pytest.raises(InputError, match="other columns"):
        undo_restore(fleet, shop)
    assert len(before) == 3
    assert discard_replaced(fleet, shop, keep=0) != ()
    assert schemas(fleet, shop) == {shop.schema_name}


def test_what_a_merge_keeps_stands_in_the_way_of_no_migration(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    run_sql(fleet, shop, "ALTER TABLE people DROP mood; DROP TYPE mood; DROP TABLE visits")


def test_only_the_last_restore_is_taken_back(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup = take(shop)
    disturb(fleet, shop)
    disturbed = content(fleet, shop)
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug))
    before = content(fleet, shop)
    run_sql(fleet, shop, "DELETE FROM visits")
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    assert content(fleet, shop) == before
    assert undo_restore(fleet, shop).schema.startswith(f"{shop.schema_name}__merged_")
    assert content(fleet, shop)["visits"] == []
    assert undo_restore(fleet, shop).schema.startswith(f"{shop.schema_name}__old_")
    assert content(fleet, shop) == disturbed


def test_the_journal_records_a_merge_and_the_chain_goes_on(fleet: Fleet, shop: Tenant, take: Take) -> None:
    install(fleet, shop)
    backup = take(shop)
    disturb(fleet, shop)
    report = execute_restore(fleet, plan_restore(fleet, backup, shop.slug, mode="merge"))
    assert "recorded" in report.journal
    assert health(fleet, shop).problems == ()
    merged = content(fleet, shop)
    after = take(shop, backup_type="incremental")
    assert after.type == "incremental"
    execute_restore(fleet, plan_restore(fleet, after, f"{shop.slug}_copy"))
    assert content(fleet, fleet.registry.get(f"{shop.slug}_copy")) == merged


def test_sequences_go_past_the_rows_that_came_back_and_never_back(
    fleet: Fleet, shop: Tenant, take: Take
) -> None:
    run_sql(fleet, shop, "INSERT INTO people (id, email) OVERRIDING SYSTEM VALUE VALUES (500, 'far@x')")
    backup = take(shop)
    run_sql(fleet, shop, "DELETE FROM people WHERE id = 500")
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["people"]))
    assert run_sql(fleet, shop, "INSERT INTO people (email) VALUES ('next@x') RETURNING id") == [(501,)]
    execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["people"]))
    assert run_sql(fleet, shop, "INSERT INTO people (email) VALUES ('next@x') RETURNING id") == [(502,)]


def test_a_trigger_that_changes_what_comes_back_is_told(fleet: Fleet, shop: Tenant, take: Take) -> None:
    backup = take(shop)
    run_sql(
        fleet,
        shop,
        """
        CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.seconds := NEW.seconds + 100; RETURN NEW; END';
        CREATE TRIGGER louder BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION louder();
        DELETE FROM visits;
        """,
    )
    report = execute_restore(fleet, plan_restore(fleet, backup, shop.slug, tables=["visits"]))
    assert any("visits are not as in the backup" in warning for warning in report.warnings)


def schemas(fleet: Fleet, tenant: Tenant) -> set[str]:
    with fleet.database(tenant).transaction() as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (tenant.schema_name,)
        )
        return {row[0] for row in rows}
