"""What others ask of backups before they change or remove a tenant.

Here: functions to hand to `cleanup`, `migrations` and `tenants`. Not here: what a backup is (`taking.py`).
"""

from collections.abc import Callable
from pathlib import Path

from tenant_ops.backups.keys import forget_keys
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.tenants import Fleet, Tenant


def forget_tenant(fleet: Fleet, tenant: Tenant) -> int:
    """Remove the copies of the tenant's key that lie in the store.

    With the key itself destroyed, its backups are unreadable for good. Returns how many copies there were.
    """
    return forget_keys(Path(fleet.settings.backup_path) / str(tenant.id))


def safety_copy(fleet: Fleet, operation: str) -> Callable[[Tenant], str]:
    """A function that backs a tenant up and returns the backup's id; the catalog says before what."""

    def copy(tenant: Tenant) -> str:
        return execute_backup(fleet, plan_backup(fleet, tenant), reason=f"before {operation}").backup_id

    return copy
