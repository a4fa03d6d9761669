"""A backup whose process is killed while it is packed or uploaded: nothing half is listed, all is swept."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from tenant_ops.backups import execute_backup, find_backup, list_backups, plan_backup, rebuild, verify_backup
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.stores.conftest import Objects
from tenant_ops_tests.backups.stores.faulty import Network, Request
from tenant_ops_tests.backups.test_faults import FORK, Killed, run_killed

pytestmark = pytest.mark.slow
S3 = "s3://backups/fleet"


def pack_until_killed(settings: Settings, slug: str, at: int) -> None:
    killed = Killed(at, armed=False)
    fleet = Fleet.open(settings)
    plan = plan_backup(fleet, fleet.registry.get(slug), archive_format="zip")
    os.open = killed.before(os.open, arm=".zip.partial")
    os.fsync = killed.before(os.fsync)
    Path.rename = killed.before(Path.rename)
    os.unlink = killed.before(os.unlink)
    shutil.rmtree = killed.before(shutil.rmtree)
    execute_backup(fleet, plan)


def test_killed_at_every_step_of_packing(fleet: Fleet, small_tenant: Tenant) -> None:
    at = 0
    while run_killed(pack_until_killed, fleet.settings, small_tenant.slug, at):
        rebuild(fleet)
        for record in list_backups(fleet, small_tenant):
            assert verify_backup(fleet, record, level="quick").sound
        report = execute_backup(fleet, plan_backup(fleet, small_tenant, archive_format="zip"))
        assert verify_backup(fleet, find_backup(fleet, report.backup_id)).sound
        assert list(Path(report.path).parent.glob("*.partial")) == []
        at += 1
    assert at >= 5


def back_up(settings: Settings, slug: str, kind: str) -> None:
    fleet = Fleet.open(settings)
    execute_backup(fleet, plan_backup(fleet, fleet.registry.get(slug), output_path=S3, archive_format=kind))


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_killed_at_every_upload(
    net: Network, objects: Objects, fleet: Fleet, small_tenant: Tenant, kind: str
) -> None:
    at, puts = 0, 1
    while at < puts:
        seen = 0

        def kill(request: Request, child: multiprocessing.process.BaseProcess, at: int = at) -> None:
            nonlocal seen
            if request.method == "PUT":
                seen += 1
                if seen == at + 1 and child.pid:
                    os.kill(child.pid, signal.SIGKILL)

        child = FORK.Process(target=back_up, args=(fleet.settings, small_tenant.slug, kind))
        net.fault = lambda request, child=child, kill=kill: kill(request, child)
        child.start()
        child.join(60)
        net.fault = None
        assert child.exitcode == -signal.SIGKILL
        rebuild(fleet, [S3])
        for record in list_backups(fleet, small_tenant):
            assert verify_backup(fleet, record, level="quick").sound, f"killed at put {at}"
        net.seen.clear()
        report = execute_backup(fleet, plan_backup(fleet, small_tenant, output_path=S3, archive_format=kind))
        puts = len(net.puts())
        known = {record.id for record in list_backups(fleet, small_tenant)}
        assert report.backup_id in known
        assert {key.split("/")[2].partition(".")[0] for key in objects()} <= {"keys", *known}
        assert list((fleet.settings.home / "backup-spool").rglob("*.partial")) == []
        at += 1
    assert at >= (8 if kind == "dir" else 1)
