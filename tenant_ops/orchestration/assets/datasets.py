"""Group `datasets`: each dataset live in the tenant's schema, good rows merged, bad rows quarantined."""

import dagster as dg

from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.loading import MergeReport, checksum, masked_sample, merge, plan_load, stage
from tenant_ops.orchestration.assets.common import TENANT, tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.checks import INTEGRITY_CHECK, merge_verdicts
from tenant_ops.orchestration.metadata import column_schema, live_lineage, markdown_table, metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import (
    FleetParam,
    LoadOptions,
    PreparedParam,
    ProgressParam,
    logged,
    shared,
)
from tenant_ops.tenants import Fleet, Tenant


def dataset_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """One live-table asset per dataset."""
    return [_dataset_asset(dataset, catalog.version) for dataset in catalog]


def _dataset_asset(dataset: Dataset, version: str) -> dg.AssetsDefinition:
    key = dg.AssetKey(["datasets", dataset.name])
    referenced = {other.references for other in dataset.foreign_keys} - {dataset.name}

    @tenant_asset(
        "datasets",
        code_version=version,
        key=key,
        deps=[TENANT, ["fixtures", dataset.name], *(["datasets", name] for name in sorted(referenced))],
        description=f"{dataset.description} Live in the tenant's schema.",
        check_specs=[
            tenant_check(
                INTEGRITY_CHECK, key, "Keys are unique, references lead somewhere, nothing is quarantined."
            )
        ],
        metadata={"dagster/column_schema": column_schema(dataset), "dagster/table_name": dataset.name},
    )
    def live(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        load_options: LoadOptions,
        progress: ProgressParam,
        prepared: PreparedParam,
    ) -> dg.MaterializeResult:
        told, share = logged(context, progress), shared(context, prepared)

        def work(tenant: Tenant) -> MergeReport:
            plan = plan_load(fleet, tenant, datasets=[dataset.name], **load_options.arguments(context))
            # At once when the fixtures asset has staged it already.
            stage(fleet, tenant, plan, dataset.name, progress=told, prepared=share)
            return merge(fleet, tenant, plan, dataset.name)

        return batch.run(
            context,
            operation(context, fleet, "merge", work, found=lambda report: report.needs_attention),
            metadata=lambda report: described(fleet, dataset, report),
            checks=merge_verdicts,
            version=lambda report: checksum(fleet, fleet.registry.get(report.tenant), dataset),
        )

    return live


def described(fleet: Fleet, dataset: Dataset, report: MergeReport) -> dict[str, object]:
    """The report, a few rows with personal data masked, and where each column comes from."""
    tenant = fleet.registry.get(report.tenant)
    sample = markdown_table(masked_sample(fleet, tenant, dataset))
    return {**metadata_of(report), "sample": sample, **live_lineage(dataset)}
