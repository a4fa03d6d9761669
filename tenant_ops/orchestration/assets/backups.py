"""Group `backups`: sealed copies of each tenant, and the proof that they restore."""

from typing import Any

import dagster as dg
from pydantic import Field

from tenant_ops.backups import BackupReport, execute_backup, find_backup, plan_backup, verify_backup
from tenant_ops.datasets import Catalog
from tenant_ops.orchestration.assets.common import tenant_asset, tenant_check
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam, ProgressParam
from tenant_ops.tenants import Fleet, State, Tenant

FULL_BACKUP = dg.AssetKey(["backups", "full"])
READABLE, MEANING = "readable", "Every member was read back, opened and hashed."


class BackupConfig(dg.Config):
    """How to write the archive."""

    compression: str = Field(default="zstd", description="zstd, gzip or none.")
    encryption: bool = Field(
        default=True, description="Encrypt; a missing key is made and said, never skipped."
    )
    output_path: str = Field(default="", description="Where to store it; empty: the configured store.")

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of `plan_backup`."""
        return {
            "compression": self.compression,
            "encryption": self.encryption,
            "output_path": self.output_path or None,
        }


def backup_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The full backup of a tenant."""

    @tenant_asset(
        "backups",
        kinds=("postgres", "file"),
        code_version="1",
        key=FULL_BACKUP,
        deps=[dg.AssetKey(["datasets", name]) for name in catalog.names],
        check_specs=[tenant_check(READABLE, FULL_BACKUP, MEANING, blocking=True)],
    )
    def full(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        config: BackupConfig,
        progress: ProgressParam,
    ) -> dg.MaterializeResult:
        """Schema, data, files and configuration of a tenant at one moment, as a sealed archive."""

        def work(tenant: Tenant) -> BackupReport:
            return execute_backup(fleet, plan_backup(fleet, tenant, **config.arguments()), progress=progress)

        return batch.run(
            context,
            operation(context, fleet, "backup", work, states=(State.ACTIVE, State.SUSPENDED)),
            metadata=metadata_of,
            checks=lambda report: [read_back(fleet, report)],
        )

    return [full]


def read_back(fleet: Fleet, report: BackupReport) -> dg.AssetCheckResult:
    """Whether the backup that was just written can be read: every member is opened and hashed."""
    verdict = verify_backup(fleet, find_backup(fleet, report.backup_id))
    return dg.AssetCheckResult(
        check_name=READABLE,
        passed=verdict.sound,
        description="; ".join(verdict.problems) or None,
        metadata=metadata_of(verdict),
    )
