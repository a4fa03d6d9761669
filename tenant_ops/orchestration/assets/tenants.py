"""Group `tenants`: the registry, and each tenant as it stands in Postgres."""

import dagster as dg

from tenant_ops.orchestration.assets.common import (
    FIXTURE_FILES,
    FULL_BACKUP,
    INCREMENTAL_BACKUP,
    OWNERS,
    RESTORED,
    TENANT,
    TENANT_REGISTRY,
    tenant_asset,
)
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation
from tenant_ops.orchestration.partitions import TENANTS
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import State, Tenant, provision

SOURCES = [
    dg.AssetSpec(
        TENANT_REGISTRY,
        description="The registry of tenants, `tenant_ops.tenant`: the truth that partitions mirror.",
        group_name="tenants",
        kinds={"postgres", "table"},
        owners=OWNERS,
    ),
    dg.AssetSpec(
        FIXTURE_FILES,
        description="Fixture files by version and tier: CSV, JSON, NDJSON and Parquet, plain or compressed.",
        group_name="fixtures",
        kinds={"csv", "json"},
        owners=OWNERS,
    ),
    dg.AssetSpec(
        RESTORED,
        deps=[FULL_BACKUP, INCREMENTAL_BACKUP],
        description="A tenant restored from a backup, in place or under another id, by the job `restore`.",
        group_name="backups",
        kinds={"postgres"},
        owners=OWNERS,
        partitions_def=TENANTS,
    ),
]


@tenant_asset("tenants", code_version="1", key=TENANT, deps=[TENANT_REGISTRY])
def tenant(context: dg.AssetExecutionContext, fleet: FleetParam, batch: Batch) -> dg.MaterializeResult:
    """Schema, roles, grants, login, settings and files of a registered tenant.

    Materialising it provisions the tenant, or finishes what was interrupted; on a tenant that is there it
    changes nothing. New tenants are registered with `tenant-ops init-tenant` or the job `init_tenant`.
    """

    def work(tenant: Tenant):
        return provision(fleet, tenant.slug, tier_name=tenant.tier_name)

    states = (State.REQUESTED, State.PROVISIONING, State.FAILED, State.ACTIVE)
    return batch.run(
        context, operation(context, fleet, "init-tenant", work, states=states), metadata=metadata_of
    )


ASSETS = [*SOURCES, tenant]
