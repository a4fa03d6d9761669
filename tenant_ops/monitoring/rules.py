"""The alert rules: when something is wrong, and when it is over.

Here: each rule, declared once, and judging a reading by them. Not here: reading (`collectors.py`), keeping
alerts (`alerts.py`).

An alert opens when its limit is passed and closes only when the value is back by a margin, so a value that
moves around its limit is one alert. A value that could not be read neither opens nor closes anything: a
metric that disappears is no recovery.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tenant_ops.monitoring.records import METRICS, Reading, Severity
from tenant_ops.tenants import State, Tier

HOUR_S, MEGABYTE = 3600.0, 1_000_000.0


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        id: Stable name; an alert is known by it and its tenant.
        metrics: What is looked at; several are added up.
        severity: How bad it is.
        limit: The limit for a tier, in the metric's unit.
        meaning: What is wrong, in words, ending before the figures.
        wrong: Which side of the limit is wrong.
        margin: Share of the limit by which the value must be back before it is over.
        suspended: Whether it also concerns suspended tenants.
    """

    id: str
    metrics: tuple[str, ...]
    severity: Severity
    limit: Callable[[Tier], float]
    meaning: str
    wrong: Literal["above", "below"] = "above"
    margin: float = 0.1
    suspended: bool = True

    def broken(self, value: float, tier: Tier, *, is_open: bool) -> bool:
        """Whether the value is wrong; an alert that is open needs more to be over."""
        limit, slack = self.limit(tier), self.margin if is_open else 0.0
        if self.wrong == "above":
            return value > limit * (1 - slack)
        return value < limit * (1 + slack)

    def message(self, value: float, tier: Tier) -> str:
        """What is wrong, with the figures."""
        unit = METRICS[self.metrics[0]].unit
        return f"{self.meaning}: {_figure(value, unit)}, limit {_figure(self.limit(tier), unit)}."


@dataclass(frozen=True)
class Firing:
    """A rule that is broken by a tenant now."""

    rule: Rule
    message: str
    value: float


RULES: tuple[Rule, ...] = (
    Rule(
        "backup-overdue",
        ("backup_age_s",),
        "error",
        lambda tier: tier.rpo_h * HOUR_S,
        "No backup for longer than its tier allows",
        suspended=False,
    ),
    Rule(
        "backup-missing",
        ("backup_age_s",),
        "critical",
        lambda tier: max(8 * tier.backup_every_h, 24) * HOUR_S,
        "No backup for eight times its cadence",
        suspended=False,
    ),
    Rule(
        "storage-nearly-full",
        ("size_bytes", "files_bytes"),
        "warning",
        lambda tier: 0.8 * tier.max_storage_mb * MEGABYTE,
        "Data and files come close to what the tier allows",
        margin=0.05,
    ),
    Rule(
        "storage-full",
        ("size_bytes", "files_bytes"),
        "error",
        lambda tier: tier.max_storage_mb * MEGABYTE,
        "Data and files are more than the tier allows",
        margin=0.02,
    ),
    Rule(
        "connections-nearly-used-up",
        ("connections",),
        "warning",
        lambda tier: 0.8 * tier.connection_limit - 0.5,
        "The login has few connections left",
    ),
    Rule(
        "long-transaction",
        ("longest_transaction_s",),
        "warning",
        lambda tier: max(300.0, 4.0 * tier.statement_timeout_s),
        "A transaction of the login has been open for long",
    ),
    Rule(
        "idle-in-transaction",
        ("idle_in_transaction_s",),
        "warning",
        lambda _tier: 300.0,
        "A transaction of the login is open and idle",
    ),
    Rule(
        "waiting-for-lock",
        ("lock_wait_s",),
        "error",
        lambda _tier: 60.0,
        "A statement of the login waits for a lock",
    ),
    Rule(
        "dead-rows",
        ("dead_share",),
        "info",
        lambda _tier: 0.5,
        "More than half of the rows are dead, vacuum does not keep up",
    ),
    Rule(
        "statistics-stale",
        ("unanalyzed_share",),
        "info",
        lambda _tier: 0.5,
        "A table changed much since it was last analysed",
    ),
    Rule(
        "quarantine-grows",
        ("quarantine_rows",),
        "warning",
        lambda _tier: 1_000.0,
        "Many rows are in quarantine",
    ),
    Rule(
        "validation-poor",
        ("validation_score",),
        "error",
        lambda _tier: 80.0,
        "The last validation found the data poor",
        wrong="below",
        margin=0.05,
    ),
)


def judge(
    reading: Reading, open_rules: Iterable[str], rules: Iterable[Rule] = RULES
) -> tuple[list[Firing], list[str]]:
    """The rules the reading breaks, and the ids of open ones that are over."""
    already, tenant = set(open_rules), reading.tenant
    firings: list[Firing] = []
    over: list[str] = []
    for rule in rules:
        is_open = rule.id in already
        if not (rule.suspended or tenant.state is State.ACTIVE):
            over += [rule.id] if is_open else []
        elif set(rule.metrics) <= reading.metrics.keys():
            value = sum(reading.metrics[name] for name in rule.metrics)
            if rule.broken(value, tenant.tier, is_open=is_open):
                firings.append(Firing(rule, rule.message(value, tenant.tier), value))
            elif is_open:
                over.append(rule.id)
    return firings, over


def _figure(value: float, unit: str) -> str:
    match unit:
        case "bytes":
            return f"{value / MEGABYTE:,.1f} MB"
        case "share":
            return f"{value:.0%}"
        case "seconds" if value >= 2 * HOUR_S:
            return f"{value / HOUR_S:,.1f} h"
        case "seconds":
            return f"{value:,.0f} s"
        case _:
            return f"{value:,.0f}"
