"""Rules of your own, the limits every rule runs under, and what a report may show of a row."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tenant_ops.platform.errors import InputError, NotAvailable
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    Evidence,
    Rows,
    Rule,
    Sighting,
    Where,
    execute_validation,
    plan_validation,
    rule,
    shipped_rules,
)
from tenant_ops_tests.validation.conftest import Spoiled, examined

Sound = tuple[Fleet, Tenant]


@rule(level="business", severity="error", dataset="users", remediation="Write to them.")
def invited_for_long() -> Rows:
    """Nobody stays invited for more than a year."""
    return Rows(
        "SELECT user_id, email, display_name FROM users WHERE created_at < %(now)s - interval '1 year'"
    )


@rule(level="business", severity="info", dataset="tracks", remediation="None needed.")
def explicit_track() -> Where:
    """No track is explicit, and 100 %% of them have a title."""
    return Where("explicit OR title LIKE '%%@%%'")


@rule(level="security", severity="warning", remediation="Shorten it.")
def long_slug(evidence: Evidence) -> Iterator[Sighting]:
    """Slugs are short."""
    if len(evidence.tenant.slug) > 3:
        yield Sighting("slug", "It has more than three letters.")


@rule(level="performance", severity="info", remediation="Use another server.")
def needs_an_extension(evidence: Evidence) -> Iterator[Sighting]:
    """A server may be unable to tell."""
    raise NotAvailable("not available here, because it is a test.")
    yield Sighting("never", "never")


def broken(find: Rows | Where, dataset: str = "users") -> Rule:
    return Rule("business.broken", "business", "error", "Never true.", "Mend it.", find, dataset)


def test_a_function_becomes_a_rule(sound: Sound) -> None:
    assert (long_slug.id, long_slug.description) == ("security.long_slug", "Slugs are short.")
    fleet, tenant = sound
    plan = plan_validation(fleet, tenant, types=["security", "business"], rules=[long_slug, explicit_track])
    report = execute_validation(fleet, plan)
    assert [(one.key, one.dataset) for one in report.findings] == [
        ("security.long_slug/slug", None),
        ("business.explicit_track/tracks", "tracks"),
    ]


def test_keys_are_shown_and_personal_data_is_masked(spoiled: Spoiled) -> None:
    (finding,) = spoiled(
        "UPDATE users SET created_at = '2001-01-01', email = 'mary@songs.example', display_name = 'Mary Lou' "
        "WHERE user_id = (SELECT user_id FROM users ORDER BY 1 LIMIT 1)",
        "DELETE FROM users WHERE email <> 'mary@songs.example'",
        rules=[invited_for_long],
    )
    (named,) = finding.sample
    assert named.startswith("user_id=") and "***" not in named.split(",")[0]
    assert "mary" not in named and "Mary" not in named and named.count("***") >= 2


def test_a_column_no_definition_vouches_for_is_hidden(spoiled: Spoiled) -> None:
    find = Rows("SELECT 'a secret' AS mystery FROM users LIMIT 1")
    (finding,) = spoiled(rules=[broken(find)])
    assert finding.sample == ("mystery=***",)


def test_samples_are_few_and_counts_are_exact(spoiled: Spoiled) -> None:
    (finding,) = spoiled(rules=[broken(Rows("SELECT track_id FROM tracks"), "tracks")])
    assert (finding.count, len(finding.sample)) == (30, 5)


@pytest.mark.parametrize(
    ("find", "reason"),
    [
        (Rows("SELECT no_such FROM users"), 'column "no_such" does not exist'),
        (Where("no_such > 1"), 'column "no_such" does not exist'),
        (Rows("SELECT user_id FROM users WHERE email::integer > 1"), "InvalidTextRepresentation"),
        (Rows("DELETE FROM users RETURNING user_id"), "ReadOnly"),
        (Rows("SELECT user_id FROM users WHERE nextval('s') > 1"), "ReadOnly"),
        (Rows("SELECT slug FROM tenant_ops.tenant"), "permission denied"),
    ],
    ids=["unknown column", "unknown column in the scan", "bad cast", "write", "sequence", "control plane"],
)
def test_a_rule_that_cannot_run_says_why_and_leaves_the_others_alone(
    sound: Sound, find: Rows | Where, reason: str
) -> None:
    fleet, tenant = sound
    with fleet.session(tenant) as connection:
        connection.execute("CREATE SEQUENCE IF NOT EXISTS s OWNED BY users.birth_year")
    report = execute_validation(
        fleet, plan_validation(fleet, tenant, types=["business"], rules=[broken(find), explicit_track])
    )
    (unchecked,) = report.unchecked
    assert unchecked.rule == "business.broken"
    assert reason in unchecked.reason
    assert "@" not in unchecked.reason
    assert [one.rule for one in report.findings] == ["business.explicit_track"]
    with fleet.session(tenant) as connection:
        connection.execute("DROP SEQUENCE s")


def test_a_slow_rule_is_cut_off_once_and_the_others_go_on(sound: Sound) -> None:
    fleet, tenant = sound
    slow = broken(Where("pg_sleep(20) IS NULL"), "artists")
    plan = plan_validation(
        fleet, tenant, types=["business"], rules=[slow, explicit_track], statement_timeout_s=0.2
    )
    report = execute_validation(fleet, plan)
    assert [(one.rule, one.reason) for one in report.unchecked] == [
        ("business.broken", "It took longer than the statement timeout.")
    ]
    assert report.seconds < 5
    assert [one.rule for one in report.findings] == ["business.explicit_track"]


def test_what_a_server_cannot_tell_is_said(sound: Sound) -> None:
    found = examined(*sound, rules=[needs_an_extension])
    assert [one.reason for one in found.unchecked] == ["not available here, because it is a test."]


def test_a_missing_table_leaves_its_own_rules_unchecked(sound: Sound) -> None:
    found = examined(*sound, "DROP TABLE api_requests", rules=shipped_rules(sound[0].catalog))
    left_out = {one.rule for one in found.unchecked if one.dataset == "api_requests"}
    about = {one.id for one in shipped_rules(sound[0].catalog) if one.dataset == "api_requests"}
    assert left_out == about
    assert all("does not exist" in one.reason for one in found.unchecked if one.dataset == "api_requests")


def test_a_missing_column_leaves_the_rules_of_the_other_columns_checked(sound: Sound) -> None:
    found = examined(*sound, "ALTER TABLE artists DROP COLUMN genre")
    left_out = {one.rule for one in found.unchecked if one.dataset == "artists"}
    about_genre = ("length", "blank", "trimmed", "encoding", "invisible", "composed")
    assert left_out == {"data.artists.copies", *(f"data.artists.genre.{name}" for name in about_genre)}


def test_two_rules_of_one_id_are_refused(sound: Sound) -> None:
    with pytest.raises(InputError, match=r"two rules have the id .security\.long_slug."):
        plan_validation(*sound, rules=[long_slug, long_slug])


def test_an_unknown_level_is_refused_with_the_known_ones(sound: Sound) -> None:
    with pytest.raises(InputError, match=r"no validation type 'speed'.*performance"):
        plan_validation(*sound, types=["speed"])


def test_a_rule_about_a_dataset_the_catalog_lacks_is_refused(sound: Sound) -> None:
    with pytest.raises(InputError, match=r"business\.broken.*no dataset 'orders'. It has: .*users"):
        plan_validation(*sound, rules=[broken(Where("true"), "orders")])


def test_a_rule_meant_for_another_catalog_is_left_out(sound: Sound) -> None:
    elsewhere = replace(broken(Where("true"), "orders"), catalog="shop")
    assert "business.broken" not in {one.id for one in plan_validation(*sound, rules=[elsewhere]).rules}


def test_the_plan_is_a_printable_document(sound: Sound) -> None:
    plan = plan_validation(*sound, types=["security"], rules=[long_slug])
    document = as_document(plan)
    assert document["types"] == ["security"]
    assert document["rules"][-1]["find"]["look"].endswith("test_own_rules.long_slug")
