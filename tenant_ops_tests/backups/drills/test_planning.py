"""Drills are shared out fairly, so that every tenant's restore is tried as often as its tier promises."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.backups.drills import Aim, plan_drill
from tenant_ops.backups.drills.planning import daily_sample, turn
from tenant_ops.backups.drills.recovery import Standing
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import TIERS, Fleet, State, Tenant

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def drilled(plan) -> list[str]:
    return [target.tenant.partition("_")[0] for target in plan.targets]


@pytest.fixture
def tenants(registered: Callable[..., Tenant]) -> dict[str, Tenant]:
    """A tenant of each tier, with names of this test's own."""
    end = uuid4().hex[:6]
    tiers = {"acme": "starter", "globex": "professional", "initech": "enterprise"}
    return {name: registered(f"{name}_{end}", tier) for name, tier in tiers.items()}


def test_who_was_never_drilled_comes_first_those_of_the_highest_tier_before_others(
    now: Fleet, tenants: dict[str, Tenant], has_backup: Callable, was_drilled: Callable
) -> None:
    for tenant in tenants.values():
        has_backup(tenant, hours_ago=2)
    assert drilled(plan_drill(now, tenants.values(), sample=3)) == ["initech", "globex", "acme"]
    was_drilled(tenants["initech"], days_ago=300)
    plan = plan_drill(now, tenants.values(), sample=2)
    assert drilled(plan) == ["globex", "acme"]
    assert plan.targets[0].why == "never drilled"


def test_among_the_drilled_the_one_furthest_behind_its_tiers_cadence_is_next(
    now: Fleet, tenants: dict[str, Tenant], has_backup: Callable, was_drilled: Callable
) -> None:
    for tenant, days in zip(tenants.values(), (31, 20, 12), strict=True):  # of 30, 14 and 7 days
        has_backup(tenant, hours_ago=2)
        was_drilled(tenant, days_ago=days)
    assert drilled(plan_drill(now, tenants.values(), sample=3)) == ["initech", "globex", "acme"]


def test_drills_of_a_tenant_alternate_between_the_newest_and_the_oldest_backup(
    now: Fleet, tenants: dict[str, Tenant], has_backup: Callable, was_drilled: Callable
) -> None:
    acme = tenants["acme"]
    oldest = has_backup(acme, hours_ago=200)
    base = has_backup(acme, hours_ago=20)
    tip = has_backup(acme, hours_ago=2, parent=base)
    (target,) = plan_drill(now, [acme], sample=1).targets
    assert (target.backup_id, target.aim, target.depth, target.measure) == (tip.id, "newest", 1, True)
    was_drilled(acme, days_ago=3, aim=Aim.NEWEST)
    (target,) = plan_drill(now, [acme], sample=1).targets
    assert (target.backup_id, target.aim, target.depth, target.measure) == (oldest.id, "oldest", 0, False)
    was_drilled(acme, days_ago=1, aim=Aim.OLDEST)
    (target,) = plan_drill(now, [acme], sample=1).targets
    assert target.backup_id == tip.id
    assert plan_drill(now, [acme], sample=1, aim=Aim.OLDEST).targets[0].backup_id == oldest.id


def test_a_tenant_without_a_sound_backup_takes_nobodys_place_and_is_named(
    now: Fleet, tenants: dict[str, Tenant], has_backup: Callable
) -> None:
    has_backup(tenants["globex"], hours_ago=2, damaged_at=NOW.isoformat(), damage="a bit flipped")
    has_backup(tenants["acme"], hours_ago=2)
    plan = plan_drill(now, tenants.values(), sample=1)
    assert drilled(plan) == ["acme"]
    assert plan.without == (tenants["globex"].slug, tenants["initech"].slug)
    assert plan.considered == 3


def test_the_same_clock_and_catalog_give_the_same_plan(
    now: Fleet, tenants: dict[str, Tenant], has_backup: Callable
) -> None:
    for tenant in tenants.values():
        has_backup(tenant, hours_ago=2)
    plans = [plan_drill(now, order, sample=2) for order in (tenants.values(), reversed(tenants.values()))]
    assert plans[0] == plans[1]


def test_a_sample_of_none_is_refused(now: Fleet, tenants: dict[str, Tenant]) -> None:
    with pytest.raises(InputError, match="no number of tenants"):
        plan_drill(now, tenants.values(), sample=0)


@settings(max_examples=40, deadline=None)
@given(
    tiers=st.lists(st.sampled_from(sorted(TIERS)), min_size=1, max_size=40),
    made=st.lists(st.integers(0, 1_000), min_size=40, max_size=40),
)
def test_a_sample_a_day_drills_every_tenant_within_its_cadence(tiers: list[str], made: list[int]) -> None:
    """The promise of the default sample, day by day, once the first drills of all are over."""
    standings = [
        standing(f"t{number}", tier, NOW - timedelta(days=age))
        for number, (tier, age) in enumerate(zip(tiers, made, strict=False))
    ]
    last: dict[str, datetime] = {}
    for day in range(150):
        today = NOW + timedelta(days=day)
        sample = daily_sample(standings, today)
        for slug in [s.tenant.slug for s in sorted(standings, key=lambda s: turn(s, today))[:sample]]:
            if slug in last:
                cadence = next(s.tenant.tier.drill_every_d for s in standings if s.tenant.slug == slug)
                assert (today - last[slug]).days <= cadence
            last[slug] = today
        standings = [replace(s, drilled_at=last.get(s.tenant.slug)) for s in standings]
    assert set(last) == {s.tenant.slug for s in standings}


def standing(slug: str, tier: str, made: datetime) -> Standing:
    tenant = Tenant(
        uuid4(),
        slug,
        slug,
        slug,
        tier,
        State.ACTIVE,
        "default",
        None,
        None,
        {},
        created_at=made,
        updated_at=made,
    )
    return Standing(
        tenant,
        newest="b",
        newest_at=NOW,
        oldest="b",
        oldest_at=NOW,
        depth=0,
        oldest_depth=0,
        rows=0,
        oldest_rows=0,
        raw_bytes=0,
        oldest_bytes=0,
        verified_at=None,
        journal=False,
        builds=False,
        backups=1,
        last_verified=None,
        unsound=(),
        drilled_at=None,
        drill_equal=None,
        rto_s=None,
        aim=None,
    )
