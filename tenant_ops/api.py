"""The Python API: awaitable functions and their classes, for code that is not Dagster's.

Here: what `from tenant_ops import ...` gives. Not here: what the functions do (the domain packages).

Each function does what the job of the same name does, without a Dagster run, and returns the same frozen
report. Many may run under `asyncio.gather`: the work happens in threads, at most half as many as the
database pool has connections, so that no two operations can wait for each other's.
"""

import asyncio
import atexit
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tenant_ops.backups import (
    BackupRecord,
    BackupReport,
    RestoreReport,
    execute_backup,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_restore,
    safety_copy,
    verify_backup,
)
from tenant_ops.cleanup import CleanupPlan, CleanupReport, execute_cleanup, plan_cleanup
from tenant_ops.loading import LoadReport, execute_load, plan_load
from tenant_ops.migrations import MigrationPlan, MigrationReport, execute_migration, plan_migration
from tenant_ops.monitoring import MonitoringReport, monitor
from tenant_ops.tenants import Fleet, ProvisionReport, provision
from tenant_ops.validation import Rule, ValidationReport, execute_validation, plan_validation

T = TypeVar("T")


class _Operator:
    """Runs domain functions on a fleet from asynchronous code.

    Args:
        fleet: Whose tenants; the configured fleet of this process when None.
    """

    def __init__(self, fleet: Fleet | None = None) -> None:
        self.fleet = fleet or _default_fleet()

    async def _run(self, work: Callable[[], T]) -> T:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads(self.fleet), lambda: context.run(work))


class TenantInitializer(_Operator):
    """Makes tenants."""

    async def init_tenant(
        self,
        tenant_id: str,
        *,
        tier: str = "starter",
        admin_email: str | None = None,
        initialize_data: bool = False,
    ) -> ProvisionReport:
        """Register and provision a tenant, with its tier's fixtures when asked.

        Raises:
            InputError: the id, tier or address cannot be used.
            OperationFailed: it could not be made; what was begun was undone.
        """

        def work() -> ProvisionReport:
            report = provision(self.fleet, tenant_id, tier_name=tier, admin_email=admin_email)
            if initialize_data:
                execute_load(self.fleet, plan_load(self.fleet, self.fleet.registry.get(tenant_id)))
            return report

        return await self._run(work)


class FixtureLoader(_Operator):
    """Loads fixtures."""

    async def load_fixtures(
        self,
        tenant_id: str,
        *,
        data_types: Sequence[str] | None = None,
        source_path: Path | str | None = None,
        batch_size: int = 100_000,
        **options: Any,
    ) -> LoadReport:
        """Load rows into a tenant; bad ones are quarantined with a reason.

        Args:
            tenant_id: Whose tables.
            data_types: Names of datasets, all when None.
            source_path: Where the rows are; the shipped fixtures when None.
            batch_size: Rows read, checked and committed at a time.
            options: Further arguments of `tenant_ops.loading.plan_load`.

        Raises:
            InputError: the tenant, a dataset or a file cannot be used; nothing was loaded.
        """

        def work() -> LoadReport:
            plan = plan_load(
                self.fleet,
                self.fleet.registry.get(tenant_id).require(),
                datasets=data_types,
                source=source_path,
                batch_rows=batch_size,
                **options,
            )
            return execute_load(self.fleet, plan)

        return await self._run(work)


class DataValidator(_Operator):
    """Validates tenants."""

    async def validate_data(
        self,
        tenant_id: str,
        *,
        validation_types: Sequence[str] | None = None,
        rules: Sequence[Rule | str] = (),
        auto_fix: bool = False,
    ) -> ValidationReport:
        """Check a tenant at the named levels (all when None) and score its health."""

        def work() -> ValidationReport:
            tenant = self.fleet.registry.get(tenant_id).require()
            plan = plan_validation(self.fleet, tenant, types=validation_types, rules=rules, auto_fix=auto_fix)
            return execute_validation(self.fleet, plan)

        return await self._run(work)


class DataCleanup(_Operator):
    """Removes what tenants need no more."""

    async def cleanup_data(
        self,
        tenant_id: str,
        *,
        cleanup_types: Sequence[str] | None = None,
        retention_days: int | None = None,
        create_backup: bool = True,
        execute: bool = False,
    ) -> CleanupPlan | CleanupReport:
        """Plan a cleanup, or with `execute` do it, after a backup unless told otherwise."""

        def work() -> CleanupPlan | CleanupReport:
            tenant = self.fleet.registry.get(tenant_id).require()
            plan = plan_cleanup(self.fleet, tenant, types=cleanup_types, retention_days=retention_days)
            if not execute:
                return plan
            copy = safety_copy(self.fleet, "cleanup") if create_backup else None
            return execute_cleanup(self.fleet, plan, safety_copy=copy)

        return await self._run(work)


