"""Carrying a cleanup out: check the plan, take a safety copy, remove, write it down.

Here: the order of the steps and what is refused. Not here: each type's own removing.
"""

from dataclasses import replace
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tenant_ops.audit import record
from tenant_ops.cleanup.cached import clear_cache
from tenant_ops.cleanup.files import remove_files
from tenant_ops.cleanup.plan import look
from tenant_ops.cleanup.records import CleanedItem, CleanupPlan, CleanupReport
from tenant_ops.cleanup.rows import move_rows
from tenant_ops.cleanup.stages import drop_stages
from tenant_ops.cleanup.trash import Trash, purge_trash
from tenant_ops.platform.errors import InputError, OperationFailed, first_line
from tenant_ops.tenants import Fleet, SafetyCopy, State, Tenant

# More than this share above the plan means something else is going on than time passing.
GROWTH_TOLERATED = 0.10
# Neither the cache nor the trash is in a backup.
COPIED_TYPES = frozenset({"expired", "quarantine", "stages", "files"})


def execute_cleanup(fleet: Fleet, plan: CleanupPlan, *, safety_copy: SafetyCopy | None) -> CleanupReport:
    """Remove what the plan found, after a safety copy; rows can be brought back for 7 days.

    Rows that others change or lock at that moment stay and are reported as left.

    Args:
        fleet: Where the tenant is.
        plan: What `plan_cleanup` made, unchanged.
        safety_copy: Takes a backup and returns its id; None when the caller decided against one.

    Raises:
        InputError: the plan was changed, or its tenant is gone or cannot be worked on.
        OperationFailed: far more would go than planned, and nothing was changed; or the server refused, and
            what had gone until then can be undone.
        TenantBusy: another operation holds the tenant.
    """
    started = perf_counter()
    tenant = _tenant(fleet, plan)
    with fleet.lock(tenant, "cleanup"):
        _refuse_growth(fleet, tenant, plan)
        if not any(item.count for item in plan.items):
            return CleanupReport(
                plan.tenant, None, plan.digest, (), 0, None, None, plan.notes, _since(started)
            )
        types = {item.type for item in plan.items if item.count}
        backup = safety_copy(tenant) if safety_copy and types & COPIED_TYPES else None
        cleanup_id = uuid4()
        trash = Trash(fleet, tenant, cleanup_id)
        try:
            items = _remove(fleet, tenant, plan, trash)
        except Exception as error:
            detail = {"plan": plan.digest, "rows": trash.close(), "reason": type(error).__name__}
            _record(fleet, tenant, "cleanup.failed", cleanup_id, detail)
            if isinstance(error, psycopg.Error):
                raise _failed(tenant, cleanup_id, error) from error
            raise
        kept = trash.close()
        counts = {f"{item.type} {item.subject}": item.done for item in items}
        detail = {"plan": plan.digest, "backup": backup, "removed": counts}
        _record(fleet, tenant, "cleanup.execute", cleanup_id, detail)
    return CleanupReport(
        tenant=plan.tenant,
        cleanup_id=str(cleanup_id) if kept else None,
        plan=plan.digest,
        items=items,
        rows=sum(item.done for item in items if item.unit == "rows"),
        backup=backup,
        undo_until=trash.expires_at if kept else None,
        notes=(*plan.notes, *_left(items)),
        seconds=_since(started),
    )


def _tenant(fleet: Fleet, plan: CleanupPlan) -> Tenant:
    place = f"tenant {plan.tenant}"
    if replace(plan, digest="").sealed().digest != plan.digest:
        raise InputError("the plan was changed after it was made.", where=place, fix="Make a new plan.")
    tenant = fleet.registry.get(plan.tenant).require(State.ACTIVE, State.SUSPENDED)
    if str(tenant.id) != plan.tenant_id:
        raise InputError("the plan was made for an earlier tenant of that name.", where=place)
    return tenant


def _refuse_growth(fleet: Fleet, tenant: Tenant, plan: CleanupPlan) -> None:
    planned = {(item.type, item.subject, item.unit): item.count for item in plan.items}
    for item in look(fleet, tenant, plan.rules):
        expected = planned.get((item.type, item.subject, item.unit), 0)
        if item.count > expected * (1 + GROWTH_TOLERATED):
            raise OperationFailed(
                f"{item.count} {item.unit} of {item.subject} would go, the plan said {expected}.",
                where=f"tenant {tenant.slug}",
                fix="Nothing was removed; make a new plan and look at it.",
            )


def _failed(tenant: Tenant, cleanup_id: UUID, error: psycopg.Error) -> OperationFailed:
    return OperationFailed(
        f"cleanup {cleanup_id} stopped halfway: {first_line(error)}.",
        where=f"tenant {tenant.slug}",
        fix="Rows removed until then are in the trash: undo it, or remove the cause and clean up again.",
    )


def _remove(fleet: Fleet, tenant: Tenant, plan: CleanupPlan, trash: Trash) -> tuple[CleanedItem, ...]:
    def rules(kind: str) -> list[Any]:
        found = any(item.type == kind and item.count for item in plan.items)
        return [rule for rule in plan.rules if rule.type == kind] if found else []

    items = [
        *move_rows(fleet, tenant, plan, trash),
        *drop_stages(fleet, tenant, rules("stages")),
        *remove_files(fleet, tenant, rules("files")),
        *purge_trash(fleet, tenant, rules("trash")),
        *clear_cache(fleet, tenant, rules("cache")),
    ]
    return tuple(items)


def _left(items: tuple[CleanedItem, ...]) -> list[str]:
    return [
        f"{item.left} {item.unit} of {item.subject} stay: they were in use, or refer to each other in a ring."
        for item in items
        if item.left
    ]


def _record(fleet: Fleet, tenant: Tenant, action: str, cleanup_id: UUID, detail: dict[str, Any]) -> None:
    with fleet.control.transaction() as connection:
        record(
            connection,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action=action,
            detail={"cleanup_id": str(cleanup_id), **detail},
        )


def _since(started: float) -> float:
    return round(perf_counter() - started, 3)
