"""The tenant's keys in the cache.

Here: counting and clearing them. Not here: the cache itself (`platform/cache.py`).
"""

from collections.abc import Sequence

from tenant_ops.cleanup.records import CleanedItem, CleanupItem, Rule
from tenant_ops.platform.cache import Cache, open_cache
from tenant_ops.tenants import Fleet, Tenant


def look_cache(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanupItem]:
    """Count the tenant's keys."""
    return [
        CleanupItem("cache", rule.subject, "keys", _cache(fleet).count_tenant(tenant.key)) for rule in rules
    ]


def clear_cache(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanedItem]:
    """Forget the tenant's keys and no others."""
    cleared = [(rule, _cache(fleet).clear_tenant(tenant.key)) for rule in rules]
    return [CleanedItem("cache", rule.subject, "keys", count, count) for rule, count in cleared]


def cache_note(fleet: Fleet) -> str | None:
    """Why the cache cannot be looked at, if so."""
    cache = _cache(fleet)
    return None if cache.available else f"The cache is not available here: {cache.reason}"


def _cache(fleet: Fleet) -> Cache:
    return open_cache(fleet.settings.redis_url, fleet.settings.home)
