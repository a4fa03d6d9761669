"""Group `fixtures`: each dataset's files, read, typed and staged beside the tenant's live tables."""

import dagster as dg

from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.loading import StageReport, plan_load, stage
from tenant_ops.orchestration.assets.common import FIXTURE_FILES, TENANT, tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.checks import SCHEMA_CHECK, stage_verdicts
from tenant_ops.orchestration.metadata import column_schema, metadata_of, staged_lineage
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import (
    FleetParam,
    LoadOptions,
    PreparedParam,
    ProgressParam,
    logged,
    shared,
)
from tenant_ops.tenants import Tenant


def fixture_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """One staged-fixture asset per dataset."""
    return [_fixture_asset(dataset, catalog.version) for dataset in catalog]


def _fixture_asset(dataset: Dataset, version: str) -> dg.AssetsDefinition:
    key = dg.AssetKey(["fixtures", dataset.name])

    @tenant_asset(
        "fixtures",
        kinds=("postgres", "pandas"),
        code_version=version,
        key=key,
        deps=[FIXTURE_FILES, TENANT],
        description=f"{dataset.description} As read from files: typed, checked, staged, not yet live.",
        check_specs=[
            tenant_check(SCHEMA_CHECK, key, "Types, nulls and rules of every incoming row (pandera).")
        ],
        metadata={"dagster/column_schema": column_schema(dataset)},
    )
    def staged(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        load_options: LoadOptions,
        progress: ProgressParam,
        prepared: PreparedParam,
    ) -> dg.MaterializeResult:
        told, share = logged(context, progress), shared(context, prepared)

        def work(tenant: Tenant) -> StageReport:
            plan = plan_load(fleet, tenant, datasets=[dataset.name], **load_options.arguments(context))
            return stage(fleet, tenant, plan, dataset.name, progress=told, prepared=share)

        return batch.run(
            context,
            operation(context, fleet, "stage", work, found=lambda report: report.needs_attention),
            metadata=lambda report: {**metadata_of(report), **staged_lineage(dataset)},
            checks=stage_verdicts,
        )

    return staged
