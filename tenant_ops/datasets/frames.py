r"""A dataset as a pandera schema: the rules of its columns and rows, checked on typed frames.

Here: the schema, and the list of what in a frame breaks it. Not here: reading text (`parsing.py`), keys and
references, which no single frame can decide (`loading/`), checks on live tables (`validation/`).

Every rule decides here as its SQL twin in `tables.py` does: an empty value passes every rule, `Between`
includes its bounds, lengths count characters, `Matches` means the whole value, with `\s`, `\d` and `\w`
taken as ASCII and `.` as any character.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets.definition import Between, Column, Dataset, Length, Matches, OneOf, Order, Rule
from tenant_ops.datasets.parsing import ARROW_TYPES

REQUIRED = "empty, but required"
# A failed check would otherwise keep every failing cell: 550 MB for a million rows that break three rules.
_KEPT_CASES = 20
# A bracket right after the opening one is a character of the class.
_CLASS_OPENING = re.compile(r"\[\^?\]?")
_SPACES = {r"\s": "[:space:]", r"\S": "[:^space:]"}


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one row; `column` names several, with commas, when it takes several to see it."""

    row: int
    column: str
    reason: str


@cache
def frame_schema(dataset: Dataset, columns: tuple[str, ...] | None = None) -> pa.DataFrameSchema:
    """The dataset as pandera sees it: types, required values and rules.

    Uniqueness is left out: a frame holds one part of a file, and duplicates may be in another part.

    Args:
        dataset: Whose rules.
        columns: The columns that are there, when that is not all of them.
    """
    present = set(columns or dataset.column_names)
    return pa.DataFrameSchema(
        {column.name: _column(column) for column in dataset.columns if column.name in present},
        checks=[_order(order) for order in dataset.orders if {order.first, order.then} <= present],
        name=dataset.name,
        description=dataset.description,
        strict=True,
    )


def typed_frame(columns: dict[str, arrow.Array]) -> pd.DataFrame:
    """Typed Arrow columns as a frame, without copying them."""
    return arrow.table(columns).to_pandas(types_mapper=pd.ArrowDtype)


def find_faults(dataset: Dataset, frame: pd.DataFrame) -> list[Fault]:
    """Everything in the frame that breaks the dataset's schema, by row position.

    Args:
        dataset: Whose rules.
        frame: Typed as `parsing.py` types columns, with a plain running index.
    """
    try:
        frame_schema(dataset, tuple(frame.columns)).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return [fault for error in errors.schema_errors for fault in _faults(error)]
    return []


def describe(rule: Rule) -> str:
    """What is wrong with a value that breaks the rule, as a reason an operator reads."""
    match rule:
        case Between(low, None):
            return f"below {low}"
        case Between(None, high):
            return f"above {high}"
        case Between(low, high):
            return f"not between {low} and {high}"
        case OneOf(values):
            return f"not one of {', '.join(values)}"
        case Matches(pattern):
            return f"does not match {pattern}"
        case Length(low, None):
            return f"shorter than {low} characters"
        case Length(low, high):
            return f"not {low} to {high} characters long"


def _faults(error: pa.errors.SchemaError) -> list[Fault]:
    column = str(error.schema.name)
    if isinstance(error.check, pa.Check) and isinstance(error.check_output, pd.Series):
        # Empty values are not in the output; the others are, under their row.
        failed = error.check_output.index[~error.check_output.astype(bool)]
        column = error.check.description or column
        return [Fault(int(row), column, str(error.check.error)) for row in failed]
    empty = error.reason_code is pa.errors.SchemaErrorReason.SERIES_CONTAINS_NULLS
    if empty and isinstance(error.failure_cases, pd.DataFrame):
        return [Fault(int(row), column, REQUIRED) for row in error.failure_cases["index"]]
    raise error


def _column(column: Column) -> pa.Column:
    return pa.Column(
        pd.ArrowDtype(ARROW_TYPES[column.type]),
        checks=[_check(rule) for rule in column.rules],
        nullable=column.nullable,
        description=column.description or None,
        metadata={"type": column.type, "privacy": column.privacy},
    )


def _check(rule: Rule) -> pa.Check:
    reason = describe(rule)
    match rule:
        case OneOf(values):
            return pa.Check.isin(values, error=reason, n_failure_cases=_KEPT_CASES)
        case Length(low, high):
            return pa.Check.str_length(low, high, error=reason, n_failure_cases=_KEPT_CASES)
        case Matches(pattern):
            return pa.Check(_matcher(pattern), name="matches", error=reason, n_failure_cases=_KEPT_CASES)
        case Between(low, high):
            return pa.Check.in_range(
                -inf if low is None else low,
                inf if high is None else high,
                error=reason,
                n_failure_cases=_KEPT_CASES,
            )


def _order(order: Order) -> pa.Check:
    first, then = order.first, order.then
    return pa.Check(
        lambda frame: (frame[first] <= frame[then]).fillna(True),
        name=f"{first}_{then}_order",
        description=f"{first}, {then}",
        error=f"{first} is after {then}",
        n_failure_cases=_KEPT_CASES,
    )


def _matcher(pattern: str) -> Callable[[pd.Series], pd.Series]:
    """The pattern on a whole column: by RE2 where it knows the syntax, else by Python, a value at a time."""
    whole = f"(?s)^(?:{_with_all_spaces(pattern)})$"
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)
    try:
        compute.match_substring_regex(arrow.array([""]), whole)
    except arrow.ArrowInvalid:
        return lambda series: series.map(lambda value: compiled.fullmatch(str(value)) is not None)

    def match(series: pd.Series) -> pd.Series:
        matched = compute.match_substring_regex(arrow.Array.from_pandas(series), whole)
        return pd.Series(matched.to_numpy(zero_copy_only=False), index=series.index)

    return match


def _with_all_spaces(pattern: str) -> str:
    r"""The pattern with `\s` spelled in a way that has RE2 take a vertical tab for a space, as others do."""
    pieces: list[str] = []
    inside = False
    at = 0
    while at < len(pattern):
        opened = None if inside else _CLASS_OPENING.match(pattern, at)
        piece = opened[0] if opened else pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        at += len(piece)
        inside = bool(opened) or (inside and piece != "]")
        space = _SPACES.get(piece)
        pieces.append(piece if space is None else space if inside else f"[{space}]")
    return "".join(pieces)
