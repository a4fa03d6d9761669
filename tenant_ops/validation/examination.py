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

from tenant_ops.backups.journal import ChangedRows
from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import NotAvailable, OperationFailed, first_line
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.guard import Unusable
from tenant_ops.validation.incremental import Since
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
        stood: Rules that hold because nothing they read has changed since they did.
        partly: Rules checked on the rows that changed since they held.
    """

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    vouched: list[str] = field(default_factory=list)
    sampled: list[Sampled] = field(default_factory=list)
    stood: list[str] = field(default_factory=list)
    partly: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manner:
    """How rules are examined.

    Attributes:
        samples: Most rows named per finding.
        trust_constraints: Whether rules that a sound constraint makes hold are taken to hold.
        sampling: When a part of a table is read; None: never.
        since: What changed since rules were kept; None: all rows are read.
    """

    samples: int
    trust_constraints: bool = True
    sampling: Sampling | None = None
    since: Since | None = None

    def among(self, dataset: str) -> ChangedRows | None:
        """The rows of a dataset that changed since."""
        return self.since.changed.get(dataset) if self.since else None


def examine(
    evidence: Evidence,
    rules: Iterable[Rule],
    *,
    samples: int,
    into: Examined,
    trust_constraints: bool = True,
    sampling: Sampling | None = None,
    since: Since | None = None,
) -> None:
    """Check the rules on the tenant, adding what they find.

    Args:
        evidence: The tenant.
        rules: Which.
        samples: Most rows named per finding.
        into: What is added to.
        trust_constraints: Whether rules that a sound constraint makes hold are taken to hold.
        sampling: When a part of a table is read; None: never.
        since: What changed since rules were kept; None: all rows are read.
    """
    manner = Manner(samples, trust_constraints, sampling, since)
    work = _divided(evidence, rules, manner, into)
    for (name, _), same_table in work.scanned.items():
        _scan(evidence, evidence.catalog[name], same_table, manner, work.parts.get(name), into)
    for name, same_table in work.changed.items():
        _scan(evidence, evidence.catalog[name], same_table, manner, None, into, among=manner.among(name))
    for rule in work.held:
        _hold(evidence, rule, into)
    others = deque(work.others)
    while others:
        # One savepoint for all of them: each round trip counts for a thousand tenants. After an error, which
        # loses no finding made so far, the next savepoint begins with the rule after it.
        try:
            with evidence.connection.transaction():
                while others:
                    try:
                        part = work.parts.get(others[0].dataset or "")
                        _examine_one(evidence, others[0], manner, part, into)
                    except (NotAvailable, Unusable) as error:
                        _leave_out(others[0], str(error), into)
                    others.popleft()
        except psycopg.Error as error:
            _must_be_connected(evidence, error)
            _leave_out(others.popleft(), _reason(error), into)


@dataclass(frozen=True)
class _Work:
    """Rules by how they are checked, and the part of each table that is read."""

    scanned: dict[tuple[str, type], list[Rule]] = field(default_factory=dict)
    changed: dict[str, list[Rule]] = field(default_factory=dict)
    held: list[Rule] = field(default_factory=list)
    others: list[Rule] = field(default_factory=list)
    parts: dict[str, Sample | None] = field(default_factory=dict)


def _divided(evidence: Evidence, rules: Iterable[Rule], manner: Manner, into: Examined) -> _Work:
    work = _Work()
    facts: dict[str, TableFacts] = {}
    for rule in rules:
        scope = manner.since.scope(evidence, rule) if manner.since else "whole"
        name = rule.dataset or ""
        if scope == "none":
            into.stood.append(rule.id)
            continue
        if scope == "changed":
            work.changed.setdefault(name, []).append(rule)
            continue
        if name and (rule.held_by or manner.sampling) and name not in facts:
            facts[name] = read_table_facts(evidence, name)
            work.parts[name] = manner.sampling.of(facts[name].rows) if manner.sampling else None
        if manner.trust_constraints and rule.held_by and name and vouched(evidence, rule, facts[name]):
            work.held.append(rule)
            work.scanned.setdefault((name, Where), [])  # its rows are counted
        elif isinstance(rule.find, Where | Joined):
            work.scanned.setdefault((name, type(rule.find)), []).append(rule)
        else:
            work.others.append(rule)
    return work


def _scan(
    evidence: Evidence,
    dataset: Dataset,
    rules: list[Rule],
    manner: Manner,
    part: Sample | None,
    into: Examined,
    among: ChangedRows | None = None,
) -> None:
    def look() -> tuple[int, list[tuple[Rule, BadRows]]]:
        rows, *counts = count_rows(evidence, dataset, rules, part, among)
        broken = [(rule, count) for rule, count in zip(rules, counts, strict=True) if count]
        if part:
            return rows, [(rule, bad_rows(evidence, rule, manner.samples, part)) for rule, _ in broken]
        return rows, [
            (rule, BadRows(count, bad_keys(evidence, dataset, rule, manner.samples, among)))
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
                _scan(evidence, dataset, [rule], manner, part, into, among)
            else:
                _leave_out(rule, _reason(error), into)
        return
    if among is not None:
        into.partly += [rule.id for rule in rules]
    elif part is None:
        into.rows[dataset.name] = rows
    if rows == 0 and among is None:
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
