"""What stands in the tables of every document: heads and cells.

Here: words and numbers. Not here: how a format writes them (`markdown.py`, `html.py`).
"""

from collections.abc import Sequence

from tenant_ops.validation.report import Finding, Outcome, ValidationReport
from tenant_ops.validation.tracking.states import MendedFinding, MutedFinding

Cells = Sequence[str]

LEVEL_HEAD = ("level", "score", "rules", "checked", "failed", "worst")
DATASET_HEAD = ("dataset", "score", "rules", "checked", "failed", "worst", "rows")
FINDING_HEAD = ("severity", "rule", "count", "message", "rows", "since", "what to do")
MUTED_HEAD = ("severity", "finding", "count", "message", "why muted", "by", "until")
MENDED_HEAD = ("severity", "finding", "message", "since")
FIX_HEAD = ("rule", "dataset", "rows", "outcome")
UNCHECKED_HEAD = ("reason", "rules", "for example")


def level_cells(one: Outcome) -> Cells:
    """Of a level."""
    return (one.name, score(one.score), *map(str, (one.rules, one.checked, one.failed)), one.worst or "")


def dataset_cells(one: Outcome) -> Cells:
    """Of a dataset: as of a level, and its rows."""
    return (*level_cells(one), "" if one.rows is None else f"{one.rows:,}")


def concerned(report: ValidationReport) -> list[Outcome]:
    """The datasets some rule of this validation was about."""
    return [one for one in report.datasets if one.rules or one.failed]


def finding_cells(finding: Finding) -> Cells:
    """Of a finding."""
    return (
        *(finding.severity, finding.rule, f"{finding.count:,}", finding.message),
        *("; ".join(finding.sample), since(finding), finding.remediation),
    )


def muted_cells(one: MutedFinding) -> Cells:
    """Of a finding that does not count."""
    until = f"{one.until:%Y-%m-%d %H:%M}" if one.until else "lifted"
    return (one.severity, one.key, f"{one.count:,}", one.message, one.reason, one.muted_by, until)


def mended_cells(one: MendedFinding) -> Cells:
    """Of a finding that is over."""
    return (one.severity, one.key, one.message, f"{one.since:%Y-%m-%d %H:%M}")


def since(finding: Finding) -> str:
    """Since when a finding is open: `new`, a day, or a day and how often it came back."""
    if finding.seen is None:
        return ""
    day = "new" if finding.seen.new else f"{finding.seen.since:%Y-%m-%d %H:%M}"
    times = finding.seen.reopened
    return f"{day}, back for the {times + 1}. time" if times else day


def fix_cells(report: ValidationReport) -> list[Cells]:
    """Of each fix that was tried."""
    fixes = report.fixes.outcomes if report.fixes else ()
    undo = f"done; undo by {report.fixes.fix_id}" if report.fixes and report.fixes.fix_id else "done"
    return [(one.rule, one.dataset, f"{one.rows:,}", undo if one.done else one.reason) for one in fixes]


def unchecked_cells(report: ValidationReport) -> list[Cells]:
    """One line per reason: an empty table leaves out dozens of rules at once."""
    by_reason: dict[str, list[str]] = {}
    for one in report.unchecked:
        by_reason.setdefault(one.reason, []).append(one.rule)
    return [(reason, str(len(rules)), ", ".join(rules[:3])) for reason, rules in by_reason.items()]


def score(value: int | None) -> str:
    """In words."""
    return "unknown" if value is None else f"{value} of 100"


def told(report: ValidationReport) -> str:
    """How much could be checked, and the score of the validation before where there was one, in words."""
    known = f"{report.coverage:.0%} of the rules could be checked."
    if report.previous is None:
        return known
    return f"{known} Score on {report.previous.at:%Y-%m-%d %H:%M}: {score(report.previous.score)}."


def grade(value: int | None) -> str:
    """A word for the colour of a score."""
    if value is None:
        return "unknown"
    return "good" if value >= 90 else "fair" if value >= 50 else "bad"
