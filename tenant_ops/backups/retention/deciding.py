"""Which backups of one tenant stay, and why each one does.

Here: the rules, as a function of records, a policy and the time. Not here: looking anything up, removing
anything (`executing.py`). The rules in prose, with examples: `docs/backup-retention.md`.

Two properties carry the rest. Every rule only ever keeps, so a mistake in one cannot remove what another
keeps. And what counts for the rules is what can be read today: a backup that is damaged, incomplete, gone or
dated in the future takes no place from one that can be read.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tenant_ops.backups.lineage import ancestors, moment, tips_first, why_unreadable
from tenant_ops.backups.reports import BackupRecord, RetentionDecision
from tenant_ops.backups.retention.policy import RetentionPolicy

_PERIODS = {
    "hourly": "%Y-%m-%d %H:00",
    "daily": "%Y-%m-%d",
    "weekly": "%G-W%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}

Reasons = dict[str, list[str]]


def decide(
    backups: Sequence[BackupRecord], policy: RetentionPolicy, now: datetime
) -> tuple[RetentionDecision, ...]:
    """A decision for every backup of one tenant, newest first.

    Ordered by the moment each backup holds, never by names. Whatever the policy says, there stay: what is
    held or pinned, the newest that can be read, the newest full one that was verified (one that was not, when
    none was), and all that a backup which stays builds on. With nothing that can be read, everything stays.

    Args:
        backups: All of the tenant's, in any order.
        policy: What to keep.
        now: The present.
    """
    ordered = sorted(backups, key=lambda backup: (moment(backup), backup.id), reverse=True)
    known = {backup.id: backup for backup in ordered}
    reasons: Reasons = defaultdict(list)
    here = [backup for backup in ordered if backup.removing_at is None]
    past = [backup for backup in here if backup.present and moment(backup) <= now]
    whole = [backup for backup in past if why_unreadable(backup, known) is None]
    _keep_marked(here, now, reasons)
    _keep_by_policy(whole, policy, now, reasons)
    _keep_last_good(whole, reasons)
    _keep_doubtful(past, whole, policy, now, known, reasons)
    if not whole:
        for backup in here:
            reasons[backup.id].append("no backup that can be read is known, so nothing goes")
    _keep_needed(ordered, known, reasons)
    _cap([backup for backup in ordered if backup.id not in reasons], policy.most_removed, reasons)
    return tuple(_decision(backup, reasons.get(backup.id), policy) for backup in ordered)


def _keep_marked(backups: Sequence[BackupRecord], now: datetime, reasons: Reasons) -> None:
    for backup in backups:
        if backup.legal_hold is not None:
            reasons[backup.id].append(f"legal hold: {backup.legal_hold}")
        if backup.pinned:
            reasons[backup.id].append("pinned")
        if not backup.present:
            reasons[backup.id].append("not found in its store; `backup rebuild` forgets it")
        elif moment(backup) > now:
            reasons[backup.id].append("dated in the future")


def _keep_by_policy(
    backups: Sequence[BackupRecord], policy: RetentionPolicy, now: datetime, reasons: Reasons
) -> None:
    """The rules of the policy, over backups that are ordered newest first."""
    for number, backup in enumerate(backups[: policy.last], 1):
        reasons[backup.id].append(f"last {number} of {policy.last}")
    for backup in backups:
        if policy.within is not None and now - moment(backup) < policy.within:
            reasons[backup.id].append(f"younger than {policy.window}")
    for period, label in _PERIODS.items():
        newest = _newest_of_each(backups, lambda backup, label=label: moment(backup).strftime(label))
        for name, backup in list(newest.items())[: getattr(policy, period)]:
            reasons[backup.id].append(f"{period} {name}")


def _newest_of_each(
    backups: Sequence[BackupRecord], label: Callable[[BackupRecord], str]
) -> dict[str, BackupRecord]:
    newest: dict[str, BackupRecord] = {}
    for backup in backups:
        newest.setdefault(label(backup), backup)
    return newest


def _keep_last_good(whole: Sequence[BackupRecord], reasons: Reasons) -> None:
    """The newest that can be read; the newest verified; the newest full one, verified as well as any was."""
    if not whole:
        return
    reasons[whole[0].id].append("the newest")
    verified = next((backup for backup in whole if backup.verified_level == "full"), None)
    if verified is not None:
        reasons[verified.id].append("the newest that was verified")
    full = [backup for backup in whole if backup.type == "full"]
    for level, said in (
        ("full", "full one that was verified"),
        ("quick", "full one that was verified quickly"),
    ):
        good = next((backup for backup in full if backup.verified_level == level), None)
        if good is not None:
            reasons[good.id].append(f"the newest {said}")
            return
    if full:
        reasons[full[0].id].append("the newest full one; none was verified")


def _keep_doubtful(
    past: Sequence[BackupRecord],
    whole: Sequence[BackupRecord],
    policy: RetentionPolicy,
    now: datetime,
    known: Mapping[str, BackupRecord],
    reasons: Reasons,
) -> None:
    """What cannot be read stays where it would if it could, and until something newer was verified.

    It may be the store that is away, or a copy may be found.
    """
    verified = next((moment(backup) for backup in whole if backup.verified_level == "full"), None)
    would_stay: Reasons = defaultdict(list)
    _keep_by_policy(past, policy, now, would_stay)
    for backup in past:
        doubt = why_unreadable(backup, known)
        if doubt is None:
            continue
        if verified is None or moment(backup) >= verified:
            reasons[backup.id].append(f"{doubt}, but nothing newer was verified")
        elif backup.id in would_stay:
            reasons[backup.id].append(f"{doubt}; would be kept: {', '.join(would_stay[backup.id])}")


def _keep_needed(
    ordered: Sequence[BackupRecord], known: Mapping[str, BackupRecord], reasons: Reasons
) -> None:
    for backup in ordered:
        if backup.id not in reasons:
            continue
        for link in ancestors(backup, known):
            if isinstance(link, BackupRecord) and not any(
                reason.startswith("needed by") for reason in reasons[link.id]
            ):
                reasons[link.id].append(f"needed by {backup.id}")


def _cap(going: Sequence[BackupRecord], most: int, reasons: Reasons) -> None:
    for backup in tips_first(going)[most:]:
        reasons[backup.id].append(f"beyond the {most} that go in one run; goes with a later one")


def _decision(
    backup: BackupRecord, reasons: Sequence[str] | None, policy: RetentionPolicy
) -> RetentionDecision:
    gone = "its removal was interrupted" if backup.removing_at else f"no rule of {policy} keeps it"
    return RetentionDecision(
        backup_id=backup.id,
        tenant=backup.tenant,
        tenant_id=backup.tenant_id,
        type=backup.type,
        taken_at=backup.taken_at,
        path=backup.path,
        keep=reasons is not None,
        reason="; ".join(reasons) if reasons else gone,
        stored_bytes=backup.stored_bytes,
    )
