"""`backup drill` and `backup status`, as an operator reads them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tenant_ops.backups import execute_backup, list_backups, plan_backup
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FAILED, FINDINGS, Outcome


@pytest.fixture
def saved(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> list[Tenant]:
    """Two tenants with a backup each."""
    tenants = [new_tenant("acme"), new_tenant("globex", "enterprise")]
    for tenant in tenants:
        execute_backup(fleet, plan_backup(fleet, tenant))
    return tenants


def test_a_drill_is_planned_done_and_seen_in_the_status(
    tenant_ops: Callable[..., Outcome], saved: list[Tenant]
) -> None:
    planned = tenant_ops("backup", "drill", "--dry-run", "--sample", "1", "--json")
    (plan,) = planned.json["plans"]
    assert [target["tenant"] for target in plan["targets"]] == ["globex"], "the shortest cadence first"
    assert planned.code == DONE

    done = tenant_ops("backup", "drill", "--json")
    assert done.code == DONE
    (report,) = [report["body"] for report in done.json["reports"] if report["operation"] == "drill"]
    assert (report["tenant"], report["equal"]) == ("globex", True)

    shown = tenant_ops("backup", "status")
    assert shown.code == DONE
    assert "by tier" in shown.out
    status = {each["tenant"]: each for each in tenant_ops("backup", "status", "--json").json["tenants"]}
    assert status["globex"]["rto_s"] == report["rto_s"]
    assert (status["acme"]["last_drill"], status["acme"]["breaches"]) == (None, [])


def test_named_tenants_are_all_drilled(tenant_ops: Callable[..., Outcome], saved: list[Tenant]) -> None:
    plans = tenant_ops("backup", "drill", "--tenant-id", "acme,globex", "--dry-run", "--json").json["plans"]
    assert len(plans[0]["targets"]) == 2
    oldest = tenant_ops("backup", "drill", "--tenant-id", "acme", "--aim", "oldest", "--no-measure")
    assert oldest.code == DONE
    assert "oldest" in oldest.out


def test_a_difference_is_a_finding(
    tenant_ops: Callable[..., Outcome], fleet: Fleet, saved: list[Tenant]
) -> None:
    next(Path(list_backups(fleet, saved[0])[0].path).glob("schema/*")).write_bytes(b"something else")
    drilled = tenant_ops("backup", "drill", "--tenant-id", "acme")
    assert drilled.code == FINDINGS
    assert "schema/statements.json" in drilled.out.replace("\n", "")
    status = tenant_ops("backup", "status")
    assert status.code == FINDINGS
    assert "take a full backup" in status.err


def test_an_exposure_beyond_the_target_is_a_finding_and_comes_first(
    tenant_ops: Callable[..., Outcome], fleet: Fleet, saved: list[Tenant]
) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.backup SET taken_at = taken_at - %s WHERE tenant_id = %s",
            (timedelta(hours=50), saved[0].id),
        )
    status = tenant_ops("backup", "status", "--json")
    assert status.code == FINDINGS
    assert [each["tenant"] for each in status.json["tenants"]] == ["acme", "globex"]
    assert status.json["tenants"][0]["breaches"] == ["rpo"]
    assert "tenant-ops backup --tenant-id" in tenant_ops("backup", "status").err


def test_nobody_to_drill_is_a_finding_and_no_tenant_an_input_error(
    tenant_ops: Callable[..., Outcome], tenant: Tenant
) -> None:
    nobody = tenant_ops("backup", "drill")
    assert (nobody.code, nobody.err.strip()) == (FINDINGS, "without a backup to try: acme")
    assert tenant_ops("backup", "drill", "--tenant-id", "nobody").code == BAD_INPUT


def test_a_tenant_that_cannot_be_backed_up_leaves_the_others_alone(
    tenant_ops: Callable[..., Outcome], fleet: Fleet, saved: list[Tenant]
) -> None:
    schema = saved[0].schema_name
    with fleet.control.transaction() as connection:
        connection.execute(
            f"CREATE TABLE {schema}.secret (id int)".encode()
        )  # owned by no role of the tenant's
    both = tenant_ops("backup", "--tenant-id", "acme,globex", "--backup-type", "incremental")
    assert both.code == FAILED
    assert [len(list_backups(fleet, tenant)) for tenant in saved] == [1, 2]
    assert "tenant-ops backup --backup-type incremental --tenant-id acme" in both.err
