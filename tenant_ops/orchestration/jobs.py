"""The jobs: one for each command, named like it, plus the whole pipeline.

Here: selections and executors. Not here: what assets and ops do, when jobs run (`schedules.py`).
Jobs run in one process: a run of a tenant takes about 1 s in process and 10 s with a process per step.
https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

import dagster as dg

from tenant_ops.orchestration.assets.common import DRILL, FULL_BACKUP, INCREMENTAL_BACKUP
from tenant_ops.orchestration.assets.operations import CLEANUP, SCHEMA_VERSION, TENANT_HEALTH
from tenant_ops.orchestration.assets.recovery import recovery_alarms
from tenant_ops.orchestration.assets.validation import FLEET_VALIDATION, VALIDATION_REPORT
from tenant_ops.orchestration.ops import (
    apply_change,
    apply_retention,
    make_tenants,
    reconcile_stores,
    restore_backup,
)

EXECUTOR = dg.in_process_executor
FIXTURES = dg.AssetSelection.groups("fixtures") - dg.AssetSelection.assets("fixture_files")
DATASETS = dg.AssetSelection.groups("datasets")
# A backup is taken without the standing alarms, which judge the drill too.
BACKUPS = dg.AssetSelection.assets(FULL_BACKUP) - dg.AssetSelection.checks(recovery_alarms)
INCREMENTALS = dg.AssetSelection.assets(INCREMENTAL_BACKUP)


def _asset_job(name: str, selection: dg.AssetSelection, description: str) -> object:
    return dg.define_asset_job(name, selection, description=description, executor_def=EXECUTOR)


@dg.job(executor_def=EXECUTOR)
def init_tenant() -> None:
    """Register and provision tenants, with their fixtures when asked."""
    make_tenants()


@dg.job(executor_def=EXECUTOR)
def restore() -> None:
    """Restore a backup over its tenant, or as another tenant."""
    restore_backup()


@dg.job(executor_def=EXECUTOR)
def retention() -> None:
    """Remove the backups that no policy keeps."""
    apply_retention()


@dg.job(executor_def=EXECUTOR)
def reconcile() -> None:
    """Carry what the fallback store took over to the store it was meant for."""
    reconcile_stores()


@dg.job(executor_def=EXECUTOR)
def change_tenant() -> None:
    """Suspend, resume, move to another tier, or offboard one tenant."""
    apply_change()


JOBS = [
    init_tenant,
    restore,
    retention,
    reconcile,
    change_tenant,
    _asset_job("load_fixtures", FIXTURES | DATASETS, "Stage and merge the fixtures of the run's tenants."),
    _asset_job(
        "validate_data",
        dg.AssetSelection.assets(VALIDATION_REPORT),
        "Validate the run's tenants at every level.",
    ),
    _asset_job(
        "validation_overview",  # an asset and a job may not share a name
        dg.AssetSelection.assets(FLEET_VALIDATION),
        "Say how the last validations of all tenants stand, worst first; validates nothing.",
    ),
    _asset_job("backup", BACKUPS, "Take a full backup of the run's tenants and read it back."),
    _asset_job(
        "backup_incremental", INCREMENTALS, "Back up what changed in the run's tenants, and read it back."
    ),
    _asset_job(
        "drill",  # an op may not be named like a job, and the asset is `restore_drill`
        dg.AssetSelection.assets(DRILL),
        "Restore a backup of each of the run's tenants into scratch, compare, measure and judge.",
    ),
    _asset_job(
        "backup_alarms",
        dg.AssetSelection.checks(recovery_alarms),
        "Judge whether the run's tenants could be restored now; takes no backup.",
    ),
    _asset_job(
        "migrate", dg.AssetSelection.assets(SCHEMA_VERSION), "Bring the run's tenants to another version."
    ),
    _asset_job("cleanup", dg.AssetSelection.assets(CLEANUP), "Remove what the run's tenants need no more."),
    _asset_job(
        "monitor", dg.AssetSelection.assets(TENANT_HEALTH), "Look at the health of the run's tenants."
    ),
    _asset_job(
        "tenant_pipeline",
        FIXTURES | DATASETS | dg.AssetSelection.assets(VALIDATION_REPORT, TENANT_HEALTH) | BACKUPS,
        "The main job: load, validate, back up and look at the run's tenants.",
    ),
]
