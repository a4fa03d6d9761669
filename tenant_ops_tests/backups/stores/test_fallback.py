"""While the first store fails, backups go to the fallback, say so, and are carried over later."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.backups import (
    BackupRecord,
    StoreFailed,
    execute_backup,
    execute_reconcile,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_reconcile,
    plan_restore,
    rebuild,
    verify_backup,
)
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import songs
from tenant_ops_tests.backups.stores import faulty
from tenant_ops_tests.backups.stores.conftest import Objects
from tenant_ops_tests.backups.stores.faulty import Network
from tenant_ops_tests.backups.stores.test_tenants_backups import add_song, forget

S3 = "s3://backups/fleet"
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """The fallback store."""
    return tmp_path / "second"


@pytest.fixture
def both(net: Network, fleet: Fleet, second: Path) -> Iterator[Fleet]:
    """A fleet whose backups go to a bucket, or else to a local directory."""
    yield replace(fleet, settings=replace(fleet.settings, backup_path=S3, backup_fallback_path=str(second)))
    forget_all(fleet)


@pytest.fixture
def local(fleet: Fleet, second: Path, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose backups go to one local directory, or else to another."""
    first = str(tmp_path / "first")
    yield replace(
        fleet, settings=replace(fleet.settings, backup_path=first, backup_fallback_path=str(second))
    )
    forget_all(fleet)


def forget_all(fleet: Fleet) -> None:
    """What waits of one test is not the next one's."""
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup")


def back_up(fleet: Fleet, tenant: Tenant, **options) -> BackupRecord:
    return find_backup(fleet, execute_backup(fleet, plan_backup(fleet, tenant, **options)).backup_id)


@pytest.mark.parametrize("kind", ["dir", pytest.param("tar.gz", marks=pytest.mark.slow)])
def test_a_backup_goes_to_the_fallback_while_the_bucket_fails_and_is_carried_over_later(
    both: Fleet, net: Network, objects: Objects, small_tenant: Tenant, second: Path, kind: str
) -> None:
    net.fault = faulty.busy
    report = execute_backup(both, plan_backup(both, small_tenant, archive_format=kind))
    assert (report.fallback, report.store) == (True, str(second))
    assert "it lies in the fallback store" in report.warnings[0]
    assert S3 in report.warnings[0]
    backup = find_backup(both, report.backup_id)
    assert (backup.fallback, backup.present) == (True, True)
    assert verify_backup(both, backup).sound

    plan = plan_reconcile(both)
    failed = execute_reconcile(both, plan)
    assert (failed.moved, len(failed.failed)) == ((), 1)
    assert S3 in failed.failed[0]
    assert find_backup(both, backup.id).fallback

    net.fault = None
    done = execute_reconcile(both, plan_reconcile(both))
    assert (done.moved, done.failed, done.moved_bytes) == ((backup.id,), (), backup.stored_bytes)
    moved = find_backup(both, backup.id)
    assert (moved.fallback, moved.store, moved.format) == (False, S3, kind)
    assert verify_backup(both, moved).sound
    assert [path.name for path in (second / str(small_tenant.id)).iterdir()] == ["keys"]
    assert any("/keys/" in key for key in objects()), "the key lies beside it there too"
    assert plan_reconcile(both).waiting == ()


@pytest.mark.slow
def test_a_chain_may_span_both_stores(both: Fleet, net: Network, small_tenant: Tenant, second: Path) -> None:
    base = back_up(both, small_tenant, backup_type="incremental")  # a full one that begins the journal
    add_song(both, small_tenant)
    # The bucket can be read, but nothing can be put there.
    net.fault = lambda request: faulty.refused(request) if request.method == "PUT" else None
    middle = back_up(both, small_tenant, backup_type="incremental")
    assert (middle.type, middle.parent, middle.fallback) == ("incremental", base.id, True)
    net.fault = None
    add_song(both, small_tenant)
    tip = back_up(both, small_tenant, backup_type="incremental")
    assert (tip.type, tip.parent, tip.store) == ("incremental", middle.id, S3)
    assert verify_backup(both, tip).sound
    copy = f"{small_tenant.slug}_spans"
    execute_restore(both, plan_restore(both, tip, copy))
    assert songs(both, both.registry.get(copy)) == 102
    execute_reconcile(both, plan_reconcile(both))
    assert {each.store for each in list_backups(both, small_tenant)} == {S3}
    assert verify_backup(both, find_backup(both, tip.id)).sound


def test_a_directory_that_cannot_be_written_to_has_a_fallback_too(
    local: Fleet, small_tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "first").write_text("in the way")
    backup = back_up(local, small_tenant)
    assert backup.fallback
    (tmp_path / "first").unlink()
    assert execute_reconcile(local, plan_reconcile(local)).moved == (backup.id,)
    assert verify_backup(local, find_backup(local, backup.id)).sound


def test_only_the_configured_store_has_a_fallback(
    local: Fleet, small_tenant: Tenant, second: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_text("in the way")
    with pytest.raises(StoreFailed):
        back_up(local, small_tenant, output_path=str(tmp_path / "elsewhere"))
    assert not second.exists()


def test_when_both_stores_fail_the_error_names_both(
    local: Fleet, small_tenant: Tenant, second: Path, tmp_path: Path
) -> None:
    (tmp_path / "first").write_text("in the way")
    second.write_text("in the way")
    with pytest.raises(StoreFailed, match=r"neither store takes the backup.*first.*second"):
        back_up(local, small_tenant)
    assert list_backups(local, small_tenant) == ()


def test_a_catalog_made_again_knows_what_waits(local: Fleet, small_tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("in the way")
    backup = back_up(local, small_tenant)
    (tmp_path / "first").unlink()
    forget(local, backup)
    rebuild(local)
    assert [each.backup_id for each in plan_reconcile(local).waiting] == [backup.id]


def reconcile_until_killed(fleet: Fleet, at: int) -> None:
    fleet = Fleet.open(fleet.settings)
    plan = plan_reconcile(fleet)
    left = at

    def counted(call: Callable) -> Callable:
        def step(*arguments, **options):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*arguments, **options)

        return step

    os.open = counted(os.open)
    os.fsync = counted(os.fsync)
    Path.rename = counted(Path.rename)
    Path.unlink = counted(Path.unlink)
    shutil.rmtree = counted(shutil.rmtree)
    execute_reconcile(fleet, plan)


@pytest.mark.slow
def test_carrying_over_killed_at_every_step_goes_on_where_it_was(
    local: Fleet, small_tenant: Tenant, second: Path, tmp_path: Path
) -> None:
    at, killed = 0, True
    while killed:
        first = tmp_path / "first"
        shutil.rmtree(first, ignore_errors=True)
        first.write_text("in the way")
        backup = back_up(local, small_tenant)
        first.unlink()
        child = FORK.Process(target=reconcile_until_killed, args=(local, at))
        child.start()
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
        killed = child.exitcode != 0
        assert verify_backup(local, find_backup(local, backup.id)).sound, f"killed at step {at}"
        done = execute_reconcile(local, plan_reconcile(local))
        assert done.failed == ()
        assert not find_backup(local, backup.id).fallback
        assert {path.name for path in (second / str(small_tenant.id)).iterdir()} == {"keys"}
        assert {path.name for path in (first / str(small_tenant.id)).iterdir()} == {"keys", backup.id}
        forget(local, backup)
        at += 3
    assert at > 30
