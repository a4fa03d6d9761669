"""How long rows are kept: the shorter of dataset and tier, unless somebody asks for other days."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tenant_ops.cleanup import DEFAULT_TYPES
from tenant_ops.cleanup.policies import rules_for
from tenant_ops.datasets import MUSIC
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import State, Tenant
from tenant_ops_tests.cleanup.conftest import NOW


def tenant_of(tier: str) -> Tenant:
    return Tenant(
        id=uuid4(),
        key="abcdefghijklm",
        slug="acme",
        display_name="Acme",
        tier_name=tier,
        state=State.ACTIVE,
        placement="default",
        version="1.0.0",
        admin_email=None,
        config={},
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("tier", "events", "requests"),
    [
        ("starter", (90, "tier starter"), (90, "dataset")),
        ("professional", (365, "tier professional"), (90, "dataset")),
        ("enterprise", (730, "dataset"), (90, "dataset")),
    ],
)
def test_the_shorter_of_the_datasets_and_the_tiers_days_counts(
    tier: str, events: tuple[int, str], requests: tuple[int, str]
) -> None:
    rules = {rule.subject: rule for rule in rules_for(tenant_of(tier), MUSIC, NOW)}
    found = rules["listening_events"], rules["api_requests"]
    assert [(rule.days, rule.because) for rule in found] == [events, requests]
    assert rules["listening_events"].cutoff == NOW - timedelta(days=events[0])


def test_asked_days_replace_those_of_rows_and_files_and_leave_stages_alone() -> None:
    rules = rules_for(tenant_of("starter"), MUSIC, NOW, retention_days=20)
    asked = {rule.type for rule in rules if (rule.days, rule.because) == (20, "asked for")}
    assert asked == {"expired", "quarantine", "files"}
    assert {rule.days for rule in rules if rule.type == "stages"} == {1}


def test_datasets_without_a_retention_column_keep_their_rows_even_when_days_are_asked_for() -> None:
    subjects = {rule.subject for rule in rules_for(tenant_of("starter"), MUSIC, NOW, retention_days=1)}
    assert not subjects & {"users", "tracks", "playlists"}


def test_the_cache_has_to_be_asked_for() -> None:
    assert {rule.type for rule in rules_for(tenant_of("starter"), MUSIC, NOW)} == set(DEFAULT_TYPES)
    assert [rule.type for rule in rules_for(tenant_of("starter"), MUSIC, NOW, types=["cache"])] == ["cache"]


@pytest.mark.parametrize("type_", ["everything", "", "expired; DROP TABLE users"])
def test_an_unknown_type_is_refused(type_: str) -> None:
    with pytest.raises(InputError, match=r"cleanup type.*Choose from: expired, quarantine"):
        rules_for(tenant_of("starter"), MUSIC, NOW, types=[type_])


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_days_out_of_range_are_refused(days: int) -> None:
    with pytest.raises(InputError, match=f"{days} is not a number of days"):
        rules_for(tenant_of("starter"), MUSIC, NOW, retention_days=days)
