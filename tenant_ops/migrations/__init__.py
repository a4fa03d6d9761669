"""Migrations: bringing tenants from one version of their tables to another, and back.

`releases.py` reads what ships in `releases/` (or a folder of yours), `planning.py` finds the way,
`running.py` goes it, `status.py` says where everybody stands.
"""

from tenant_ops.migrations.history import FleetStatus, HistoryEntry, TenantVersion, migration_history
from tenant_ops.migrations.planning import MigrationPlan, PlannedStep, plan_migration
from tenant_ops.migrations.releases import SHIPPED, Release, Step, load_releases
from tenant_ops.migrations.running import (
    MigrationFailed,
    MigrationReport,
    SafetyCopy,
    StepReport,
    execute_migration,
)
from tenant_ops.migrations.status import status

__all__ = [
    "SHIPPED",
    "FleetStatus",
    "HistoryEntry",
    "MigrationFailed",
    "MigrationPlan",
    "MigrationReport",
    "PlannedStep",
    "Release",
    "SafetyCopy",
    "Step",
    "StepReport",
    "TenantVersion",
    "execute_migration",
    "load_releases",
    "migration_history",
    "plan_migration",
    "status",
]
