"""The fleet's page: who stands how, by the reports that operations stored."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenant_ops.audit import save_report
from tenant_ops.tenants import Fleet, State, Tenant
from tenant_ops.validation import fleet_overview

NOW = datetime.now(UTC)
Remember = Callable[..., None]


@pytest.fixture
def remember(fleet: Fleet) -> Remember:
    """Stores the report of a validation that ended so many hours ago."""

    def store(tenant: Tenant, hours: float = 0, error: str = "", score: int | None = 100, **levels: Any):
        ended = NOW - timedelta(hours=hours)
        body = {
            "score": score,
            "levels": [
                {"name": name, "score": value, "worst": worst, "failed": int(worst is not None)}
                for name, (value, worst) in levels.items()
            ],
        }
        with fleet.control.transaction() as connection:
            save_report(
                connection,
                operation="validate",
                report={"error": error} if error else body,
                outcome="failed" if error else "done",
                started_at=ended,
                finished_at=ended,
                tenant_id=tenant.id,
            )

    return store


def test_tenants_stand_worst_first(
    fleet: Fleet, new_tenant: Callable[..., Tenant], remember: Remember
) -> None:
    for slug, severity, score in (("warned", "warning", 97), ("sound", None, 100), ("grave", "critical", 49)):
        remember(new_tenant(slug), score=score, data=(score, severity))
    remember(new_tenant("broken"), error="the server went away")
    new_tenant("unseen")
    overview = fleet_overview(fleet)
    assert [one.tenant for one in overview.tenants] == ["broken", "grave", "warned", "unseen", "sound"]
    assert [one.tenant for one in overview.failed] == ["broken", "grave"]
    assert [one.tenant for one in overview.stale] == ["broken", "unseen"], "nothing is known of these two"
    assert (overview.lowest, overview.median) == (49, 97)
    assert overview.failed[0].reason == "the server went away"


def test_a_level_stands_as_the_newest_validation_that_looked_at_it_left_it(
    fleet: Fleet, tenant: Tenant, remember: Remember
) -> None:
    remember(tenant, hours=3, score=49, data=(90, "info"), security=(49, "critical"))
    remember(tenant, hours=1, score=100, data=(100, None))
    (one,) = fleet_overview(fleet).tenants
    assert (one.score, one.previous, one.worst) == (100, 49, "critical")
    assert one.failed, "a look at the data does not mend security"
    assert (one.levels["data"].told, one.levels["security"].told) == ("100", "49 (1 critical)")


@pytest.mark.parametrize(("tier", "hours", "stale"), [
    ("starter", 47, False), ("starter", 49, True), ("enterprise", 11, False), ("enterprise", 13, True),
])  # fmt: skip
def test_what_is_stale_depends_on_the_tier(
    fleet: Fleet,
    new_tenant: Callable[..., Tenant],
    remember: Remember,
    tier: str,
    hours: float,
    stale: bool,
) -> None:
    remember(new_tenant("acme", tier), hours=hours, data=(100, None))
    assert bool(fleet_overview(fleet).stale) is stale


def test_a_validation_that_breaks_off_does_not_make_an_old_one_fresh(
    fleet: Fleet, tenant: Tenant, remember: Remember
) -> None:
    remember(tenant, hours=100, data=(100, None))
    remember(tenant, hours=1, error="timeout")
    (one,) = fleet_overview(fleet).tenants
    assert (one.stale, one.failed, one.reason) == (True, True, "timeout")


def test_the_trend_is_that_of_the_last_scores_that_are_known(
    fleet: Fleet, tenant: Tenant, remember: Remember
) -> None:
    for hours, score in enumerate((100, None, 49, 0)):
        remember(tenant, hours=hours, score=score)
    (one,) = fleet_overview(fleet).tenants
    assert one.trend == "▁▄█"
    assert one.score == 100


def test_a_tenant_sees_only_its_own_reports_and_only_those_of_validations(
    fleet: Fleet, new_tenant: Callable[..., Tenant], remember: Remember
) -> None:
    acme, globex = new_tenant("acme"), new_tenant("globex")
    remember(acme, score=12, data=(12, "error"))
    (one,) = fleet_overview(fleet, [globex]).tenants
    assert (one.tenant, one.score, one.levels) == ("globex", None, {})
    assert fleet_overview(fleet, []).tenants == ()


def test_who_is_not_active_does_not_count(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> None:
    suspended = new_tenant("resting")
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.tenant SET state = %s WHERE id = %s", (str(State.SUSPENDED), suspended.id)
        )
    overview = fleet_overview(fleet)
    assert (overview.tenants, overview.lowest, overview.median) == ((), None, None)
