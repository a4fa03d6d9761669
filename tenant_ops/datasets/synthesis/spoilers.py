"""One function per kind of fault: how a sound row is made wrong in exactly one way.

Here: the kinds (`KINDS`), and for each the row it makes, or None where the dataset has no column for it.
Not here: where the rows are planted (`faults.py`).
"""

# ruff: noqa: ARG001 - spoilers share one signature

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches, OneOf, Rule
from tenant_ops.datasets.synthesis.domains import broken_rules
from tenant_ops.datasets.synthesis.records import Row

_NAMESPACE = UUID("6f7bd1a2-6c1d-4a0f-9c53-d1f1c8b6a001")
_NUMBERS = {"integer", "bigint", "numeric", "double"}


@dataclass(frozen=True)
class Spoilt:
    """A row with one thing wrong; `damage` is done to its line where a row cannot hold the fault."""

    column: str | None
    note: str
    row: Row
    damage: Callable[[str], str] | None = None


# Given a sound row under a key of its own, and the sound rows before and after the place it will stand at.
Spoiler = Callable[[Dataset, Row, Row, Row], Spoilt | None]


def spoilers(file_kind: str) -> Mapping[str, Spoiler]:
    """The kinds of fault a `csv`, `json` or `ndjson` file can hold."""
    return {**_ANYWHERE, **_BY_FORMAT[file_kind]}


def unknown_uuid(name: str) -> str:
    """A UUID that no generated row has, the same for the same name."""
    return str(uuid5(_NAMESPACE, name))


