"""The jobs run for real: on Postgres, on the shipped fixtures, and on what operators get wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tenant_ops.audit import reports_of_run
from tenant_ops.backups import compare, list_backups, plan_restore
from tenant_ops.datasets import MUSIC, Dataset
from tenant_ops.loading import prepared
from tenant_ops.loading.pieces import read_pieces
from tenant_ops.orchestration.location import build_defs
from tenant_ops.orchestration.partitions import TENANTS
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, State, Tenant


@pytest.fixture
def run(instance: dg.DagsterInstance, fleet: Fleet) -> Callable[..., dg.ExecuteInProcessResult]:
    """Runs a job of the code location on this test's fleet."""
    defs = build_defs(open_fleet=lambda catalog: Fleet.open(fleet.settings, catalog=catalog))

    def execute(job: str, tenants: str = "", config: dict | None = None) -> dg.ExecuteInProcessResult:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags={"dagster/partition": tenants} if tenants else {},
            run_config=config or {},
            raise_on_error=False,
        )

    return execute


def op_config(op: str, **config: object) -> dict:
    return {"ops": {op: {"config": config}}}


def rows(fleet: Fleet, tenant: Tenant) -> dict[str, int]:
    with fleet.session(tenant) as connection:
        counted = [
            (name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()) for name in MUSIC.names
        ]
    return {name: row[0] for name, row in counted if row}


def test_the_main_job_loads_validates_and_backs_up_every_tenant_of_the_run(
    run: Callable[..., dg.ExecuteInProcessResult],
    fleet: Fleet,
    new_tenant: Callable[..., Tenant],
    instance: dg.DagsterInstance,
) -> None:
    tenants = [new_tenant("acme"), new_tenant("globex", "professional")]
    result = run("tenant_pipeline", "acme,globex")
    assert result.success
    for tenant in tenants:
        assert all(count > 0 for count in rows(fleet, tenant).values())
        assert len(list_backups(fleet, tenant)) == 1
    for key in (["fixtures", "users"], ["datasets", "users"], ["validation_report"], ["backups", "full"]):
        assert instance.get_materialized_partitions(dg.AssetKey(key)) == {"acme", "globex"}


def test_asset_checks_have_a_verdict_per_tenant(
    run: Callable[..., dg.ExecuteInProcessResult],
    new_tenant: Callable[..., Tenant],
    tmp_path: Path,
    fleet: Fleet,
) -> None:
    new_tenant("acme")
    (tmp_path / "artists.csv").write_text(
        "artist_id,name,genre,country,followers,created_at\n"
        "00000000-0000-0000-0000-000000000001,Ada,,SE,1,2026-01-01T00:00:00Z\n"
        "not-a-uuid,Bob,,SE,1,2026-01-01T00:00:00Z\n"
    )
    config = {"resources": {"load_options": {"config": {"source_path": str(tmp_path)}}}}
    result = run("load_fixtures", "acme", config)
    assert result.success, "a bad row is quarantined, the run goes on"
    verdicts = {(e.asset_key.to_user_string(), e.check_name): e for e in result.get_asset_check_evaluations()}
    schema = verdicts["fixtures/artists", "schema"]
    assert (schema.passed, schema.partition, schema.severity) == (False, "acme", dg.AssetCheckSeverity.WARN)
    assert verdicts["fixtures/users", "schema"].passed
    assert rows(fleet, fleet.registry.get("acme"))["artists"] == 1


