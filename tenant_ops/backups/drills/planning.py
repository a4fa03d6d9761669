"""Whose restore is tried next.

Here: the choice. Not here: what is known of each tenant (`recovery.py`), the trial (`executing.py`).

The choice is fair: a tenant that was never drilled comes first, those of the tier with the shortest cadence
before others; then the one whose last drill is longest ago, measured in its tier's cadence, so that every
tenant's turn comes whatever the sample. Drills of a tenant alternate between the end of its newest chain,
which a disaster would need, and the oldest backup kept, which nobody has read for longest.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tenant_ops.backups.drills.recovery import DAY_S, Standing, read_standings
from tenant_ops.backups.drills.reports import Aim, DrillPlan, DrillTarget
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant


def plan_drill(
    fleet: Fleet,
    tenants: Iterable[Tenant] | None = None,
    *,
    sample: int | None = None,
    aim: Aim | None = None,
    measure: bool = True,
) -> DrillPlan:
    """Choose whose restore is tried; nothing is written. The same clock and catalog give the same plan.

    Args:
        fleet: The fleet.
        tenants: Among whom; None takes every active one.
        sample: How many; None takes as many as keep every tier's cadence when drills run daily.
        aim: Which backup of each; None alternates.
        measure: Where the newest backup knows the rows of some tables only, take an incremental that counts
            and hashes all of them first, so that nothing is restored without being compared.

    Raises:
        InputError: the sample is no number of tenants.
    """
    if sample is not None and sample < 1:
        raise InputError(f"{sample} is no number of tenants.", where="sample", fix="Use 1 or more.")
    now = fleet.clock()
    chosen = fleet.registry.all() if tenants is None else tuple(tenants)
    standings = read_standings(fleet, chosen, now)
    able = [standing for standing in standings if standing.newest]
    wanted = daily_sample(able, now) if sample is None else sample
    ordered = sorted(able, key=lambda standing: turn(standing, now))
    return DrillPlan(
        considered=len(standings),
        targets=tuple(_target(standing, now, aim, measure=measure) for standing in ordered[:wanted]),
        without=tuple(standing.tenant.slug for standing in standings if not standing.newest),
    )


def turn(standing: Standing, now: datetime) -> tuple[bool, float, float, str]:
    """What tenants are put in order by: the first is drilled next."""
    cadence = standing.tenant.tier.drill_every_d
    made = standing.tenant.created_at.timestamp()
    if standing.drilled_at is None:
        return (False, cadence, made, standing.tenant.slug)
    since = (now - standing.drilled_at).total_seconds() / (cadence * DAY_S)
    return (True, -since, made, standing.tenant.slug)


def daily_sample(standings: Sequence[Standing], now: datetime) -> int:
    """How many to drill today so that each is drilled within its tier's cadence, when this is asked daily.

    All that would be late tomorrow, and at least as many as fall due on a day on average, so that they never
    all do at once. Of first drills no more than twice the average are added: a fleet that was never drilled
    is not drilled in one night.
    """
    average = math.ceil(round(sum(1 / standing.tenant.tier.drill_every_d for standing in standings), 6))
    again = [standing for standing in standings if standing.drilled_at and _late_tomorrow(standing, now)]
    first = [standing for standing in standings if not standing.drilled_at and _late_tomorrow(standing, now)]
    return max(average, len(again), min(len(again) + len(first), 2 * average))


def _late_tomorrow(standing: Standing, now: datetime) -> bool:
    since = standing.drilled_at or standing.tenant.created_at
    return now + timedelta(days=1) > since + timedelta(days=standing.tenant.tier.drill_every_d)


def _target(standing: Standing, now: datetime, aim: Aim | None, *, measure: bool) -> DrillTarget:
    tenant = standing.tenant
    chosen = aim or (Aim.OLDEST if standing.aim == Aim.NEWEST else Aim.NEWEST)
    newest = chosen is Aim.NEWEST
    backup_id = standing.newest if newest else standing.oldest
    assert backup_id is not None, "a tenant without a sound backup is not drilled"
    return DrillTarget(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        tier=tenant.tier_name,
        backup_id=backup_id,
        aim=chosen,
        depth=standing.depth if newest else standing.oldest_depth,
        measure=measure and newest and standing.builds,
        rows=standing.rows if newest else standing.oldest_rows,
        raw_bytes=standing.raw_bytes if newest else standing.oldest_bytes,
        why=_why(standing, now),
    )


def _why(standing: Standing, now: datetime) -> str:
    if standing.drilled_at is None:
        return "never drilled"
    days = (now - standing.drilled_at).total_seconds() / DAY_S
    return f"last drilled {days:.1f} days ago, every {standing.tenant.tier.drill_every_d} days wanted"
