"""Muting: what does not count, why, until when, and that nobody mutes a critical finding for ever."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tenant_ops.audit import verify_chain
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    LEVELS,
    execute_validation,
    html,
    junit,
    list_findings,
    list_mutes,
    mute,
    plan_validation,
    unmute,
)
from tenant_ops.validation.documents import markdown
from tenant_ops.validation.report import ValidationReport

BROKEN = "ALTER TABLE artists DROP COLUMN country CASCADE"


def validated(fleet: Fleet, tenant: Tenant, *types: str) -> ValidationReport:
    return execute_validation(fleet, plan_validation(fleet, tenant, types=types or ("schema",)))


@pytest.fixture
def broken(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with a column missing, which is critical, and no more."""
    with fleet.session(tenant, "owner") as connection:
        connection.execute(BROKEN)
    return tenant


def test_a_muted_finding_does_not_count_and_is_listed_with_its_reason(fleet: Fleet, broken: Tenant) -> None:
    before = validated(fleet, broken)
    end = fleet.clock() + timedelta(days=7)
    for one in before.findings:
        mute(fleet, broken, one.key, "known until the next release", end)
    after = validated(fleet, broken)
    assert before.score is not None
    assert before.score < 50
    assert (after.score, after.findings, after.explanation) == (100, (), ())
    assert {one.key for one in after.muted} == {one.key for one in before.findings}
    assert all(one.reason == "known until the next release" and one.until == end for one in after.muted)
    assert {one.state for one in list_findings(fleet, [broken], states=("open", "muted"))} == {"muted"}
    for page in (html(after), markdown(after)):
        assert "known until the next release" in page


def test_a_muted_rule_is_skipped_for_build_servers(fleet: Fleet, broken: Tenant) -> None:
    rule = validated(fleet, broken).findings[0].rule
    mute(fleet, broken, rule, "waiting", fleet.clock() + timedelta(days=1))
    plan = plan_validation(fleet, broken, types=["schema"])
    document = junit([(plan.rules, as_document(execute_validation(fleet, plan)))])
    assert "Muted: waiting" in document
    assert "<failure" not in document


def test_a_mute_that_is_over_lets_the_finding_count_again(fleet: Fleet, broken: Tenant) -> None:
    mute(fleet, broken, "schema.*", "for now", fleet.clock() + timedelta(hours=1))
    assert validated(fleet, broken).findings == ()
    later = replace(fleet, clock=lambda: fleet.clock() + timedelta(hours=2))
    assert validated(later, broken).findings
    assert list_mutes(later, [broken]) == ()


def test_a_lifted_mute_lets_the_finding_count_again(fleet: Fleet, broken: Tenant) -> None:
    made = mute(fleet, broken, "schema.*", "for now", fleet.clock() + timedelta(hours=1))
    assert [one.mute_id for one in list_mutes(fleet, [broken])] == [made.mute_id]
    unmute(fleet, made.mute_id)
    assert validated(fleet, broken).findings
    with pytest.raises(InputError, match="no mute"):
        unmute(fleet, made.mute_id)


def test_a_critical_finding_is_not_muted_without_end(fleet: Fleet, broken: Tenant) -> None:
    (critical,) = validated(fleet, broken).found("critical")[:1]
    with pytest.raises(InputError, match="critical"):
        mute(fleet, broken, critical.key, "go away", None)
    with pytest.raises(InputError, match="critical"):
        mute(fleet, None, critical.rule, "go away", None)


def test_an_endless_mute_does_not_cover_what_becomes_critical_later(fleet: Fleet, tenant: Tenant) -> None:
    mute(fleet, tenant, "schema.*", "we know", None)
    with fleet.session(tenant, "owner") as connection:
        connection.execute(BROKEN)
    assert validated(fleet, tenant).found("critical")


@pytest.mark.parametrize("pattern", ["", "*", "**", "  "])
def test_nobody_mutes_everything(fleet: Fleet, tenant: Tenant, pattern: str) -> None:
    with pytest.raises(InputError, match="everything"):
        mute(fleet, tenant, pattern, "tired", None)


def test_a_mute_needs_a_reason_and_an_end_to_come(fleet: Fleet, tenant: Tenant) -> None:
    with pytest.raises(InputError, match="reason"):
        mute(fleet, tenant, "data.x", " ", None)
    with pytest.raises(InputError, match="is over"):
        mute(fleet, tenant, "data.x", "why", fleet.clock() - timedelta(seconds=1))


def test_a_tenants_mute_mutes_no_neighbour_and_one_for_all_does(
    fleet: Fleet, new_tenant: Callable[..., Tenant]
) -> None:
    acme, globex = new_tenant("acme"), new_tenant("globex")
    for one in (acme, globex):
        with fleet.session(one, "owner") as connection:
            connection.execute(BROKEN)
    end = fleet.clock() + timedelta(days=1)
    mute(fleet, acme, "schema.*", "acme's own", end)
    assert (validated(fleet, acme).findings, bool(validated(fleet, globex).findings)) == ((), True)
    mute(fleet, None, "schema.*", "everybody", end)
    assert validated(fleet, globex).findings == ()


def test_mutes_are_in_the_audit_log(fleet: Fleet, tenant: Tenant) -> None:
    unmute(fleet, mute(fleet, tenant, "data.x", "why", None).mute_id)
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            "SELECT action FROM tenant_ops.audit_event WHERE chain = %s AND action LIKE 'findings.%%' "
            "ORDER BY seq",
            (str(tenant.id),),
        ).fetchall()
        assert verify_chain(connection, str(tenant.id)).intact
    assert [row[0] for row in rows] == ["findings.mute", "findings.unmute"]


def test_a_report_tells_what_is_new_and_what_was_mended(fleet: Fleet, broken: Tenant) -> None:
    first, second = validated(fleet, broken), validated(fleet, broken)
    assert all(one.seen and one.seen.new for one in first.findings)
    assert not any(one.seen and one.seen.new for one in second.findings)
    with fleet.session(broken, "owner") as connection:
        connection.execute("DROP TABLE IF EXISTS nothing")
        connection.execute("ALTER TABLE artists ADD COLUMN country text")
    third = validated(fleet, broken)
    assert {one.key for one in third.mended} >= {one.key for one in first.found("critical")}
    assert all(one.key in markdown(third).replace("\\", "") for one in third.mended)


def test_levels_that_were_not_asked_for_stay_as_they_were(fleet: Fleet, broken: Tenant) -> None:
    validated(fleet, broken)
    before = list_findings(fleet, [broken])
    assert validated(fleet, broken, *(level for level in LEVELS if level != "schema")).mended == ()
    assert {one.key for one in before} <= {one.key for one in list_findings(fleet, [broken])}
