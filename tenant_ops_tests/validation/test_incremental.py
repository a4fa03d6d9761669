"""An incremental validation finds what reading everything finds, reads less, and says why when it may not."""

import random
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from tenant_ops.backups.journal import install
from tenant_ops.datasets import MUSIC
from tenant_ops.platform.settings import fixtures_root
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Rule, ValidationReport, Where, execute_validation, plan_validation
from tenant_ops.validation.report import Saved
from tenant_ops_tests.validation.test_shipped_fixtures import load

RULES = (
    Rule("data.not_spoiled", "data", "error", "So.", "Do.", Where("name = 'Spoiled'"), "artists"),
    Rule("data.not_of_late", "data", "info", "So.", "Do.", Where("created_at > now()"), "artists"),
    Rule(
        "data.in_genre",
        "data",
        "error",
        "So.",
        "Do.",
        Where("name = 'Elsewhere' AND EXISTS (SELECT FROM users WHERE display_name = 'Elsewhere')"),
        "artists",
    ),
)
USER_MOVES = (
    "UPDATE users SET display_name = 'Elsewhere' WHERE user_id = (SELECT min(user_id::text)::uuid FROM users)"
)
ARTIST = (
    "INSERT INTO artists (artist_id, name, followers, created_at) VALUES (gen_random_uuid(), '{}', 1, now())"
)


@pytest.fixture
def followed(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> Tenant:
    """A tenant with rows, whose journal notes every change."""
    tenant = new_tenant("acme", "starter")
    load(fleet, tenant, fixtures_root() / MUSIC.version / "starter")
    install(fleet, tenant)
    return tenant


def validate(fleet: Fleet, tenant: Tenant, *, incremental: bool = True) -> ValidationReport:
    plan = plan_validation(
        fleet, tenant, types=["data", "business"], rules=list(RULES), incremental=incremental
    )
    return execute_validation(fleet, plan)


def saved(report: ValidationReport) -> Saved:
    assert report.saved is not None
    return report.saved


def write(fleet: Fleet, tenant: Tenant, *statements: str) -> None:
    with fleet.session(tenant) as connection:
        for statement in statements:
            connection.execute(statement)


def found(report: ValidationReport) -> dict[str, int]:
    return {finding.key: finding.count for finding in report.findings}


def test_what_did_not_change_is_not_read_again(fleet: Fleet, followed: Tenant) -> None:
    first = saved(validate(fleet, followed))
    assert (first.since, first.reason, first.stood) == (
        None,
        "It is the first of its kind for this tenant.",
        0,
    )
    report = validate(fleet, followed)
    again = saved(report)
    assert again.since is not None and again.changed == () and again.partly == 0
    assert again.stood > again.whole
    assert (report.findings, report.score) == ((), 100)


def test_a_row_that_came_to_break_a_rule_is_found_among_the_changed(fleet: Fleet, followed: Tenant) -> None:
    validate(fleet, followed)
    write(fleet, followed, ARTIST.format("Spoiled"), ARTIST.format("Sound"))
    report = validate(fleet, followed)
    assert found(report) == {"data.not_spoiled/artists": 1}
    assert dict(saved(report).changed) == {"artists": 2}
    assert saved(report).partly > 0 < saved(report).stood


def test_what_was_broken_stays_found_until_it_is_mended(fleet: Fleet, followed: Tenant) -> None:
    validate(fleet, followed)
    write(fleet, followed, ARTIST.format("Spoiled"))
    assert found(validate(fleet, followed)) == found(validate(fleet, followed)) != {}
    write(fleet, followed, "DELETE FROM artists WHERE name = 'Spoiled'")
    assert found(validate(fleet, followed)) == {}


def test_a_change_of_another_table_counts_for_the_rules_that_read_it(fleet: Fleet, followed: Tenant) -> None:
    write(fleet, followed, ARTIST.format("Elsewhere"))
    validate(fleet, followed)
    write(
        fleet,
        followed,
        USER_MOVES,
    )
    assert found(validate(fleet, followed)) == {"data.in_genre/artists": 1}


def test_rules_about_the_present_are_always_asked_of_every_row(fleet: Fleet, followed: Tenant) -> None:
    validate(fleet, followed)
    timely = next(rule for rule in RULES if "now()" in str(rule.find))
    plan = plan_validation(fleet, followed, types=["data"], rules=[timely], incremental=True)
    report = execute_validation(fleet, replace(plan, rules=(timely,)))
    assert (saved(report).stood, saved(report).partly, saved(report).whole) == (0, 0, 1)


def test_what_an_open_transaction_writes_is_in_the_next_changes(fleet: Fleet, followed: Tenant) -> None:
    with fleet.session(followed) as connection:
        connection.execute(ARTIST.format("Spoiled"))
        assert found(validate(fleet, followed)) == {}
    assert found(validate(fleet, followed)) == {"data.not_spoiled/artists": 1}


def test_a_tenant_without_a_journal_is_read_in_full_and_told_why(
    fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    tenant = new_tenant("plain", "starter")
    load(fleet, tenant, fixtures_root() / MUSIC.version / "starter")
    for _ in range(2):
        report = validate(fleet, tenant)
        assert saved(report).since is None and "journal" in saved(report).reason
        assert saved(report).stood == saved(report).partly == 0
    write(fleet, tenant, ARTIST.format("Spoiled"))
    assert found(validate(fleet, tenant)) == {"data.not_spoiled/artists": 1}


def test_the_changes_of_a_neighbour_are_none_of_a_tenants(
    fleet: Fleet, followed: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("other", "starter")
    load(fleet, other, fixtures_root() / MUSIC.version / "starter")
    install(fleet, other)
    validate(fleet, followed)
    validate(fleet, other)
    write(fleet, other, ARTIST.format("Spoiled"))
    report = validate(fleet, followed)
    assert (found(report), saved(report).changed) == ({}, ())
    assert found(validate(fleet, other)) == {"data.not_spoiled/artists": 1}


CHANGES = (
    ARTIST.format("Spoiled"),
    ARTIST.format("Sound"),
    ARTIST.format(" blank "),
    "DELETE FROM artists WHERE name = 'Spoiled'",
    "UPDATE artists SET name = 'Spoiled' WHERE name = 'Sound'",
    "UPDATE artists SET name = 'Sound' WHERE name = 'Spoiled'",
    "UPDATE artists SET name = btrim(name)",
    USER_MOVES,
    "UPDATE users SET display_name = 'Here' WHERE display_name = 'Elsewhere'",
    ARTIST.format("Elsewhere"),
    "UPDATE users SET status = 'suspended' WHERE role = 'admin'",
    "UPDATE users SET status = 'active' WHERE role = 'admin'",
    "UPDATE sessions SET ended_at = started_at - interval '1 hour' "
    "WHERE session_id = (SELECT min(session_id::text)::uuid FROM sessions)",
    "TRUNCATE analytics_daily",
)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_reading_everything_finds(fleet: Fleet, followed: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(6):
        for change in chance.choices(CHANGES, k=chance.randrange(4)):
            try:
                write(fleet, followed, change)
            except psycopg.errors.IntegrityError:  # a constraint holds: nothing changed
                continue
        incremental, whole = validate(fleet, followed), validate(fleet, followed, incremental=False)
        assert found(incremental) == found(whole)
