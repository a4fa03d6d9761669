"""The report in Markdown, for the UI and for tickets.

Here: layout and escaping. Not here: what stands in the tables (`cells.py`).
"""

from collections.abc import Iterable

from tenant_ops.validation.documents.cells import (
    DATASET_HEAD,
    FINDING_HEAD,
    FIX_HEAD,
    LEVEL_HEAD,
    MENDED_HEAD,
    MUTED_HEAD,
    UNCHECKED_HEAD,
    Cells,
    concerned,
    dataset_cells,
    finding_cells,
    fix_cells,
    level_cells,
    mended_cells,
    muted_cells,
    score,
    told,
    unchecked_cells,
)
from tenant_ops.validation.report import ValidationReport


def markdown(report: ValidationReport) -> str:
    """The report in Markdown; no cell can break out of its table or become markup."""
    lines = [
        f"# Validation of {_md(report.tenant)}: {score(report.score)}",
        "",
        f"Version {_md(report.version or 'none')}, {_md(report.started_at)}, {told(report)}",
        "",
        *_md_table(LEVEL_HEAD, map(level_cells, report.levels)),
        "",
    ]
    if report.findings:
        lines += ["## Findings", "", *_md_table(FINDING_HEAD, map(finding_cells, report.findings)), ""]
        lines += ["## Why this score", "", *(f"* {_md(line)}" for line in report.explanation), ""]
    else:
        lines += ["Nothing was found.", ""]
    if report.mended:
        lines += ["## Mended since", "", *_md_table(MENDED_HEAD, map(mended_cells, report.mended)), ""]
    if report.muted:
        lines += ["## Muted", "", *_md_table(MUTED_HEAD, map(muted_cells, report.muted)), ""]
    if report.fixes:
        lines += ["## Fixes", "", *_md_table(FIX_HEAD, fix_cells(report)), ""]
    lines += ["## Datasets", "", *_md_table(DATASET_HEAD, map(dataset_cells, concerned(report))), ""]
    lines += ["## Not checked", "", *_md_table(UNCHECKED_HEAD, unchecked_cells(report)), ""]
    return "\n".join(lines)


def _md_table(head: Cells, rows: Iterable[Cells]) -> list[str]:
    lines = [f"| {' | '.join(map(_md, row))} |" for row in rows]
    if not lines:
        return ["None."]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]


def _md(text: str) -> str:
    """Text that Markdown shows as it is."""
    flat = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]|~#" else sign for sign in flat).replace("<", "&lt;")
