"""Retention: what it keeps whatever it is told, what each rule keeps, and that it does what it said."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import BackupRecord, RetentionDecision, RetentionPolicy
from tenant_ops.backups.lineage import ancestors, tips_first, why_unreadable
from tenant_ops.backups.retention import decide, policy_for
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants.tiers import TIERS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(number: int, *, days_old: float, **fields) -> BackupRecord:
    """A full backup; its name tells nothing of its age."""
    at = (NOW - timedelta(days=days_old)).isoformat()
    values = {
        "id": f"20200101T000000Z-{number:08x}",
        "tenant_id": "t",
        "tenant": "acme",
        "type": "full",
        "parent": None,
        "path": "/",
        "codec": "zstd",
        "encrypted": True,
        "key_id": None,
        "manifest_sha256": "",
        "version": None,
        **dict.fromkeys(("tables", "rows", "raw_bytes", "stored_bytes"), 0),
        "started_at": at,
        "finished_at": at,
        "taken_at": at,
        "store": "/",
    }
    return BackupRecord(**(values | fields))


def chain(first: int, *, days_old: Sequence[float], **fields) -> list[BackupRecord]:
    """A full backup and incrementals, each on the one before."""
    links = [record(first, days_old=days_old[0], **fields)]
    for number, age in enumerate(days_old[1:], first + 1):
        links.append(record(number, days_old=age, type="incremental", parent=links[-1].id, **fields))
    return links


FATES: tuple[dict, ...] = (
    *({"verified_level": level} for level in (None, None, "quick", "full", "full")),
    {"pinned": True},
    {"legal_hold": "matter 7"},
    {"damage": "a hash is wrong"},
    {"damage": "a hash is wrong", "legal_hold": "matter 7"},
    {"present": False},
    {"present": False, "pinned": True},
    {"present": False, "removing_at": NOW.isoformat()},
)


@st.composite
def histories(draw: st.DrawFn) -> list[BackupRecord]:
    """Backups of one tenant as bad as they come: broken chains, damage, lost ones, clocks that were wrong.

    Few draws for each: what is drawn is what costs time.
    """
    records: list[BackupRecord] = []
    for hours_old, fate, link in draw(
        st.lists(st.tuples(st.integers(-48, 960), st.sampled_from(FATES), st.integers(-8, 10)), max_size=10)
    ):
        parents = [*(r.id for r in records), "20200101T000000Z-0000dead"]
        kind = {"type": "incremental", "parent": parents[link % len(parents)]} if link > 0 else {}
        records.append(record(len(records), days_old=hours_old / 24, **kind, **fate))
    return records


counts = st.integers(0, 3)
policies = st.just(RetentionPolicy()) | st.builds(
    RetentionPolicy,
    last=counts,
    within=st.none() | st.integers(0, 480).map(lambda hours: timedelta(hours=hours)),
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
    most_removed=st.sampled_from([0, 1, 3, 100]),
)
moments = st.integers(-72, 72).map(lambda hours: NOW + timedelta(hours=hours))


def going(decisions: Sequence[RetentionDecision]) -> set[str]:
    return {decision.backup_id for decision in decisions if not decision.keep}


def readable(records: Sequence[BackupRecord], now: datetime = NOW) -> list[BackupRecord]:
    """Those with all they build on, newest first."""
    known = {r.id: r for r in records}
    good = [
        r for r in records if datetime.fromisoformat(r.taken_at) <= now and why_unreadable(r, known) is None
    ]
    return sorted(good, key=lambda r: (r.taken_at, r.id), reverse=True)


@given(records=histories(), policy=policies)
def test_the_last_good_backups_survive_with_all_they_build_on(records, policy) -> None:
    gone = going(decide(records, policy, NOW))
    left = [r for r in records if r.id not in gone]
    good = readable(records)
    if good:
        assert readable(left)[0] == good[0], "the newest that can be read still can"
    for level in ("full", "quick", None):
        full = [r for r in good if r.type == "full" and level in (r.verified_level, None)]
        if full:
            assert full[0] in readable(left), "the newest full one, verified as well as any was"
            break
    verified = [r for r in good if r.verified_level == "full"]
    assert set(readable(left)) >= set(verified[:1])
    if not good:
        assert all(r.removing_at for r in records if r.id in gone)


@given(records=histories(), policy=policies)
def test_nothing_that_stays_loses_what_it_builds_on(records, policy) -> None:
    gone = going(decide(records, policy, NOW))
    known = {r.id: r for r in records}
    for r in records:
        if r.id not in gone:
            assert not {link if isinstance(link, str) else link.id for link in ancestors(r, known)} & gone


@given(records=histories(), policy=policies)
def test_what_is_held_pinned_lost_or_ahead_of_time_stays_and_says_so(records, policy) -> None:
    decisions = {d.backup_id: d for d in decide(records, policy, NOW)}
    assert decisions.keys() == {r.id for r in records}
    for r in records:
        decision = decisions[r.id]
        assert decision.reason
        if r.legal_hold:
            assert decision.keep
            assert "legal hold: matter 7" in decision.reason
        if r.pinned:
            assert decision.keep
            assert "pinned" in decision.reason
        if not r.removing_at and (not r.present or r.taken_at > NOW.isoformat()):
            assert decision.keep


@given(records=histories(), extra=histories(), policy=policies)
def test_what_cannot_be_read_or_is_dated_in_the_future_pushes_nothing_out(records, extra, policy) -> None:
    known = {r.id: r for r in records}
    good = [r for r in records if why_unreadable(r, known) is None]
    useless = [
        replace(r, id=f"{r.id}x", parent=None, type="full", verified_level=None)
        for r in extra
        if not r.present or r.damage or r.taken_at > NOW.isoformat()
    ]
    among_them = going(decide([*good, *useless], policy, NOW)) - {r.id for r in useless}
    assert among_them <= going(decide(good, policy, NOW))


@given(records=histories(), policy=policies, first=moments, second=moments)
def test_a_clock_that_goes_back_removes_nothing_new(records, policy, first, second) -> None:
    unlimited = replace(policy, most_removed=100)
    earlier, later = sorted((first, second))
    assert going(decide(records, unlimited, earlier)) <= going(decide(records, unlimited, later))


@given(records=histories(), one=policies, other=policies)
def test_a_more_generous_policy_removes_nothing_more(records, one, other) -> None:
    windows = [policy.within for policy in (one, other) if policy.within is not None]
    rules = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    generous = RetentionPolicy(
        within=max(windows, default=None),
        **{rule: max(getattr(one, rule), getattr(other, rule)) for rule in rules},
    )
    assert going(decide(records, generous, NOW)) <= going(
        decide(records, replace(one, most_removed=100), NOW)
    )


@given(records=histories(), policy=policies)
def test_done_twice_removes_nothing_the_second_time(records, policy) -> None:
    unlimited = replace(policy, most_removed=100)
    gone = going(decide(records, unlimited, NOW))
    assert not going(decide([r for r in records if r.id not in gone], unlimited, NOW))


@given(records=histories(), policy=policies)
def test_runs_that_remove_little_at_a_time_end_where_one_run_would(records, policy) -> None:
    at_once = going(decide(records, replace(policy, most_removed=100), NOW))
    step, left = replace(policy, most_removed=2), list(records)
    while gone := going(decide(left, step, NOW)):
        assert len(gone) <= 2
        left = [r for r in left if r.id not in gone]
    assert {r.id for r in records} - {r.id for r in left} == at_once


@given(records=histories())
def test_at_no_point_of_a_removal_is_a_backup_without_its_base(records) -> None:
    left = list(records)
    for r in tips_first(records):
        left.remove(r)
        assert r.id not in {other.parent for other in left}


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("last=3", [0, 1, 2]),
        ("within=36h", [0, 1]),
        ("within=1w", [0, 1, 2, 3, 4, 5, 6]),
        ("daily=2", [0, 1]),
        # 20 November 2026 is a Friday: Sunday the 15th, the 8th and the 1st end the weeks before.
        ("weekly=4", [0, 5, 12, 19]),
        ("monthly=3", [0, 20, 51]),
        ("yearly=2", [0]),
        ("last=1,monthly=2", [0, 20]),
        ("last=0", [0]),
        ("", [0]),
    ],
)
def test_each_rule_keeps_what_it_names(policy: str, kept: list[int]) -> None:
    daily = [record(number, days_old=number) for number in range(60)]
    decisions = decide(daily, RetentionPolicy.parse(policy), NOW)
    assert [number for number, decision in enumerate(decisions) if decision.keep] == kept


def test_days_are_those_of_utc_also_where_a_clock_is_set_twice_a_year() -> None:
    """Berlin, 25 October 2026, 02:30, twice: two hours of one UTC day, and both have their own hour."""
    first = record(1, days_old=0, taken_at="2026-10-25T02:30:00+02:00")
    second = record(2, days_old=0, taken_at="2026-10-25T02:30:00+01:00")
    before = record(3, days_old=0, taken_at="2026-10-25T01:30:00+02:00")  # 24 October 23:30 in UTC
    day, hour = (
        decide([first, second, before], RetentionPolicy.parse(p), NOW) for p in ("daily=2", "hourly=3")
    )
    assert [d.backup_id for d in day if d.keep] == [second.id, before.id]
    assert all(d.keep for d in hour)
    assert "hourly 2026-10-25 01:00" in hour[0].reason


def test_a_week_is_one_also_where_the_year_ends_in_it() -> None:
    """31 December 2026 is a Thursday of week 53, and so is the Friday after it."""
    thursday = record(1, days_old=0, taken_at="2026-12-31T12:00:00Z")
    friday = record(2, days_old=0, taken_at="2027-01-01T12:00:00Z")
    before = record(3, days_old=0, taken_at="2026-12-27T12:00:00Z")
    later = datetime(2027, 1, 2, tzinfo=UTC)
    decisions = decide([thursday, friday, before], RetentionPolicy.parse("weekly=2"), later)
    assert going(decisions) == {thursday.id}
    assert "weekly 2026-W53" in decisions[0].reason


def test_a_window_ends_where_it_says() -> None:
    edge, inside = record(1, days_old=2), record(2, days_old=1.99)
    newest = record(3, days_old=0)
    assert going(decide([edge, inside, newest], RetentionPolicy.parse("within=2d"), NOW)) == {edge.id}


def test_order_is_by_the_moment_a_backup_holds_and_not_by_its_name() -> None:
    """After an upgrade names began anew: the highest name is not the newest."""
    old = record(0, days_old=5, id="20990101T000000Z-00000000")
    new = record(1, days_old=1)
    assert going(decide([old, new], RetentionPolicy(last=1), NOW)) == {old.id}


def test_an_incremental_that_stays_keeps_its_chain_and_a_chain_nobody_needs_goes_whole() -> None:
    old, new = chain(0, days_old=[20, 19, 18]), chain(10, days_old=[10, 9, 8, 7])
    decisions = {d.backup_id: d for d in decide(old + new, RetentionPolicy(last=1), NOW)}
    assert going(list(decisions.values())) == {r.id for r in old}
    assert decisions[new[0].id].reason.endswith(f"needed by {new[3].id}")
    assert [r.id for r in tips_first(old)] == [r.id for r in reversed(old)]


def test_incrementals_after_the_one_that_is_kept_go() -> None:
    links = chain(0, days_old=[9, 8, 7, 6])
    newer = record(10, days_old=1)
    held = [*links[:1], replace(links[1], legal_hold="matter 7"), *links[2:]]
    decisions = decide([*held, newer], RetentionPolicy(last=1), NOW)
    assert going(decisions) == {links[2].id, links[3].id}


def test_the_old_backup_that_was_verified_stays_beside_new_ones_that_were_not() -> None:
    verified = record(0, days_old=300, verified_level="full")
    records = [verified, *(record(number, days_old=10 - number) for number in range(1, 10))]
    decisions = {d.backup_id: d for d in decide(records, RetentionPolicy(last=2), NOW)}
    assert decisions[verified.id].keep
    assert "verified" in decisions[verified.id].reason
    assert len(going(list(decisions.values()))) == 7


def test_a_damaged_backup_takes_no_place_and_stays_until_something_newer_was_verified() -> None:
    damaged = record(0, days_old=2, damage="a hash is wrong")
    older = record(1, days_old=3)
    assert not going(decide([damaged, older], RetentionPolicy(last=1), NOW))
    newer = record(2, days_old=1, verified_level="full")
    assert going(decide([damaged, older, newer], RetentionPolicy(last=1), NOW)) == {damaged.id, older.id}
    assert not going(decide([damaged, older, newer], RetentionPolicy(within=timedelta(days=7)), NOW))


def test_a_damaged_backup_that_is_newer_than_the_verified_one_stays() -> None:
    verified, damaged = (
        record(0, days_old=9, verified_level="full"),
        record(1, days_old=5, damage="cut short"),
    )
    newest = record(2, days_old=1)
    decisions = decide([verified, damaged, newest], RetentionPolicy(last=1), NOW)
    assert not going(decisions)
    assert decisions[1].reason == "it is damaged, but nothing newer was verified"


@pytest.mark.parametrize(
    "useless",
    [
        record(9, days_old=-0.5),
        record(9, days_old=0.5, present=False),
        record(9, days_old=0.5, damage="a hash is wrong"),
        record(9, days_old=0.5, type="incremental", parent="20200101T000000Z-0000dead"),
    ],
    ids=["from the future", "gone", "damaged", "without its base"],
)
def test_what_cannot_be_used_takes_nobodys_place(useless: BackupRecord) -> None:
    good = [record(number, days_old=number, verified_level="full") for number in range(1, 5)]
    for policy in ("last=2", "daily=2"):
        decisions = decide([useless, *good], RetentionPolicy.parse(policy), NOW)
        assert going(decisions) == {good[2].id, good[3].id}
        assert decisions[0].keep, "it keeps its own"


def test_the_newest_incremental_that_was_verified_stays_with_its_chain() -> None:
    links = chain(0, days_old=[9, 8, 7, 6])
    links[:3] = [replace(link, verified_level="full") for link in links[:3]]
    newer = [record(10, days_old=2), record(11, days_old=1)]
    assert going(decide([*links, *newer], RetentionPolicy(), NOW)) == {links[3].id, newer[0].id}


def test_when_every_backup_is_bad_nothing_is_removed() -> None:
    links = chain(0, days_old=[90, 80, 70])
    bad = [replace(links[0], damage="a hash is wrong"), *links[1:], record(9, days_old=60, present=False)]
    decisions = decide(bad, RetentionPolicy(), NOW)
    assert not going(decisions)
    assert "nothing goes" in decisions[0].reason


def test_no_more_go_in_one_run_than_the_policy_allows_and_the_oldest_go_first() -> None:
    records = [record(number, days_old=number) for number in range(10)]
    policy = RetentionPolicy.parse("last=1,most-removed=4")
    decisions = decide(records, policy, NOW)
    assert going(decisions) == {r.id for r in records[6:]}
    assert "beyond the 4 that go in one run" in decisions[1].reason


def test_a_policy_is_read_as_it_is_written() -> None:
    text = "last=7,within=36h,daily=7,weekly=4,monthly=12,yearly=3,most-removed=20"
    assert str(RetentionPolicy.parse(text)) == text
    assert RetentionPolicy.parse(" last=1 , within=2w ") == RetentionPolicy(last=1, within=timedelta(days=14))
    assert str(RetentionPolicy()) == "last=0"


@given(policies)
def test_every_policy_reads_back(policy: RetentionPolicy) -> None:
    whole_hours = replace(
        policy, within=policy.within and timedelta(hours=policy.within // timedelta(hours=1))
    )
    assert RetentionPolicy.parse(str(whole_hours)) == whole_hours


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "last",
        "last=",
        "last=-1",
        "last=7d",
        "within=30",
        "fortnightly=2",
        "last=1,last=2",
        "last=1;daily=2",
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no rule of retention, or a second one of its kind"):
        RetentionPolicy.parse(text)


def test_every_tier_has_a_policy_and_the_setting_is_its_window() -> None:
    settings = Settings.load({"BACKUP_RETENTION_DAYS": "30"})
    for tier in TIERS.values():
        policy = RetentionPolicy.parse(tier.backup_retention)
        assert policy.last >= 7
        tenant = _WithTier(tier.backup_retention)
        assert policy_for(tenant, settings) == replace(policy, within=timedelta(days=30))  # type: ignore[arg-type]
        assert policy_for(tenant, Settings.load({})) == policy  # type: ignore[arg-type]


class _WithTier:
    """A tenant as far as its policy goes."""

    def __init__(self, policy: str) -> None:
        self.tier = replace(TIERS["starter"], backup_retention=policy)
