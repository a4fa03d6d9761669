"""The backup that others ask for before they change or remove anything.

Here: one function to hand to `cleanup`, `migrations` and `tenants`. Not here: what a backup is (`taking.py`).
"""

from collections.abc import Callable

from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.tenants import Fleet, Tenant


def safety_copy(fleet: Fleet, operation: str) -> Callable[[Tenant], str]:
    """A function that backs a tenant up and returns the backup's id; the catalog says before what."""

    def copy(tenant: Tenant) -> str:
        return execute_backup(fleet, plan_backup(fleet, tenant), reason=f"before {operation}").backup_id

    return copy
