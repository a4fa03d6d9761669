"""What is wrong with rows, found by looking at every value: the measure sample data is held to.

Written without the generator's and the loader's code, so that neither can excuse the other.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from ipaddress import ip_interface
from typing import Any
from uuid import UUID

from tenant_ops.datasets import Between, Catalog, Column, Dataset, Length, Matches, OneOf

Row = Mapping[str, Any]


def problems(catalog: Catalog, rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Every broken type, rule, key, reference and order, as sentences; rows by dataset, columns by name."""
    return [
        f"{dataset.name}: {problem}"
        for dataset in catalog
        for problem in _dataset_problems(catalog, dataset, rows)
    ]


def value_problem(column: Column, value: Any) -> str | None:
    """What is wrong with one value, as Arrow or JSON hold it."""
    if value is None:
        return None if column.nullable else "is empty"
    if not _is_of_type(column, value):
        return f"{value!r} is no {column.type}"
    for rule in column.rules:
        if not _obeys(column, rule, value):
            return f"{value!r} breaks {rule}"
    return None


def _dataset_problems(catalog: Catalog, dataset: Dataset, rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    mine = rows[dataset.name]
    for number, row in enumerate(mine):
        for column in dataset.columns:
            problem = value_problem(column, row[column.name])
            if problem:
                yield f"row {number}: {column.name} {problem}"
        for order in dataset.orders:
            first, then = row[order.first], row[order.then]
            if first is not None and then is not None and _later(first, then):
                yield f"row {number}: {order.first} {first!r} is after {order.then} {then!r}"
    for name in dataset.key:
        if any(row[name] is None for row in mine):
            yield f"{name} is part of the key and empty"
    singles = [(column.name,) for column in dataset.columns if column.unique]
    for columns in (dataset.key, *dataset.unique, *singles):
        filled = [_pick(row, columns) for row in mine if None not in _pick(row, columns)]
        if len(set(filled)) < len(filled):
            yield f"{columns} is not unique"
    for key in dataset.foreign_keys:
        known = {_pick(row, key.target) for row in rows[key.references]}
        lost = {_pick(row, key.columns) for row in mine} - known
        if any(None not in values for values in lost):
            yield f"{key.columns} refers to nothing: {next(iter(lost))}"


def _pick(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _later(first: Any, then: Any) -> bool:
    if isinstance(first, datetime) != isinstance(then, datetime):
        first, then = (value.date() if isinstance(value, datetime) else value for value in (first, then))
    if isinstance(first, float) or isinstance(then, float):  # as Postgres compares double and numeric
        first, then = float(first), float(then)
    return first > then


def _is_of_type(column: Column, value: Any) -> bool:
    try:
        match column.type:
            case "uuid":
                return str(UUID(value)) == value
            case "inet":
                return bool(ip_interface(value))
            case "jsonb":
                return json.loads(value) is not None
            case "text":
                return isinstance(value, str) and "\0" not in value
            case "boolean":
                return isinstance(value, bool)
            case "integer":
                return type(value) is int and -(2**31) <= value < 2**31
            case "bigint":
                return type(value) is int and -(2**63) <= value < 2**63
            case "numeric":
                return isinstance(value, Decimal) and value.is_finite()
            case "double":
                return isinstance(value, float) and abs(value) < 1e300
            case "date":
                return isinstance(value, date) and not isinstance(value, datetime)
            case _:
                return isinstance(value, datetime) and value.tzinfo is not None
    except ValueError:
        return False


def _obeys(column: Column, rule: Any, value: Any) -> bool:
    match rule:
        case Between(low, high):
            exact = Decimal(str(value))  # as Postgres reads the bounds: 0.001 is one thousandth
            return (low is None or exact >= Decimal(str(low))) and (
                high is None or exact <= Decimal(str(high))
            )
        case OneOf(values) if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return any(Decimal(text) == Decimal(str(value)) for text in values)
        case OneOf(values):
            return (str(value).lower() if isinstance(value, bool) else str(value)) in values
        case Matches(pattern):
            return re.fullmatch(pattern, value) is not None
        case Length(low, high):
            return len(value) >= low and (high is None or len(value) <= high)
    raise AssertionError(f"{column.name} has a rule nobody checks: {rule}")
