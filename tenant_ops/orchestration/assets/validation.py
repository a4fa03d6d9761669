"""Group `validation`: what is wrong with a tenant, level by level."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from tenant_ops.datasets import Catalog
from tenant_ops.orchestration.assets.common import tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.checks import LEVELS, level_verdicts, validation_metadata
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import Tenant
from tenant_ops.validation import Rule, ValidationReport, execute_validation, plan_validation, save_report

VALIDATION_REPORT = dg.AssetKey("validation_report")


class ValidateConfig(dg.Config):
    """What to validate, and whether to repair what can be repaired safely."""

    types: list[str] = Field(default=[], description="Levels to check; empty: all of them.")
    auto_fix: bool = Field(default=False, description="Apply the safe fixes; each can be undone.")
    report_folder: str = Field(default="", description="Folder for a report per tenant; empty: none.")
    report_formats: list[str] = Field(default=["html"], description="Of html, md and json.")


def validation_assets(catalog: Catalog, rules: Sequence[Rule | str] = ()) -> list[dg.AssetsDefinition]:
    """The validation report of a tenant."""

    @tenant_asset(
        "validation",
        code_version="1",
        key=VALIDATION_REPORT,
        deps=[dg.AssetKey(["datasets", name]) for name in catalog.names],
        check_specs=[
            tenant_check(level, VALIDATION_REPORT, f"No {level} finding of severity error or critical.")
            for level in LEVELS
        ],
    )
    def validation_report(
        context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: ValidateConfig
    ) -> dg.MaterializeResult:
        """Findings and health score of a tenant: schema, data, business, performance, security."""

        def work(tenant: Tenant) -> ValidationReport:
            plan = plan_validation(
                fleet, tenant, types=config.types or None, rules=rules, auto_fix=config.auto_fix
            )
            report = execute_validation(fleet, plan)
            if config.report_folder:
                save_report(report, Path(config.report_folder), config.report_formats)
            return report

        return batch.run(
            context,
            operation(context, fleet, "validate", work, found=lambda report: bool(report.findings)),
            metadata=validation_metadata,
            checks=level_verdicts,
        )

    return [validation_report]
