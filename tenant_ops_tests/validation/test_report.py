"""The report: a score that can be trusted, and documents that show what was found and nothing else."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant, provision, suspend
from tenant_ops.validation import (
    SEVERITIES,
    Finding,
    Severity,
    ValidationReport,
    execute_validation,
    html,
    markdown,
    plan_validation,
    save_report,
)
from tenant_ops.validation.report import explain, score
from tenant_ops_tests.validation.conftest import fleet_of_its_own

EVIL = "<script>alert(1)</script> | `code` **bold** [link](javascript:x)\n# head"


def finding(severity: Severity = "error", rule: str = "data.x", **more: object) -> Finding:
    plain = Finding(
        key=f"{rule}/users",
        rule=rule,
        level="data",
        severity=severity,
        dataset="users",
        subject="users",
        message="Not so.",
        count=3,
        sample=(),
        remediation="Mend it.",
    )
    return replace(plain, **more)  # pyright: ignore[reportArgumentType]


class Tags(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def report(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidationReport]:
    """The report of a new tenant without rows."""
    with fleet_of_its_own(postgres_url, tmp_path_factory.mktemp("report")) as fleet:
        provision(fleet, "acme")
        yield execute_validation(fleet, plan_validation(fleet, fleet.registry.get("acme")))


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], 100),
        (["info"], 100),
        (["warning"], 97),
        (["error"], 88),
        (["error", "error"], 77),
        (["critical"], 49),
        (["critical", "critical"], 25),
    ],
)
def test_each_broken_rule_takes_a_share(severities: list[Severity], expected: int) -> None:
    findings = [finding(severity, f"data.{n}") for n, severity in enumerate(severities)]
    assert score(findings, 1.0) == expected


def test_one_rule_broken_in_many_places_counts_once() -> None:
    assert score([finding(subject=str(n)) for n in range(50)], 1.0) == score([finding()], 1.0)


def test_without_evidence_the_score_is_unknown_but_a_finding_is_evidence() -> None:
    assert score([], 0.4) is None
    assert score([finding()], 0.0) == 88


@given(st.lists(st.sampled_from(SEVERITIES)))
def test_more_findings_never_raise_the_score(severities: list[Severity]) -> None:
    findings = [finding(severity, f"data.{n}") for n, severity in enumerate(severities)]
    scores = [score(findings[:n], 1.0) for n in range(len(findings) + 1)]
    assert all(0 <= after <= before for before, after in pairwise(scores))
    if "critical" in severities:
        assert scores[-1] <= 49


def test_the_explanation_says_what_was_found_in_words() -> None:
    findings = [finding("critical", "data.a"), finding("error", "data.b"), finding("warning", "data.c")]
    assert explain(findings) == (
        "-50: 3 in users: Not so. (critical, data.a)",
        "-6: 3 in users: Not so. (error, data.b)",
        "-2: 3 in users: Not so. (warning, data.c)",
    )
    assert explain([finding("critical", "data.a")])[1:] == ("-1: a critical finding caps the score at 49",)


@given(st.lists(st.sampled_from(SEVERITIES)))
def test_the_explanation_adds_up_to_exactly_what_is_missing(severities: list[Severity]) -> None:
    findings = [finding(severity, f"data.{n}") for n, severity in enumerate(severities)]
    lost = sum(int(line.partition(":")[0]) for line in explain(findings))
    assert 100 + lost == score(findings, 1.0)


def test_a_tenant_without_rows_is_unknown_where_rows_are_the_evidence(report: ValidationReport) -> None:
    scores = {level.name: level.score for level in report.levels}
    assert scores == {"schema": 100, "data": None, "business": None, "performance": 100, "security": 100}
    assert report.score is None
    assert 0 < report.coverage < 1
    assert {one.name: one.rows for one in report.datasets}["users"] == 0


def test_an_overdue_credential_is_found(fleet: Fleet, tenant: Tenant) -> None:
    due = fleet.clock() + timedelta(days=tenant.tier.rotation_days)
    later = replace(fleet, clock=lambda: due + timedelta(days=1))
    report = execute_validation(later, plan_validation(later, tenant, types=["security"]))
    (overdue,) = report.findings
    assert overdue.key == "security.credential_rotation/credential login"
    assert overdue.message == f"The login was to be rotated on {due:%Y-%m-%d}."


def test_a_suspended_tenant_is_checked_and_must_not_log_in(fleet: Fleet, tenant: Tenant) -> None:
    suspend(fleet, tenant.slug, reason="unpaid")
    plan = plan_validation(fleet, fleet.registry.get("acme"), types=["security"])
    assert execute_validation(fleet, plan).findings == ()
    with fleet.control.transaction() as connection:
        connection.execute(f"ALTER ROLE {tenant.role('app')} LOGIN")
    (finding,) = execute_validation(fleet, plan).findings
    assert finding.message.endswith("may log in while the tenant is suspended.")


def test_a_plan_for_an_earlier_tenant_of_that_name_is_refused(fleet: Fleet, tenant: Tenant) -> None:
    plan = replace(plan_validation(fleet, tenant), tenant_id="0" * 32)
    with pytest.raises(InputError, match="earlier tenant"):
        execute_validation(fleet, plan)


def test_a_tenant_at_an_older_version_is_told_to_migrate(fleet: Fleet, tenant: Tenant) -> None:
    newer = replace(fleet, catalog=replace(fleet.catalog, version="1.1.0"))
    report = execute_validation(newer, plan_validation(newer, tenant, types=["schema"]))
    (finding,) = report.findings
    assert finding.message == "The tenant is at 1.0.0, the datasets are at 1.1.0."


def test_the_report_is_a_plain_document(report: ValidationReport) -> None:
    document = as_document(report)
    assert list(document)[:4] == ["tenant", "tenant_id", "version", "score"]
    assert document["levels"][0]["name"] == "schema"


def test_html_shows_evil_text_as_text_and_allows_nothing_to_run(report: ValidationReport) -> None:
    page = html(replace(report, findings=(finding(message=EVIL, sample=(EVIL,)),), tenant=EVIL))
    assert "<script" not in page
    seen = Tags()
    seen.feed(page)
    assert not seen.names & {"script", "img", "link", "iframe", "object", "form", "a"}
    assert all(name not in {"style", "src", "href"} and not name.startswith("on") for name in seen.attributes)
    assert any("alert(1)" in text for text in seen.texts)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy and style
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


def test_markdown_keeps_evil_text_in_its_cell(report: ValidationReport) -> None:
    text = markdown(replace(report, findings=(finding(message=EVIL),)))
    (line,) = [line for line in text.splitlines() if "alert" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 8
    assert "<script" not in text and "\\`code\\`" in line and "\\[link\\]" in line


def test_the_page_is_saved_under_the_tenants_name(report: ValidationReport, tmp_path: Path) -> None:
    paths = save_report(report, tmp_path / "new folder", ["html", "md", "json"])
    assert [path.name for path in paths] == [f"validation-acme.{name}" for name in ("html", "md", "json")]
    page, text, document = (path.read_text(encoding="utf-8") for path in paths)
    assert (page, text, json.loads(document)) == (html(report), markdown(report), as_document(report))
    with pytest.raises(InputError, match="the report cannot be written"):
        save_report(report, paths[0])


def test_a_format_nobody_can_write_is_refused_and_nothing_written(
    report: ValidationReport, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no report format 'pdf'"):
        save_report(report, tmp_path / "reports", ["html", "pdf"])
    assert not (tmp_path / "reports").exists()
