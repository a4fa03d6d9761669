"""Putting the code location together, for the shipped datasets or anybody's own.

Here: which assets, jobs, schedules, sensors and resources there are. Not here: what they do.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.orchestration.assets.backups import backup_assets
from tenant_ops.orchestration.assets.datasets import dataset_assets
from tenant_ops.orchestration.assets.fixtures import fixture_assets
from tenant_ops.orchestration.assets.operations import ASSETS as OPERATION_ASSETS
from tenant_ops.orchestration.assets.recovery import recovery_alarms
from tenant_ops.orchestration.assets.tenants import ASSETS as TENANT_ASSETS
from tenant_ops.orchestration.assets.validation import validation_assets
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.instance import accept_prefixes
from tenant_ops.orchestration.jobs import JOBS
from tenant_ops.orchestration.partitions import TenantPartitions
from tenant_ops.orchestration.resources import LoadOptions, fleet_resource, prepared_files
from tenant_ops.orchestration.schedules import SCHEDULES
from tenant_ops.orchestration.sensors import SENSORS
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet
from tenant_ops.validation import Rule


def _open(catalog: Catalog) -> Fleet:
    return Fleet.open(catalog=catalog)


def build_defs(
    catalog: Catalog = MUSIC,
    *,
    rules: Sequence[Rule | str] = (),
    open_fleet: Callable[[Catalog], Fleet] = _open,
    progress: Progress = SILENT,
) -> dg.Definitions:
    """The code location for a catalog of datasets.

    Args:
        catalog: The datasets every tenant has.
        rules: Validation rules of your own, or modules of them, beside those of installed packages and those
            of the modules in TENANT_OPS_RULES.
        open_fleet: Connects to the control plane; called once per run, never at import.
        progress: Told by long operations how far they are.
    """

    def known(slugs: list[str]) -> set[str]:
        fleet = open_fleet(catalog)
        try:
            return {tenant.slug for tenant in fleet.registry.find(slugs)}
        finally:
            fleet.close()

    TenantPartitions.known_slugs = staticmethod(known)
    accept_prefixes()
    return dg.Definitions(
        assets=[
            *TENANT_ASSETS,
            *fixture_assets(catalog),
            *dataset_assets(catalog),
            *validation_assets(catalog, rules),
            *backup_assets(catalog),
            *OPERATION_ASSETS,
        ],
        asset_checks=[recovery_alarms],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={
            "fleet": fleet_resource(catalog, open_fleet),
            "batch": Batch(),
            "load_options": LoadOptions(),
            "prepared": prepared_files,
            "progress": dg.ResourceDefinition.hardcoded_resource(progress),
        },
        executor=dg.in_process_executor,
    )
