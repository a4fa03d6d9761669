"""Group `backups`: sealed copies of each tenant, and the proof that they restore."""

import dagster as dg
from pydantic import Field

from tenant_ops.backups import BackupReport, execute_backup, find_backup, plan_backup, verify_backup
from tenant_ops.datasets import Catalog
from tenant_ops.orchestration.assets.common import per_tenant, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import State, Tenant

FULL_BACKUP = dg.AssetKey(["backups", "full"])


class BackupConfig(dg.Config):
    """How to write the archive."""

    compression: str = Field(default="zstd", description="zstd, gzip or none.")
    encryption: bool = Field(
        default=True, description="Encrypt; a missing key is made and said, never skipped."
    )
    output_path: str = Field(default="", description="Where to store it; empty: the configured store.")


def backup_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The full backup of a tenant."""

    @dg.asset(
        key=FULL_BACKUP,
        deps=[dg.AssetKey(["datasets", name]) for name in catalog.names],
        check_specs=[
            tenant_check(
                "readable", FULL_BACKUP, "Every member was read back, opened and hashed.", blocking=True
            )
        ],
        **per_tenant("backups", kinds=("postgres", "file"), code_version="1"),
    )
    def full(
        context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch, config: BackupConfig
    ) -> dg.MaterializeResult:
        """Schema, data, files and configuration of a tenant at one moment, as a sealed archive."""

        def work(tenant: Tenant) -> BackupReport:
            plan = plan_backup(
                fleet,
                tenant,
                compression=config.compression,
                encryption=config.encryption,
                output_path=config.output_path or None,
            )
            return execute_backup(fleet, plan)

        def verdicts(report: BackupReport) -> list[dg.AssetCheckResult]:
            verdict = verify_backup(fleet, find_backup(fleet, report.backup_id))
            return [
                dg.AssetCheckResult(
                    passed=verdict.sound, check_name="readable", metadata=metadata_of(verdict)
                )
            ]

        states = (State.ACTIVE, State.SUSPENDED)
        return batch.run(
            context,
            operation(context, fleet, "backup", work, states=states),
            metadata=metadata_of,
            checks=verdicts,
        )

    return [full]
