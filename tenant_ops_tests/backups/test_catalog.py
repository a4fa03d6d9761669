"""The catalog is a convenience: the store alone says which backups there are."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.audit import history
from tenant_ops.backups import (
    BackupRecord,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_restore,
    rebuild,
    verify_backup,
)
from tenant_ops.platform.errors import InputError, NotAvailable
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant

Take = Callable[..., BackupRecord]


def test_a_backup_is_listed_newest_first_with_what_it_holds(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    first, second = take(small_tenant), take(small_tenant, compression="gzip")
    assert [record.id for record in list_backups(fleet, small_tenant)] == [second.id, first.id]
    assert (second.rows, second.codec, second.encrypted, second.type) == (100, "gzip", True, "full")
    assert second.version == small_tenant.version
    with fleet.control.transaction() as connection:
        newest = history(connection, str(small_tenant.id))[0]
    assert (newest.action, newest.detail["backup"]) == ("backup.taken", second.id)


def test_the_catalog_is_rebuilt_from_the_store_alone(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    backups = [take(small_tenant), take(small_tenant, encryption=False)]
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE tenant_id = %s", (small_tenant.id,))
    assert list_backups(fleet, small_tenant) == ()
    report = rebuild(fleet)
    assert report.added == 2
    for record, before in zip(reversed(list_backups(fleet, small_tenant)), backups, strict=True):
        kept = ("id", "path", "manifest_sha256", "rows", "tables", "key_id", "encrypted", "tenant", "version")
        assert {name: getattr(record, name) for name in kept} == {
            name: getattr(before, name) for name in kept
        }
        assert verify_backup(fleet, record).sound


def test_rebuilding_names_what_it_cannot_open_and_forgets_what_is_gone(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    gone, damaged = take(small_tenant), take(small_tenant)
    shutil.rmtree(gone.path)
    assert [record.present for record in list_backups(fleet, small_tenant)] == [True, False]
    (Path(damaged.path) / "manifest.json.enc").write_bytes(b"")
    report = rebuild(fleet)
    assert report.forgotten == 1
    assert any(damaged.id in line for line in report.unreadable)
    assert [record.id for record in list_backups(fleet, small_tenant)] == [damaged.id]


def test_a_directory_without_its_completion_is_no_backup(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    (Path(backup.path) / "COMPLETE").unlink()
    assert not find_backup(fleet, backup.id).present
    with pytest.raises(InputError, match="not a complete backup"):
        find_backup(fleet, backup.path)
    assert not verify_backup(fleet, backup).sound


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("archive_format", ["dir", "tar.zst"])
def test_who_names_a_folder_of_backups_is_told_what_lies_there(
    fleet: Fleet, small_tenant: Tenant, take: Take, archive_format: str, levels: int
) -> None:
    folder = Path(take(small_tenant, archive_format=archive_format).path).parents[levels - 1]
    with pytest.raises(InputError, match=r"folder that holds \d+") as refusal:
        find_backup(fleet, str(folder))
    named = str(refusal.value.fix).rpartition(" ")[2]
    assert folder in Path(named).parents
    assert find_backup(fleet, named).path == named


def test_a_backup_is_found_by_id_by_its_beginning_and_by_path(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    backup = take(small_tenant)
    assert (
        find_backup(fleet, backup.id) == find_backup(fleet, backup.id[:-2]) == find_backup(fleet, backup.path)
    )
    with pytest.raises(InputError, match="no backup 'nothing'"):
        find_backup(fleet, "nothing")
    take(small_tenant)
    with pytest.raises(InputError, match="backups begin with"):
        find_backup(fleet, backup.id[:4])
    with pytest.raises(InputError, match="not a complete backup"):
        find_backup(fleet, str(tmp_path))


def test_a_backup_written_elsewhere_restores_from_there_without_the_catalog(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    """As on another machine: only the directory, the key beside it, and the master key."""
    backup = take(small_tenant, output_path=str(tmp_path / "my backups"))
    assert Path(backup.path).is_relative_to(tmp_path / "my backups")
    moved = tmp_path / "carried"
    shutil.copytree(Path(backup.path).parent, moved)
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE id = %s", (backup.id,))
    found = find_backup(fleet, str(moved / backup.id))
    assert (found.id, found.path) == (backup.id, str(moved / backup.id))
    assert execute_restore(fleet, plan_restore(fleet, found, f"{small_tenant.slug}_copy")).equal


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"backup_type": "hourly"}, "not a type of backup"),
        ({"compression": "rar"}, "zstd, gzip, none"),
        ({"level": 99}, "from 1 to 19"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    fleet: Fleet, small_tenant: Tenant, options: dict, complaint: str
) -> None:
    with pytest.raises((InputError, NotAvailable), match=complaint):
        plan_backup(fleet, small_tenant, **options)


def test_a_plan_tells_what_would_be_written_and_writes_nothing(fleet: Fleet, small_tenant: Tenant) -> None:
    plan = plan_backup(fleet, small_tenant)
    assert "plays" in dict(plan.tables)
    assert (plan.encrypted, plan.files, plan.codec) == (True, 1, "zstd")
    assert 0 < plan.estimated_bytes < plan.free_bytes
    assert not Path(plan.folder).exists()
    assert hash(plan) == hash(plan_backup(fleet, small_tenant))


def test_what_cannot_be_carried_is_said_by_plan_backup_and_restore(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    with fleet.session(small_tenant) as connection:
        connection.execute("SELECT lo_create(0)")
    (fleet.files(small_tenant) / "link").symlink_to("/etc/passwd")
    expected = {"1 large objects of the tenant's roles", "file link"}
    named = {item.name for item in plan_backup(fleet, small_tenant).not_carried}
    assert "1 large objects of the tenant's roles" in named
    plan = plan_restore(fleet, take(small_tenant), f"{small_tenant.slug}_copy")
    for name in expected:
        assert any(name in warning for warning in plan.warnings)


def test_reports_and_plans_are_json(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    backup = take(small_tenant)
    plan = plan_restore(fleet, backup, small_tenant.slug)
    for value in (plan_backup(fleet, small_tenant), backup, plan, verify_backup(fleet, backup)):
        assert as_document(value)["tenant" if hasattr(value, "tenant") else "target"] == small_tenant.slug


def test_a_plan_for_a_backup_that_changed_since_is_not_executed(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    first, second = take(small_tenant), take(small_tenant)
    plan = replace(plan_restore(fleet, first, f"{small_tenant.slug}_copy"), path=second.path)
    with pytest.raises(InputError, match="changed since the plan"):
        execute_restore(fleet, plan)
