"""Backups, drills and alarms as Dagster runs them: by tenant, each with its verdicts, one failing alone."""

import resource
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from tenant_ops.audit import latest_report
from tenant_ops.backups import execute_backup, list_backups, plan_backup
from tenant_ops.backups.drills import rpo_report
from tenant_ops.orchestration.assets.common import DRILL, FULL_BACKUP, INCREMENTAL_BACKUP
from tenant_ops.orchestration.location import build_defs
from tenant_ops.orchestration.schedules import SCHEDULES
from tenant_ops.tenants import Fleet, Tenant

Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(instance: dg.DagsterInstance, fleet: Fleet) -> Run:
    """Runs a job of the code location on this test's fleet."""
    defs = build_defs(open_fleet=lambda catalog: Fleet.open(fleet.settings, catalog=catalog))

    def execute(job: str, tenants: str = "", **ops: dict) -> dg.ExecuteInProcessResult:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags={"dagster/partition": tenants} if tenants else {},
            run_config={"ops": {op: {"config": config} for op, config in ops.items()}},
            raise_on_error=False,
        )

    return execute


def verdicts(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {(str(e.partition), e.check_name): e.passed for e in result.get_asset_check_evaluations()}


def plotted(instance: dg.DagsterInstance, key: dg.AssetKey, tenant: str) -> dict[str, float]:
    """The numbers of the newest materialisation, which the UI draws over time."""
    (record,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[tenant]), limit=1
    ).records
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    return {name: entry.value for name, entry in metadata.items() if isinstance(entry.value, int | float)}


