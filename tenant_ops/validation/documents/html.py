"""The report as one HTML page to send or print.

Here: layout and escaping. Not here: charts (`charts.py`), what stands in the tables (`cells.py`).

The page needs nothing else: no script, no image, no font, one style sheet named by its hash in a policy that
allows nothing but it.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from html import escape

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
    told,
    unchecked_cells,
)
from tenant_ops.validation.documents.charts import gauge, level_bars, severity_bars
from tenant_ops.validation.report import ValidationReport


def html(report: ValidationReport) -> str:
    """The report as one HTML page that loads nothing and prints well."""
    made = f"Version {escape(report.version or 'none')}, {escape(report.started_at)}, {told(report)}"
    body = [
        f"<h1>Validation of {escape(report.tenant)}</h1>",
        f'<div class="charts">{gauge(report.score)}{level_bars(report.levels)}'
        f"{severity_bars(report.findings)}</div>",
        f"<p>{made}</p>",
        _html_table("Levels", LEVEL_HEAD, map(level_cells, report.levels)),
        _html_table("Findings", FINDING_HEAD, map(finding_cells, report.findings)),
        _html_table("Why this score", ("lost",), [(line,) for line in report.explanation]),
        _html_table("Mended since", MENDED_HEAD, map(mended_cells, report.mended)),
        _html_table("Muted", MUTED_HEAD, map(muted_cells, report.muted)),
        _html_table("Fixes", FIX_HEAD, fix_cells(report)),
        _html_table("Datasets", DATASET_HEAD, map(dataset_cells, concerned(report))),
        _html_table("Not checked", UNCHECKED_HEAD, unchecked_cells(report)),
    ]
    return _PAGE.format(
        policy=f"default-src 'none'; style-src '{_STYLE_HASH}'; base-uri 'none'; form-action 'none'",
        title=escape(f"Validation of {report.tenant}"),
        style=_STYLE,
        body="\n".join(part for part in body if part),
    )


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
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem;
       overflow-wrap: anywhere; padding: 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
.charts { align-items: center; display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1rem 0; }
.gauge { flex: none; width: 11rem; }
.bars { flex: 1 1 18rem; max-width: 27rem; }
svg { fill: currentColor; font-size: 13px; }
.value { font-size: 26px; font-weight: 600; }
.track { fill: #8883; }
.gauge path { fill: none; stroke-linecap: round; stroke-width: 10; }
.gauge .track { stroke: #8883; }
.good { fill: #1a7f37; stroke: #1a7f37; } .fair, .warning { fill: #9a6700; stroke: #9a6700; }
.bad, .error { fill: #cf222e; stroke: #cf222e; } .critical { fill: #82071e; stroke: #82071e; }
.unknown, .info { fill: #6e7781; stroke: #6e7781; }
text.value, rect.bar { stroke: none; }
@media (prefers-color-scheme: dark) {
  .good { fill: #3fb950; stroke: #3fb950; } .fair, .warning { fill: #d29922; stroke: #d29922; }
  .bad, .error { fill: #f85149; stroke: #f85149; } .critical { fill: #ff7b72; stroke: #ff7b72; }
}
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: 0.35rem 0.5rem; text-align: left;
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
