"""Group `validation`: what is wrong with a tenant, level by level, and how the whole fleet stands."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from tenant_ops.datasets import Catalog
from tenant_ops.orchestration.assets.common import OWNERS, tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.checks import (
    LEVELS,
    NO_TENANT_LEFT_FAILED,
    NO_TENANT_STALE,
    dataset_check,
    dataset_verdicts,
    fleet_metadata,
    fleet_verdicts,
    level_verdicts,
    validation_metadata,
)
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import Tenant
from tenant_ops.validation import (
    Rule,
    ValidationReport,
    execute_validation,
    fleet_overview,
    plan_validation,
    save_report,
)

VALIDATION_REPORT = dg.AssetKey("validation_report")
FLEET_VALIDATION = dg.AssetKey("fleet_validation")


class ValidateConfig(dg.Config):
    """What to validate, and whether to repair what can be repaired safely."""

    types: list[str] = Field(default=[], description="Levels to check; empty: all of them.")
    auto_fix: bool = Field(default=False, description="Apply the safe fixes; each can be undone.")
    incremental: bool = Field(default=False, description="Read again only what the journal says changed.")
    report_folder: str = Field(default="", description="Folder for a report per tenant; empty: none.")
    report_formats: list[str] = Field(default=["html"], description="Of html, md and json.")


def validation_assets(catalog: Catalog, rules: Sequence[Rule | str] = ()) -> list[dg.AssetsDefinition]:
    """The validation report of a tenant, and how those of all tenants stand."""

    @tenant_asset(
        "validation",
        code_version="1",
        key=VALIDATION_REPORT,
        deps=[dg.AssetKey(["datasets", name]) for name in catalog.names],
        check_specs=[
            tenant_check(level, VALIDATION_REPORT, f"No {level} finding of severity error or critical.")
            for level in LEVELS
        ]
        + [
            tenant_check(
                dataset_check(name),
                VALIDATION_REPORT,
                f"No finding in {name} of severity error or critical, at any level.",
            )
            for name in catalog.names
        ],
    )
    def validation_report(
        context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: ValidateConfig
    ) -> dg.MaterializeResult:
        """Findings and health score of a tenant: schema, data, business, performance, security."""

        def work(tenant: Tenant) -> ValidationReport:
            plan = plan_validation(
                fleet,
                tenant,
                types=config.types or None,
                rules=rules,
                auto_fix=config.auto_fix,
                incremental=config.incremental,
            )
            report = execute_validation(fleet, plan)
            if config.report_folder:
                save_report(report, Path(config.report_folder), config.report_formats)
            return report

        return batch.run(
            context,
            operation(context, fleet, "validate", work, found=lambda report: bool(report.findings)),
            metadata=validation_metadata,
            checks=lambda report: [*level_verdicts(report), *dataset_verdicts(report)],
        )

    return [validation_report, fleet_validation]


@dg.asset(
    key=FLEET_VALIDATION,
    deps=[dg.AssetDep(VALIDATION_REPORT, partition_mapping=dg.AllPartitionMapping())],
    group_name="validation",
    kinds={"postgres"},
    owners=OWNERS,
    tags={"scope": "fleet"},
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec(
            NO_TENANT_LEFT_FAILED,
            asset=FLEET_VALIDATION,
            description="No last validation of a tenant broke off, or left an error or something critical.",
        ),
        dg.AssetCheckSpec(
            NO_TENANT_STALE,
            asset=FLEET_VALIDATION,
            description="Every tenant was validated within twice the cadence of its tier.",
        ),
    ],
)
def fleet_validation(fleet: FleetParam) -> dg.MaterializeResult:
    """Tenants and levels as their last validations left them, worst first, with the trend of the score."""
    overview = fleet_overview(fleet)
    return dg.MaterializeResult(metadata=fleet_metadata(overview), check_results=fleet_verdicts(overview))
