"""Domain verdicts as asset checks: which checks an asset has, and how a report answers them.

Here: conversions from reports. Not here: the rules themselves (`datasets/`, `loading/`, `validation/`).

A check never carries raw values: samples come masked from the domain.
https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

from tenant_ops.loading import CheckOutcome, MergeReport, StageReport
from tenant_ops.orchestration.metadata import markdown_table
from tenant_ops.platform.reports import as_document
from tenant_ops.validation import LEVELS, Finding, FleetOverview, Outcome, Standing, ValidationReport

SCHEMA_CHECK = "schema"
INTEGRITY_CHECK = "integrity"
NO_TENANT_LEFT_FAILED = "no_tenant_left_failed"
NO_TENANT_STALE = "no_tenant_stale"
GRAVE = ("critical", "error")
MOST_TENANTS = 200
"""Rows of the fleet's table: 200 are some 20 KB in the event log, once an hour; the rest is summed up."""


def stage_verdicts(report: StageReport) -> list[dg.AssetCheckResult]:
    """Whether every row that came in had the declared types and kept the declared rules."""
    return [_outcome(SCHEMA_CHECK, report.checks)]


def merge_verdicts(report: MergeReport) -> list[dg.AssetCheckResult]:
    """Whether keys were unique, references led somewhere, and nothing was left out."""
    return [_outcome(INTEGRITY_CHECK, report.checks)]


def level_verdicts(report: ValidationReport) -> list[dg.AssetCheckResult]:
    """One verdict per level; a level that was not asked for passes and says so."""
    outcomes = {outcome.name: outcome for outcome in report.levels}
    return [
        _verdict(
            level,
            [one for one in report.findings if one.level == level],
            outcomes.get(level),
            "not asked for",
        )
        for level in LEVELS
    ]


def dataset_check(dataset: str) -> str:
    """The name of a dataset's check: a dataset may be called like a level."""
    return f"dataset_{dataset}"


def dataset_verdicts(report: ValidationReport) -> list[dg.AssetCheckResult]:
    """One verdict per dataset, over every level that was asked for."""
    return [
        _verdict(
            dataset_check(outcome.name),
            [one for one in report.findings if one.dataset == outcome.name],
            outcome if outcome.rules else None,
            "no rule asked for",
        )
        for outcome in report.datasets
    ]


def fleet_verdicts(overview: FleetOverview) -> list[dg.AssetCheckResult]:
    """Whether a tenant was left broken, and whether one was forgotten."""
    return [
        _nobody(NO_TENANT_LEFT_FAILED, overview.failed, lambda one: one.reason or one.worst or ""),
        _nobody(
            NO_TENANT_STALE,
            overview.stale,
            lambda one: "never validated" if one.age_h is None else f"{one.age_h:.0f} h ago",
        ),
    ]


def fleet_metadata(overview: FleetOverview) -> dict[str, Any]:
    """The fleet at a glance: numbers that plot, and the worst tenants as a table."""
    shown, more = overview.tenants[:MOST_TENANTS], len(overview.tenants) - MOST_TENANTS
    return {
        "tenants": len(overview.tenants),
        "left failed": len(overview.failed),
        "stale": len(overview.stale),
        **({"lowest score": overview.lowest, "median score": overview.median} if overview.scored else {}),
        "worst first": markdown_table([one.row() for one in shown]),
        **({"not shown": more} if more > 0 else {}),
    }


def validation_metadata(report: ValidationReport) -> dict[str, Any]:
    """What a materialisation says of a validation; the whole report is stored in `tenant_ops.report`."""
    return {
        "coverage": report.coverage,
        "findings": len(report.findings),
        "fixed": sum(outcome.done for outcome in report.fixes.outcomes) if report.fixes else 0,
        **({"score": report.score} if report.score is not None else {"score unknown": "too little to check"}),
        "new": sum(one.seen is not None and one.seen.new for one in report.findings),
        "mended": len(report.mended),
        "muted": len(report.muted),
        **({"worst first": _table(report.findings)} if report.findings else {}),
        **({"why": dg.MetadataValue.json(list(report.explanation))} if report.explanation else {}),
    }


def _outcome(name: str, checks: Sequence[CheckOutcome]) -> dg.AssetCheckResult:
    failed = [check for check in checks if not check.passed]
    rows = sum(check.failed_rows for check in failed)
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        # Bad rows are kept out of the live table, so the data that is live is sound: a warning.
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rows} rows quarantined: {', '.join(check.name for check in failed)}"
        if failed
        else None,
        metadata={
            "checks": len(checks),
            "failed_rows": rows,
            **({"failures": markdown_table([as_document(check) for check in failed])} if failed else {}),
        },
    )


def _verdict(
    name: str, findings: Sequence[Finding], outcome: Outcome | None, unasked: str
) -> dg.AssetCheckResult:
    grave = [finding for finding in findings if finding.severity in GRAVE]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not grave,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        description=_summary(grave) if outcome else f"{unasked} in this run",
        metadata={
            "findings": len(findings),
            **({"rules": outcome.rules, "checked": outcome.checked} if outcome else {}),
            **({"score": outcome.score} if outcome and outcome.score is not None else {}),
            **({"table": _table(findings)} if findings else {}),
        },
    )


def _nobody(name: str, tenants: Sequence[Standing], said: Callable[[Standing], str]) -> dg.AssetCheckResult:
    shown = "; ".join(f"{one.tenant}: {said(one)}" for one in tenants[:3])
    more = f"; and {len(tenants) - 3} more" if len(tenants) > 3 else ""
    command = f"tenant-ops validate-data --tenant-id {','.join(one.tenant for one in tenants[:20])}"
    return dg.AssetCheckResult(
        check_name=name,
        passed=not tenants,
        description=f"{shown}{more}" if tenants else None,
        metadata={
            "tenants": len(tenants),
            **({"next": dg.MetadataValue.md(f"```\n{command}\n```")} if tenants else {}),
        },
    )


def _summary(findings: Sequence[Finding]) -> str | None:
    if not findings:
        return None
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    return f"{findings[0].subject}: {findings[0].message}{more}. {findings[0].remediation}"


def _table(findings: Iterable[Finding]) -> dg.MarkdownMetadataValue:
    names = ("rule", "severity", "subject", "count", "message", "remediation")
    documents = [as_document(finding) for finding in findings]
    return markdown_table([{name: document.get(name) for name in names} for document in documents[:50]])
