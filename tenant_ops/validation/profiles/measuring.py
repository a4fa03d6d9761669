"""Taking a profile: one aggregate scan per table, as the tenant's owner.

Not here: what is kept (`keeping.py`), rules of single rows (`scanning.py`).
"""

from typing import Any

from psycopg import sql

from tenant_ops.datasets import Column, Dataset, OneOf
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.profiles.values import DatasetProfile

MOST_VALUES = 50
"""Values of a closed set that are counted: each is a filter in the scan."""
MOST_ROWS = 50_000_000
"""Tables the server estimates at more rows are left out, as rules would read but a part of them."""
_NUMBERS = ("integer", "bigint", "numeric", "double")


def measure(evidence: Evidence) -> dict[str, DatasetProfile]:
    """What each dataset looks like now; those whose table or columns are not as defined are left out."""
    live = {(part.table, part.name) for part in evidence.live if part.kind == "column"}
    huge = _huge(evidence)
    return {
        dataset.name: _measure(evidence, dataset)
        for dataset in evidence.catalog
        if dataset.name not in huge and all((dataset.name, column.name) in live for column in dataset.columns)
    }


def _huge(evidence: Evidence) -> set[str]:
    rows = evidence.connection.execute(
        "SELECT relname::text FROM pg_class WHERE oid = ANY (%(pg_class)s::oid[]) AND relkind = 'r' "
        "AND reltuples > %(most)s",
        {**evidence.contents, "most": MOST_ROWS},
    )
    return {row[0] for row in rows}


def _measure(evidence: Evidence, dataset: Dataset) -> DatasetProfile:
    keys = {*dataset.key, *(name for key in dataset.foreign_keys for name in key.columns)}
    plain = [column for column in dataset.columns if column.privacy is None and column.name not in keys]
    empty = [column.name for column in dataset.columns if column.nullable]
    sets = {column.name: values for column in plain if (values := _values(column))}
    numbers = [column.name for column in plain if column.type in _NUMBERS]
    times = [column.name for column in dataset.columns if column.past]
    terms: list[sql.Composable] = [sql.SQL("count(*)")]
    terms += [sql.SQL("count({})").format(sql.Identifier(name)) for name in empty]
    terms += [
        sql.SQL("count(*) FILTER (WHERE {} = {})").format(sql.Identifier(name), sql.Literal(value))
        for name, values in sets.items()
        for value in values
    ]
    for name in numbers:
        column = sql.Identifier(name)
        terms += [sql.SQL("avg({})::float8").format(column), sql.SQL("stddev_pop({})::float8").format(column)]
    newest = sql.SQL(", ").join(sql.SQL("max({})").format(sql.Identifier(name)) for name in times)
    terms.append(
        sql.SQL("greatest({})::timestamptz").format(newest) if times else sql.SQL("NULL::timestamptz")
    )
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(terms), sql.Identifier(dataset.name))
    row = evidence.connection.execute(query).fetchone()
    assert row is not None
    told = iter(row)
    return DatasetProfile(
        rows=next(told),
        filled={name: next(told) for name in empty},
        values={name: {value: next(told) for value in values} for name, values in sets.items()},
        means={name: pair for name in numbers if (pair := _pair(next(told), next(told)))},
        newest=next(told),
    )


def _values(column: Column) -> tuple[str, ...]:
    allowed = next((rule.values for rule in column.rules if isinstance(rule, OneOf)), ())
    return allowed if len(allowed) <= MOST_VALUES else ()


def _pair(mean: Any, deviation: Any) -> tuple[float, float] | None:
    """Mean and deviation, where there are numbers and they are finite."""
    if mean is None or deviation is None or not (abs(mean) < 1e300 and deviation < 1e300):
        return None
    return mean, deviation
