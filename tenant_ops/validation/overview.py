"""How the whole fleet stands: each tenant's last validations side by side, worst first.

Here: reading stored reports. Not here: validating (`run.py`), one tenant's report (`report.py`).

A validation of some levels says nothing of the others, so each level stands as the newest validation that
looked at it left it. A tenant that was validated `STALE_AFTER` cadences of its tier ago, or never, is stale.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from psycopg.rows import dict_row

from tenant_ops.tenants import TIERS, Fleet, Tenant
from tenant_ops.validation.rules import LEVELS, SEVERITIES, Severity

OPERATION = "validate"
STALE_AFTER = 2
"""Cadences: a scheduled validation may be missed once."""
TREND = 8
"""Validations looked back on: two days of an enterprise tenant, a week of the others."""

# One index range per tenant, whatever else is stored; of the bodies only what the page shows is sent.
_LATEST = """
SELECT one.id AS tenant, report.outcome, report.finished_at, report.body->'score' AS score,
       report.body->'levels' AS levels, report.body->>'error' AS error
FROM unnest(%(tenants)s::uuid[]) AS one(id)
CROSS JOIN LATERAL (
    SELECT outcome, finished_at, body FROM tenant_ops.report
    WHERE tenant_id = one.id AND operation = %(operation)s
    ORDER BY finished_at DESC, id DESC LIMIT %(most)s
) AS report
ORDER BY one.id, report.finished_at DESC
"""


@dataclass(frozen=True)
class LevelStanding:
    """One level of a tenant, as the newest validation that looked at it left it."""

    score: int | None
    worst: Severity | None
    failed: int

    @property
    def told(self) -> str:
        """For a cell of a table: `100`, `49 (1 critical)`, `unknown`."""
        score = "unknown" if self.score is None else str(self.score)
        return f"{score} ({self.failed} {self.worst})" if self.worst else score


@dataclass(frozen=True)
class Standing:
    """One tenant.

    Attributes:
        score: Of its last validation, 0 to 100; None: unknown.
        previous: Of the one before.
        trend: Its last scores as bars, the newest last.
        levels: Each level that was looked at.
        worst: The gravest severity found there.
        age_h: Hours since its last validation; None: there was none.
        stale: Whether that is longer than its tier allows.
        reason: Why its last validation broke off; empty when it did not.
    """

    tenant: str
    tier: str
    score: int | None = None
    previous: int | None = None
    trend: str = ""
    levels: dict[str, LevelStanding] = field(default_factory=dict)
    worst: Severity | None = None
    age_h: float | None = None
    stale: bool = True
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether its last validation broke off or left something grave."""
        return bool(self.reason) or self.worst in ("critical", "error")

    def row(self) -> dict[str, str]:
        """For a table of the fleet: a cell per level."""
        last = "never" if self.age_h is None else f"{self.age_h:.1f} h ago"
        return {
            "tenant": self.tenant,
            "tier": self.tier,
            "score": "unknown" if self.score is None else str(self.score),
            "trend": self.trend,
            **{level: self.levels[level].told if level in self.levels else "" for level in LEVELS},
            "last": f"{last} (stale)" if self.stale else last,
            "why": self.reason,
        }


@dataclass(frozen=True)
class FleetOverview:
    """The tenants, worst first."""

    tenants: tuple[Standing, ...]

    @property
    def failed(self) -> tuple[Standing, ...]:
        """Those left with something grave, or whose last validation broke off."""
        return tuple(one for one in self.tenants if one.failed)

    @property
    def stale(self) -> tuple[Standing, ...]:
        """Those not validated for longer than their tier allows."""
        return tuple(one for one in self.tenants if one.stale)

    @property
    def scored(self) -> tuple[int, ...]:
        """The scores that are known."""
        return tuple(one.score for one in self.tenants if one.score is not None)

    @property
    def lowest(self) -> int | None:
        """The lowest score that is known."""
        return min(self.scored, default=None)

    @property
    def median(self) -> float | None:
        """The median of those known."""
        return median(self.scored) if self.scored else None


def fleet_overview(fleet: Fleet, tenants: Sequence[Tenant] | None = None) -> FleetOverview:
    """How the last validations of these tenants stand; of all active ones when None.

    Costs one query, however many tenants there are.
    """
    chosen = fleet.registry.all() if tenants is None else tenants
    reports: dict[Any, list[dict[str, Any]]] = {}
    with fleet.control.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            _LATEST, {"tenants": [one.id for one in chosen], "operation": OPERATION, "most": TREND}
        )
        for row in cursor:
            reports.setdefault(row["tenant"], []).append(row)
    now = fleet.clock()
    return FleetOverview(
        tuple(sorted((_standing(one, reports.get(one.id, []), now) for one in chosen), key=_worst))
    )


def _standing(tenant: Tenant, reports: list[dict[str, Any]], now: datetime) -> Standing:
    if not reports:
        return Standing(tenant.slug, tenant.tier_name)
    newest, done = reports[0], [report for report in reports if report["outcome"] != "failed"]
    scores = [report["score"] for report in done]
    levels = _levels(done)
    found = {level.worst for level in levels.values()}
    # Whoever broke off was looked at, yet nothing is known since the last one that came to its end.
    age_h = (now - done[0]["finished_at"]).total_seconds() / 3_600 if done else None
    return Standing(
        tenant.slug,
        tenant.tier_name,
        score=scores[0] if scores else None,
        previous=scores[1] if len(scores) > 1 else None,
        trend=_bars([score for score in reversed(scores) if score is not None]),
        levels=levels,
        worst=next((severity for severity in SEVERITIES if severity in found), None),
        age_h=age_h,
        stale=age_h is None or age_h > STALE_AFTER * TIERS[tenant.tier_name].validate_every_h,
        reason=newest["error"] or "broke off" if newest["outcome"] == "failed" else "",
    )


def _levels(done: list[dict[str, Any]]) -> dict[str, LevelStanding]:
    levels: dict[str, LevelStanding] = {}
    for report in done:
        for level in report["levels"] or ():
            standing = LevelStanding(level["score"], level["worst"], level["failed"])
            levels.setdefault(level["name"], standing)
    return levels


def _worst(one: Standing) -> tuple[Any, ...]:
    """Broken off first, then by the gravest finding, then by score; unknown before known."""
    grave = SEVERITIES.index(one.worst) if one.worst else len(SEVERITIES)
    return (not one.reason, grave, one.score if one.score is not None else -1, not one.stale, one.tenant)


def _bars(scores: Sequence[int]) -> str:
    """Scores as bars of eight heights, 0 to 100."""
    return "".join("▁▂▃▄▅▆▇█"[min(7, score * 8 // 100)] for score in scores)
