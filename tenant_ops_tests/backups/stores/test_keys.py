"""Keys of backups in an object store: rotated, and destroyed."""

from collections.abc import Callable

import pytest

from tenant_ops.backups import BackupRecord, execute_rotation, plan_rotation, shred, verify_backup
from tenant_ops.backups.catalog import open_backup
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.stores.conftest import Objects

Take = Callable[..., BackupRecord]


def test_headers_in_an_object_store_are_wrapped_anew_and_nothing_else_is_written(
    fleet: Fleet, small_tenant: Tenant, take: Take, objects: Objects
) -> None:
    loose, packed = (
        take(small_tenant, output_path="s3://backups/all", archive_format=kind) for kind in ("dir", "zip")
    )
    before = {name: objects.read(name) for name in objects()}
    report = execute_rotation(fleet, plan_rotation(fleet, small_tenant))
    assert (report.rewrapped, report.destroyed, report.problems) == (2, True, ())
    folder = f"all/{small_tenant.id}"
    old, new = (f"{folder}/keys/{key}.json" for key in (*report.old_keys, report.new_key))
    after = {name: objects.read(name) for name in objects()}
    assert set(before) - set(after) == {old}
    assert set(after) - set(before) == {new, f"{folder}/{packed.id}.key.json"}
    changed = {name for name in set(before) & set(after) if before[name] != after[name]}
    assert changed == {f"{folder}/{loose.id}/key.json"}
    assert all(verify_backup(fleet, backup).sound for backup in (loose, packed))


def test_keys_in_an_object_store_are_destroyed_too(
    fleet: Fleet, small_tenant: Tenant, take: Take, objects: Objects
) -> None:
    backup = take(small_tenant, output_path="s3://backups/all")
    report = shred(fleet, small_tenant)
    assert (report.complete, report.key_files) == (True, 1)
    assert not [name for name in objects() if "/keys/" in name]
    with pytest.raises(InputError, match="cannot be read again"):
        open_backup(fleet, backup)
