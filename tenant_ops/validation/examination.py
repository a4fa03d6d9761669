"""Finding what breaks a rule, in as few passes over a table as possible.

Here: running rules on one tenant. Not here: which rules (`levels/`), the queries (`scanning.py`), frames
(`frames.py`), what the findings amount to (`report.py`).

Where a sound constraint makes a rule hold, the rows are not read again for it (`vouching.py`). All other
`Where` rules of a dataset are one aggregate scan of its table, all `Joined` ones another; keys of bad rows
are looked up only for rules that found some. Of a huge table a part is read (`sampling.py`). A rule that
cannot run (a missing column, a timeout) is reported as unchecked and leaves the others alone.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

import psycopg

from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import NotAvailable, OperationFailed, first_line
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.guard import Unusable
from tenant_ops.validation.report import Finding, Unchecked
from tenant_ops.validation.rules import Frame, Joined, Look, Rows, Rule, Where
from tenant_ops.validation.samples import name_row
from tenant_ops.validation.sampling import (
    Estimate,
    Sample,
    Sampled,
    Sampling,
    estimate,
    fewer_than,
    in_words,
)
from tenant_ops.validation.scanning import BadRows, bad_keys, bad_rows, count_rows, has_rows
from tenant_ops.validation.vouching import TableFacts, read_table_facts, vouched

NO_ROWS = "The table has no rows."
NO_SAMPLE = "The part of the table that was looked at has no rows."


@dataclass
class Examined:
    """What examining some rules brought to light so far.

    Attributes:
        rows: Rows of each dataset, where all were counted.
        vouched: Rules the server vouches for.
        sampled: Rules of which a part of the rows was checked, and found sound.
    """

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    vouched: list[str] = field(default_factory=list)
    sampled: list[Sampled] = field(default_factory=list)


@dataclass(frozen=True)
class Manner:
    """How rules are examined.

    Attributes:
        samples: Most rows named per finding.
        trust_constraints: Whether rules that a sound constraint makes hold are taken to hold.
        sampling: When a part of a table is read; None: never.
    """

    samples: int
    trust_constraints: bool = True
    sampling: Sampling | None = None


def examine(
    evidence: Evidence,
    rules: Iterable[Rule],
    *,
    samples: int,
    into: Examined,
    trust_constraints: bool = True,
    sampling: Sampling | None = None,
) -> None:
    """Check the rules on the tenant, adding what they find.

    Args:
        evidence: The tenant.
        rules: Which.
        samples: Most rows named per finding.
        into: What is added to.
        trust_constraints: Whether rules that a sound constraint makes hold are taken to hold.
        sampling: When a part of a table is read; None: never.
    """
    manner = Manner(samples, trust_constraints, sampling)
    facts: dict[str, TableFacts] = {}
    shared: dict[tuple[str, type], list[Rule]] = {}
    others: deque[Rule] = deque()
    held: list[Rule] = []
    for rule in rules:
        if rule.dataset and (rule.held_by or sampling) and rule.dataset not in facts:
            facts[rule.dataset] = read_table_facts(evidence, rule.dataset)
        if (
            trust_constraints
            and rule.held_by
            and rule.dataset
            and vouched(evidence, rule, facts[rule.dataset])
        ):
            held.append(rule)
            shared.setdefault((rule.dataset, Where), [])  # its rows are counted
        elif isinstance(rule.find, Where | Joined):
            shared.setdefault((rule.dataset or "", type(rule.find)), []).append(rule)
        else:
            others.append(rule)
    parts = {name: sampling.of(fact.rows) if sampling else None for name, fact in facts.items()}
    for (name, _), same_table in shared.items():
        _scan(evidence, evidence.catalog[name], same_table, manner, parts.get(name), into)
    for rule in held:
        _hold(evidence, rule, into)
    while others:
        # One savepoint for all of them: each round trip counts for a thousand tenants. After an error, which
        # loses no finding made so far, the next savepoint begins with the rule after it.
        try:
            with evidence.connection.transaction():
                while others:
                    try:
                        _examine_one(evidence, others[0], manner, parts.get(others[0].dataset or ""), into)
                    except (NotAvailable, Unusable) as error:
                        _leave_out(others[0], str(error), into)
                    others.popleft()
        except psycopg.Error as error:
            _must_be_connected(evidence, error)
            _leave_out(others.popleft(), _reason(error), into)


def _scan(
    evidence: Evidence,
    dataset: Dataset,
    rules: list[Rule],
    manner: Manner,
    part: Sample | None,
    into: Examined,
) -> None:
    def look() -> tuple[int, list[tuple[Rule, BadRows]]]:
        rows, *counts = count_rows(evidence, dataset, rules, part)
        broken = [(rule, count) for rule, count in zip(rules, counts, strict=True) if count]
        if part:
            return rows, [(rule, bad_rows(evidence, rule, manner.samples, part)) for rule, _ in broken]
        return rows, [
            (rule, BadRows(count, bad_keys(evidence, dataset, rule, manner.samples)))
            for rule, count in broken
        ]

    try:
        with evidence.connection.transaction():
            rows, broken = look()
    except psycopg.Error as error:
        _must_be_connected(evidence, error)
        # One rule that names a missing column would take its neighbours along: each then runs alone.
        # Not so after a timeout, which every further scan would only repeat.
        alone = len(rules) > 1 and not isinstance(error, psycopg.OperationalError)
        for rule in rules:
            if alone:
                _scan(evidence, dataset, [rule], manner, part, into)
            else:
                _leave_out(rule, _reason(error), into)
        return
    if part is None:
        into.rows[dataset.name] = rows
    if rows == 0:
        for rule in rules:
            _leave_out(rule, NO_SAMPLE if part else NO_ROWS, into)
        return
    seen = dict.fromkeys(rules, BadRows(0, [])) | dict(broken)
    for rule, bad in seen.items():
        _tell(evidence, rule, bad, part, into, rows)


def _hold(evidence: Evidence, rule: Rule, into: Examined) -> None:
    """The server vouches for the rule, which says something as soon as there are rows."""
    assert rule.dataset is not None
    try:
        with evidence.connection.transaction() if rule.dataset not in into.rows else nullcontext():
            filled = into.rows.get(rule.dataset) or has_rows(evidence, evidence.catalog[rule.dataset])
    except psycopg.Error as error:
        _must_be_connected(evidence, error)
        _leave_out(rule, _reason(error), into)
        return
    if filled:
        into.vouched.append(rule.id)
    else:
        _leave_out(rule, NO_ROWS, into)


def _examine_one(evidence: Evidence, rule: Rule, manner: Manner, part: Sample | None, into: Examined) -> None:
    if isinstance(rule.find, Look):
        into.findings += [
            _finding(rule, seen.subject, seen.message, seen.dataset, seen.count)
            for seen in list(rule.find.look(evidence))
        ]
        return
    if isinstance(rule.find, Frame):
        from tenant_ops.validation.frames import bad_frame_rows  # pandas takes a second to import

        part, bad = None, bad_frame_rows(evidence, rule, manner.samples)
    else:
        assert isinstance(rule.find, Rows)
        part = part if rule.find.sampled else None
        bad = bad_rows(evidence, rule, manner.samples, part)
    if bad.filled or bad.count:
        _tell(evidence, rule, bad, part, into)
    else:
        _leave_out(rule, NO_ROWS, into)


def _tell(
    evidence: Evidence, rule: Rule, bad: BadRows, part: Sample | None, into: Examined, rows: int | None = None
) -> None:
    """Add what was seen of the rule's rows: a finding, or that a part of them is sound."""
    if bad.count:
        into.findings.append(_rows_finding(evidence, rule, bad, part))
    elif part:
        unit = part.unit_of(rule.find.sampled if isinstance(rule.find, Rows) else "$sample")
        into.sampled.append(
            Sampled(rule.id, rule.dataset or "", rows, part.share, unit, fewer_than(part.share))
        )


