"""Where every tenant of the fleet stands, in a handful of queries.

Here: `status`. Not here: single steps of a tenant's past (`history.py`).
"""

from collections import Counter
from datetime import datetime
from pathlib import Path

from tenant_ops.migrations.history import FleetStatus, TenantVersion, latest_changes
from tenant_ops.migrations.planning import newest
from tenant_ops.migrations.releases import SHIPPED, Release, load_releases
from tenant_ops.tenants import Fleet, State, Tenant


def status(fleet: Fleet, *, folder: Path = SHIPPED) -> FleetStatus:
    """The version of every active or suspended tenant, and what it lacks to be at the newest.

    Raises:
        InputError: a release in the folder is not as it should be.
    """
    releases = load_releases(folder)
    tenants = fleet.registry.all((State.ACTIVE, State.SUSPENDED, State.QUARANTINED))
    changes = latest_changes(fleet)
    versions = Counter(tenant.version or "none" for tenant in tenants)
    return FleetStatus(
        newest=newest(fleet, releases),
        versions=dict(sorted(versions.items())),
        tenants=tuple(
            _standing(tenant, releases, *changes.get(tenant.id, (None, None))) for tenant in tenants
        ),
    )


def _standing(
    tenant: Tenant, releases: tuple[Release, ...], changed_at: datetime | None, failure: str | None
) -> TenantVersion:
    following = {release.starts_from: release.version for release in releases}
    pending: list[str] = []
    place = tenant.version
    while place in following:
        place = following[place]
        pending.append(place)
    return TenantVersion(
        tenant=tenant.slug,
        version=tenant.version,
        pending=tuple(pending),
        last_change=changed_at.isoformat() if changed_at else None,
        last_failure=failure,
    )
