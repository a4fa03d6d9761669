"""The report of recovery tells what each tenant would lose now, and whether its tier allows it."""

from collections.abc import Callable, Iterable
from uuid import uuid4

import pytest

from tenant_ops.backups.drills import Recovery, rpo_report
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.drills.conftest import NOW


@pytest.fixture
def acme(registered: Callable[..., Tenant]) -> Tenant:
    """A starter, made a day ago: at most 48 h may be lost, and a drill is due within 30 days."""
    return registered(f"acme_{uuid4().hex[:6]}")


def recovery(now: Fleet, tenant: Tenant) -> Recovery:
    (found,) = rpo_report(now, [tenant]).tenants
    return found


def test_a_tenant_with_a_chain_loses_what_came_after_its_newest_backup(
    now: Fleet, acme: Tenant, has_backup: Callable
) -> None:
    base = has_backup(
        acme, hours_ago=20, anchor={"snapshot": "1:1:"}, verified_at=NOW.isoformat(), verified_level="full"
    )
    tip = has_backup(acme, hours_ago=2, parent=base, anchor={"snapshot": "2:2:"})
    found = recovery(now, acme)
    assert (found.newest_backup, found.age_s, found.depth, found.backups) == (tip.id, 7_200, 1, 2)
    assert (found.newest_moment, found.oldest_moment) == (tip.taken_at, base.taken_at)
    assert (found.verified_at, found.last_verified) == (None, NOW.isoformat())
    assert (found.rpo_target_s, found.rto_target_s, found.breaches) == (48 * 3_600, 14_400, ())
    assert found.granularity == "tick", "this server keeps no times of commits"


def test_a_backup_that_is_damaged_or_whose_chain_is_does_not_count(
    now: Fleet, acme: Tenant, has_backup: Callable
) -> None:
    old = has_backup(acme, hours_ago=90)
    damaged = has_backup(acme, hours_ago=20, damaged_at=NOW.isoformat(), damage="cut")
    onto_it = has_backup(acme, hours_ago=2, parent=damaged)
    gone = has_backup(acme, hours_ago=1, removing_at=NOW.isoformat())
    found = recovery(now, acme)
    assert (found.newest_backup, found.breaches) == (old.id, ("rpo",))
    assert found.unsound == (onto_it.id, damaged.id)
    assert gone.id not in found.unsound, "what is being removed is no backup"


def test_a_backup_whose_parent_nobody_knows_does_not_count(
    now: Fleet, acme: Tenant, has_backup: Callable
) -> None:
    lost = has_backup(acme, hours_ago=2, type="incremental", parent=None)
    found = recovery(now, acme)
    assert (found.newest_backup, found.unsound) == (None, (lost.id,))


def test_a_backup_dated_in_the_future_displaces_none(now: Fleet, acme: Tenant, has_backup: Callable) -> None:
    true = has_backup(acme, hours_ago=2)
    has_backup(acme, hours_ago=-24)
    assert recovery(now, acme).newest_backup == true.id


def test_a_new_tenant_has_as_long_for_its_first_backup_as_an_old_one_between_two(
    now: Fleet, registered: Callable[..., Tenant]
) -> None:
    assert recovery(now, registered(f"new_{uuid4().hex[:6]}", days_old=1)).breaches == ()
    old = recovery(now, registered(f"old_{uuid4().hex[:6]}", days_old=3))
    assert (old.newest_backup, old.age_s, old.breaches) == (None, 3 * 86_400, ("no backup",))


def test_drills_that_fail_take_too_long_or_stay_away_are_breaches(
    now: Fleet, registered: Callable[..., Tenant], has_backup: Callable, was_drilled: Callable
) -> None:
    tenant = registered(f"initech_{uuid4().hex[:6]}", "enterprise", days_old=100)
    has_backup(tenant, hours_ago=1)
    assert recovery(now, tenant).breaches == ("drill overdue",)
    was_drilled(tenant, days_ago=8)
    assert recovery(now, tenant).breaches == ("drill overdue",)
    was_drilled(tenant, days_ago=6, rto_s=901)
    assert recovery(now, tenant).breaches == ("rto",)
    was_drilled(tenant, days_ago=5, equal=False)
    assert recovery(now, tenant).breaches == ("drill differed",)
    was_drilled(tenant, days_ago=4, rto_s=3.5)
    found = recovery(now, tenant)
    assert (found.breaches, found.rto_s, found.drill_equal) == ((), 3.5, True)


def test_the_worst_come_first_and_tiers_are_summed_up(
    now: Fleet, registered: Callable[..., Tenant], has_backup: Callable, was_drilled: Callable
) -> None:
    end = uuid4().hex[:6]
    tenants = {
        slug: registered(f"{slug}_{end}", tier)
        for slug, tier in (
            ("fine", "starter"),
            ("late", "enterprise"),
            ("old", "starter"),
            ("near", "enterprise"),
        )
    }
    for slug, hours in (("fine", 2), ("late", 5), ("old", 60), ("near", 1)):
        has_backup(tenants[slug], hours_ago=hours)
    was_drilled(tenants["late"], days_ago=1, rto_s=12)
    report = rpo_report(now, tenants.values())
    assert names(report.tenants) == ["late", "old", "near", "fine"], (
        "in breach first, then by share of the RPO"
    )
    assert names(report.in_breach) == ["late", "old"]
    enterprise, starter = report.tiers
    assert (enterprise.tier, enterprise.tenants, enterprise.in_breach, enterprise.drilled) == (
        "enterprise",
        2,
        1,
        1,
    )
    assert (enterprise.worst_age_s, enterprise.worst_rto_s) == (5 * 3_600, 12)
    assert (starter.worst_age_s, starter.worst_rto_s) == (60 * 3_600, None)


def test_the_report_costs_as_many_queries_for_many_tenants_as_for_one(
    now: Fleet, registered: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = [registered(f"many{number}_{uuid4().hex[:6]}") for number in range(20)]
    opened: list[None] = []
    transaction = type(now.control).transaction

    def counting(database, **options):
        opened.append(None)
        return transaction(database, **options)

    monkeypatch.setattr(type(now.control), "transaction", counting)
    rpo_report(now, tenants[:1])
    for_one = len(opened)
    rpo_report(now, tenants)
    assert len(opened) == 2 * for_one


def names(tenants: Iterable[Recovery]) -> list[str]:
    return [tenant.tenant.partition("_")[0] for tenant in tenants]
