"""Alert rules: limits by tier, and a margin before an alert is over."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.monitoring import METRICS, RULES, Reading, Rule
from tenant_ops.monitoring.rules import judge
from tenant_ops.tenants import TIERS, State, Tenant, Tier

VALUES = st.floats(min_value=0, max_value=1e15, allow_nan=False)


def reading(tier: str = "starter", state: State = State.ACTIVE, **metrics: float) -> Reading:
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    tenant = Tenant(
        id=uuid4(),
        key="abcdefghijklm",
        slug="acme",
        display_name="Acme",
        tier_name=tier,
        state=state,
        placement="default",
        version="1.0.0",
        admin_email=None,
        config={},
        created_at=moment,
        updated_at=moment,
    )
    return Reading(tenant, metrics)


def fired(found: Reading, *open_rules: str) -> set[str]:
    return {firing.rule.id for firing in judge(found, open_rules)[0]}


def test_every_rule_has_its_own_name_and_looks_at_known_metrics() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert {name for rule in RULES for name in rule.metrics} <= METRICS.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
@pytest.mark.parametrize("tier", TIERS.values(), ids=lambda tier: tier.name)
def test_every_rule_can_fire_and_be_over_in_every_tier(rule: Rule, tier: Tier) -> None:
    bad, good = (1e15, 0.0) if rule.wrong == "above" else (0.0, 100.0)
    broken = reading(tier.name, **dict.fromkeys(rule.metrics, bad))
    sound = reading(tier.name, **dict.fromkeys(rule.metrics, good))
    assert rule.id in fired(broken)
    assert judge(sound, [rule.id], [rule]) == ([], [rule.id])


@given(value=VALUES, tier=st.sampled_from(list(TIERS.values())), rule=st.sampled_from(RULES))
def test_what_opens_an_alert_also_keeps_it_open(value: float, tier: Tier, rule: Rule) -> None:
    if rule.broken(value, tier, is_open=False):
        assert rule.broken(value, tier, is_open=True)


@given(values=st.lists(VALUES, min_size=1, max_size=30), rule=st.sampled_from(RULES))
def test_a_value_within_the_margin_of_its_limit_never_changes_an_alert(
    values: list[float], rule: Rule
) -> None:
    tier = TIERS["starter"]
    limit = rule.limit(tier)
    near = [limit * (1 + (rule.margin * (value % 1 - 0.5))) for value in values]
    is_open = rule.broken(near[0], tier, is_open=False)
    changes = 0
    for value in near:
        now = rule.broken(value, tier, is_open=is_open)
        changes += now != is_open
        is_open = now
    assert changes <= 1


def test_the_limit_depends_on_the_tier() -> None:
    age = 3 * 3600.0
    assert "backup-overdue" in fired(reading("enterprise", backup_age_s=age))
    assert "backup-overdue" not in fired(reading("starter", backup_age_s=age))


def test_data_and_files_are_added_up() -> None:
    half = 600e6
    assert "storage-full" not in fired(reading(size_bytes=half, files_bytes=0))
    assert "storage-full" in fired(reading(size_bytes=half, files_bytes=half))


def test_a_metric_that_disappears_neither_opens_nor_closes_an_alert() -> None:
    assert judge(reading(), ["storage-full", "validation-poor"]) == ([], [])
    assert judge(reading(size_bytes=1e12), ["storage-full"]) == ([], []), "half a sum is no value"


def test_nobody_expects_backups_of_a_suspended_tenant() -> None:
    suspended = reading(state=State.SUSPENDED, backup_age_s=1e9)
    assert judge(suspended, ["backup-overdue"]) == ([], ["backup-overdue"])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            {"backup_age_s": 180_000.0},
            "No backup for longer than its tier allows: 50.0 h, limit 48.0 h.",
        ),
        (
            {"size_bytes": 900e6, "files_bytes": 0.0},
            "Data and files come close to what the tier allows: 900.0 MB, limit 800.0 MB.",
        ),
        ({"validation_score": 71.0}, "The last validation found the data poor: 71, limit 80."),
        ({"lock_wait_s": 75.2}, "A statement of the login waits for a lock: 75 s, limit 60 s."),
        ({"unanalyzed_share": 0.75}, "A table changed much since it was last analysed: 75%, limit 50%."),
    ],
)
def test_a_message_gives_the_figures(metrics: dict[str, float], message: str) -> None:
    firings, _ = judge(reading(**metrics), [])
    assert [firing.message for firing in firings] == [message]
