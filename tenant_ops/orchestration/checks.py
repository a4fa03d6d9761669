"""Domain verdicts as asset checks: which checks an asset has, and how a report answers them.

Here: conversions from reports. Not here: the rules themselves (`datasets/`, `loading/`, `validation/`).

A check never carries raw values: samples come masked from the domain.
https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from tenant_ops.loading import CheckOutcome, MergeReport, StageReport
from tenant_ops.orchestration.metadata import markdown_table
from tenant_ops.platform.reports import as_document
from tenant_ops.validation import LEVELS, Finding, ValidationReport

SCHEMA_CHECK = "schema"
INTEGRITY_CHECK = "integrity"
GRAVE = ("critical", "error")


def stage_verdicts(report: StageReport) -> list[dg.AssetCheckResult]:
    """Whether every row that came in had the declared types and kept the declared rules."""
    return [_outcome(SCHEMA_CHECK, report.checks)]


def merge_verdicts(report: MergeReport) -> list[dg.AssetCheckResult]:
    """Whether keys were unique, references led somewhere, and nothing was left out."""
    return [_outcome(INTEGRITY_CHECK, report.checks)]


def level_verdicts(report: ValidationReport) -> list[dg.AssetCheckResult]:
    """One verdict per level; a level that was not asked for passes and says so."""
    return [_level(level, report) for level in LEVELS]


def validation_metadata(report: ValidationReport) -> dict[str, Any]:
    """What a materialisation says of a validation; the whole report is stored in `tenant_ops.report`."""
    return {
        "coverage": report.coverage,
        "findings": len(report.findings),
        "fixed": sum(outcome.done for outcome in report.fixes.outcomes) if report.fixes else 0,
        **({"score": report.score} if report.score is not None else {"score unknown": "too little to check"}),
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


def _level(level: str, report: ValidationReport) -> dg.AssetCheckResult:
    findings = [finding for finding in report.findings if finding.level == level]
    grave = [finding for finding in findings if finding.severity in GRAVE]
    outcome = next((outcome for outcome in report.levels if outcome.name == level), None)
    described = _summary(grave) if outcome else "not asked for in this run"
    return dg.AssetCheckResult(
        check_name=level,
        passed=not grave,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        description=described,
        metadata={
            "findings": len(findings),
            **({"rules": outcome.rules, "checked": outcome.checked} if outcome else {}),
            **({"score": outcome.score} if outcome and outcome.score is not None else {}),
            **({"table": _table(findings)} if findings else {}),
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
