"""Tenants: the registry, tiers, provisioning, roles and keys.

`fleet.py` is what every operation is handed; `provisioning.py` makes a tenant; `lifecycle.py` changes one.
"""

from tenant_ops.tenants.fleet import Fleet
from tenant_ops.tenants.lifecycle import (
    LifecycleReport,
    OffboardPlan,
    SafetyCopy,
    change_tier,
    offboard,
    plan_offboard,
    resume,
    suspend,
)
from tenant_ops.tenants.model import State, Tenant, check_slug
from tenant_ops.tenants.provisioning import (
    ProvisionPlan,
    ProvisionReport,
    login_password,
    plan_provision,
    provision,
)
from tenant_ops.tenants.registry import Registry, unknown_tenant
from tenant_ops.tenants.tiers import TIERS, Tier, tier

__all__ = [
    "TIERS",
    "Fleet",
    "LifecycleReport",
    "OffboardPlan",
    "ProvisionPlan",
    "ProvisionReport",
    "Registry",
    "SafetyCopy",
    "State",
    "Tenant",
    "Tier",
    "change_tier",
    "check_slug",
    "login_password",
    "offboard",
    "plan_offboard",
    "plan_provision",
    "provision",
    "resume",
    "suspend",
    "tier",
    "unknown_tenant",
]
