"""What every per-tenant asset shares: partitions, batching, ownership.

Here: the defaults, said once. Not here: anything about one group of assets.
"""

from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg

from tenant_ops.orchestration.partitions import MOST_IN_A_KEY, TENANTS

OWNERS = ["team:tenant-operations"]

TENANT_REGISTRY = dg.AssetKey("tenant_registry")
FIXTURE_FILES = dg.AssetKey("fixture_files")
TENANT = dg.AssetKey("tenant")
FULL_BACKUP = dg.AssetKey(["backups", "full"])
INCREMENTAL_BACKUP = dg.AssetKey(["backups", "incremental"])
DRILL = dg.AssetKey("restore_drill")
RESTORED = dg.AssetKey("restored_tenant")


def tenant_asset(
    group: str, *, kinds: Iterable[str] = ("postgres",), **more: Any
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """`dg.asset` for an asset with one partition per tenant."""
    return dg.asset(
        partitions_def=TENANTS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MOST_IN_A_KEY),
        group_name=group,
        kinds=set(kinds),
        owners=OWNERS,
        tags={"scope": "tenant"},
        **more,
    )


def tenant_check(
    name: str, asset: dg.AssetKey, description: str, *, blocking: bool = False
) -> dg.AssetCheckSpec:
    """A check of an asset with a verdict per tenant."""
    return dg.AssetCheckSpec(
        name, asset=asset, description=description, blocking=blocking, partitions_def=TENANTS
    )
