"""Carrying retention out: looking up what there is, removing what goes, forgetting what no backup needs.

Here: the order in which things go, and what is checked again just before. Not here: the rules
(`deciding.py`), how one backup is removed (`catalog.remove`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import psycopg

from tenant_ops.backups import catalog
from tenant_ops.backups.journal import Anchor, health, prune
from tenant_ops.backups.lineage import ancestors, tips_first, why_unreadable
from tenant_ops.backups.reports import BackupRecord, RetentionDecision, RetentionReport
from tenant_ops.backups.retention.deciding import decide
from tenant_ops.backups.retention.policy import RetentionPolicy, policy_for
from tenant_ops.platform.errors import OperationFailed, TenantOpsError, UnknownTenant
from tenant_ops.tenants import Fleet, State, Tenant


def plan_retention(
    fleet: Fleet, tenants: Iterable[Tenant], *, policy: RetentionPolicy | None = None
) -> tuple[RetentionDecision, ...]:
    """What retention would do with every backup of the tenants, and why; nothing is removed.

    Args:
        fleet: The fleet.
        tenants: Whose backups.
        policy: For all of them; None takes each tenant's own.
    """
    now = _now(fleet)
    return tuple(
        decision
        for tenant in tenants
        for decision in decide(
            catalog.list_backups(fleet, tenant), policy or policy_for(tenant, fleet.settings), now
        )
    )


def execute_retention(fleet: Fleet, decisions: Sequence[RetentionDecision]) -> RetentionReport:
    """Remove what the plan says goes, and nothing else.

    What was pinned or held since, and what a backup taken since builds on, stays. A tenant that is being
    backed up is left alone and named; the others go on. Interrupted anywhere, it leaves no backup without
    those it builds on, and may be run again.
    """
    report = _Tally()
    by_tenant: dict[str, list[RetentionDecision]] = defaultdict(list)
    for decision in decisions:
        by_tenant[decision.tenant_id].append(decision)
    for tenant_id, chosen in by_tenant.items():
        try:
            _execute(fleet, UUID(tenant_id), chosen, report)
        except (TenantOpsError, psycopg.Error) as error:
            report.failed.append(str(error))
    return RetentionReport(
        tenants=len(by_tenant),
        kept=len(decisions) - len(report.removed),
        removed=tuple(report.removed),
        freed_bytes=report.freed,
        failed=tuple(report.failed),
        pruned_entries=report.pruned,
    )


def remove_backup(fleet: Fleet, backup: BackupRecord, *, reason: str) -> None:
    """Remove one backup by name, whatever retention thinks of it.

    Raises:
        OperationFailed: it is pinned or under legal hold, another one builds on it, or the tenant is busy.
        OSError: the store refused.
    """
    tenant = _tenant(fleet, UUID(backup.tenant_id))
    with _alone(fleet, tenant):
        catalog.remove(fleet, backup, why=reason)


def prune_journal(fleet: Fleet, tenant: Tenant) -> int:
    """Forget the entries of the tenant's journal that no backup can go on from any more; how many those were.

    A differential backup goes on from the full one its chain begins with, so the journal reaches back to the
    one the newest chain begins with. 0 for a tenant without a journal or such a chain, or whose journal was
    made after it: then the next backup is a full one, and a chain begins there.
    """
    anchor = _oldest_anchor(fleet, catalog.list_backups(fleet, tenant))
    if anchor is None or tenant.state not in (State.ACTIVE, State.SUSPENDED):
        return 0
    if not health(fleet, tenant).installed:
        return 0
    try:
        return prune(fleet, tenant, anchor)
    except OperationFailed:  # not known to this journal
        return 0


@dataclass
class _Tally:
    """What was done so far."""

    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    freed: int = 0
    pruned: int = 0


def _execute(fleet: Fleet, tenant_id: UUID, decisions: Sequence[RetentionDecision], tally: _Tally) -> None:
    tenant = _tenant(fleet, tenant_id)
    why = {decision.backup_id: decision.reason for decision in decisions if not decision.keep}
    if why:
        with _alone(fleet, tenant):
            for record in _still_going(catalog.list_backups(fleet, tenant_id), set(why)):
                try:
                    catalog.remove(fleet, record, why=why[record.id])
                except (OSError, TenantOpsError) as error:
                    tally.failed.append(f"{record.id}: {error}")
                else:
                    tally.removed.append(record.id)
                    tally.freed += record.stored_bytes
    if tenant is not None:
        tally.pruned += prune_journal(fleet, tenant)


def _still_going(backups: Sequence[BackupRecord], planned: set[str]) -> tuple[BackupRecord, ...]:
    """Of the backups that were to go those that may, in the order they go."""
    known = {backup.id: backup for backup in backups}
    staying = [backup for backup in backups if backup.id not in planned or backup.pinned or backup.legal_hold]
    needed = {
        link.id for backup in staying for link in ancestors(backup, known) if isinstance(link, BackupRecord)
    }
    needed |= {backup.id for backup in staying}
    return tips_first([backup for backup in backups if backup.id not in needed])


def _oldest_anchor(fleet: Fleet, backups: Sequence[BackupRecord]) -> Anchor | None:
    """The anchor of the full backup the newest chain begins with.

    Of the configured store's, where it has one: a backup taken to another place must not end the chain the
    schedules go on with. The other place's own then may, and its next backup is a full one.
    """
    known = {backup.id: backup for backup in backups}
    chained = [backup for backup in backups if backup.anchor and why_unreadable(backup, known) is None]
    configured = catalog.store_at(fleet).where
    newest = next((backup for backup in chained if backup.store == configured), next(iter(chained), None))
    base = known.get(newest.base_id or "") if newest else None
    return Anchor(**base.anchor) if base and base.anchor else None


def _tenant(fleet: Fleet, tenant_id: UUID) -> Tenant | None:
    """The tenant; None when the registry no longer knows it."""
    try:
        return fleet.registry.by_id(tenant_id)
    except UnknownTenant:
        return None


def _alone(fleet: Fleet, tenant: Tenant | None) -> AbstractContextManager[None]:
    """While no backup of the tenant is being taken, which could build on what goes."""
    return fleet.lock(tenant, "retention", wait_s=1) if tenant is not None else nullcontext()


def _now(fleet: Fleet) -> datetime:
    """The earlier of this machine's clock and the server's: one that runs ahead makes nothing look old."""
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return min(fleet.clock(), row[0])
