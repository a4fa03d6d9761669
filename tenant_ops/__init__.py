"""Operate a fleet of SaaS tenants on Postgres from Dagster.

The names below are the Python API; each is imported when it is first used, so that `import tenant_ops`
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenant_ops.api import (
        BackupManager,
        DataCleanup,
        DataValidator,
        FixtureLoader,
        FixtureMigrator,
        FixtureMonitoringSystem,
        TenantInitializer,
        backup_data,
        cleanup_data,
        init_tenant,
        load_fixtures,
        migrate_fixtures,
        monitor_fixtures,
        restore_data,
        validate_data,
    )

__all__ = [
    "BackupManager",
    "DataCleanup",
    "DataValidator",
    "FixtureLoader",
    "FixtureMigrator",
    "FixtureMonitoringSystem",
    "TenantInitializer",
    "backup_data",
    "cleanup_data",
    "init_tenant",
    "load_fixtures",
    "migrate_fixtures",
    "monitor_fixtures",
    "restore_data",
    "validate_data",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("tenant_ops.api"), name)
    raise AttributeError(f"module 'tenant_ops' has no attribute {name!r}")
