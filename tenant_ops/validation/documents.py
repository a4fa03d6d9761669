"""The validation report as a document: Markdown for the UI and tickets, one HTML file to send or print.

Here: layout and escaping. Not here: JSON (`platform/reports.py`), what is found.

The HTML needs nothing else: no script, no image, no font, one style sheet named by its hash in a policy that
allows nothing but it.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from tenant_ops.platform.errors import InputError
from tenant_ops.validation.report import Finding, Outcome, ValidationReport

Cells = Sequence[str]


def markdown(report: ValidationReport) -> str:
    """The report in Markdown; no cell can break out of its table or become markup."""
    lines = [
        f"# Validation of {_md(report.tenant)}: {_score(report.score)}",
        "",
        f"Version {_md(report.version or 'none')}, {_md(report.started_at)}, {_coverage(report)}.",
        "",
        *_md_table(_LEVEL_HEAD, map(_level_cells, report.levels)),
        "",
    ]
    if report.findings:
        lines += ["## Findings", "", *_md_table(_FINDING_HEAD, map(_finding_cells, report.findings)), ""]
        lines += ["## Why this score", "", *(f"* {_md(line)}" for line in report.explanation), ""]
    else:
        lines += ["Nothing was found.", ""]
    if report.fixes:
        lines += ["## Fixes", "", *_md_table(_FIX_HEAD, _fix_cells(report)), ""]
    lines += ["## Datasets", "", *_md_table(_DATASET_HEAD, map(_dataset_cells, _concerned(report))), ""]
    lines += ["## Not checked", "", *_md_table(_UNCHECKED_HEAD, _unchecked_cells(report)), ""]
    return "\n".join(lines)


def html(report: ValidationReport) -> str:
    """The report as one HTML page that loads nothing and prints well."""
    made = f"Version {escape(report.version or 'none')}, {escape(report.started_at)}, {_coverage(report)}."
    body = [
        f"<h1>Validation of {escape(report.tenant)}</h1>",
        f'<p class="score {_grade(report.score)}">{_score(report.score)}</p>',
        f"<p>{made}</p>",
        _html_table("Levels", _LEVEL_HEAD, map(_level_cells, report.levels)),
        _html_table("Findings", _FINDING_HEAD, map(_finding_cells, report.findings)),
        _html_table("Why this score", ("lost",), [(line,) for line in report.explanation]),
        _html_table("Fixes", _FIX_HEAD, _fix_cells(report)),
        _html_table("Datasets", _DATASET_HEAD, map(_dataset_cells, _concerned(report))),
        _html_table("Not checked", _UNCHECKED_HEAD, _unchecked_cells(report)),
    ]
    return _PAGE.format(
        policy=f"default-src 'none'; style-src '{_STYLE_HASH}'; base-uri 'none'; form-action 'none'",
        title=escape(f"Validation of {report.tenant}"),
        style=_STYLE,
        body="\n".join(part for part in body if part),
    )


def save_html(report: ValidationReport, folder: Path) -> Path:
    """Write the report as `validation-<tenant>.html` into the folder, making it when needed.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = folder / f"validation-{report.tenant}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(html(report), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror}.", where=str(path)) from error
    return path


_LEVEL_HEAD = ("level", "score", "rules", "checked", "failed", "worst")
_DATASET_HEAD = ("dataset", "score", "rules", "checked", "failed", "worst", "rows")
_FINDING_HEAD = ("severity", "rule", "count", "message", "rows", "what to do")
_FIX_HEAD = ("rule", "dataset", "rows", "outcome")
_UNCHECKED_HEAD = ("reason", "rules", "for example")


def _level_cells(one: Outcome) -> Cells:
    return (one.name, _score(one.score), *map(str, (one.rules, one.checked, one.failed)), one.worst or "")


def _dataset_cells(one: Outcome) -> Cells:
    return (*_level_cells(one), "" if one.rows is None else f"{one.rows:,}")


def _concerned(report: ValidationReport) -> list[Outcome]:
    """The datasets some rule of this validation was about."""
    return [one for one in report.datasets if one.rules or one.failed]


def _finding_cells(finding: Finding) -> Cells:
    return (
        *(finding.severity, finding.rule, f"{finding.count:,}", finding.message),
        *("; ".join(finding.sample), finding.remediation),
    )


def _fix_cells(report: ValidationReport) -> list[Cells]:
    fixes = report.fixes.outcomes if report.fixes else ()
    undo = f"done; undo by {report.fixes.fix_id}" if report.fixes and report.fixes.fix_id else "done"
    return [(one.rule, one.dataset, f"{one.rows:,}", undo if one.done else one.reason) for one in fixes]


def _unchecked_cells(report: ValidationReport) -> list[Cells]:
    """One line per reason: an empty table leaves out dozens of rules at once."""
    by_reason: dict[str, list[str]] = {}
    for one in report.unchecked:
        by_reason.setdefault(one.reason, []).append(one.rule)
    return [(reason, str(len(rules)), ", ".join(rules[:3])) for reason, rules in by_reason.items()]


def _score(value: int | None) -> str:
    return "unknown" if value is None else f"{value} of 100"


def _coverage(report: ValidationReport) -> str:
    return f"{report.coverage:.0%} of the rules could be checked"


def _grade(value: int | None) -> str:
    if value is None:
        return "unknown"
    return "good" if value >= 90 else "fair" if value >= 50 else "bad"


def _md_table(head: Cells, rows: Iterable[Cells]) -> list[str]:
    lines = [f"| {' | '.join(map(_md, row))} |" for row in rows]
    if not lines:
        return ["None."]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]


def _md(text: str) -> str:
    """Text that Markdown shows as it is."""
    flat = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]|~#" else sign for sign in flat).replace("<", "&lt;")


def _html_table(title: str, head: Cells, rows: Iterable[Cells]) -> str:
    """A table that turns into one block per row on a narrow screen: each cell carries its column's name."""
    lines = [
        "<tr>"
        + "".join(f'<td data-name="{name}">{escape(cell)}</td>' for name, cell in zip(head, row, strict=True))
        + "</tr>"
        for row in rows
    ]
    if not lines:
        return ""
    titles = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f"<section><h2>{escape(title)}</h2><table><thead><tr>{titles}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></section>"
    )


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
.score { font-size: 2.2rem; font-weight: 600; margin: 0.3rem 0; }
.good { color: #1a7f37; } .fair { color: #9a6700; } .bad { color: #cf222e; } .unknown { color: #6e7781; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; overflow-wrap: anywhere; padding: 0.35rem 0.5rem; text-align: left;
         vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
@media (max-width: 45rem) {
  thead { display: none; }
  tr { border-bottom: 1px solid #8888; display: block; padding: 0.5rem 0; }
  td { border: 0; display: grid; gap: 0.5rem; grid-template-columns: 6rem 1fr; padding: 0.1rem 0; }
  td::before { content: attr(data-name); font-weight: 600; }
  td:empty { display: none; }
}
@media print { section { break-inside: avoid-page; } }
"""
_STYLE_HASH = f"sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
