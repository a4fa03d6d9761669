"""Incremental and differential backups hold what changed, refer to what did not, and say when they cannot."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tenant_ops.backups import execute_backup, find_backup, list_backups, plan_backup, verify_backup
from tenant_ops.backups.catalog import open_backup
from tenant_ops.backups.files import read_index, unpack_files
from tenant_ops.backups.journal import AsSeenBy
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
    assert verify_backup(fleet, find_backup(fleet, measured.backup_id)).problems == ()


def test_a_differential_builds_on_the_full_backup_whatever_came_between(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    full = report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 1 WHERE id = 1")
    report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 2 WHERE id = 2")
    differential = report(shop, "differential")
    assert (differential.type, differential.parent, differential.depth) == (
        "differential", full.backup_id, 1,
    )  # fmt: skip
    assert differential.changes == 2
    run(fleet, shop, "UPDATE sale SET amount = 3 WHERE id = 3")
    tip = report(shop)
    assert (tip.parent, tip.changes) == (differential.backup_id, 1)
    with reading(fleet, shop, tip) as read:
        assert read.contents() == live(fleet, shop)


def test_a_moment_between_two_ticks_is_read_from_the_chain(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    report(shop)
    run(fleet, shop, "DELETE FROM sale WHERE id <= 10")
    seen = live(fleet, shop)
    with fleet.session(shop) as connection:
        row = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None
    run(fleet, shop, "DELETE FROM sale; DELETE FROM word")
    tip = report(shop, measure=True)
    with reading(fleet, shop, tip, AsSeenBy(row[0])) as read:
        assert read.contents() == seen
        assert len(read.result.report.left_out) == 1
        known = {table.name for table in read.result.known}
        assert "customer" in known
        assert not known & {"sale", "word"}


def test_a_table_emptied_and_a_long_transaction_are_where_they_belong(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    report(shop)
    with psycopg.connect(fleet.control.url) as slow:
        slow.execute(f"INSERT INTO {shop.schema_name}.word VALUES ('slow')".encode())
        run(fleet, shop, "TRUNCATE reading; INSERT INTO reading VALUES (1, 1)")
        first = report(shop)
    second = report(shop)
    with reading(fleet, shop, first) as read:
        assert read.contents()["word"].rows == 3
        assert read.contents()["reading_low"].rows == 1
    with reading(fleet, shop, second) as read:
        assert read.contents() == live(fleet, shop)


@pytest.mark.parametrize(
    ("script", "because"),
    [
        ("ALTER TABLE sale ADD note text", "the definition of its schema changed"),
        (
            "ALTER TABLE sale DISABLE TRIGGER USER; ALTER TABLE sale ENABLE TRIGGER USER",
            "does not follow every",
        ),
    ],
)
def test_a_chain_that_cannot_go_on_ends_in_a_new_one(
    fleet: Fleet, shop: Tenant, report: Report, script: str, because: str
) -> None:
    report(shop)
    run(fleet, shop, script)
    plan = plan_backup(fleet, shop, backup_type="incremental")
    assert plan.type == "full" and plan.because is not None and because in plan.because
    taken = report(shop)
    assert (taken.type, taken.because) == ("full", plan.because)
    assert report(shop).parent == taken.backup_id
    assert not list(fleet.files(shop).parent.rglob("*.partial"))


def test_the_chain_breaking_after_the_plan_is_said_in_the_report(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    report(shop)
    plan = plan_backup(fleet, shop, backup_type="incremental")
    assert plan.type == "incremental"
    run(fleet, shop, "ALTER TABLE sale ADD note text")
    taken = execute_backup(fleet, plan)
    assert (taken.type, taken.instead_of) == ("full", "incremental")
    assert taken.because is not None and "definition" in taken.because


def test_a_parent_that_is_gone_damaged_or_replaced_is_not_built_on(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    report(shop)
    for harm, because in (
        (lambda path: (path / "COMPLETE").unlink(), "is missing"),
        (lambda path: (path / "manifest.json.enc").write_bytes(b"x"), "cannot be read"),
        (lambda path: (path / "key.json").unlink(), "cannot be read"),
        (lambda path: next(path.glob("files/index.json*")).write_bytes(b"x"), "cannot be read"),
    ):
        harm(Path(report(shop, "full").path))
        plan = plan_backup(fleet, shop, backup_type="incremental")
        assert plan.type == "full" and plan.because is not None and because in plan.because
        assert report(shop).type == "full"


def test_chains_do_not_span_stores_or_mix_sealed_and_plain(
    fleet: Fleet, shop: Tenant, report: Report, tmp_path: Path
) -> None:
    report(shop)
    elsewhere = report(shop, output_path=str(tmp_path))
    assert elsewhere.type == "full" and str(tmp_path) in (elsewhere.because or "")
    plain = report(shop, encryption=False)
    assert plain.type == "full" and "encrypted" in (plain.because or "")


def test_a_tier_with_incrementals_gets_a_journal_with_its_first_full_backup(
    fleet: Fleet, new_tenant: Callable[..., Tenant], report: Report
) -> None:
    professional = new_tenant(f"pro_{uuid4().hex[:8]}", tier_name="professional")
    assert report(professional, "full").journal == "the next backup can build on this one"
    assert report(professional).type == "incremental"
    starter = new_tenant(f"starter_{uuid4().hex[:8]}", tier_name="starter")
    assert report(starter, "full").journal == ""


def test_a_table_the_journal_cannot_follow_is_said_and_backed_up_all_the_same(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(f"CREATE TABLE {shop.schema_name}.foreign_owner (n integer)".encode())
        connection.execute(
            f"GRANT SELECT ON {shop.schema_name}.foreign_owner TO {shop.role('owner')}".encode()
        )
    taken = report(shop)
    assert (taken.type, taken.journal) == ("full", "no backup can build on this one")
    assert any("must belong to the tenant's owner role" in warning for warning in taken.warnings)


def test_files_are_packed_when_they_are_new_or_changed_and_else_referred_to(
    fleet: Fleet, shop: Tenant, report: Report, tmp_path: Path
) -> None:
    folder = fleet.files(shop)
    report(shop)
    (folder / "three.txt").write_text("three")
    (folder / "one.txt").write_text("changed")
    (folder / "deep").mkdir()
    (folder / "two.txt").rename(folder / "deep" / "moved.txt")
    (folder / "copy.txt").write_text("two")
    first = report(shop)
    (folder / "three.txt").unlink()
    tip = report(shop)
    archive = open_backup(fleet, find_backup(fleet, tip.backup_id))
    packs = {
        member.path.split(".")[0]: member.origin
        for member in archive.manifest.members
        if member.kind == "files"
    }
    assert set(packs) == {"files/0001", "files/0002"}
    assert packs["files/0002"] == first.backup_id
    own = [entry for entry in read_index(archive) if entry.pack is not None]
    assert {entry.path: entry.packed_as for entry in own} == {
        "one.txt": None, "deep/moved.txt": "two.txt", "copy.txt": "two.txt",
    }  # fmt: skip
    unpack_files(archive, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")): path.read_text()
             for path in (tmp_path / "out").rglob("*") if path.is_file()}  # fmt: skip
    assert found == {"one.txt": "changed", "deep/moved.txt": "two", "copy.txt": "two"}


def test_large_tables_and_segments_are_split(
    fleet: Fleet, shop: Tenant, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant_ops.backups.writing.PART_BYTES", 1 << 18)
    run(fleet, shop, "INSERT INTO word SELECT repeat(md5(g::text), 8) FROM generate_series(1, 4000) g")
    full = report(shop)
    run(fleet, shop, "UPDATE sale SET amount = amount + 1; UPDATE word SET text = text || 'x'")
    tip = report(shop)
    archive = open_backup(fleet, find_backup(fleet, tip.backup_id))
    word = next(table for table in archive.manifest.tables if table.name == "word")
    assert len(word.parts) > 2
    assert sum(member.kind == "journal" for member in archive.manifest.members) > 2
    for backup in (full, tip):
        assert verify_backup(fleet, find_backup(fleet, backup.backup_id)).problems == ()
    with reading(fleet, shop, tip) as read:
        assert read.contents() == live(fleet, shop)