def missing_required(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A column that may not be empty is."""
    column = _first(dataset, lambda c: not c.nullable and c.default is None and c.name not in dataset.key)
    return _with(row, column, None, "empty, but required")


def bad_uuid(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A UUID is none."""
    return _with(row, _first(dataset, lambda c: c.type == "uuid"), "not-a-uuid", "no UUID")


def bad_number(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A number is a word."""
    column = _first(dataset, lambda c: c.type in _NUMBERS and c.name not in dataset.key)
    return _with(row, column, "twelve", "no number")


def bad_boolean(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A boolean is neither."""
    column = _first(dataset, lambda c: c.type == "boolean")
    return _with(row, column, "perhaps", "neither true nor false")


def bad_date(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A day or moment does not exist."""
    column = _first(dataset, lambda c: c.type in {"timestamptz", "date"})
    value = "2024-02-30" if column and column.type == "date" else "2024-02-30T25:61:00Z"
    return _with(row, column, value, "a day or time that does not exist")


def bad_address(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """An IP address is none."""
    return _with(row, _first(dataset, lambda c: c.type == "inet"), "203.0.113.999", "no IP address")


def bad_enum(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A value is not of its closed set."""
    column = _first(dataset, lambda c: c.name not in dataset.key and _breaks(c, "unheard-of", OneOf))
    return _with(row, column, "unheard-of", "none of the allowed values")


def bad_pattern(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A text does not match its pattern, but has an allowed length."""
    for value in ("not right", "?? ", "", "     "):
        column = _first(dataset, lambda c, value=value: _breaks(c, value, Matches))
        if column is not None:
            return _with(row, column, value, f"{value!r} does not match the pattern")
    return None


def out_of_range(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A number is beyond a bound of its range."""
    for column in dataset.columns:
        for rule in column.rules:
            if isinstance(rule, Between) and column.type in _NUMBERS and column.name not in dataset.key:
                value = int(rule.low) - 1 if rule.low is not None else int(rule.high or 0) + 1
                if _breaks(column, str(value), Between):
                    return _with(row, column, value, f"{value} is outside its range")
    return None


def too_long(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A text has one character more than allowed."""
    for column in dataset.columns:
        highs = [rule.high for rule in column.rules if isinstance(rule, Length) and rule.high is not None]
        text = row[column.source_name]
        if highs and isinstance(text, str):
            value = "x" * (min(highs) + 1 - len(text)) + text
            if _breaks(column, value, Length):
                return _with(row, column, value, f"{len(value)} characters, {min(highs)} allowed")
    return None


def nul_character(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A text holds U+0000, which Postgres cannot store."""
    value = "before\0after"
    column = _first(dataset, lambda c: c.type == "text" and not broken_rules(c, value) and not _has_set(c))
    return _with(row, column, value, "holds the character U+0000")


def out_of_order(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A moment is before the one it must follow."""
    for order in dataset.orders:
        first, then = dataset.by_name[order.first], dataset.by_name[order.then]
        if first.type == then.type == "timestamptz" and row[first.source_name]:
            moment = datetime.fromisoformat(row[first.source_name]) - timedelta(hours=1)
            earlier = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return _with(row, then, earlier, f"an hour before {order.first}")
    return None


def broken_reference(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A foreign key names a row that is not there."""
    referring = {name for key in dataset.foreign_keys if len(key.columns) == 1 for name in key.columns}
    column = _first(dataset, lambda c: c.name in referring and c.type == "uuid")
    return _with(row, column, unknown_uuid(f"{dataset.name}/nobody"), "refers to a row that is not there")


def duplicate_key(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A row has the key of an earlier one, and other content."""
    singles = [column.name for column in dataset.columns if column.unique]
    unique = [dataset.by_name[name].source_name for name in (*singles, *sum(dataset.unique, ()))]
    key = [dataset.by_name[name].source_name for name in dataset.key]
    changed = {**after, **{name: row[name] for name in unique}, **{name: before[name] for name in key}}
    return Spoilt(",".join(dataset.key), "the key of the sound row before it", changed)


def not_unique(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A row repeats what must be unique, under a key of its own."""
    for columns in (*((c.name,) for c in dataset.columns if c.unique), *dataset.unique):
        names = [dataset.by_name[name].source_name for name in columns]
        if all(before[name] is not None for name in names):
            changed = {**row, **{name: before[name] for name in names}}
            return Spoilt(",".join(columns), "must be unique, but repeats the sound row before it", changed)
    return None


def bad_json(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A JSON document is cut off."""
    column = _first(dataset, lambda c: c.type == "jsonb")
    return _with(row, column, '{"theme": "dark"', "JSON that ends too early")


def too_few_fields(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A line lacks its last field."""
    count = len(dataset.columns)
    if count == 1:
        return None
    bare = {**row, dataset.columns[-1].source_name: None}  # its line ends in a comma
    return Spoilt(None, f"{count - 1} fields, {count} expected", bare, lambda line: line.removesuffix(","))


def too_many_fields(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A line has a field more than there are columns."""
    count = len(dataset.columns)
    return Spoilt(None, f"{count + 1} fields, {count} expected", row, lambda line: f"{line},surplus")


def broken_line(dataset: Dataset, row: Row, before: Row, after: Row) -> Spoilt | None:
    """A line holds half an object."""
    return Spoilt(None, "a JSON object that ends too early", row, lambda line: line[: len(line) // 2])


_ANYWHERE: dict[str, Spoiler] = {
    spoiler.__name__: spoiler
    for spoiler in (
        missing_required,
        bad_uuid,
        bad_number,
        bad_boolean,
        bad_date,
        bad_address,
        bad_enum,
        bad_pattern,
        out_of_range,
        too_long,
        nul_character,
        out_of_order,
        broken_reference,
        duplicate_key,
        not_unique,
    )
}
_BY_FORMAT: dict[str, dict[str, Spoiler]] = {
    "csv": {f.__name__: f for f in (bad_json, too_few_fields, too_many_fields)},
    "ndjson": {f.__name__: f for f in (broken_line,)},
    "json": {},
}
KINDS = tuple(dict.fromkeys([*_ANYWHERE, *(kind for kinds in _BY_FORMAT.values() for kind in kinds)]))


def _first(dataset: Dataset, suits: Callable[[Column], bool]) -> Column | None:
    return next((column for column in dataset.columns if suits(column)), None)


def _with(row: Row, column: Column | None, value: Any, note: str) -> Spoilt | None:
    return column and Spoilt(column.name, note, {**row, column.source_name: value})


def _breaks(column: Column, value: str, kind: type[Rule]) -> bool:
    """Whether the value breaks rules of that kind and no other."""
    if kind is not Between and column.type != "text":
        return False
    broken = broken_rules(column, value)
    return bool(broken) and all(isinstance(rule, kind) for rule in broken)


def _has_set(column: Column) -> bool:
    return any(isinstance(rule, OneOf) for rule in column.rules)
