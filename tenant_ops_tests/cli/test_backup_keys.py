"""Keys from the command line: what is printed, what is refused, and no key among it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.backups import execute_backup, find_backup, plan_backup, verify_backup
from tenant_ops.platform.keys import key_path
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FAILED, Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def backup(fleet: Fleet, tenant: Tenant) -> str:
    return execute_backup(fleet, plan_backup(fleet, tenant)).backup_id


def test_a_dry_run_says_what_a_rotation_would_do(
    tenant_ops: Run, fleet: Fleet, tenant: Tenant, backup: str
) -> None:
    shown = tenant_ops("backup", "rotate-keys", "--tenant-id", "acme", "--dry-run")
    assert (shown.code, "to rewrap" in shown.out) == (DONE, True)
    asked = tenant_ops("backup", "rotate-keys", "--tenant-id", "acme", "--dry-run", "--json")
    (plan,) = asked.json["plans"]
    key_id, _ = fleet.tenant_key(tenant)
    assert (plan["current_key"], plan["backups"], plan["to_rewrap"]) == (key_id, 1, 1)
    assert find_backup(fleet, backup).key_id == key_id


def test_tenants_keys_are_rotated(
    tenant_ops: Run, fleet: Fleet, tenant: Tenant, backup: str, new_tenant: Callable[..., Tenant]
) -> None:
    new_tenant("globex")
    done = tenant_ops("backup", "rotate-keys", "--tenant-id", "all", "--json")
    assert done.code == DONE, done.err
    reports = {report["tenant"]: report for report in done.json["reports"]}
    assert reports["acme"]["rewrapped"] == 1
    assert {report["destroyed"] for report in reports.values()} == {True}
    assert find_backup(fleet, backup).key_id == reports["acme"]["new_key"] == fleet.tenant_key(tenant)[0]
    assert verify_backup(fleet, find_backup(fleet, backup)).sound
    assert tenant_ops("backup", "rotate-keys", "--tenant-id", "acme").code == DONE


@pytest.mark.usefixtures("tenant")
def test_a_rotation_that_cannot_finish_fails_and_says_why(
    tenant_ops: Run, fleet: Fleet, backup: str, tmp_path: Path
) -> None:
    path = Path(find_backup(fleet, backup).path)
    away = path.rename(tmp_path / "away")
    outcome = tenant_ops("backup", "rotate-keys", "--tenant-id", "acme")
    assert outcome.code == FAILED
    assert f"{backup}: the catalog knows it, but it was not found" in outcome.err.replace("\n", " ")
    away.rename(path)
    assert tenant_ops("backup", "rotate-keys", "--tenant-id", "acme").code == DONE


def test_the_master_key_is_replaced(
    tenant_ops: Run, fleet: Fleet, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tenant_ops("backup", "rotate-keys", "--master").code == BAD_INPUT
    home_key = key_path(fleet.settings)
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", "a passphrase that is new")
    assert tenant_ops("backup", "verify", backup).code != DONE
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE", str(home_key))
    assert tenant_ops("backup", "rotate-keys", "--master", "--dry-run").code == DONE
    done = tenant_ops("backup", "rotate-keys", "--master", "--json")
    assert (done.code, done.json["finished"], done.json["credentials"]) == (DONE, True, 1)
    monkeypatch.delenv("BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE")
    home_key.unlink()
    assert tenant_ops("backup", "verify", backup).code == DONE


@pytest.mark.parametrize("arguments", [(), ("--master", "--tenant-id", "acme")])
def test_it_is_either_the_master_key_or_tenants_keys(tenant_ops: Run, arguments: tuple[str, ...]) -> None:
    outcome = tenant_ops("backup", "rotate-keys", *arguments)
    assert (outcome.code, "either tenants' keys or the master key" in outcome.err) == (BAD_INPUT, True)


def test_a_key_is_exported_to_a_file_and_not_to_the_terminal(
    tenant_ops: Run, fleet: Fleet, tenant: Tenant, tmp_path: Path
) -> None:
    out = tmp_path / "acme.key.json"
    arguments = ("backup", "export-key", "--tenant-id", "acme", "--out", str(out))
    assert tenant_ops(*arguments, "--dry-run").code == DONE
    assert not out.exists()
    outcome = tenant_ops(*arguments, "--json")
    assert (outcome.code, outcome.json["key_id"]) == (DONE, fleet.tenant_key(tenant)[0])
    key = json.loads(out.read_bytes())["key"]
    again = tenant_ops(*arguments)
    assert (again.code, "it is not replaced" in again.err) == (BAD_INPUT, True)
    assert key not in outcome.out + outcome.err + again.out + again.err
