"""`tenant-ops backup list`, `verify`, `compare`, `retention` and the marks, as typed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.backups import BackupReport, execute_backup, list_backups, plan_backup
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FAILED, FINDINGS, Outcome

Command = Callable[..., Outcome]


@pytest.fixture
def take(fleet: Fleet, tenant: Tenant) -> Callable[..., BackupReport]:
    """Takes a backup of `acme`; the first incremental is a full one that begins a chain."""

    def backup(backup_type: str = "incremental") -> BackupReport:
        return execute_backup(fleet, plan_backup(fleet, tenant, backup_type=backup_type))

    return backup


def add_table(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE plays (id int PRIMARY KEY, song text)")


def play(fleet: Fleet, tenant: Tenant, song: str) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO plays SELECT count(*), %s FROM plays", (song,))


def test_chains_are_listed_and_verified_as_trees(
    tenant_ops: Command, fleet: Fleet, tenant: Tenant, take: Callable[..., BackupReport]
) -> None:
    add_table(fleet, tenant)
    base = take()
    play(fleet, tenant, "one")
    tip = take()
    shown = tenant_ops("backup", "list", "--tree")
    assert shown.code == DONE
    assert "acme: restores to any moment from" in shown.out
    assert f"  {tip.backup_id}" in shown.out
    (chain,) = tenant_ops("backup", "list", "--tree", "--json").json
    assert [(link["level"], link["backup"]["id"]) for link in chain["links"]] == [
        (0, base.backup_id),
        (1, tip.backup_id),
    ]
    assert tenant_ops("backup", "verify", "--tenant-id", "acme", "--level", "quick").code == DONE
    (newest, oldest) = tenant_ops("backup", "verify", "--all", "--json").json
    assert (newest["chain"], oldest["chain"]) == ([base.backup_id, tip.backup_id], [base.backup_id])
    (Path(base.path) / "COMPLETE").unlink()
    assert tenant_ops("backup", "verify", tip.backup_id).code == FAILED
    assert f"{base.backup_id}, which it builds on, is missing" in tenant_ops("backup", "list", "--tree").out
    assert f"{base.backup_id}, which it builds on, is missing" in tenant_ops("backup", "rebuild").err
    for wrong in ([], ["--all", tip.backup_id], [tip.backup_id, "--level", "deep"]):
        assert tenant_ops("backup", "verify", *wrong).code == BAD_INPUT


def test_backups_and_tenants_are_compared_by_name(
    tenant_ops: Command, fleet: Fleet, tenant: Tenant, take: Callable[..., BackupReport]
) -> None:
    add_table(fleet, tenant)
    base = take()
    assert tenant_ops("backup", "compare", base.backup_id, "acme").code == DONE
    play(fleet, tenant, "one")
    tip = take()
    unknown = tenant_ops("backup", "compare", base.backup_id, tip.backup_id)
    assert unknown.code == FINDINGS
    assert "rows of plays are not known; add --rows" in unknown.err
    by_row = tenant_ops("backup", "compare", base.path, tip.backup_id, "--rows", "--json")
    assert by_row.code == FINDINGS
    plays = next(table for table in by_row.json["tables"] if table["table"] == "plays")
    assert (plays["added"], plays["removed"], plays["changed"]) == (1, 0, 0)
    nobody = tenant_ops("backup", "compare", "acme", "nobody")
    assert nobody.code == BAD_INPUT
    assert "neither a tenant nor a backup 'nobody'" in nobody.err


def test_retention_is_planned_carried_out_and_held_back(
    tenant_ops: Command, fleet: Fleet, tenant: Tenant, take: Callable[..., BackupReport]
) -> None:
    held, pinned, gone, newest = (take("full").backup_id for _ in range(4))
    assert tenant_ops("backup", "hold", held, "--reason", "matter 7").code == DONE
    assert tenant_ops("backup", "pin", pinned).code == DONE
    plan = tenant_ops("backup", "retention", "--policy", "last=1", "--json").json
    assert {d["backup_id"]: d["keep"] for d in plan["decisions"]} == {
        newest: True,
        gone: False,
        pinned: True,
        held: True,
    }
    assert plan["report"] is None
    done = tenant_ops("backup", "retention", "--policy", "last=1", "--execute", "--json").json
    assert done["decisions"] == plan["decisions"]
    assert done["report"]["removed"] == [gone]
    refused = tenant_ops("backup", "remove", held, "--reason", "make room", "--execute")
    assert refused.code == FAILED
    assert "under legal hold: matter 7" in refused.err
    assert tenant_ops("backup", "release", held, "--reason", "settled").code == DONE
    assert tenant_ops("backup", "remove", held, "--reason", "make room").code == DONE
    assert held in {record.id for record in list_backups(fleet, tenant)}, "that was the plan only"
    assert tenant_ops("backup", "remove", held, "--reason", "make room", "--execute").code == DONE
    assert {record.id for record in list_backups(fleet, tenant)} == {pinned, newest}
    wrong = tenant_ops("backup", "retention", "--policy", "fortnightly=2")
    assert wrong.code == BAD_INPUT
    assert "fortnightly=2" in wrong.err