def _rows_finding(evidence: Evidence, rule: Rule, bad: BadRows, part: Sample | None) -> Finding:
    named = [name_row(evidence.catalog, rule.dataset, key) for key in bad.keys if key]
    about = estimate(bad.count, bad.squares, part.share) if part else None
    if about:
        rows = f" for {in_words(bad.count, about)}"
    else:
        rows = f" for {bad.count:,} {'row' if bad.count == 1 else 'rows'}" if named else ""
    message = f"Not so{rows}: {rule.description}"
    return _finding(rule, rule.about, message, rule.dataset, bad.count, tuple(named), about)


def _finding(
    rule: Rule,
    subject: str,
    message: str,
    dataset: str | None,
    count: int,
    sample: tuple[str, ...] = (),
    about: Estimate | None = None,
) -> Finding:
    return Finding(
        key=f"{rule.id}/{subject}",
        rule=rule.id,
        level=rule.level,
        severity=rule.severity,
        dataset=dataset or rule.dataset,
        subject=subject,
        message=message,
        count=count,
        sample=sample,
        remediation=rule.remediation,
        fixable=rule.fix is not None and rule.fix.trust == "safe",
        estimate=about,
    )


def _leave_out(rule: Rule, reason: str, into: Examined) -> None:
    into.unchecked.append(Unchecked(rule.id, rule.level, rule.dataset, reason))


def _must_be_connected(evidence: Evidence, error: psycopg.Error) -> None:
    if evidence.connection.closed:
        raise OperationFailed(
            "the server went away during validation.", where=f"tenant {evidence.tenant.slug}"
        ) from error


def _reason(error: psycopg.Error) -> str:
    """Why a rule could not be checked; only messages that never quote a row are passed on."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return "It took longer than the statement timeout."
    if isinstance(error, psycopg.ProgrammingError):
        return f"Postgres says: {error.diag.message_primary or first_line(error)}."
    return f"Postgres refused it ({type(error).__name__})."
