"""`tenant-ops findings`: listing, showing, muting, the fleet, as an operator uses them."""

from collections.abc import Callable

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, Outcome

Run = Callable[..., Outcome]
ACME = ("--tenant-id", "acme")
KEY = "schema.missing_column/artists.country"


def validate(fleet: Fleet, tenant: Tenant) -> None:
    execute_validation(fleet, plan_validation(fleet, tenant, types=["schema"]))


@pytest.fixture
def broken(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant whose last validation saw that a column is missing."""
    with fleet.session(tenant, "owner") as connection:
        connection.execute("ALTER TABLE artists DROP COLUMN country CASCADE")
    validate(fleet, tenant)
    return tenant


def test_what_is_open_is_listed_worst_first_with_the_command_to_look_closer(
    tenant_ops: Run, broken: Tenant
) -> None:
    told = tenant_ops("findings", "list", *ACME)
    assert told.code == DONE, told.err
    assert KEY in told.out
    assert f"tenant-ops findings show --tenant-id acme '{KEY}'" in told.err
    listed = tenant_ops("findings", "list", *ACME, "--json").json
    assert (listed[0]["key"], listed[0]["state"], listed[0]["severity"]) == (KEY, "open", "critical")
    assert tenant_ops("findings", "list", *ACME, "--severity", "info", "--json").json == []


def test_one_finding_is_shown_with_what_to_do(tenant_ops: Run, broken: Tenant) -> None:
    shown = tenant_ops("findings", "show", *ACME, KEY)
    assert shown.code == DONE, shown.err
    assert "remediation" in shown.out and "first_seen_at" in shown.out
    missing = tenant_ops("findings", "show", *ACME, "schema.nothing/here")
    assert (missing.code, "findings list" in missing.err) == (BAD_INPUT, True)


def test_a_finding_is_muted_listed_as_muted_and_counts_again(tenant_ops: Run, broken: Tenant) -> None:
    muted = tenant_ops("findings", "mute", *ACME, KEY, "--reason", "ticket 4711", "--days", "3")
    assert (muted.code, "findings unmute" in muted.err) == (DONE, True), muted.err
    (mute,) = tenant_ops("findings", "mutes", *ACME, "--json").json
    assert (mute["pattern"], mute["reason"], mute["muted_by"]) == (KEY, "ticket 4711", "operator")
    assert KEY not in str(tenant_ops("findings", "list", *ACME, "--json").json)
    (still,) = tenant_ops("findings", "list", *ACME, "--state", "muted", "--json").json
    assert (still["key"], still["mute"]["reason"]) == (KEY, "ticket 4711")
    assert "ticket 4711" in tenant_ops("findings", "mutes", *ACME).out
    assert tenant_ops("findings", "unmute", str(mute["mute_id"])).code == DONE
    assert KEY in str(tenant_ops("findings", "list", *ACME, "--json").json)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mute", *ACME, KEY, "--reason", "no end"), "critical"),
        (("mute", *ACME, "*", "--reason", "all of it"), "everything"),
        (("mute", *ACME, KEY, "--reason", " ", "--days", "1"), "reason"),
        (("mute", *ACME, KEY, "--reason", "x", "--until", "2020-01-01"), "is over"),
        (("mute", *ACME, KEY, "--reason", "x", "--until", "2999-01-01", "--days", "1"), "twice"),
        (("mute", "--tenant-id", "nobody", KEY, "--reason", "x"), "nobody"),
        (("unmute", "4711"), "no mute"),
        (("list", *ACME, "--state", "closed"), "Choose from: open, muted, resolved"),
        (("list", *ACME, "--severity", "grave"), "Choose from: critical"),
    ],
)
def test_bad_input_is_refused_in_words(
    tenant_ops: Run, broken: Tenant, arguments: tuple[str, ...], said: str
) -> None:
    told = tenant_ops("findings", *arguments)
    assert told.code == BAD_INPUT
    assert said in told.err


def test_the_fleet_is_shown_with_who_was_never_validated(tenant_ops: Run, tenant: Tenant) -> None:
    told = tenant_ops("findings", "fleet")
    assert told.code == DONE, told.err
    assert "never (stale)" in told.out
    (one,) = tenant_ops("findings", "fleet", "--json").json["tenants"]
    assert (one["tenant"], one["stale"], one["score"]) == ("acme", True, None)


def test_an_empty_fleet_is_shown_too(tenant_ops: Run) -> None:
    assert tenant_ops("findings", "fleet").code == DONE


def test_a_validation_tells_the_score_of_the_one_before(
    tenant_ops: Run, fleet: Fleet, tenant: Tenant
) -> None:
    types = ("--validation-types", "schema")
    tenant_ops("validate-data", *ACME, *types)
    with fleet.session(tenant, "owner") as connection:
        connection.execute("ALTER TABLE artists DROP COLUMN country CASCADE")
    (report,) = tenant_ops("validate-data", *ACME, *types, "--json").json["reports"]
    body = report["body"]
    assert (body["previous"]["score"], body["score"]) == (100, 49)
    assert all(finding["seen"]["new"] for finding in body["findings"])
