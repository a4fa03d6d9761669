"""Planning a cleanup: counting exactly what would go, changing nothing.

Here: the plan over all types. Not here: each type's own counting, carrying it out (`execute.py`).
"""

from collections.abc import Callable, Sequence

from tenant_ops.cleanup.cached import cache_note, look_cache
from tenant_ops.cleanup.files import look_files
from tenant_ops.cleanup.policies import rules_for
from tenant_ops.cleanup.records import CleanupItem, CleanupPlan, Rule
from tenant_ops.cleanup.rows import look_rows
from tenant_ops.cleanup.stages import look_stages
from tenant_ops.cleanup.trash import look_trash
from tenant_ops.tenants import Fleet, State, Tenant

Look = Callable[[Fleet, Tenant, Sequence[Rule]], list[CleanupItem]]
_LOOKS: tuple[tuple[Look, tuple[str, ...]], ...] = (
    (look_rows, ("expired", "quarantine")),
    (look_stages, ("stages",)),
    (look_files, ("files",)),
    (look_trash, ("trash",)),
    (look_cache, ("cache",)),
)


def plan_cleanup(
    fleet: Fleet, tenant: Tenant, *, types: Sequence[str] | None = None, retention_days: int | None = None
) -> CleanupPlan:
    """Count exactly what a cleanup would remove from a tenant.

    Args:
        fleet: Where the tenant is.
        tenant: Whose; active or suspended, because rows also grow old while a tenant is suspended.
        types: Of `expired`, `quarantine`, `stages`, `files`, `trash` and `cache`; all but `cache` when None.
        retention_days: Days rows and temporary files are kept, instead of what datasets and the tier say.

    Raises:
        InputError: a type is unknown, the days cannot be used, or a foreign key cannot be followed exactly.
    """
    tenant.require(State.ACTIVE, State.SUSPENDED)
    now = fleet.clock()
    rules = rules_for(tenant, fleet.catalog, now, types=types, retention_days=retention_days)
    note = cache_note(fleet) if any(rule.type == "cache" for rule in rules) else None
    return CleanupPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        made_at=now,
        rules=rules,
        items=look(fleet, tenant, rules),
        notes=(note,) if note else (),
    ).sealed()


def look(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> tuple[CleanupItem, ...]:
    """What goes by these rules now, and what is held; places where nothing does are left out."""
    items: list[CleanupItem] = []
    for look_at, types in _LOOKS:
        own = [rule for rule in rules if rule.type in types]
        if own:
            items += look_at(fleet, tenant, own)
    return tuple(item for item in items if item.count or item.held)
