"""Comparing backups and tenants: what differs in schema, rows and files, and what a backup cannot know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import BackupRecord, TableComparison, compare, find_backup
from tenant_ops.backups.comparing.rows import RowChanges, count_changes
from tenant_ops.backups.comparing.sides import _primary_keys
from tenant_ops.backups.ddl import Statement
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Report, run

CHANGES = """
    UPDATE sale SET amount = 0 WHERE id <= 7;
    DELETE FROM sale WHERE id BETWEEN 20 AND 22;
    INSERT INTO sale (customer, amount) VALUES (1, 1), (1, 2);
    INSERT INTO word VALUES ('three');
    DELETE FROM word WHERE text = 'one';
"""


def taken(fleet: Fleet, tenant: Tenant, report: Report, backup_type: str = "full") -> BackupRecord:
    return find_backup(fleet, report(tenant, backup_type).backup_id)


def differing(tables: tuple[TableComparison, ...]) -> dict[str, tuple]:
    return {t.table: (t.added, t.removed, t.changed) for t in tables if t.equal is False}


def test_a_backup_is_equal_to_the_tenant_it_was_just_taken_of(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    backup = taken(fleet, shop, report)
    for left, right in ((backup, shop), (shop, backup), (backup, backup)):
        compared = compare(fleet, left, right)
        assert (compared.equal, compared.schema, compared.files, compared.unknown) == (True, (), (), ())
        assert all(table.equal for table in compared.tables)
    assert compare(fleet, backup, shop).left == backup.id


def test_what_changed_since_a_backup_is_told_by_table_row_object_and_file(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    backup = taken(fleet, shop, report)
    run(fleet, shop, CHANGES)
    run(fleet, shop, "CREATE INDEX by_amount ON sale (amount); ALTER TABLE customer ADD email text")
    run(fleet, shop, "CREATE TABLE extra (id int PRIMARY KEY); INSERT INTO extra VALUES (1), (2)")
    files = fleet.files(shop)
    (files / "one.txt").write_text("uno")
    (files / "two.txt").unlink()
    (files / "three.txt").write_text("three")
    compared = compare(fleet, backup, shop, rows=True)
    assert not compared.equal
    assert differing(compared.tables) == {
        "customer": (0, 0, 0),  # its rows are the same as far as both have their columns
        "extra": (2, 0, None),
        "sale": (2, 3, 7),
        "word": (1, 1, None),
    }
    assert {(d.path, d.change) for d in compared.files} == {
        ("one.txt", "changed"),
        ("two.txt", "removed"),
        ("three.txt", "added"),
    }
    changes = {d.object: d.change for d in compared.schema}
    assert changes["index by_amount"] == "added"
    assert changes["table customer"] == "changed"
    assert changes["table extra"] == "added"
    table = next(d for d in compared.schema if d.object == "table customer")
    assert "email" in table.right and "email" not in table.left
    assert shop.schema_name not in table.right
    back = compare(fleet, shop, backup, rows=True)
    assert differing(back.tables)["sale"] == (3, 2, 7)
    assert {d.object: d.change for d in back.schema}["index by_amount"] == "removed"


def test_an_incremental_says_which_rows_it_does_not_know_and_puts_them_together_when_asked(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    full = taken(fleet, shop, report, "incremental")  # the first is a full one, with a journal
    run(fleet, shop, CHANGES)
    tip = taken(fleet, shop, report, "incremental")
    compared = compare(fleet, full, tip)
    assert compared.unknown == ("sale", "word")
    assert not compared.equal
    known = {table.table: table for table in compared.tables}
    assert known["customer"].equal
    assert (known["sale"].rows_left, known["sale"].rows_right, known["sale"].equal) == (50, None, None)
    by_row = compare(fleet, full, tip, rows=True)
    assert by_row.unknown == ()
    assert differing(by_row.tables) == {"sale": (2, 3, 7), "word": (1, 1, None)}
    now = compare(fleet, tip, shop, rows=True)
    assert now.equal
    run(fleet, shop, "UPDATE sale SET amount = 9 WHERE id = 1")
    later = taken(fleet, shop, report, "incremental")
    assert differing(compare(fleet, tip, later, rows=True).tables) == {"sale": (0, 0, 1)}


def test_columns_added_in_another_order_make_no_difference_to_rows(
    fleet: Fleet, tenant: Tenant, report: Report
) -> None:
    run(
        fleet,
        tenant,
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b')",
    )
    first = taken(fleet, tenant, report)
    run(fleet, tenant, "ALTER TABLE t DROP a; ALTER TABLE t ADD a text; UPDATE t SET a = 'a'")
    second = taken(fleet, tenant, report)
    for left, right in ((first, second), (second, first), (first, tenant), (tenant, first)):
        compared = compare(fleet, left, right)
        assert all(table.equal for table in compared.tables)
        assert [d.object for d in compared.schema] == ["table t"]


rows_of = st.dictionaries(st.integers(0, 40), st.integers(0, 2), max_size=40)


@given(left=rows_of, right=rows_of, per_pass=st.integers(1, 50), keyed=st.booleans())
def test_rows_are_counted_alike_in_one_pass_and_in_many(left, right, per_pass, keyed) -> None:
    def lines(rows: dict[int, int]):
        return lambda: [[f"{value}\t{key}\n".encode() for key, value in rows.items()]]

    found = count_changes(lines(left), lines(right), [1] if keyed else None, 40, per_pass)
    changed = sum(left[key] != right[key] for key in left.keys() & right.keys())
    added, removed = len(right.keys() - left.keys()), len(left.keys() - right.keys())
    expected = (
        RowChanges(added, removed, changed) if keyed else RowChanges(added + changed, removed + changed, None)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("definition", "columns"),
    [
        ("PRIMARY KEY (id)", ("id",)),
        ('PRIMARY KEY (a, "b c", "d""e") INCLUDE (f)', ("a", "b c", 'd"e')),
        ('PRIMARY KEY ("odd) name", b)', ("odd) name", "b")),
        ("PRIMARY KEY (id, valid WITHOUT OVERLAPS)", ()),
    ],
)
def test_the_key_of_a_table_is_read_from_the_statement_that_makes_it(definition: str, columns: tuple) -> None:
    made = ('ALTER TABLE ONLY "', {"name": "schema"}, f'"."t" ADD CONSTRAINT "t_pkey" {definition}')
    statement = Statement("post", "primary key", "t.t_pkey", made)
    assert _primary_keys([statement]).get("t", ()) == columns
