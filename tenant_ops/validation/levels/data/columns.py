"""What a column's definition says of each of its values by itself.

Here: filled, ranges, sets, lengths, patterns, numbers and times that are some, documents.
Not here: how texts are written (`texts.py`), rules over several rows (`keys.py`).
"""

from collections.abc import Iterator

from tenant_ops.datasets import Between, Column, Dataset, Length, Matches, OneOf, Order
from tenant_ops.datasets.tables import condition
from tenant_ops.validation.levels.data.wording import AT_SOURCE, literal, quoted, row_rule
from tenant_ops.validation.rules import FillDefault, Rule, Where

CLOCK_SKEW = "5 minutes"
"""How much later than ours an application's clock may be."""


def column_rules(dataset: Dataset, column: Column) -> Iterator[Rule]:
    """The rules of one column."""
    if not column.nullable:
        broken = f"{quoted(column.name)} IS NULL"
        held = ("nullability", column.name)
        fix = FillDefault(column.name) if column.default else None
        yield row_rule(dataset, column, "filled", broken, "is filled in every row", fix=fix, held_by=held)
    yield from _declared(dataset, column)
    yield from _measurable(dataset, column)
    if column.shape:
        broken = f"jsonb_typeof({quoted(column.name)}) <> '{column.shape}'"
        yield row_rule(dataset, column, "shape", broken, f"is a JSON {column.shape}")


def order_rule(dataset: Dataset, order: Order) -> Rule:
    """Two columns of a row in order."""
    return Rule(
        id=f"data.{dataset.name}.{order.first}.order.{order.then}",
        level="data",
        severity="error",
        description=f"{dataset.name}.{order.first} is not after {order.then}.",
        remediation=AT_SOURCE,
        find=Where(f"{quoted(order.first)} > {quoted(order.then)}"),
        dataset=dataset.name,
        subject=f"{dataset.name}.{order.first}",
        held_by=("check", f"{dataset.name}_{order.first}_{order.then}_order_check"),
    )


def _declared(dataset: Dataset, column: Column) -> Iterator[Rule]:
    check = ("check", f"{dataset.name}_{column.name}_check")
    for rule in column.rules:
        match rule:
            case Between(low, high):
                what = f"lies between {_bound(low)} and {_bound(high)}"
                yield row_rule(dataset, column, "range", _broken(column, rule), what, held_by=check)
            case OneOf(values):
                what = f"is one of {', '.join(values)}"
                yield row_rule(dataset, column, "set", _broken(column, rule), what, held_by=check)
            case Length(low, high):
                what = f"has {low} to {_bound(high)} characters"
                yield row_rule(dataset, column, "length", _broken(column, rule), what, held_by=check)
            case Matches(pattern):
                # By "C" a digit, a blank and a letter are ASCII on every server, as when loading.
                broken = f'{quoted(column.name)} COLLATE "C" !~ {literal(f"^(?:{pattern})$")}'
                yield row_rule(dataset, column, "pattern", broken, f"matches {pattern} as a whole")


def _measurable(dataset: Dataset, column: Column) -> Iterator[Rule]:
    """Numbers and times that can be reckoned with, and times that can have been."""
    name = quoted(column.name)
    closed = any(isinstance(rule, Between) and None not in (rule.low, rule.high) for rule in column.rules)
    if column.type in {"double", "numeric"} and not closed:
        # Postgres sorts NaN above all numbers: a lower bound alone lets it pass.
        broken = f"{name} IN ('NaN', 'Infinity', '-Infinity')"
        yield row_rule(dataset, column, "finite", broken, "is a finite number")
    if column.type in {"date", "timestamptz"}:
        yield row_rule(dataset, column, "finite", f"NOT isfinite({name})", "is a moment, not infinity")
    if column.past:
        now = f"%(now)s::timestamptz + interval '{CLOCK_SKEW}'"
        broken = f"{name} > {now} AND isfinite({name})"
        yield row_rule(dataset, column, "past", broken, "is not in the future")


def _broken(column: Column, rule: Between | OneOf | Length) -> str:
    return f"NOT ({(condition(column.name, rule) or 'true').replace('%', '%%')})"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:,}"
