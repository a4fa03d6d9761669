"""Charts of a validation as inline SVG: the score, the levels, what was found by severity.

Here: shapes, told in words too for who cannot see them. Not here: their colours (`html.py`, by class: the
page's policy allows no style on an element).
"""

from collections import Counter
from collections.abc import Sequence
from html import escape
from math import cos, pi, sin

from tenant_ops.validation.documents.cells import grade, score
from tenant_ops.validation.report import Finding, Outcome
from tenant_ops.validation.rules import SEVERITIES

_ROW = 26
_NAME, _BAR, _END = 110, 220, 70


def gauge(value: int | None) -> str:
    """The score as a half circle that is filled as far as it goes; empty when it is unknown."""
    arc = "" if not value else f'<path class="fill {grade(value)}" d="{_arc(value / 100)}"/>'
    return (
        f'<svg class="gauge" viewBox="0 0 120 70" role="img" aria-label="Score: {escape(score(value))}">'
        f'<path class="track" d="{_arc(1)}"/>{arc}'
        f'<text x="60" y="60" text-anchor="middle" class="value {grade(value)}">'
        f"{_shown(value, '?')}</text></svg>"
    )


def level_bars(levels: Sequence[Outcome]) -> str:
    """A bar per level, as long as its score; none where that is unknown."""
    return _bars(
        "Scores by level",
        [
            (
                one.name,
                (one.score or 0) / 100,
                "unknown" if one.score is None else str(one.score),
                grade(one.score),
            )
            for one in levels
        ],
    )


def severity_bars(findings: Sequence[Finding]) -> str:
    """A bar per severity, as long as its share of the rules that found something."""
    counts = Counter({finding.rule: finding.severity for finding in findings}.values())
    most = max(counts.values(), default=1)
    return _bars(
        "Broken rules by severity",
        [(name, counts[name] / most, str(counts[name]), name) for name in SEVERITIES if counts[name]],
    )


def _bars(title: str, rows: Sequence[tuple[str, float, str, str]]) -> str:
    if not rows:
        return ""
    lines = []
    for number, (name, share, shown, kind) in enumerate(rows):
        y = number * _ROW
        place = f'x="{_NAME}" y="{y + 5}" height="14" rx="3"'
        lines.append(
            f'<text x="0" y="{y + 17}">{escape(name)}</text>'
            f'<rect class="track" {place} width="{_BAR}"/>'
            f'<rect class="bar {kind}" {place} width="{_BAR * share:.1f}"/>'
            f'<text x="{_NAME + _BAR + 8}" y="{y + 17}">{escape(shown)}</text>'
        )
    told = ", ".join(f"{name} {shown}" for name, _, shown, _ in rows)
    return (
        f'<svg class="bars" viewBox="0 0 {_NAME + _BAR + _END} {len(rows) * _ROW}" role="img" '
        f'aria-label="{escape(title)}: {escape(told)}">{"".join(lines)}</svg>'
    )


def _shown(value: int | None, unknown: str) -> str:
    return unknown if value is None else str(value)


def _arc(share: float) -> str:
    """A half circle's path from the left, drawn as far as the share."""
    angle = pi * (1 - share)
    return f"M 10 60 A 50 50 0 0 1 {60 + 50 * cos(angle):.2f} {60 - 50 * sin(angle):.2f}"
