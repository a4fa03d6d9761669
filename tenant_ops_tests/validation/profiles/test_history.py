"""A tenant's data against its own past, on real tables, a day at a time."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import ValidationReport, execute_validation, plan_validation
from tenant_ops.validation.profiles.judging import LEAST
from tenant_ops.validation.profiles.keeping import KEEP, keep_profile, read_profiles
from tenant_ops.validation.profiles.values import DatasetProfile, Profile
from tenant_ops_tests.validation.conftest import fill

HISTORY = ("data.volume_as_usual", "data.filled_as_usual", "data.spread_as_usual", "data.fresh_as_usual")


def validate(fleet: Fleet, tenant: Tenant, day: float) -> ValidationReport:
    now = fleet.clock() + timedelta(days=day)
    later = replace(fleet, clock=lambda: now)
    return execute_validation(later, plan_validation(later, tenant, types=["data"]))


def odd(report: ValidationReport) -> set[str]:
    return {one.key for one in report.findings if one.rule in HISTORY}


@pytest.fixture
def lived(fleet: Fleet, tenant: Tenant, tmp_path: Path) -> Tenant:
    """A tenant whose data was validated on as many days as it takes, and was the same on each."""
    fill(fleet, tenant, tmp_path / "rows", rows=400)
    for day in range(LEAST):
        assert odd(validate(fleet, tenant, day)) == set()
    return tenant


def change(fleet: Fleet, tenant: Tenant, statement: str) -> None:
    with fleet.session(tenant, "owner") as connection:
        connection.execute(statement)  # pyright: ignore[reportArgumentType]


def test_a_tenant_without_a_past_is_not_judged_and_says_how_long_it_takes(
    fleet: Fleet, tenant: Tenant
) -> None:
    report = validate(fleet, tenant, 0)
    reasons = {one.rule: one.reason for one in report.unchecked}
    assert all("5 profiles of earlier days, and there are 0" in reasons[rule] for rule in HISTORY)


@pytest.mark.parametrize(
    ("statement", "key"),
    [
        ("DELETE FROM listening_events WHERE ctid::text LIKE '%(0,%'", None),
        (
            "DELETE FROM api_requests WHERE request_id IN (SELECT request_id FROM api_requests LIMIT 200)",
            "data.volume_as_usual/api_requests",
        ),
        ("UPDATE listening_events SET session_id = NULL", "data.filled_as_usual/listening_events.session_id"),
        (
            "UPDATE api_requests SET latency_ms = latency_ms * 100",
            "data.spread_as_usual/api_requests.latency_ms",
        ),
    ],
    ids=["a few rows gone", "half of the rows gone", "a column emptied", "seconds taken for milliseconds"],
)
def test_what_is_not_as_usual_is_found(fleet: Fleet, lived: Tenant, statement: str, key: str | None) -> None:
    if key is None:
        assert odd(validate(fleet, lived, LEAST)) == set()
        return
    change(fleet, lived, statement)
    assert key in odd(validate(fleet, lived, LEAST))


def test_a_source_that_dried_up_is_found(fleet: Fleet, lived: Tenant) -> None:
    found = odd(validate(fleet, lived, LEAST + 4_000))
    assert "data.fresh_as_usual/sessions" in found


def test_a_tenant_is_compared_with_its_own_past_only(
    fleet: Fleet, lived: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    globex = new_tenant("globex")
    assert any(one.rule in HISTORY for one in validate(fleet, globex, LEAST).unchecked)
    assert len(read_profiles(fleet, globex)) == 1
    assert len(read_profiles(fleet, lived)) == LEAST


def test_a_profile_holds_no_value_of_a_personal_column(fleet: Fleet, lived: Tenant) -> None:
    with fleet.control.transaction() as connection:
        kept = json.dumps(connection.execute("SELECT datasets FROM tenant_ops.data_profile").fetchall())
    with fleet.session(lived) as connection:
        people = connection.execute("SELECT email, display_name FROM users").fetchall()
    assert people
    assert not any(text and text in kept for row in people for text in row)


def test_one_profile_a_day_is_kept_and_two_months_of_them(fleet: Fleet, tenant: Tenant) -> None:
    start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    for hour in range(0, 24 * (KEEP + 10), 12):
        at = start + timedelta(hours=hour)
        keep_profile(fleet, tenant, Profile(at, {"users": DatasetProfile(hour)}))
    with fleet.control.transaction() as connection:
        rows = connection.execute("SELECT taken_at FROM tenant_ops.data_profile ORDER BY 1").fetchall()
    assert len(rows) == KEEP
    assert {later[0] - earlier[0] for earlier, later in pairwise(rows)} == {timedelta(days=1)}


def test_other_levels_measure_nothing(fleet: Fleet, tenant: Tenant) -> None:
    execute_validation(fleet, plan_validation(fleet, tenant, types=["schema", "security"]))
    assert read_profiles(fleet, tenant) == ()
