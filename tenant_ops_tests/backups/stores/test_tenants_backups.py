"""A tenant's backups in every format and store: taken, listed, verified, restored, found again, removed."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.backups import (
    BackupRecord,
    StoreFailed,
    catalog,
    execute_backup,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_restore,
    rebuild,
    verify_backup,
)
from tenant_ops.backups.containers import FORMATS
from tenant_ops.backups.containers.container import Format
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import songs
from tenant_ops_tests.backups.stores import faulty
from tenant_ops_tests.backups.stores.conftest import Objects
from tenant_ops_tests.backups.stores.faulty import Network

Take = Callable[..., BackupRecord]
S3 = "s3://backups/fleet"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_backup_of_any_format_lives_like_any_other(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path, kind: Format
) -> None:
    store = str(tmp_path / "store")
    backup = take(small_tenant, archive_format=kind, output_path=store)
    assert (backup.format, backup.store, backup.present) == (kind, store, True)
    assert Path(backup.path).name == (backup.id if kind == "dir" else f"{backup.id}.{kind}")
    if kind != "dir":
        assert backup.stored_bytes == Path(backup.path).stat().st_size
    left = {path.name for path in Path(backup.path).parent.iterdir()}
    assert left == {"keys", Path(backup.path).name}
    assert find_backup(fleet, backup.path) == backup
    assert verify_backup(fleet, backup).sound
    copy = f"{small_tenant.slug}_copy"
    execute_restore(fleet, plan_restore(fleet, backup, copy))
    assert songs(fleet, fleet.registry.get(copy)) == 100
    forget(fleet, backup)
    assert rebuild(fleet, [store]).added == 1
    found = find_backup(fleet, backup.id)
    assert (found.path, found.format, found.manifest_sha256) == (backup.path, kind, backup.manifest_sha256)
    catalog.remove(fleet, found, why="test")
    assert list_backups(fleet, small_tenant) == tuple(
        each for each in list_backups(fleet, small_tenant) if each.id != backup.id
    )
    assert {path.name for path in Path(backup.path).parent.iterdir()} == {"keys"}


def forget(fleet: Fleet, backup: BackupRecord) -> None:
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE id = %s", (backup.id,))


def test_a_format_nobody_knows_is_refused(fleet: Fleet, small_tenant: Tenant) -> None:
    with pytest.raises(InputError, match=r"'rar' is no format.*dir, zip, tar, tar\.gz, tar\.zst"):
        plan_backup(fleet, small_tenant, archive_format="rar")


@pytest.mark.parametrize("kind", ["dir", pytest.param("zip", marks=pytest.mark.slow)])
def test_a_backup_in_a_bucket_lives_like_any_other(
    net: Network, objects: Objects, fleet: Fleet, small_tenant: Tenant, take: Take, kind: Format
) -> None:
    backup = take(small_tenant, archive_format=kind, output_path=S3)
    assert backup.path.startswith(f"{S3}/{small_tenant.id}/{backup.id}")
    assert backup.present
    assert verify_backup(fleet, backup).sound
    copy = f"{small_tenant.slug}_{kind}"
    execute_restore(fleet, plan_restore(fleet, find_backup(fleet, backup.path), copy))
    assert songs(fleet, fleet.registry.get(copy)) == 100
    forget(fleet, backup)
    assert rebuild(fleet, [S3]).added == 1
    catalog.remove(fleet, find_backup(fleet, backup.id), why="test")
    assert [key for key in objects() if backup.id in key] == []


@pytest.mark.slow
def test_incrementals_in_a_bucket_build_on_each_other(
    net: Network, fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    base = take(small_tenant, backup_type="incremental", output_path=S3)  # a full one that begins the journal
    add_song(fleet, small_tenant)
    tip = take(small_tenant, backup_type="incremental", output_path=S3, archive_format="tar.zst")
    assert (tip.type, tip.parent) == ("incremental", base.id)
    copy = f"{small_tenant.slug}_copy"
    execute_restore(fleet, plan_restore(fleet, tip, copy))
    assert songs(fleet, fleet.registry.get(copy)) == 101


def add_song(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO plays (song) VALUES ('one more')")


def test_a_bucket_that_fails_while_a_backup_is_taken_keeps_nothing_and_the_error_says_which(
    net: Network, objects: Objects, fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    before = take(small_tenant, output_path=S3)
    net.fault = lambda r: faulty.busy(r) if r.method == "PUT" and "/data/" in r.path else None
    with pytest.raises(StoreFailed, match=f"store {S3}, .*{small_tenant.id}"):
        take(small_tenant, output_path=S3)
    net.fault = None
    assert [each.id for each in list_backups(fleet, small_tenant)] == [before.id]
    assert {key.split("/")[2] for key in objects()} == {"keys", before.id}
    assert list((fleet.settings.home / "backup-spool").rglob("*.partial")) == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["dir", "zip", "tar.gz"])
def test_a_disk_that_fills_keeps_the_old_backups_and_says_what_is_free_and_needed(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path, kind: Format
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        before = take(small_tenant, output_path=str(disk), archive_format=kind)
        (fleet.files(small_tenant) / "large.bin").write_bytes(os.urandom(1_500_000))
        with pytest.raises(
            StoreFailed, match=r"No space left.*bytes are free, about 1,\d{3},\d{3} are needed"
        ):
            take(small_tenant, output_path=str(disk), archive_format=kind)
        assert [each.id for each in list_backups(fleet, small_tenant)] == [before.id]
        assert verify_backup(fleet, before).sound
        assert {path.name for path in Path(before.path).parent.iterdir()} == {"keys", Path(before.path).name}


def test_a_disk_that_fills_only_when_the_file_is_packed_keeps_the_old_backups(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        before = take(small_tenant, output_path=str(disk), archive_format="tar")
        (fleet.files(small_tenant) / "large.bin").write_bytes(os.urandom(550_000))
        with pytest.raises(StoreFailed, match="No space left"):
            take(small_tenant, output_path=str(disk), archive_format="tar")
        assert {path.name for path in Path(before.path).parent.iterdir()} == {"keys", Path(before.path).name}
        take(small_tenant, output_path=str(disk), archive_format="dir")


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("kind", ["dir", "zip"])
def test_a_disk_that_fails_at_the_last_step_keeps_nothing_of_the_new_backup(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch, call: str, kind: Format
) -> None:
    before = take(small_tenant, archive_format=kind)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        if call == "fsync":
            broken.setattr(os, "fsync", fails)
        else:
            broken.setattr(Path, "rename", fails)
        with pytest.raises(StoreFailed, match="No space left on device"):
            take(small_tenant, archive_format=kind)
    assert [each.id for each in list_backups(fleet, small_tenant)] == [before.id]
    assert {path.name for path in Path(before.path).parent.iterdir()} == {"keys", Path(before.path).name}


def test_a_file_that_may_not_grow_further_is_an_error_in_a_packed_backup_too(
    fleet: Fleet, small_tenant: Tenant
) -> None:
    (fleet.files(small_tenant) / "large.bin").write_bytes(os.urandom(200_000))
    plan = plan_backup(fleet, small_tenant, archive_format="zip")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (204_000, hard))  # the member fits, the zip of all does not
    try:
        with pytest.raises(StoreFailed, match="File too large"):
            execute_backup(fleet, plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in Path(plan.folder).iterdir()} == {"keys"}


def test_a_plan_names_store_and_format_and_writes_nothing(
    fleet: Fleet, small_tenant: Tenant, tmp_path: Path
) -> None:
    plan = plan_backup(
        fleet, small_tenant, archive_format="zip", output_path=str(tmp_path / "x" / ".." / "y")
    )
    assert (plan.store, plan.format) == (str(tmp_path / "y"), "zip")
    assert plan == replace(plan, free_bytes=0)
    assert list(tmp_path.iterdir()) == []