def test_an_incremental_is_taken_read_back_and_plotted(
    run: Run, tenant: Tenant, fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    assert run("backup_incremental", "acme").success, "the first is full: there was nothing to go on from"
    result = run("backup_incremental", "acme")
    assert result.success
    assert verdicts(result)["acme", "readable"]
    assert [backup.type for backup in list_backups(fleet, tenant)] == ["incremental", "full"]
    numbers = plotted(instance, INCREMENTAL_BACKUP, "acme")
    assert {"stored_bytes", "ratio", "seconds", "mb_per_s", "depth", "rpo_age_s"} <= numbers.keys()
    assert numbers["depth"] == 1


def test_a_differential_builds_on_the_full_one(run: Run, tenant: Tenant, fleet: Fleet) -> None:
    for _ in range(2):
        run("backup_incremental", "acme")
    result = run("backup_incremental", "acme", backups__incremental={"backup_type": "differential"})
    assert result.success
    newest, *_, base = list_backups(fleet, tenant)
    assert (newest.type, newest.parent) == ("differential", base.id)


def test_a_full_backup_leaves_the_standing_alarms_to_their_own_job(
    run: Run, tenant: Tenant, instance: dg.DagsterInstance
) -> None:
    found = verdicts(run("backup", "acme"))
    assert found["acme", "readable"]
    assert not {"chain_whole", "rpo_in_target"} & {name for _, name in found}
    assert plotted(instance, FULL_BACKUP, "acme")["rpo_age_s"] >= 0


def test_a_drill_is_judged_against_the_tiers_targets(
    run: Run, tenant: Tenant, fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    run("backup", "acme")
    result = run("drill", "acme")
    assert result.success
    assert verdicts(result) == {
        ("acme", name): True for name in ("drill_equal", "drill_in_time", "rto_in_target")
    }
    assert {"rto_s", "rpo_s", "mb_per_s", "depth"} <= plotted(instance, DRILL, "acme").keys()


def test_a_drill_that_finds_a_difference_is_a_finding_and_an_alarm(
    run: Run, tenant: Tenant, fleet: Fleet
) -> None:
    run("backup", "acme")
    (backup,) = list_backups(fleet, tenant)
    next(Path(backup.path).glob("schema/*")).unlink()
    result = run("drill", "acme")
    assert not verdicts(result)["acme", "drill_equal"]
    with fleet.control.transaction() as connection:
        report = latest_report(connection, tenant.id, "drill")
    assert report is not None
    assert report.outcome == "findings"


def test_a_tenant_without_a_backup_cannot_be_drilled_and_says_so(run: Run, tenant: Tenant) -> None:
    result = run("drill", "acme")
    assert not result.success
    failure = result.failure_data_for_node("restore_drill")
    assert failure is not None
    assert "it has no backup that could be restored" in str(failure)


def test_alarms_are_raised_without_a_backup_being_taken(
    run: Run, new_tenant: Callable[..., Tenant], fleet: Fleet
) -> None:
    good, broken, late = new_tenant("good"), new_tenant("broken"), new_tenant("late", "enterprise")
    run("backup", "good,broken")
    (backup,) = list_backups(fleet, broken)
    next(Path(backup.path).glob("config/*")).unlink()
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.tenant SET created_at = created_at - interval '1 day' WHERE id = %s",
            (late.id,),
        )
    result = run("backup_alarms", "good,broken,late")
    assert result.success, "an alarm is a finding of the run, not its failure"
    failed = {which for which, passed in verdicts(result).items() if not passed}
    assert failed == {("broken", "chain_whole"), ("late", "rpo_in_target")}
    assert len(verdicts(result)) == 3 * 5
    assert len(list_backups(fleet, good)) == 1


def test_alarms_of_a_run_that_names_nobody_are_for_the_whole_fleet(
    run: Run, new_tenant: Callable[..., Tenant], fleet: Fleet
) -> None:
    """The UI's button `Execute` names no tenant."""
    for slug in ("good", "late"):
        new_tenant(slug)
    result = run("backup_alarms")
    assert result.success
    assert {tenant for tenant, _ in verdicts(result)} == {"good", "late"}


def test_a_moment_between_backups_is_restored_by_the_job(run: Run, tenant: Tenant, fleet: Fleet) -> None:
    run("backup_incremental", "acme")
    _, moment = insert_artist(fleet, tenant), list_backups(fleet, tenant)[0].taken_at
    run("backup_incremental", "acme")
    config = {"source": "acme", "to": moment, "tenant": "acme_then", "execute": True}
    assert run("restore", restore_backup=config).success
    then = fleet.registry.get("acme_then")
    with fleet.session(tenant) as now, fleet.session(then) as before:
        counted = [c.execute("SELECT count(*) FROM artists").fetchone() for c in (now, before)]
    assert counted == [(1,), (0,)]


def test_reconciling_where_nothing_waits_is_done_at_once(run: Run, fleet: Fleet) -> None:
    assert run("reconcile", reconcile_stores={"execute": True}).success


def insert_artist(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO artists (artist_id, name, followers, created_at) "
            "VALUES (gen_random_uuid(), 'Ada', 1, now())"
        )


def test_retention_goes_tenant_by_tenant(run: Run, tenant: Tenant, fleet: Fleet) -> None:
    for _ in range(8):
        execute_backup(fleet, plan_backup(fleet, tenant))
    with fleet.control.transaction() as connection:  # all of one day, of which seven are kept and the newest
        connection.execute("UPDATE tenant_ops.backup SET taken_at = taken_at - interval '100 days'")
    assert run("retention", apply_retention={"execute": False}).success
    assert len(list_backups(fleet, tenant)) == 8
    assert run("retention", apply_retention={"execute": True}).success
    assert len(list_backups(fleet, tenant)) == 7


def test_schedules_follow_the_tiers(
    new_tenant: Callable[..., Tenant], fleet: Fleet, instance: dg.DagsterInstance, run: Run
) -> None:
    new_tenant("small")
    new_tenant("big", "enterprise")
    run("backup", "small,big")
    cron = {schedule.name: schedule.cron_schedule for schedule in SCHEDULES}
    backups = {name: line for name, line in cron.items() if name.startswith("backup_")}
    assert backups == {
        "backup_starter": "0 2 * * *",  # all of them full: a starter pays for no journal
        "backup_professional": "0 2 * * *",
        "backup_incremental_professional": "30 */6 * * *",
        "backup_enterprise": "0 2 * * *",
        "backup_incremental_enterprise": "30 * * * *",
        "backup_alarms": "45 * * * *",
        "backup_retention": "0 6 * * *",
        "backup_reconcile": "15 * * * *",
    }
    wanted = {
        "backup_incremental_enterprise": ["big"],
        "backup_alarms": ["big,small"],
        "restore_drills": ["big"],
    }
    for name, keys in wanted.items():
        assert requested(name, instance, fleet) == keys


def requested(name: str, instance: dg.DagsterInstance, fleet: Fleet) -> list[str | None]:
    """The partitions a schedule would run its job for now."""
    schedule = next(schedule for schedule in SCHEDULES if schedule.name == name)
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=fleet.clock())
    return [request.partition_key for request in schedule(context, fleet=fleet)]  # type: ignore[union-attr]


POISON = {
    # Rows nobody may read: the owner of the table is no role of the tenant's.
    "unreadable": "CREATE TABLE {schema}.secret (id int); ALTER TABLE {schema}.secret OWNER TO postgres",
    "journal": "ALTER TABLE {stage}.journal RENAME TO gone",
}


@pytest.mark.slow
def test_one_poisoned_tenant_fails_alone_and_memory_stays_flat(
    run: Run, new_tenant: Callable[..., Tenant], fleet: Fleet
) -> None:
    tenants = [new_tenant(f"t{number:03}") for number in range(30)]
    names = ",".join(tenant.slug for tenant in tenants)
    assert run("backup_incremental", names).success
    with fleet.control.transaction() as connection:
        for tenant, poison in zip(tenants[7:9], POISON.values(), strict=True):
            connection.execute(poison.format(schema=tenant.schema_name, stage=tenant.stage_schema).encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run("backup_incremental", names)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    taken = {tenant.slug: len(list_backups(fleet, tenant)) for tenant in tenants}
    assert not result.success
    assert [slug for slug, count in taken.items() if count == 1] == ["t007"]
    assert "1 of 30 tenants failed" in str(result.failure_data_for_node("backups__incremental"))
    assert list_backups(fleet, tenants[8])[0].type == "full", "without its journal a chain begins anew"
    assert grown < 50_000, f"{grown} kB more at the second pass over as many tenants"
    assert all(r.depth <= 1 for r in rpo_report(fleet, tenants).tenants)
