"""Group `operations`: the version each tenant is at, its health, and what cleanup removed."""

import dagster as dg
from pydantic import Field

from tenant_ops.backups import safety_copy
from tenant_ops.cleanup import CleanupPlan, CleanupReport, execute_cleanup, plan_cleanup
from tenant_ops.migrations import MigrationPlan, MigrationReport, execute_migration, plan_migration
from tenant_ops.monitoring import monitor
from tenant_ops.orchestration.assets.common import TENANT, tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch, tenants_of
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import State, Tenant

SCHEMA_VERSION = dg.AssetKey("schema_version")
TENANT_HEALTH = dg.AssetKey("tenant_health")
CLEANUP = dg.AssetKey("cleanup_report")


class MigrateConfig(dg.Config):
    """Where to go. Without `execute` only the plan is made."""

    from_version: str | None = Field(default=None, description="Refuse tenants at another version.")
    to_version: str | None = Field(default=None, description="Empty: the newest release.")
    auto_resolve: bool = Field(default=False, description="Apply the resolutions that releases declare.")
    create_backup: bool = Field(default=True, description="Take a backup before anything is changed.")
    execute: bool = Field(default=False, description="Change the tenants; otherwise plan only.")


class CleanupConfig(dg.Config):
    """What to remove. Without `execute` only the plan is made."""

    types: list[str] = Field(default=[], description="expired, quarantine, stages, files, cache; empty: all.")
    retention_days: int | None = Field(default=None, ge=1, description="Overrides datasets and tier.")
    create_backup: bool = Field(default=True, description="Take a backup before anything is removed.")
    execute: bool = Field(default=False, description="Remove it; otherwise plan only.")


class MonitorConfig(dg.Config):
    """Whether to repair what can be repaired safely."""

    auto_recovery: bool = Field(
        default=False, description="End stuck sessions of the tenant, analyse tables."
    )


@tenant_asset("operations", code_version="1", key=SCHEMA_VERSION, deps=[TENANT])
def schema_version(
    context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: MigrateConfig
) -> dg.MaterializeResult:
    """The release a tenant is at, and how it got there."""

    def work(tenant: Tenant) -> MigrationReport | MigrationPlan:
        plan = plan_migration(
            fleet, tenant, config.from_version, config.to_version, auto_resolve=config.auto_resolve
        )
        copy = safety_copy(fleet, "migrate") if config.create_backup else None
        return execute_migration(fleet, plan, safety_copy=copy) if config.execute else plan

    return batch.run(context, operation(context, fleet, "migrate", work), metadata=metadata_of)


@tenant_asset("operations", code_version="1", key=CLEANUP, deps=[TENANT])
def cleanup_report(
    context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: CleanupConfig
) -> dg.MaterializeResult:
    """Rows, quarantine, stages and files a tenant needs no more: planned, or removed with a way back."""

    def work(tenant: Tenant) -> CleanupReport | CleanupPlan:
        plan = plan_cleanup(fleet, tenant, types=config.types or None, retention_days=config.retention_days)
        copy = safety_copy(fleet, "cleanup") if config.create_backup else None
        return execute_cleanup(fleet, plan, safety_copy=copy) if config.execute else plan

    return batch.run(context, operation(context, fleet, "cleanup", work), metadata=metadata_of)


@tenant_asset(
    "operations",
    code_version="1",
    key=TENANT_HEALTH,
    deps=[TENANT],
    check_specs=[tenant_check("healthy", TENANT_HEALTH, "No open alert of severity error or critical.")],
)
def tenant_health(
    context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: MonitorConfig
) -> dg.MaterializeResult:
    """Size, connections, ages of backup and load, open alerts: looked up for all tenants at once."""
    looked = monitor(fleet, tenants=tenants_of(context), auto_recovery=config.auto_recovery)
    health = {verdict.tenant: verdict for verdict in looked.tenants}

    return batch.run(
        context,
        operation(
            context, fleet, "health", lambda tenant: health[tenant.slug],
            states=(State.ACTIVE, State.SUSPENDED), found=lambda verdict: verdict.verdict != "healthy",
        ),
        metadata=lambda verdict: {**metadata_of(verdict), **verdict.metrics},
        checks=lambda verdict: [
            dg.AssetCheckResult(check_name="healthy", passed=verdict.verdict in {"healthy", "warning"})
        ],
    )  # fmt: skip


ASSETS = [schema_version, cleanup_report, tenant_health]
