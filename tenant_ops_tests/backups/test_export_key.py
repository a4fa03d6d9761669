"""A tenant's key leaves in a file for its owner only, and the audit log knows."""

import json
import shutil
import stat
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.audit import history
from tenant_ops.backups import BackupRecord, execute_rotation, export_key, plan_export, plan_rotation
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.test_shipped_restore import run

Take = Callable[..., BackupRecord]


def test_the_file_opens_the_backups_without_this_installation(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    backup = take(small_tenant)
    carried = shutil.copytree(backup.path, tmp_path / "elsewhere" / backup.id)
    plan = plan_export(fleet, small_tenant, tmp_path / "key.json")
    assert not (tmp_path / "key.json").exists()
    assert (plan.key_id, plan.backups, plan.other_keys) == (backup.key_id, 1, ())
    report = export_key(fleet, plan)
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600
    done = run(carried, "verify", str(carried), "--exported-key", report.out, key=None)
    assert done.returncode == 0, done.stderr


def test_who_took_which_key_when_is_in_the_audit_log_and_the_key_is_not(
    fleet: Fleet, small_tenant: Tenant, tmp_path: Path
) -> None:
    report = export_key(fleet, plan_export(fleet, small_tenant, tmp_path / "key.json"))
    document = json.loads((tmp_path / "key.json").read_bytes())
    key_id, secret = fleet.tenant_key(small_tenant)
    assert (document["tenant_key_id"], b64decode(document["key"])) == (key_id, secret)
    with fleet.control.transaction() as connection:
        event = history(connection, str(small_tenant.id), limit=1)[0]
    assert (event.seq, event.action, event.actor) == (report.audit_seq, "key.exported", "tester")
    assert event.detail == {"key": key_id, "to": str(tmp_path / "key.json")}
    for shown in (repr(event), repr(report), repr(plan_export(fleet, small_tenant, tmp_path / "other"))):
        assert document["key"] not in shown
        assert secret.hex() not in shown


def test_a_key_exported_before_a_rotation_opens_copies_made_before_it(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    backup = take(small_tenant)
    carried = shutil.copytree(backup.path, tmp_path / "elsewhere" / backup.id)
    old = export_key(fleet, plan_export(fleet, small_tenant, tmp_path / "old.json"))
    execute_rotation(fleet, plan_rotation(fleet, small_tenant))
    with pytest.raises(InputError, match="none of its living keys"):
        plan_export(fleet, small_tenant, tmp_path / "again.json", key_id=old.key_id)
    new = export_key(fleet, plan_export(fleet, small_tenant, tmp_path / "new.json"))
    for folder, key, works in ((carried, old, True), (backup.path, new, True), (carried, new, False)):
        done = run(Path(folder), "verify", str(folder), "--exported-key", key.out, key=None)
        assert (done.returncode == 0) == works, done.stderr


@pytest.mark.parametrize("made", ["file", "link", "folder"])
def test_what_is_there_is_never_replaced(
    fleet: Fleet, small_tenant: Tenant, tmp_path: Path, made: str
) -> None:
    out = tmp_path / "key.json"
    plan = plan_export(fleet, small_tenant, out)
    match made:
        case "file":
            out.write_text("mine")
        case "link":
            out.symlink_to(tmp_path / "target")
        case _:
            out.mkdir()
    with pytest.raises(InputError, match="there is something already"):
        plan_export(fleet, small_tenant, out)
    with pytest.raises(InputError, match="cannot be written: File exists"):
        export_key(fleet, plan)
    assert not (tmp_path / "target").exists()
    assert made != "file" or out.read_text() == "mine"
    with fleet.control.transaction() as connection:
        assert "key.exported" not in [event.action for event in history(connection, str(small_tenant.id))]


def test_a_folder_that_is_not_there_is_refused(fleet: Fleet, small_tenant: Tenant, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder does not exist"):
        plan_export(fleet, small_tenant, tmp_path / "no" / "key.json")
