"""Finding what breaks a rule, in as few passes over a table as possible.

Here: running `Where`, `Rows` and `Look` rules on one tenant. Not here: which rules (`levels/`), what the
findings amount to (`report.py`).

All `Where` rules of a dataset are one aggregate scan of its table; keys of bad rows are looked up only for
rules that found some. A rule that cannot run (a missing column, a timeout) is reported as unchecked and
leaves the others alone.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import NotAvailable, OperationFailed
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.report import Finding, Unchecked
from tenant_ops.validation.rules import Look, Rows, Rule, Where
from tenant_ops.validation.samples import name_row

NO_ROWS = "The table has no rows."


@dataclass
class Examined:
    """What examining some rules brought to light so far."""

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


def examine(evidence: Evidence, rules: Iterable[Rule], *, samples: int, into: Examined) -> None:
    """Check the rules on the tenant, adding what they find."""
    shared: dict[str, list[Rule]] = {}
    others: deque[Rule] = deque()
    for rule in rules:
        if isinstance(rule.find, Where):
            shared.setdefault(rule.dataset or "", []).append(rule)
        else:
            others.append(rule)
    for name, same_table in shared.items():
        _scan(evidence, evidence.catalog[name], same_table, samples, into)
    while others:
        # One savepoint for all of them: each round trip counts for a thousand tenants. After an error, which
        # loses no finding made so far, the next savepoint begins with the rule after it.
        try:
            with evidence.connection.transaction():
                while others:
                    _examine_one(evidence, others[0], samples, into)
                    others.popleft()
        except psycopg.Error as error:
            _must_be_connected(evidence, error)
            _leave_out(others.popleft(), _reason(error), into)


def count_rows(connection: psycopg.Connection, dataset: Dataset, rules: list[Rule], facts: Any) -> list[int]:
    """Rows of the table, then for each `Where` rule the rows that break it, in one scan."""
    conditions = [rule.find.condition for rule in rules if isinstance(rule.find, Where)]
    query = sql.SQL("SELECT count(*) {} FROM {}").format(
        sql.SQL("").join(
            sql.SQL(", count(*) FILTER (WHERE {})").format(_trusted(condition)) for condition in conditions
        ),
        sql.Identifier(dataset.name),
    )
    row = connection.execute(query, facts).fetchone()
    assert row is not None
    return list(row)


def _scan(evidence: Evidence, dataset: Dataset, rules: list[Rule], samples: int, into: Examined) -> None:
    def look() -> tuple[list[int], list[Finding]]:
        rows, *counts = count_rows(evidence.connection, dataset, rules, evidence.facts)
        broken = [(rule, count) for rule, count in zip(rules, counts, strict=True) if count]
        return [rows, *counts], [
            _rows_finding(evidence, rule, count, _bad_keys(evidence, dataset, rule, samples))
            for rule, count in broken
        ]

    try:
        with evidence.connection.transaction():
            counts, findings = look()
    except psycopg.Error as error:
        _must_be_connected(evidence, error)
        # One rule that names a missing column would take its neighbours along: each then runs alone.
        # Not so after a timeout, which every further scan would only repeat.
        alone = len(rules) > 1 and not isinstance(error, psycopg.OperationalError)
        for rule in rules:
            if alone:
                _scan(evidence, dataset, [rule], samples, into)
            else:
                _leave_out(rule, _reason(error), into)
        return
    into.rows[dataset.name] = counts[0]
    into.findings += findings
    if counts[0] == 0:
        for rule in rules:
            _leave_out(rule, NO_ROWS, into)


def _examine_one(evidence: Evidence, rule: Rule, samples: int, into: Examined) -> None:
    if isinstance(rule.find, Look):
        try:
            sightings = list(rule.find.look(evidence))
        except NotAvailable as error:
            _leave_out(rule, error.problem, into)
            return
        into.findings += [
            _finding(rule, seen.subject, seen.message, seen.dataset, seen.count) for seen in sightings
        ]
        return
    filled, count, keys = _bad_rows(evidence, rule, samples)
    if count:
        into.findings.append(_rows_finding(evidence, rule, count, keys))
    elif not filled:
        _leave_out(rule, NO_ROWS, into)


def _bad_rows(evidence: Evidence, rule: Rule, samples: int) -> tuple[bool, int, list[dict[str, Any]]]:
    """Whether the rule's dataset has rows, how many break the rule, and some of them."""
    assert isinstance(rule.find, Rows)
    table = sql.Identifier(rule.dataset) if rule.dataset else None
    filled = sql.SQL("EXISTS (SELECT FROM {})").format(table) if table else sql.SQL("true")
    query = sql.SQL("""
        WITH bad AS MATERIALIZED ({query})
        SELECT {filled}, (SELECT count(*) FROM bad), (
            SELECT json_agg(to_json(named)) FROM (SELECT * FROM bad ORDER BY bad::text LIMIT {limit}) named
        )
    """).format(query=_trusted(rule.find.query), filled=filled, limit=sql.Literal(samples))
    row = evidence.connection.execute(query, evidence.facts).fetchone()
    assert row is not None
    return row[0], row[1], row[2] or []


def _bad_keys(evidence: Evidence, dataset: Dataset, rule: Rule, samples: int) -> list[dict[str, Any]]:
    assert isinstance(rule.find, Where)
    key = sql.SQL(", ").join(map(sql.Identifier, dataset.key))
    query = sql.SQL(
        "SELECT json_agg(to_json(named)) "
        "FROM (SELECT {key} FROM {table} WHERE {condition} ORDER BY {key} LIMIT {limit}) named"
    ).format(
        key=key,
        table=sql.Identifier(dataset.name),
        condition=_trusted(rule.find.condition),
        limit=sql.Literal(samples),
    )
    row = evidence.connection.execute(query, evidence.facts).fetchone()
    assert row is not None
    return row[0] or []


def _rows_finding(evidence: Evidence, rule: Rule, count: int, keys: list[dict[str, Any]]) -> Finding:
    named = [name_row(evidence.catalog, rule.dataset, key) for key in keys if key]
    rows = f" for {count:,} {'row' if count == 1 else 'rows'}" if named else ""
    return _finding(rule, rule.about, f"Not so{rows}: {rule.description}", rule.dataset, count, tuple(named))


def _finding(
    rule: Rule, subject: str, message: str, dataset: str | None, count: int, sample: tuple[str, ...] = ()
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
        fixable=rule.fix is not None,
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
        return f"Postgres says: {error.diag.message_primary}."
    return f"Postgres refused it ({type(error).__name__})."


def _trusted(text: str) -> sql.SQL:
    """SQL of a rule: rules are code, like the definitions they come from; no input reaches them."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]