def test_tenants_of_a_run_that_load_the_same_files_read_them_once(
    run: Callable[..., dg.ExecuteInProcessResult],
    new_tenant: Callable[..., Tenant],
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def counting(fleet: Fleet, tenant: Tenant, dataset: Dataset, *rest: Any, **options: Any) -> Any:
        read.append(dataset.name)
        return read_pieces(fleet, tenant, dataset, *rest, **options)

    monkeypatch.setattr(prepared, "read_pieces", counting)
    tenants = [new_tenant(slug) for slug in ("acme", "globex", "initech")]
    assert run("load_fixtures", "acme,globex,initech").success
    assert sorted(read) == sorted(MUSIC.names)
    assert len({frozenset(rows(fleet, tenant).items()) for tenant in tenants}) == 1


def test_loading_again_changes_nothing(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant
) -> None:
    run("load_fixtures", "acme")
    before = rows(fleet, tenant)
    again = run("load_fixtures", "acme")
    with fleet.control.transaction() as connection:
        merged = [r for r in reports_of_run(connection, again.run_id) if r.operation == "merge"]
    assert rows(fleet, tenant) == before
    assert len(merged) == len(MUSIC)
    assert all(report.body["inserted"] == report.body["updated"] == 0 for report in merged)


def test_a_materialisation_shows_rows_and_a_masked_sample(
    run: Callable[..., dg.ExecuteInProcessResult], tenant: Tenant, fleet: Fleet
) -> None:
    result = run("load_fixtures", "acme")
    users = next(
        m
        for m in result.get_asset_materialization_events()
        if m.asset_key == dg.AssetKey(["datasets", "users"])
    ).materialization
    assert users.metadata["dagster/partition_row_count"].value == rows(fleet, tenant)["users"]
    with fleet.session(tenant) as connection:
        addresses = [row[0] for row in connection.execute("SELECT email FROM users")]
    sample = str(users.metadata["sample"].value)
    assert "|" in sample
    assert not any(address in sample for address in addresses)


def test_a_tenant_is_made_by_the_job_and_becomes_a_partition(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    config = op_config("make_tenants", tenants=["acme", "globex"], tier="professional", initialize_data=True)
    assert run("init_tenant", config=config).success
    assert set(instance.get_dynamic_partitions(TENANTS.name or "")) == {"acme", "globex"}
    assert rows(fleet, fleet.registry.get("globex"))["users"] > 0
    assert instance.get_materialized_partitions(dg.AssetKey("tenant")) == {"acme", "globex"}


def test_a_bad_name_among_several_makes_none_of_them(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet
) -> None:
    result = run("init_tenant", config=op_config("make_tenants", tenants=["acme", "Bad Name"]))
    assert not result.success
    assert fleet.registry.slugs(tuple(State)) == ()


def test_a_backup_is_restored_as_another_tenant_with_equal_content(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant, instance: dg.DagsterInstance
) -> None:
    run("load_fixtures", "acme")
    run("backup", "acme")
    backup = list_backups(fleet, tenant)[0]
    config = op_config("restore_backup", backup=backup.id, tenant="acme_copy", execute=True)
    assert run("restore", config=config).success
    assert compare(fleet, tenant, fleet.registry.get("acme_copy")).equal
    assert "acme_copy" in instance.get_dynamic_partitions(TENANTS.name or "")


def test_a_restore_without_execute_is_a_plan(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant
) -> None:
    run("backup", "acme")
    backup = list_backups(fleet, tenant)[0]
    assert run("restore", config=op_config("restore_backup", backup=backup.id, tenant="copy_of_it")).success
    assert fleet.registry.find(["copy_of_it"]) == ()


def test_one_tenant_failing_leaves_the_others_green(
    run: Callable[..., dg.ExecuteInProcessResult],
    fleet: Fleet,
    new_tenant: Callable[..., Tenant],
    instance: dg.DagsterInstance,
) -> None:
    broken = new_tenant("broken")
    new_tenant("sound")
    with fleet.session(broken) as connection:
        connection.execute("ALTER TABLE users RENAME TO users_gone")
    result = run("load_fixtures", "broken,sound")
    assert not result.success
    assert instance.get_materialized_partitions(dg.AssetKey(["datasets", "users"])) == {"sound"}
    assert instance.get_materialized_partitions(dg.AssetKey(["datasets", "ai_messages"])) == {"sound"}
    with fleet.control.transaction() as connection:
        failed = [r for r in reports_of_run(connection, result.run_id) if r.outcome == "failed"]
    assert {report.body["tenant"] for report in failed} == {"broken"}


def test_destructive_jobs_plan_unless_told_to_execute(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant
) -> None:
    run("load_fixtures", "acme")
    before = rows(fleet, tenant)
    assert run("cleanup", "acme", op_config("cleanup_report", retention_days=1)).success
    assert run("migrate", "acme").success
    assert run("change_tenant", config=op_config("apply_change", tenant="acme", change="OFFBOARD")).success
    assert rows(fleet, tenant) == before
    assert fleet.registry.get("acme").state is State.ACTIVE


def test_offboarding_without_a_last_backup_leaves_no_backup_that_can_be_opened(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant
) -> None:
    run("backup", "acme")
    backup = list_backups(fleet, tenant)[0]
    change = {"tenant": "acme", "change": "OFFBOARD", "execute": True, "create_backup": False}
    assert run("change_tenant", config=op_config("apply_change", **change)).success
    with pytest.raises(TenantOpsError):
        plan_restore(fleet, backup, "acme_again")
    assert not any(Path(backup.path).parent.rglob("keys/*.json"))


def test_a_suspended_tenant_is_left_alone_with_a_reason(
    run: Callable[..., dg.ExecuteInProcessResult], fleet: Fleet, tenant: Tenant
) -> None:
    assert run(
        "change_tenant", config=op_config("apply_change", tenant="acme", change="SUSPEND", reason="unpaid")
    ).success
    result = run("load_fixtures", "acme")
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data
    assert failure.user_failure_data
    assert "suspended (unpaid)" in (failure.user_failure_data.description or "")
