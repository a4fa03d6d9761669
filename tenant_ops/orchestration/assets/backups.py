"""Group `backups`: sealed copies of each tenant, the proof that they restore, and what would be lost without.

Here: the assets. Not here: alarms that need no backup to be taken (`recovery.py`), restoring (`ops.py`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from tenant_ops.backups import BackupReport, execute_backup, find_backup, plan_backup, verify_backup
from tenant_ops.backups.drills import Aim, Drill, execute_drill, plan_drill, rpo_report
from tenant_ops.datasets import Catalog
from tenant_ops.orchestration.assets.common import (
    DRILL,
    FULL_BACKUP,
    INCREMENTAL_BACKUP,
    tenant_asset,
    tenant_check,
)
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.resources import FleetParam, ProgressParam
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.progress import Progress
from tenant_ops.tenants import Fleet, State, Tenant

READABLE = "readable"
IN_ITS_STORE = "in_its_store"
COVERED = (State.ACTIVE, State.SUSPENDED)


class BackupConfig(dg.Config):
    """How to write the archive."""

    compression: str = Field(default="zstd", description="zstd, gzip or none.")
    compression_level: int | None = Field(
        default=None, description="zstd 1 to 19, gzip 0 to 3; unset: the fastest that packs well."
    )
    encryption: bool = Field(
        default=True, description="Encrypt; a missing key is made and said, never skipped."
    )
    output_path: str = Field(default="", description="Where to store it; empty: the configured store.")
    archive_format: str = Field(default="dir", description="dir, zip, tar, tar.gz or tar.zst.")

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of `plan_backup`."""
        return {
            "compression": self.compression,
            "level": self.compression_level,
            "encryption": self.encryption,
            "output_path": self.output_path or None,
            "archive_format": self.archive_format,
        }


class IncrementalConfig(BackupConfig):
    """What to build on, and how to write the archive."""

    backup_type: str = Field(
        default="incremental",
        description="incremental: on the newest backup; differential: on the full one its chain begins with.",
    )
    measure: bool = Field(
        default=False, description="Also count and hash the rows of tables that changed, in the same moment."
    )

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of `plan_backup`."""
        return {**super().arguments(), "backup_type": self.backup_type, "measure": self.measure}


class DrillConfig(dg.Config):
    """Which backup of each tenant is tried."""

    aim: Aim | None = Field(default=None, description="Unset: in turn.")
    measure: bool = Field(
        default=True,
        description="Take an incremental that counts all rows first where the newest backup does not know "
        "them, so that everything that is restored is compared.",
    )


def backup_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """Full and incremental backups of a tenant, and the trial of restoring them."""

    @tenant_asset(
        "backups",
        kinds=("postgres", "file"),
        code_version="1",
        key=FULL_BACKUP,
        deps=[dg.AssetKey(["datasets", name]) for name in catalog.names],
        check_specs=[
            _readable(FULL_BACKUP, "Every member was read back, opened and hashed."),
            _in_its_store(FULL_BACKUP),
        ],
    )
    def full(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        config: BackupConfig,
        progress: ProgressParam,
    ) -> dg.MaterializeResult:
        """Schema, data, files and configuration of a tenant at one moment, as a sealed archive."""
        return _back_up(context, fleet, batch, config, progress)

    @tenant_asset(
        "backups",
        kinds=("postgres", "file"),
        code_version="1",
        key=INCREMENTAL_BACKUP,
        deps=[FULL_BACKUP],
        check_specs=[
            _readable(INCREMENTAL_BACKUP, "What it adds to its chain was read back and hashed."),
            _in_its_store(INCREMENTAL_BACKUP),
        ],
    )
    def incremental(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        config: IncrementalConfig,
        progress: ProgressParam,
    ) -> dg.MaterializeResult:
        """What changed since the backup before, from the journal; a full one where its chain cannot go on."""
        return _back_up(context, fleet, batch, config, progress)

    @tenant_asset(
        "backups", code_version="1", key=DRILL, deps=[FULL_BACKUP, INCREMENTAL_BACKUP], kinds=("postgres",)
    )
    def restore_drill(
        context: dg.AssetExecutionContext,
        fleet: FleetParam,
        batch: Batch,
        config: DrillConfig,
        progress: ProgressParam,
    ) -> dg.MaterializeResult:
        """A restore of a tenant's backup into a schema of its own: compared, timed, and taken away again."""

        def work(tenant: Tenant) -> Drill:
            return drilled(fleet, tenant, config, progress)

        drills = operation(context, fleet, "drill", work, states=COVERED, found=lambda drill: not drill.equal)
        return batch.run(context, drills, metadata=metadata_of)

    return [full, incremental, restore_drill]


def drilled(fleet: Fleet, tenant: Tenant, config: DrillConfig, progress: Progress) -> Drill:
    """One tenant's drill.

    Raises:
        InputError: it has no backup to try.
        OperationFailed: its restore could not be tried.
    """
    plan = plan_drill(fleet, [tenant], sample=1, aim=config.aim, measure=config.measure)
    if plan.without:
        raise InputError("it has no backup that could be restored.", where=f"tenant {tenant.slug}")
    report = execute_drill(fleet, plan, progress=progress)
    if report.failed:
        raise OperationFailed(report.failed[0].removeprefix(f"{tenant.slug}: "))
    return report.drills[0]


def _back_up(
    context: dg.AssetExecutionContext, fleet: Fleet, batch: Batch, config: BackupConfig, progress: Progress
) -> dg.MaterializeResult:
    exposed: dict[str, float] = {}

    def work(tenant: Tenant) -> BackupReport:
        exposed[tenant.slug] = rpo_report(fleet, [tenant]).tenants[0].age_s
        return execute_backup(fleet, plan_backup(fleet, tenant, **config.arguments()), progress=progress)

    return batch.run(
        context,
        operation(context, fleet, "backup", work, states=COVERED, found=lambda report: report.fallback),
        # Until this one was taken so much could have been lost: the RPO as it really was.
        metadata=lambda report: {**metadata_of(report), "rpo_age_s": exposed[report.tenant]},
        checks=lambda report: _read_back(fleet, report),
    )


def _read_back(fleet: Fleet, report: BackupReport) -> Iterator[dg.AssetCheckResult]:
    """Whether the backup that was just written can be read; what it builds on was read when it was taken."""
    verdict = verify_backup(fleet, find_backup(fleet, report.backup_id), level="own")
    yield dg.AssetCheckResult(
        check_name=READABLE,
        passed=verdict.sound,
        description="; ".join(verdict.problems) or None,
        metadata=metadata_of(verdict),
    )
    yield dg.AssetCheckResult(
        check_name=IN_ITS_STORE,
        passed=not report.fallback,
        severity=dg.AssetCheckSeverity.WARN,
        description=report.warnings[0] if report.fallback else None,
        metadata={"store": report.store},
    )


def _in_its_store(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    return tenant_check(IN_ITS_STORE, asset, "It lies in the store it is meant for, not in the fallback.")


def _readable(asset: dg.AssetKey, meaning: str) -> dg.AssetCheckSpec:
    return tenant_check(READABLE, asset, meaning, blocking=True)
