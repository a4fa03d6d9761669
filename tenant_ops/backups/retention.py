"""Which backups stay and which go.

Here: the rule, its plan, carrying it out. Not here: the catalog (`catalog.py`), schedules (`orchestration/`).

The rule: the newest `backups_kept` of the tenant's tier stay, and everything younger than the configured
days; pinned ones stay; the newest one that was verified whole stays whatever else, and so does the newest of
all. Only backups that are still there count, and one dated in the future displaces nothing: neither a lost
directory nor a wrong clock may push good backups out.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from tenant_ops.backups import catalog
from tenant_ops.backups.reports import BackupRecord, RetentionDecision, RetentionReport
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, Tenant


def plan_retention(fleet: Fleet, tenants: Iterable[Tenant]) -> tuple[RetentionDecision, ...]:
    """What retention would do with every backup of the tenants, and why; nothing is removed."""
    now = fleet.clock()
    days = fleet.settings.backup_retention_days
    return tuple(
        decision
        for tenant in tenants
        for decision in decide(
            catalog.list_backups(fleet, tenant), keep_last=tenant.tier.backups_kept, keep_days=days, now=now
        )
    )


def execute_retention(fleet: Fleet, decisions: Sequence[RetentionDecision]) -> RetentionReport:
    """Remove what the plan says goes.

    A backup that was pinned since stays; one that is in no decision stays.
    """
    removed, failed, freed = [], [], 0
    known = {record.id: record for record in catalog.list_backups(fleet)}
    for decision in decisions:
        record = known.get(decision.backup_id)
        if decision.keep or record is None or record.pinned:
            continue
        try:
            catalog.remove(fleet, record)
        except (OSError, TenantOpsError) as error:
            failed.append(f"{record.id}: {error}")
        else:
            removed.append(record.id)
            freed += record.stored_bytes
    return RetentionReport(
        tenants=len({decision.tenant for decision in decisions}),
        kept=len(decisions) - len(removed),
        removed=tuple(removed),
        freed_bytes=freed,
        failed=tuple(failed),
    )


def decide(
    backups: Sequence[BackupRecord], *, keep_last: int, keep_days: int | None, now: datetime
) -> Iterator[RetentionDecision]:
    """The rule for the backups of one tenant; every one gets a decision and its reason.

    Args:
        backups: In any order.
        keep_last: How many of the newest stay.
        keep_days: Everything younger stays too; None for no such rule.
        now: The present.
    """
    dated = sorted(
        ((datetime.fromisoformat(backup.finished_at), backup) for backup in backups),
        key=lambda pair: (pair[0], pair[1].id),
        reverse=True,
    )
    past = [backup for at, backup in dated if at <= now and backup.present]
    newest = {backup.id for backup in past[: max(keep_last, 1)]}
    verified = next((backup.id for backup in past if backup.verified_at), None)
    for at, backup in dated:
        reason = _why_kept(backup, at, now, newest, verified, keep_last, keep_days)
        yield RetentionDecision(
            backup_id=backup.id,
            tenant=backup.tenant,
            path=backup.path,
            keep=reason is not None,
            reason=reason
            or (f"older than the newest {keep_last}" if backup.present else "its directory is gone"),
            stored_bytes=backup.stored_bytes,
        )


def _why_kept(
    backup: BackupRecord,
    at: datetime,
    now: datetime,
    newest: set[str],
    verified: str | None,
    keep_last: int,
    keep_days: int | None,
) -> str | None:
    if not backup.present:
        return None
    if backup.pinned:
        return "pinned"
    if at > now:
        return "dated in the future"
    if backup.id in newest:
        return f"one of the newest {keep_last}"
    if backup.id == verified:
        return "the newest that was verified"
    if keep_days is not None and at > now - timedelta(days=keep_days):
        return f"younger than {keep_days} days"
    return None
