"""The queries that find bad rows: one aggregate scan for all row conditions, one query for each other rule.

Here: counting and naming bad rows, of a table or of a part of it. Not here: what becomes of it
(`examination.py`), what a part says of the whole (`sampling.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tenant_ops.backups.journal import ChangedRows
from tenant_ops.datasets import Dataset
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.joining import joined_tables
from tenant_ops.validation.rules import Joined, Rows, Rule, Where
from tenant_ops.validation.sampling import Sample


@dataclass(frozen=True)
class BadRows:
    """Rows that break a rule.

    Attributes:
        count: How many were seen.
        keys: Some of them.
        squares: In a part of a table, the sum over its units of the square of what each held.
        filled: Whether the table, or the part, has any rows.
    """

    count: int
    keys: list[dict[str, Any]]
    squares: int = 0
    filled: bool = True


def count_rows(
    evidence: Evidence,
    dataset: Dataset,
    rules: Sequence[Rule],
    sample: Sample | None = None,
    among: ChangedRows | None = None,
) -> list[int]:
    """Rows of the table, then for each `Where` or `Joined` rule the rows that break it, in one scan.

    Args:
        evidence: The tenant.
        dataset: The table.
        rules: Which.
        sample: The part of the table that is read; None: all of it.
        among: The rows that are read; None, or without a query: all.
    """
    conditions = [rule.find.condition for rule in rules if isinstance(rule.find, Where | Joined)]
    query = sql.SQL("SELECT count(*) {} FROM {}").format(
        sql.SQL("").join(
            sql.SQL(", count(*) FILTER (WHERE {})").format(trusted(condition)) for condition in conditions
        ),
        _tables(evidence, dataset, rules, sample, among),
    )
    row = evidence.connection.execute(query, _parameters(evidence, sample)).fetchone()
    assert row is not None
    return list(row)


def bad_keys(
    evidence: Evidence, dataset: Dataset, rule: Rule, samples: int, among: ChangedRows | None = None
) -> list[dict[str, Any]]:
    """Some of the rows that break a `Where` or `Joined` rule, by key."""
    assert isinstance(rule.find, Where | Joined)
    key = _key(dataset)
    query = sql.SQL(
        "SELECT json_agg(to_json(named)) "
        "FROM (SELECT {key} FROM {table} WHERE {condition} ORDER BY {key} LIMIT {limit}) named"
    ).format(
        key=key,
        table=_tables(evidence, dataset, [rule], None, among),
        condition=trusted(rule.find.condition),
        limit=sql.Literal(samples),
    )
    row = evidence.connection.execute(query, evidence.facts).fetchone()
    assert row is not None
    return row[0] or []


def bad_rows(evidence: Evidence, rule: Rule, samples: int, sample: Sample | None = None) -> BadRows:
    """The rows that break a `Rows` rule, or a `Where` or `Joined` rule on a part of its table."""
    dataset = evidence.catalog[rule.dataset] if rule.dataset else None
    filled = sql.SQL("EXISTS (SELECT FROM {})").format(_table(dataset, None)) if dataset else sql.SQL("true")
    squares = _SQUARES if sample else sql.SQL("SELECT 0")
    whole = sql.SQL("""
        WITH bad AS MATERIALIZED ({query})
        SELECT {filled}, (SELECT count(*) FROM bad), coalesce(({squares}), 0)::bigint, (
            SELECT json_agg(to_json(named)) FROM (SELECT * FROM bad ORDER BY bad::text LIMIT {limit}) named
        )
    """).format(
        query=_query(evidence, dataset, rule, sample),
        filled=filled,
        squares=squares,
        limit=sql.Literal(samples),
    )
    row = evidence.connection.execute(whole, _parameters(evidence, sample)).fetchone()
    assert row is not None
    keys = [{name: value for name, value in key.items() if name != "sampled_unit"} for key in row[3] or []]
    return BadRows(row[1], keys, row[2], row[0])


def has_rows(evidence: Evidence, dataset: Dataset) -> bool:
    """Whether the table has any rows."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(_table(dataset, None))
    row = evidence.connection.execute(query).fetchone()
    return row is not None and row[0]


def trusted(text: str) -> sql.SQL:
    """SQL of a rule: rules are code, like the definitions they come from; no input reaches them."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]


_SQUARES = sql.SQL("SELECT sum(n * n) FROM (SELECT count(*) AS n FROM bad GROUP BY sampled_unit) unit")


def _query(evidence: Evidence, dataset: Dataset | None, rule: Rule, sample: Sample | None) -> sql.Composable:
    if isinstance(rule.find, Rows):
        return trusted(sample.fill_in(rule.find.sampled) if sample else rule.find.query)
    assert isinstance(rule.find, Where | Joined) and dataset is not None and sample is not None
    unit = sample.fill_in("$unit").replace("ctid", sql.Identifier(dataset.name, "ctid").as_string())
    return sql.SQL("SELECT {key}, {unit} AS sampled_unit FROM {table} WHERE {condition}").format(
        key=_key(dataset),
        unit=trusted(unit),
        table=_tables(evidence, dataset, [rule], sample),
        condition=trusted(rule.find.condition),
    )


def _key(dataset: Dataset) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(dataset.name, name) for name in dataset.key)


def _tables(
    evidence: Evidence,
    dataset: Dataset,
    rules: Sequence[Rule],
    sample: Sample | None,
    among: ChangedRows | None = None,
) -> sql.Composable:
    """The table, or the part of it, with the tables its `Joined` rules look at."""
    to = dict.fromkeys(name for rule in rules if isinstance(rule.find, Joined) for name in rule.find.to)
    return joined_tables(evidence.catalog, dataset, tuple(to), _table(dataset, sample, among))


def _table(dataset: Dataset, sample: Sample | None, among: ChangedRows | None = None) -> sql.Composed:
    if among is not None and among.query is not None:
        return sql.SQL(
            "(SELECT whole.* FROM {table} whole JOIN ({keys}) changed USING ({key})) AS {table}"
        ).format(
            table=sql.Identifier(dataset.name),
            keys=among.query,
            key=sql.SQL(", ").join(map(sql.Identifier, among.key)),
        )
    part = trusted(sample.fill_in(" $sample")) if sample else sql.SQL("")
    return sql.Identifier(dataset.name) + part


def _parameters(evidence: Evidence, sample: Sample | None) -> dict[str, Any]:
    return {**evidence.facts, **(sample.parameters if sample else {})}
