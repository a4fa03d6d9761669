"""A drill restores for real, tells the truth about it, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import BackupRecord, find_backup, list_backups
from tenant_ops.backups.drills import Aim, Drill, execute_drill, plan_drill, rpo_report, sweep
from tenant_ops.backups.drills.executing import _alone
from tenant_ops.backups.restoring import loading
from tenant_ops.backups.restoring.login import DRILL, RESTORE, owner_sessions
from tenant_ops.tenants import Fleet, Tenant


def drill(fleet: Fleet, tenant: Tenant, **options) -> Drill:
    report = execute_drill(fleet, plan_drill(fleet, [tenant], sample=1, **options))
    assert report.failed == ()
    return report.drills[0]


def leftovers(fleet: Fleet, tenant: Tenant) -> list[str]:
    """Schemas, roles and directories of the tenant that only a drill makes."""
    with fleet.control.transaction() as connection:
        names = connection.execute(
            """
            SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %(schema)s)
            UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, %(login)s)
            """,
            {"schema": f"{tenant.schema_name}__", "login": f"t_{tenant.key}_drl_"},
        ).fetchall()
    files = fleet.files(tenant)
    return [*(name for (name,) in names), *(path.name for path in files.parent.glob(f"{files.name}__*"))]


def add_songs(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO plays (song) VALUES ('one more')")


@pytest.fixture
def chain(fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]) -> list[BackupRecord]:
    """A full backup and two incrementals of a tenant that is written to."""
    backups = [take(small_tenant, backup_type="incremental")]  # the first one is full and keeps a journal
    for _ in range(2):
        add_songs(fleet, small_tenant)
        backups.append(take(small_tenant, backup_type="incremental"))
    assert [backup.type for backup in backups] == ["full", "incremental", "incremental"]
    return backups


def test_a_full_backup_comes_back_equal_and_nothing_is_left(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    backup = take(small_tenant)
    found = drill(fleet, small_tenant)
    assert (found.backup_id, found.equal, found.problems, found.not_compared) == (backup.id, True, (), ())
    assert (found.tables, found.rows, found.files, found.aim) == (14, 100, 1, Aim.NEWEST)
    assert found.rto_s > 0
    assert found.mb_per_s > 0
    assert leftovers(fleet, small_tenant) == []


def test_everything_postgres_has_can_be_drilled(
    fleet: Fleet, full_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    take(full_tenant)
    found = drill(fleet, full_tenant)
    assert (found.equal, found.problems) == (True, ())
    assert leftovers(fleet, full_tenant) == []


def test_the_live_tenant_stays_as_it_is(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    take(small_tenant)
    with fleet.session(small_tenant) as connection:  # newer than the backup, and open while the drill runs
        connection.execute("DELETE FROM plays WHERE id > 7")
        assert drill(fleet, small_tenant).rows == 100
        row = connection.execute("SELECT count(*), max(tableoid::regclass::text) FROM plays").fetchone()
    assert row == (7, "plays")
    assert (fleet.files(small_tenant) / "one.txt").read_text() == "one"


def test_the_end_of_a_chain_is_measured_so_that_everything_is_compared(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    found = drill(fleet, small_tenant)
    measured = find_backup(fleet, found.backup_id)
    assert (found.measured, found.depth, found.equal, found.not_compared) == (True, 3, True, ())
    assert (measured.parent, measured.reason) == (chain[-1].id, "restore drill")
    assert found.rows == 102


def test_without_measuring_it_says_what_was_compared_with_nothing(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    found = drill(fleet, small_tenant, measure=False)
    assert (found.backup_id, found.measured, found.depth) == (chain[-1].id, False, 2)
    assert (found.equal, found.not_compared, found.rows) == (True, ("plays",), 102)


def test_the_second_drill_takes_the_oldest_backup_kept(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    drill(fleet, small_tenant, measure=False)
    found = drill(fleet, small_tenant)
    assert (found.aim, found.backup_id, found.depth, found.rows) == (Aim.OLDEST, chain[0].id, 0, 100)


def test_a_drill_is_recorded_with_the_exposure_before_it(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    found = drill(fleet, small_tenant)
    (recovery,) = rpo_report(fleet, [small_tenant]).tenants
    assert (recovery.last_drill, recovery.drill_equal) == (found.started_at, True)
    assert recovery.rto_s == found.rto_s
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT rpo_s, detail->>'aim', detail->>'measured' FROM tenant_ops.drill WHERE tenant_id = %s",
            (small_tenant.id,),
        ).fetchone()
    assert row == (found.rpo_s, "newest", "true")
    assert found.rpo_s > 0, "of the newest backup before the drill took its own"


def test_a_damaged_link_of_the_chain_is_a_drill_that_failed_and_names_it(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    member = next(Path(chain[1].path).glob("journal/*"))
    member.write_bytes(member.read_bytes()[:-1] + b"\x00")
    found = drill(fleet, small_tenant)
    assert not found.equal
    assert chain[1].id in found.problems[0]
    assert rpo_report(fleet, [small_tenant]).tenants[0].breaches == ("drill differed",)
    assert leftovers(fleet, small_tenant) == []


def test_a_backup_whose_directory_is_gone_is_a_drill_that_failed(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    shutil.rmtree(take(small_tenant).path)
    found = drill(fleet, small_tenant)
    assert (found.equal, found.tables) == (False, 0)
    assert found.problems != ()


def test_rows_that_do_not_come_back_as_they_were_are_a_difference(
    fleet: Fleet,
    small_tenant: Tenant,
    take: Callable[..., BackupRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take(small_tenant)
    copy_in = loading.copy_in

    def losing(connection: psycopg.Connection, table: sql.Identifier, *rest) -> None:
        copy_in(connection, table, *rest)
        connection.execute(sql.SQL("UPDATE {} SET song = 'another' WHERE id = 50").format(table))

    monkeypatch.setattr(loading, "copy_in", losing)
    found = drill(fleet, small_tenant)
    assert not found.equal
    assert "plays" in found.problems[0]
    assert leftovers(fleet, small_tenant) == []


def test_what_a_killed_drill_left_is_taken_away_by_the_next(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    take(small_tenant)
    _leave(fleet, small_tenant)
    report = execute_drill(fleet, plan_drill(fleet, [small_tenant], sample=1))
    assert report.equal
    assert len(report.swept) == 3
    assert leftovers(fleet, small_tenant) == []


KILLED = """
import os, signal, sys
from tenant_ops.backups.drills import execute_drill, plan_drill
from tenant_ops.backups.restoring import loading
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet

