"""What validation plans and what it found: frozen values and the score made from them.

Here: plans, findings, outcomes, the score. Not here: finding things (`run.py`), showing them
(`documents.py`).

The score of anything (a dataset, a level, the tenant) starts at 100 and loses a share of what is left for
each rule broken there: half for a critical one, 12 % for an error, 3 % for a warning, nothing for an info.
A critical finding caps it at 49. Nothing is averaged, so a broken small table does not hide behind sound big
ones. Where fewer than half of the rules could be checked and nothing was found, it is unknown (None), not
100; a tenant's is unknown when that of a level asked for is.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from tenant_ops.validation.rules import SEVERITIES, Level, Policies, Rule, Severity, Trust
from tenant_ops.validation.sampling import Estimate, Sampled, Sampling
from tenant_ops.validation.tracking.states import MendedFinding, MutedFinding, Previous, Seen

SCHEMA = "tenant_ops.validation/1"
PENALTY: dict[Severity, Fraction] = {
    "critical": Fraction(50, 100),
    "error": Fraction(12, 100),
    "warning": Fraction(3, 100),
    "info": Fraction(0),
}
CRITICAL_CAP = 49
LEAST_COVERAGE = 0.5


@dataclass(frozen=True)
class ValidationPlan:
    """Which rules would be checked on a tenant, and how.

    Attributes:
        types: The levels.
        auto_fix: Whether safe fixes are applied afterwards.
        statement_timeout_s: Longest single query in seconds.
        samples: Most keys named per finding.
        trust_constraints: Whether rules that a sound constraint makes hold are taken to hold.
        sampling: When a part of a table is read; None: never.
        incremental: Whether rules the tenant kept at the last such validation are checked on what changed
            since.
    """

    tenant: str
    tenant_id: str
    version: str | None
    types: tuple[Level, ...]
    rules: tuple[Rule, ...]
    auto_fix: bool
    statement_timeout_s: float
    samples: int
    trust_constraints: bool = True
    sampling: Sampling | None = None
    incremental: bool = False


@dataclass(frozen=True)
class Saved:
    """What an incremental validation did not read again.

    Attributes:
        since: The moment it went on from; None: it read everything, for the reason.
        reason: Why it read everything; empty when it did not.
        stood: Rules whose tables did not change, which therefore still hold.
        partly: Rules checked on the rows that changed.
        whole: Rules checked on all rows.
        changed: Entries of the journal since, by table.
    """

    since: str | None
    reason: str = ""
    stood: int = 0
    partly: int = 0
    whole: int = 0
    changed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        key: Names this problem for as long as it lasts: rule and subject.
        subject: What is wrong: `tracks.isrc`, `role t_..._app`.
        count: Rows or objects concerned; those seen, where a part of the table was looked at.
        sample: Some of the rows, by key; personal data is masked.
        fixable: Whether a safe fix is offered.
        estimate: How many rows the whole table has, where a part of it was looked at.
        seen: Since when it is known, once the validation is recorded.
    """

    key: str
    rule: str
    level: Level
    severity: Severity
    dataset: str | None
    subject: str
    message: str
    count: int
    sample: tuple[str, ...]
    remediation: str
    fixable: bool = False
    estimate: Estimate | None = None
    seen: Seen | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Unchecked:
    """A rule that says nothing about the tenant this time, and why."""

    rule: str
    level: Level
    dataset: str | None
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How one level or dataset did.

    Attributes:
        name: The level or the dataset.
        score: 0 to 100, or None: unknown.
        rules: Rules planned.
        checked: Rules that could be checked.
        failed: Rules that found something.
        worst: The gravest severity found.
        rows: Rows of the dataset, where they were counted.
        vouched: Of the checked rules, those that a sound constraint makes hold.
        sampled: Of the checked rules, those checked on a part of the rows.
        explanation: Why the score is what it is; what its lines took adds up to what is missing.
    """

    name: str
    score: int | None
    rules: int
    checked: int
    failed: int
    worst: Severity | None
    rows: int | None = None
    vouched: int = 0
    sampled: int = 0
    explanation: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixStep:
    """One change that would mend one finding.

    Attributes:
        rule: The broken rule.
        dataset: The dataset it is about; empty where it is about none.
        change: What is done, in words.
        rows: Rows of it that would change; 0 for upkeep that changes none.
        sample: Some of those rows, by key, with the shape of their text before and after.
        undoable: Whether earlier values are kept so that it can be undone.
        trust: Whether it is applied by itself, or only when its rule is named.
        subject: The thing within the dataset, as the finding names it.
        touches: Rows of other tables that would change with them.
        policies: What was decided for it.
        ends_chain: Whether the next incremental backup has to start a new chain.
        refusal: Why it cannot be done; empty when it can.
        place: Steps with a lower one come first.
    """

    rule: str
    dataset: str
    change: str
    rows: int
    sample: tuple[str, ...]
    undoable: bool
    trust: Trust = "safe"
    subject: str = ""
    touches: tuple[tuple[str, int], ...] = ()
    policies: Policies = Policies()  # noqa: RUF009 - frozen
    ends_chain: bool = False
    refusal: str = ""
    place: int = 0


@dataclass(frozen=True)
class FixPlan:
    """The fixes a tenant's findings allow.

    Attributes:
        asked: Rules whose fixes were asked for by name.
    """

    tenant: str
    tenant_id: str
    steps: tuple[FixStep, ...]
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixOutcome:
    """What became of one step: it was done, or it was rolled back for a reason."""

    rule: str
    dataset: str
    rows: int
    done: bool
    reason: str = ""


@dataclass(frozen=True)
class FixReport:
    """What fixing did.

    Attributes:
        fix_id: By which it can be undone; None when nothing was kept to undo.
    """

    tenant: str
    fix_id: str | None
    outcomes: tuple[FixOutcome, ...]


@dataclass(frozen=True)
class UndoReport:
    """What undoing did.

    Attributes:
        restored: Rows that are again what they were.
        changed_since: Rows left alone because they were changed or removed after the fix.
        left: Some of those, by key.
    """

    tenant: str
    fix_id: str
    restored: int
    changed_since: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixRecordStep:
    """A step of a fix that was applied."""

    rule: str
    change: str
    rows: int


@dataclass(frozen=True)
class FixRecord:
    """A fix that was applied.

    Attributes:
        undone_at: When it was undone, if it was.
        rows_kept: Rows kept as they were before it, for undoing.
    """

    fix_id: str
    fixed_at: str
    actor: str
    undone_at: str | None
    rows_kept: int
    steps: tuple[FixRecordStep, ...]


@dataclass(frozen=True)
class ValidationReport:
    """What validation found.

    Attributes:
        score: 0 to 100, or None: unknown.
        coverage: Share of the planned rules that could be checked, each level weighing the same.
        levels: Outcome per level.
        datasets: Outcome per dataset, over all levels.
        findings: Worst first.
        unchecked: Rules without evidence: the server cannot tell, or the table has no rows.
        explanation: Why the score is what it is, one line per broken rule.
        fixes: What auto-fix did, when it was asked for; findings are those left afterwards.
        seconds: Wall-clock time.
        sampled: Rules that found nothing in the part of a huge table they were checked on.
        muted: What is there and does not count, by whose decision.
        mended: What the validation before had, and this one looked for and did not see.
        previous: The validation before, where one was stored.
        saved: What was not read again, when the validation was to be incremental.
        schema: Names the form of this document; it changes when a reader would have to.
    """

    tenant: str
    tenant_id: str
    version: str | None
    score: int | None
    coverage: float
    levels: tuple[Outcome, ...]
    datasets: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    explanation: tuple[str, ...]
    fixes: FixReport | None
    started_at: str
    seconds: float
    sampled: tuple[Sampled, ...] = ()
    muted: tuple[MutedFinding, ...] = ()
    mended: tuple[MendedFinding, ...] = ()
    previous: Previous | None = None
    saved: Saved | None = None
    schema: str = SCHEMA

    def found(self, *severities: Severity) -> tuple[Finding, ...]:
        """The findings of these severities."""
        return tuple(finding for finding in self.findings if finding.severity in severities)


def score(findings: Iterable[Finding], coverage: float) -> int | None:
    """The score for these findings; see the module for how."""
    broken: dict[str, Severity] = {finding.rule: finding.severity for finding in findings}
    if not broken and coverage < LEAST_COVERAGE:
        return None
    left = Fraction(100)
    for severity in broken.values():
        left *= 1 - PENALTY[severity]
    return min(floor(left), CRITICAL_CAP) if "critical" in broken.values() else floor(left)


def explain(findings: Iterable[Finding]) -> tuple[str, ...]:
    """What each broken rule took from the score, worst first, in whole points that add up."""
    lines: list[str] = []
    left = Fraction(100)
    ordered = worst_first(findings)
    for rule in dict.fromkeys(finding.rule for finding in ordered):
        found = [finding for finding in ordered if finding.rule == rule]
        before, left = left, left * (1 - PENALTY[found[0].severity])
        lines.append(f"-{floor(before) - floor(left)}: {_told(found)}")
    if ordered and ordered[0].severity == "critical" and floor(left) > CRITICAL_CAP:
        lines.append(f"-{floor(left) - CRITICAL_CAP}: a critical finding caps the score at {CRITICAL_CAP}")
    return tuple(lines)


def _told(found: list[Finding]) -> str:
    """What one rule found, for a person: how many, where, what is wrong."""
    first, count = found[0], sum(finding.count for finding in found)
    more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
    return f"{count:,} in {first.subject}{more}: {first.message} ({first.severity}, {first.rule})"


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, then by key."""
    return tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.key)))


def outcome(
    name: str,
    rules: list[Rule],
    unchecked: set[str],
    findings: list[Finding],
    rows: int | None = None,
    vouched: Collection[str] = (),
    sampled: Collection[str] = (),
) -> Outcome:
    """The outcome of the rules of one level or dataset."""
    estimated = {finding.rule for finding in findings if finding.estimate}
    checked = sum(rule.id not in unchecked for rule in rules)
    return Outcome(
        name=name,
        score=score(findings, checked / len(rules) if rules else 0.0),
        rules=len(rules),
        checked=checked,
        failed=len({finding.rule for finding in findings}),
        worst=worst_first(findings)[0].severity if findings else None,
        rows=rows,
        vouched=sum(rule.id in vouched for rule in rules),
        sampled=sum(rule.id in sampled or rule.id in estimated for rule in rules),
        explanation=explain(findings),
    )
