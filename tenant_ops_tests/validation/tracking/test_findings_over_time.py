"""The life of a finding: opened, still open, resolved, reopened, whoever validates when."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Finding, list_findings
from tenant_ops.validation.tracking import KEEP_RESOLVED_DAYS, record_run

T0 = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = ("open", "muted", "resolved")
RULES = ("data.a", "data.b")


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def finding(key: str, count: int = 1) -> Finding:
    rule, _, subject = key.partition("/")
    return Finding(key, rule, "data", "error", "users", subject, "wrong", count, (), "mend it")


def states(fleet: Fleet, tenant: Tenant) -> dict[str, str]:
    return {one.key: one.state for one in list_findings(fleet, [tenant], states=EVERY)}


def test_a_problem_is_one_finding_however_often_it_is_seen(fleet: Fleet, tenant: Tenant) -> None:
    first = record_run(fleet, tenant, [finding("data.a/x", 3)], at=at(0), checked=RULES)
    again = record_run(fleet, tenant, [finding("data.a/x", 5)], at=at(1), checked=RULES)
    assert (first.seen["data.a/x"].new, again.seen["data.a/x"].new) == (True, False)
    (one,) = list_findings(fleet, [tenant])
    assert (one.count, one.first_seen_at, one.since, one.last_seen_at) == (5, at(0), at(0), at(1))


def test_what_is_mended_is_told_once_and_kept(fleet: Fleet, tenant: Tenant) -> None:
    record_run(fleet, tenant, [finding("data.a/x")], at=at(0), checked=RULES)
    assert [one.key for one in record_run(fleet, tenant, [], at=at(1), checked=RULES).mended] == ["data.a/x"]
    assert record_run(fleet, tenant, [], at=at(2), checked=RULES).mended == ()
    (one,) = list_findings(fleet, [tenant], states=EVERY)
    assert (one.state, one.resolved_at) == ("resolved", at(1))


def test_what_comes_back_is_the_same_finding_reopened(fleet: Fleet, tenant: Tenant) -> None:
    record_run(fleet, tenant, [finding("data.a/x")], at=at(0), checked=RULES)
    record_run(fleet, tenant, [], at=at(1), checked=RULES)
    seen = record_run(fleet, tenant, [finding("data.a/x")], at=at(2), checked=RULES).seen["data.a/x"]
    assert (seen.first_at, seen.since, seen.reopened, seen.new) == (at(0), at(2), 1, True)


def test_a_rule_that_was_not_checked_resolves_nothing(fleet: Fleet, tenant: Tenant) -> None:
    record_run(fleet, tenant, [finding("data.a/x"), finding("data.b/y")], at=at(0), checked=RULES)
    record_run(fleet, tenant, [], at=at(1), checked=["data.b"])
    assert states(fleet, tenant) == {"data.a/x": "open", "data.b/y": "resolved"}


def test_a_validation_that_began_earlier_and_ends_later_overrules_nothing(
    fleet: Fleet, tenant: Tenant
) -> None:
    record_run(fleet, tenant, [finding("data.a/old")], at=at(0), checked=RULES)
    record_run(fleet, tenant, [finding("data.b/new")], at=at(2), checked=RULES)
    late = record_run(fleet, tenant, [finding("data.a/old", 9)], at=at(1), checked=RULES)
    assert states(fleet, tenant) == {"data.a/old": "resolved", "data.b/new": "open"}
    assert late.mended == ()
    assert late.seen["data.a/old"].first_at == at(0), "it is known all the same"


def test_a_rule_that_names_a_subject_twice_has_one_finding(fleet: Fleet, tenant: Tenant) -> None:
    record_run(fleet, tenant, [finding("data.a/x"), finding("data.a/x")], at=at(0), checked=RULES)
    assert states(fleet, tenant) == {"data.a/x": "open"}


def test_resolved_findings_are_forgotten_in_the_end(fleet: Fleet, tenant: Tenant) -> None:
    record_run(fleet, tenant, [finding("data.a/x"), finding("data.a/y")], at=at(0), checked=RULES)
    record_run(fleet, tenant, [], at=at(1), checked=RULES)
    long_after = at(1) + timedelta(days=KEEP_RESOLVED_DAYS, hours=1)
    record_run(fleet, tenant, [finding("data.a/y")], at=long_after, checked=RULES)
    assert states(fleet, tenant) == {"data.a/y": "open"}, "what came back just then is not forgotten"


def test_a_neighbours_findings_stay_its_own(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> None:
    acme, globex = new_tenant("acme"), new_tenant("globex")
    for one in (acme, globex):
        record_run(fleet, one, [finding("data.a/x")], at=at(0), checked=RULES)
    record_run(fleet, acme, [], at=at(1), checked=RULES)
    assert (states(fleet, acme), states(fleet, globex)) == ({"data.a/x": "resolved"}, {"data.a/x": "open"})


def test_validations_at_the_same_time_neither_block_nor_lose(fleet: Fleet, tenant: Tenant) -> None:
    keys = [f"data.a/{number}" for number in range(40)]

    def validate(number: int) -> None:
        seen = [finding(key) for key in (keys if number % 2 else reversed(keys[:20]))]
        record_run(fleet, tenant, seen, at=at(number), checked=RULES)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(validate, range(20)))
    record_run(fleet, tenant, [finding(key) for key in keys], at=at(99), checked=RULES)
    assert states(fleet, tenant) == dict.fromkeys(keys, "open")


@dataclass
class Life:
    """What a finding should be like, told without a database."""

    first: datetime
    since: datetime
    resolved: bool = False
    reopened: int = 0


KEYS = ("data.a/x", "data.a/y", "data.b/x")
runs = st.lists(st.tuples(st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(RULES))), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=runs)
def test_findings_live_as_the_model_says(
    fleet: Fleet, tenant: Tenant, runs: list[tuple[set[str], set[str]]]
) -> None:
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.finding WHERE tenant_id = %s", (tenant.id,))
    model: dict[str, Life] = {}
    for hour, (found, checked) in enumerate(runs):
        found = {key for key in found if key.split("/")[0] in checked}
        record_run(fleet, tenant, [finding(key) for key in found], at=at(hour), checked=checked)
        for key in found:
            life = model.setdefault(key, Life(at(hour), at(hour)))
            if life.resolved:
                life.resolved, life.since, life.reopened = False, at(hour), life.reopened + 1
        for key, life in model.items():
            life.resolved = life.resolved or (key not in found and key.split("/")[0] in checked)
    told = {
        one.key: Life(one.first_seen_at, one.since, one.state == "resolved", one.reopened)
        for one in list_findings(fleet, [tenant], states=EVERY)
    }
    assert told == model
