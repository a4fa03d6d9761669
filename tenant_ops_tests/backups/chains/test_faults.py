"""An incremental killed anywhere loses nothing: what was published is built on, what was not is no backup.

The steps, in order: entries read under the snapshot, the segment written, the anchor noted in the journal,
files synced, COMPLETE, the rename, the catalog. Killed before the rename there is no backup, and at most a
note in the journal that no backup has. Killed after it the backup is complete and noted, but in no catalog:
the next one enters it and builds on it, so the chain does not fork. There is no state in between.
"""

import os
from pathlib import Path

import psycopg
import pytest

from tenant_ops.backups import BackupReport, execute_backup, list_backups, plan_backup, verify_backup
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Report, live, reading, run
from tenant_ops_tests.backups.test_faults import Killed, run_killed


def back_up_until_killed(settings: Settings, slug: str, at: int) -> None:
    """Take an incremental in a process that dies before its step number `at`."""
    killed = Killed(at)
    fleet = Fleet.open(settings)
    plan = plan_backup(fleet, fleet.registry.get(slug), backup_type="incremental")
    assert plan.type == "incremental"
    os.open = killed.before(os.open)
    os.fsync = killed.before(os.fsync)
    Path.rename = killed.before(Path.rename)
    psycopg.Cursor.execute = killed.before(psycopg.Cursor.execute)
    execute_backup(fleet, plan)


def check_after_kill(fleet: Fleet, tenant: Tenant, report: Report) -> BackupReport:
    """The next incremental goes on with the chain, and holds everything."""
    taken = report(tenant)
    assert taken.type == "incremental"
    assert not list(Path(taken.path).parent.glob("*.partial"))
    backups = list_backups(fleet, tenant)
    on_disk = {path.parent.name for path in Path(taken.path).parent.glob("*/COMPLETE")}
    assert {backup.id for backup in backups} == on_disk
    parents = [backup.parent for backup in backups]
    assert len(set(parents)) == len(parents), "the chain forked"
    with reading(fleet, tenant, taken) as read:
        assert read.contents() == live(fleet, tenant)
    return taken


@pytest.mark.parametrize("at", [0, 20, 45, 55, 62])
def test_an_incremental_killed_somewhere_neither_breaks_nor_forks_its_chain(
    fleet: Fleet, shop: Tenant, report: Report, at: int
) -> None:
    report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 0 WHERE id < 10")
    assert run_killed(back_up_until_killed, fleet.settings, shop.slug, at)
    run(fleet, shop, "DELETE FROM sale WHERE id > 40")
    check_after_kill(fleet, shop, report)


@pytest.mark.slow
def test_an_incremental_killed_at_every_single_step(fleet: Fleet, shop: Tenant, report: Report) -> None:
    report(shop)
    at, adopted = 0, 0
    while True:
        run(fleet, shop, f"INSERT INTO word VALUES ('{at}'); UPDATE sale SET amount = {at}")
        before = len(list_backups(fleet, shop))
        if not run_killed(back_up_until_killed, fleet.settings, shop.slug, at):
            break
        check_after_kill(fleet, shop, report)
        adopted += len(list_backups(fleet, shop)) - before - 1
        at += 1
    assert at > 50
    assert adopted > 0, "no step was between publishing and the catalog"
    assert all(verify_backup(fleet, backup).sound for backup in list_backups(fleet, shop))


def test_an_anchor_without_a_backup_is_in_nobodys_way(fleet: Fleet, shop: Tenant, report: Report) -> None:
    report(shop)
    lost = report(shop)
    run(fleet, shop, "UPDATE sale SET amount = 0")
    plan = plan_backup(fleet, shop, backup_type="incremental")
    assert plan.parent == lost.backup_id

    def stop(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="could not be written"):
        patch.setattr("tenant_ops.backups.archive.ArchiveWriter.publish", stop)
        execute_backup(fleet, plan)
    assert check_after_kill(fleet, shop, report).parent == lost.backup_id


def test_two_incrementals_at_once_make_one_chain(fleet: Fleet, shop: Tenant, report: Report) -> None:
    report(shop)
    plans = [plan_backup(fleet, shop, backup_type="incremental") for _ in range(3)]
    for plan in plans:
        run(fleet, shop, "UPDATE sale SET amount = amount + 1")
        execute_backup(fleet, plan)
    check_after_kill(fleet, shop, report)
