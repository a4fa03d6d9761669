"""Incremental and differential backups hold what changed, refer to what did not, and say when they cannot."""

from tenant_ops.backups import find_backup, list_backups, plan_backup, verify_backup
from tenant_ops.backups.catalog import open_backup
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Report, live, reading, run


def test_the_first_incremental_is_a_full_one_and_says_why(fleet: Fleet, shop: Tenant, report: Report) -> None:
    plan = plan_backup(fleet, shop, backup_type="incremental")
    assert (plan.type, plan.instead_of) == ("full", "incremental")
    assert plan.because is not None and "has a journal to go on from" in plan.because
    assert plan.journal.startswith("will be installed")
    assert list_backups(fleet, shop) == ()
    first = report(shop)
    assert (first.type, first.instead_of, first.because) == ("full", "incremental", plan.because)
    assert first.journal == "the next backup can build on this one"
    again = plan_backup(fleet, shop, backup_type="incremental")
    assert (again.type, again.instead_of, again.parent, again.changes) == (
        "incremental", None, first.backup_id, 0,
    )  # fmt: skip


def test_an_incremental_read_back_is_the_moment_it_was_taken(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 0 WHERE id < 10; INSERT INTO word VALUES ('three')")
    first = report(shop)
    seen = live(fleet, shop)
    run(fleet, shop, "DELETE FROM customer WHERE id < 5; DELETE FROM word WHERE text = 'two'")
    second = report(shop)
    assert (second.type, second.parent, second.depth) == ("incremental", first.backup_id, 2)
    with reading(fleet, shop, second) as read:
        assert read.contents() == live(fleet, shop)
    with reading(fleet, shop, first) as read:
        assert read.contents() == seen
    assert verify_backup(fleet, find_backup(fleet, second.backup_id)).problems == ()


def test_an_idle_incremental_holds_no_rows_of_its_own(fleet: Fleet, shop: Tenant, report: Report) -> None:
    full = report(shop)
    idle = report(shop)
    archive = open_backup(fleet, find_backup(fleet, idle.backup_id))
    own = {member.path for member in archive.manifest.members if member.origin is None}
    assert {path.split(".")[0] for path in own} == {"config/config", "files/index"}
    assert idle.stored_bytes < 20_000
    assert idle.rows == full.rows
    record = find_backup(fleet, idle.backup_id)
    assert record.base_id == full.backup_id and record.referenced_bytes > 0 and record.anchor is not None


def test_rows_stay_known_where_nothing_changed(fleet: Fleet, shop: Tenant, report: Report) -> None:
    report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 0 WHERE id = 1; UPDATE reading SET value = 1 WHERE at = 5")
    changed = report(shop)
    archive = open_backup(fleet, find_backup(fleet, changed.backup_id))
    mine = ("customer", "sale", "word", "reading_low", "reading_high")
    known = {table.name: table.rows for table in archive.manifest.tables if table.name in mine}
    assert known == {
        "customer": 50, "sale": None, "word": 3, "reading_low": None, "reading_high": None,
    }  # fmt: skip
    with reading(fleet, shop, changed) as read:
        assert {table.name for table in read.result.known}.intersection(mine) == {"customer", "word"}


def test_measured_rows_are_those_of_the_moment(fleet: Fleet, shop: Tenant, report: Report) -> None:
    report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 0 WHERE id = 1")
    measured = report(shop, measure=True)
    with reading(fleet, shop, measured) as read:
        said = {table.name: (table.rows, table.content_hash) for table in read.result.known}
        assert said == {name: (each.rows, each.content_hash) for name, each in read.contents().items()}
    assert measured.rows == sum(each.rows for each in live(fleet, shop).values())