class BackupManager(_Operator):
    """Takes, lists, verifies and restores backups."""

    async def backup_data(
        self,
        tenant_id: str,
        *,
        backup_type: str = "full",
        compression: str = "zstd",
        encryption: bool | None = None,
        output_path: Path | str | None = None,
    ) -> BackupReport:
        """Back a tenant up; encrypted whenever a key is known, unless told otherwise."""

        def work() -> BackupReport:
            plan = plan_backup(
                self.fleet,
                self.fleet.registry.get(tenant_id),
                backup_type=backup_type,
                compression=compression,
                encryption=encryption,
                output_path=str(output_path) if output_path else None,
            )
            return execute_backup(self.fleet, plan)

        return await self._run(work)

    async def restore_data(self, backup: str, tenant_id: str) -> RestoreReport:
        """Restore a backup (id or path) over a tenant, or as a new one."""

        def work() -> RestoreReport:
            plan = plan_restore(self.fleet, find_backup(self.fleet, backup), tenant_id)
            return execute_restore(self.fleet, plan)

        return await self._run(work)

    async def list_backups(self, tenant_id: str) -> Sequence[BackupRecord]:
        """A tenant's backups, newest first."""
        return await self._run(lambda: list_backups(self.fleet, self.fleet.registry.get(tenant_id)))

    async def verify_backup(self, backup: str) -> Any:
        """Read a backup (id or path) back: every member is opened and hashed."""
        return await self._run(lambda: verify_backup(self.fleet, find_backup(self.fleet, backup)))


class FixtureMigrator(_Operator):
    """Brings tenants to another version."""

    async def migrate_fixtures(
        self,
        tenant_id: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
        auto_resolve: bool = False,
        create_backup: bool = True,
        execute: bool = False,
    ) -> MigrationPlan | MigrationReport:
        """Plan a migration, or with `execute` do it, after a backup unless told otherwise."""

        def work() -> MigrationPlan | MigrationReport:
            tenant = self.fleet.registry.get(tenant_id).require()
            plan = plan_migration(self.fleet, tenant, from_version, to_version, auto_resolve=auto_resolve)
            if not execute:
                return plan
            copy = safety_copy(self.fleet, "migrate") if create_backup else None
            return execute_migration(self.fleet, plan, safety_copy=copy)

        return await self._run(work)


class FixtureMonitoringSystem(_Operator):
    """Watches tenants."""

    async def monitor_fixtures(
        self, tenant_ids: Sequence[str] | None = None, *, auto_recovery: bool = False
    ) -> MonitoringReport:
        """Look at the health of the named tenants, or of all, once."""
        return await self._run(lambda: monitor(self.fleet, tenants=tenant_ids, auto_recovery=auto_recovery))


async def init_tenant(tenant_id: str, **options: Any) -> ProvisionReport:
    """Make a tenant; see `TenantInitializer.init_tenant`."""
    return await TenantInitializer().init_tenant(tenant_id, **options)


async def load_fixtures(tenant_id: str, **options: Any) -> LoadReport:
    """Load files into a tenant; see `FixtureLoader.load_fixtures`."""
    return await FixtureLoader().load_fixtures(tenant_id, **options)


async def validate_data(tenant_id: str, **options: Any) -> ValidationReport:
    """Check a tenant; see `DataValidator.validate_data`."""
    return await DataValidator().validate_data(tenant_id, **options)


async def cleanup_data(tenant_id: str, **options: Any) -> CleanupPlan | CleanupReport:
    """Clean a tenant up; see `DataCleanup.cleanup_data`."""
    return await DataCleanup().cleanup_data(tenant_id, **options)


async def backup_data(tenant_id: str, **options: Any) -> BackupReport:
    """Back a tenant up; see `BackupManager.backup_data`."""
    return await BackupManager().backup_data(tenant_id, **options)


async def restore_data(backup: str, tenant_id: str) -> RestoreReport:
    """Restore a backup; see `BackupManager.restore_data`."""
    return await BackupManager().restore_data(backup, tenant_id)


async def migrate_fixtures(tenant_id: str, **options: Any) -> MigrationPlan | MigrationReport:
    """Migrate a tenant; see `FixtureMigrator.migrate_fixtures`."""
    return await FixtureMigrator().migrate_fixtures(tenant_id, **options)


async def monitor_fixtures(tenant_ids: Sequence[str] | None = None, **options: Any) -> MonitoringReport:
    """Look at tenants' health; see `FixtureMonitoringSystem.monitor_fixtures`."""
    return await FixtureMonitoringSystem().monitor_fixtures(tenant_ids, **options)


@cache
def _default_fleet() -> Fleet:
    fleet = Fleet.open()
    atexit.register(fleet.close)
    return fleet


@cache
def _threads(fleet: Fleet) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, fleet.control.pool_size // 2), "tenant_ops")
