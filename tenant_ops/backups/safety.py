"""What others ask of backups before they change or remove a tenant.

Here: functions to hand to `cleanup`, `migrations` and `tenants`. Not here: what a backup is (`taking.py`).
"""

from collections.abc import Callable

from tenant_ops.backups.drills.chain_check import check_chain
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.tenants import Fleet, Tenant


def safety_copy(fleet: Fleet, operation: str, *, alone: bool = False) -> Callable[[Tenant], str]:
    """A function that backs a tenant up and returns the backup's id; the catalog says before what.

    An incremental where the tenant's chain is whole to the last file and its journal misses nothing: it holds
    the same moment for a few milliseconds, so nobody is tempted to do without. Otherwise a full backup; a
    tenant without a journal gets none for this.

    Args:
        fleet: The fleet.
        operation: What is about to be done.
        alone: Always full: for what must be restored when nothing else of the tenant is left.
    """

    def copy(tenant: Tenant) -> str:
        chain = None if alone else check_chain(fleet, tenant)
        builds = chain is not None and chain.goes_on
        plan = plan_backup(fleet, tenant, backup_type="incremental" if builds else "full")
        return execute_backup(fleet, plan, reason=f"before {operation}").backup_id

    return copy
