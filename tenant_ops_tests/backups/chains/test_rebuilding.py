"""The catalog is made again from the stores alone: chains, marks, several stores, and what is broken."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.backups import (
    BackupRecord,
    execute_reconcile,
    find_backup,
    hold,
    list_backups,
    pin,
    plan_reconcile,
    rebuild,
    release,
)
from tenant_ops.backups.catalog import remove
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Report, run

NOT_IN_THE_STORE = {"finished_at": "", "verified_at": None, "verified_level": None, "reason": None}


@pytest.fixture
def chain(fleet: Fleet, shop: Tenant, report: Report) -> list[str]:
    """A full backup, two incrementals and a differential."""
    ids = [report(shop).backup_id]
    for backup_type in ("incremental", "incremental", "differential"):
        run(fleet, shop, "INSERT INTO word VALUES ('x')")
        ids.append(report(shop, backup_type).backup_id)
    return ids


def forget(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE tenant_id = %s", (tenant.id,))


def from_store(records: tuple[BackupRecord, ...]) -> list[BackupRecord]:
    """Without what only the catalog knows."""
    return [replace(record, **NOT_IN_THE_STORE, started_at="") for record in records]


@pytest.mark.parametrize("archive_format", ["dir", "tar.zst"])
def test_chains_are_noted_as_they_were_when_taken(
    fleet: Fleet, shop: Tenant, report: Report, archive_format: str
) -> None:
    for backup_type in ("incremental", "incremental", "incremental", "differential"):
        report(shop, backup_type, archive_format=archive_format)
        run(fleet, shop, "INSERT INTO word VALUES ('x')")
    before = list_backups(fleet, shop)
    assert [record.depth for record in before] == [1, 2, 1, 0]
    assert {record.format for record in before} == {archive_format}
    forget(fleet, shop)
    assert rebuild(fleet).added == 4
    after = list_backups(fleet, shop)
    sizes = {"stored_bytes": 0}  # of a packed backup the catalog knows the file, the store its members
    assert [replace(r, **sizes) for r in from_store(after)] == [
        replace(r, **sizes) for r in from_store(before)
    ]
    assert rebuild(fleet).added == 0


def test_a_chain_without_its_base_is_named_and_comes_back_with_it(
    fleet: Fleet, shop: Tenant, chain: list[str], tmp_path: Path
) -> None:
    base = Path(find_backup(fleet, chain[0]).path)
    shutil.move(base, tmp_path / "elsewhere")
    known = rebuild(fleet)
    assert chain[0] in {line.partition(":")[0] for line in known.broken} or known.forgotten == 1
    assert f"{chain[2]}: {chain[0]}, which it builds on, is missing" in known.broken
    forget(fleet, shop)
    report = rebuild(fleet)
    assert report.added == 0
    assert set(report.broken) == {f"{tip}: {chain[0]}, which it builds on, is missing" for tip in chain[1:]}
    shutil.move(tmp_path / "elsewhere", base)
    report = rebuild(fleet)
    assert (report.added, report.broken) == (4, ())


def test_a_chain_over_two_stores_is_read_from_both(
    fleet: Fleet, shop: Tenant, chain: list[str], tmp_path: Path
) -> None:
    tip = Path(find_backup(fleet, chain[2]).path)
    second = tmp_path / "second store"
    (second / tip.parent.name).mkdir(parents=True)
    shutil.move(tip, second / tip.parent.name / tip.name)
    shutil.copytree(tip.parent / "keys", second / tip.parent.name / "keys")
    forget(fleet, shop)
    report = rebuild(fleet, [str(second), fleet.settings.backup_path])
    assert (report.found >= 4, report.broken, report.unreadable) == (True, (), ())
    assert find_backup(fleet, chain[2]).store == str(second)
    assert {record.id for record in list_backups(fleet, shop) if record.present} == set(chain)


def test_marks_outlive_the_catalog(fleet: Fleet, shop: Tenant, chain: list[str]) -> None:
    hold(fleet, find_backup(fleet, chain[1]), "matter 7")
    pin(fleet, find_backup(fleet, chain[0]))
    hold(fleet, find_backup(fleet, chain[3]), "matter 8")
    release(fleet, find_backup(fleet, chain[3]), "settled")
    forget(fleet, shop)
    rebuild(fleet)
    marks = {
        record.id: (record.pinned, record.legal_hold is not None) for record in list_backups(fleet, shop)
    }
    assert marks == {
        chain[0]: (True, False),
        chain[1]: (False, True),
        chain[2]: (False, False),
        chain[3]: (False, False),
    }
    folder = Path(find_backup(fleet, chain[0]).path).parent / "marks"
    assert "matter" not in "".join(path.read_text() for path in folder.iterdir()), "why is nobody's business"


def test_marks_go_with_a_backup_that_is_carried_to_another_store(
    fleet: Fleet, shop: Tenant, report: Report, tmp_path: Path
) -> None:
    second = str(tmp_path / "fallback")
    spread = replace(fleet, settings=replace(fleet.settings, backup_fallback_path=second))
    backup_id = report(shop, "full", output_path=second).backup_id
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.backup SET fallback = true WHERE id = %s", (backup_id,))
    pin(spread, find_backup(spread, backup_id))
    assert execute_reconcile(spread, plan_reconcile(spread)).moved == (backup_id,)
    assert not list((tmp_path / "fallback").rglob("marks/*"))
    forget(fleet, shop)
    rebuild(fleet)
    found = find_backup(fleet, backup_id)
    assert (found.pinned, found.fallback, found.store) == (True, False, fleet.settings.backup_path)


def test_what_is_marked_is_not_forgotten_when_it_is_gone_and_an_empty_store_forgets_nothing(
    fleet: Fleet, shop: Tenant, chain: list[str], tmp_path: Path
) -> None:
    hold(fleet, find_backup(fleet, chain[3]), "matter 7")
    shutil.rmtree(find_backup(fleet, chain[3]).path)
    report = rebuild(fleet)
    assert chain[3] in report.missing
    assert find_backup(fleet, chain[3]).legal_hold == "matter 7"
    store = Path(fleet.settings.backup_path)
    store.rename(tmp_path / "unmounted")
    try:
        store.mkdir()
        report = rebuild(fleet, [str(store)])
        assert (report.found, report.forgotten, report.empty) == (0, 0, (str(store),))
        store.rmdir()
    finally:
        (tmp_path / "unmounted").rename(store)
    assert find_backup(fleet, chain[0]).present


def test_a_packed_backup_is_removed_with_what_lies_beside_it(
    fleet: Fleet, shop: Tenant, report: Report
) -> None:
    record = find_backup(fleet, report(shop, "full", archive_format="zip").backup_id)
    folder = Path(record.path).parent
    assert Path(record.path).is_file()
    remove(fleet, record, why="no longer wanted")
    assert not [path for path in folder.iterdir() if path.name.startswith(record.id)]