copy_in = loading.copy_in

def dying(*arguments):
    copy_in(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

loading.copy_in = dying
fleet = Fleet.open(Settings.load())
execute_drill(fleet, plan_drill(fleet, [fleet.registry.get(sys.argv[1])], sample=1))
"""


def test_a_drill_killed_in_the_middle_leaves_what_the_next_one_clears(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    take(small_tenant)
    environment = {
        **os.environ,
        "DATABASE_URL": fleet.settings.database_url or "",
        "TENANT_OPS_HOME": str(fleet.settings.home),
    }
    done = subprocess.run([sys.executable, "-c", KILLED, small_tenant.slug], env=environment)
    assert done.returncode == -signal.SIGKILL
    left = leftovers(fleet, small_tenant)
    assert f"{small_tenant.schema_name}__drill" in left
    assert any("_drl_" in name for name in left)
    assert drill(fleet, small_tenant).equal
    assert leftovers(fleet, small_tenant) == []


def test_sweeping_leaves_a_running_drill_alone(fleet: Fleet, small_tenant: Tenant) -> None:
    _leave(fleet, small_tenant)
    with _alone(fleet, small_tenant):
        assert sweep(fleet, [small_tenant]) == ()
    assert len(sweep(fleet, [small_tenant])) == 3
    assert sweep(fleet, [small_tenant]) == ()


def test_two_drills_of_a_tenant_do_not_run_at_once_and_the_others_go_on(
    fleet: Fleet,
    small_tenant: Tenant,
    new_tenant: Callable[..., Tenant],
    take: Callable[..., BackupRecord],
) -> None:
    other = new_tenant(f"other_{small_tenant.key}")
    for tenant in (small_tenant, other):
        take(tenant)
    with _alone(fleet, small_tenant):
        report = execute_drill(fleet, plan_drill(fleet, [small_tenant, other], sample=2))
    assert [found.tenant for found in report.drills] == [other.slug]
    assert "another drill of it runs" in report.failed[0]


def test_a_drill_neither_waits_for_the_tenants_lock_nor_ends_a_restores_sessions(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    take(small_tenant)
    with (
        fleet.lock(small_tenant, "restore"),
        owner_sessions(fleet, small_tenant, 1, trusted=True, purpose=RESTORE) as restoring,
    ):
        assert drill(fleet, small_tenant).equal
        assert restoring.connections[0].execute("SELECT 1").fetchone() == (1,)


def test_a_backup_that_retention_removes_meanwhile_was_not_wrong(
    fleet: Fleet, small_tenant: Tenant, take: Callable[..., BackupRecord]
) -> None:
    backup = take(small_tenant)
    plan = plan_drill(fleet, [small_tenant], sample=1)
    shutil.rmtree(backup.path)
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.backup SET removing_at = %s WHERE id = %s", (fleet.clock(), backup.id)
        )
    report = execute_drill(fleet, plan)
    assert report.drills == ()
    assert "was removed while it was tried" in report.failed[0]


def test_a_drill_writes_nothing_into_the_catalog_but_its_measured_backup(
    fleet: Fleet, small_tenant: Tenant, chain: list[BackupRecord]
) -> None:
    drill(fleet, small_tenant, measure=False)
    assert len(list_backups(fleet, small_tenant)) == len(chain)


def _leave(fleet: Fleet, tenant: Tenant) -> None:
    """What a drill leaves that is killed while it loads."""
    owner = sql.Identifier(tenant.role("owner"))
    with fleet.control.transaction() as connection:
        connection.execute(
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(
                sql.Identifier(f"{tenant.schema_name}__drill"), owner
            )
        )
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(f"t_{tenant.key}_{DRILL}_dead"))
        )
    files = fleet.files(tenant)
    (files.with_name(f"{files.name}__drill") / "half").mkdir(parents=True)
