"""Whether the transforms of a dataset can work, told when it is defined.

Here: the checks, and giving a lookup what only its catalog knows. Not here: the transforms (`transforms.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import Formatter
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from tenant_ops.datasets.formats import NAMED, pattern_of
from tenant_ops.datasets.transforms import (
    Compute,
    Derive,
    Drop,
    Hash,
    Lookup,
    Mask,
    Number,
    Split,
    Transform,
)
from tenant_ops.platform.errors import InputError

if TYPE_CHECKING:
    from tenant_ops.datasets.definition import Dataset

MOST_NAME_BYTES = 48
"""Of the name of a source column that is an input: a stage keeps it under that name and a prefix."""

_SIGNS = {*"0123456789+-eE"}


def check_transforms(dataset: "Dataset") -> None:
    """Refuse transforms that cannot work.

    Raises:
        InputError: names the dataset and the column.
    """
    for place, transform in enumerate(dataset.transforms):
        if problem := _problem(dataset, transform, dataset.transforms[place + 1 :]):
            shown = f"dataset {dataset.name!r}, transform {place + 1} ({_name(transform)})"
            raise InputError(f"{problem}.", where=shown)


def check_formats(dataset: "Dataset") -> None:
    """Refuse formats, zones, pasts and shapes of columns that cannot be used.

    Raises:
        InputError: names the dataset and the column.
    """
    for column in dataset.columns:
        where = f"dataset {dataset.name!r}, column {column.name}"
        if (column.formats and column.type not in {"date", "timestamptz"}) or (
            column.zone and column.type != "timestamptz"
        ):
            raise InputError(f"a {column.type} has neither formats nor a zone.", where=where)
        if (column.past and column.type not in {"date", "timestamptz"}) or (
            column.shape and column.type != "jsonb"
        ):
            raise InputError(f"a {column.type} has neither a past nor a shape.", where=where)
        for format_ in column.formats:
            if problem := _format_problem(format_, column.type):
                raise InputError(problem, where=where)
        if column.zone and column.zone not in available_timezones():
            raise InputError(
                f"there is no time zone {column.zone!r}.", where=where, fix="Name one like Europe/Berlin."
            )


def bind_lookups(dataset: "Dataset", datasets: Mapping[str, "Dataset"]) -> "Dataset":
    """The dataset, its lookups with what only the catalog knows: columns to compare with, the key to take.

    Raises:
        InputError: the columns are not there, or not unique together.
    """
    if not any(isinstance(transform, Lookup) for transform in dataset.transforms):
        return dataset
    bound = tuple(
        _bound(dataset, each, datasets[each.references]) if isinstance(each, Lookup) else each
        for each in dataset.transforms
    )
    return replace(dataset, transforms=bound)


def _bound(dataset: "Dataset", lookup: Lookup, referenced: "Dataset") -> Lookup:
    where = f"dataset {dataset.name!r}, lookup of {lookup.column}"
    unknown = sorted({*lookup.by} - {*referenced.column_names})
    if unknown:
        raise InputError(f"{referenced.name} has no columns {unknown}.", where=where)
    uniques = [referenced.key, *referenced.unique, *((c.name,) for c in referenced.columns if c.unique)]
    if not any(set(columns) == {*lookup.by} for columns in uniques):
        raise InputError(
            f"{referenced.name} may have many rows with one {' and '.join(lookup.by)}.",
            where=where,
            fix="Look rows up by its key, or by columns that it declares unique together.",
        )
    key = _foreign_key(dataset, lookup)
    assert key is not None
    return replace(lookup, natural=tuple(referenced.by_name[name] for name in lookup.by), key=key)


def _format_problem(format_: str, kind: str) -> str:
    """Why a column of this type cannot be written in it, or nothing."""
    if format_ in NAMED:
        return (
            f"{format_} is a moment, not a {kind}." if format_.startswith("epoch") and kind == "date" else ""
        )
    try:
        pattern_of(format_)
    except InputError as error:
        return f"{error.problem} {error.fix}"
    return ""


def _problem(dataset: "Dataset", transform: Transform, later: Sequence[Transform]) -> str:
    """Why it cannot work, or nothing."""
    used = {name for each in later for name in each.inputs}
    lost = [name for name in transform.outputs if not _known(dataset, name) and name not in used]
    if lost:
        return f"it makes {', '.join(lost)}, which is no column of the dataset and not used afterwards"
    long = [name for name in transform.inputs if len(name.encode()) > MOST_NAME_BYTES]
    if long:
        return f"the column name {long[0]!r} is too long for an input ({MOST_NAME_BYTES} bytes at most)"
    match transform:
        case Hash() | Mask():
            return _privacy_problem(dataset, transform)
        case Drop(name):
            return "a column of the dataset cannot be passed over" if _known(dataset, name) else ""
        case Lookup():
            return _lookup_problem(dataset, transform, used)
        case _:
            return _own_problem(transform)


def _own_problem(transform: Transform) -> str:
    """Why it cannot work for any dataset, or nothing."""
    match transform:
        case Number(_, decimal, thousands):
            signs = {decimal, thousands} & _SIGNS
            if len(decimal) != 1 or len(thousands) > 1 or decimal == thousands or signs:
                return "the decimal sign and the thousands sign must be two different signs, and no digits"
        case Split(_, into, by):
            if not by or len(into) < 2 or len(set(into)) < len(into):
                return "it needs two or more different columns, and a text between them"
        case Compute(_, ()):
            return "it has no inputs"
        case Derive(_, template):
            named = [each for each in Formatter().parse(template) if each[1] is not None]
            if not named or any(name == "" or spec or conversion for _, name, spec, conversion in named):
                return "the template holds names of columns in braces, and nothing else in them"
    return ""


def _privacy_problem(dataset: "Dataset", transform: Hash | Mask) -> str:
    column = dataset.by_name.get(dataset.reads.get(transform.column, transform.column))
    if column and column.type != "text":
        return f"it makes text, and {column.name} is {column.type}"
    if isinstance(transform, Mask) and not (transform.privacy or (column and column.privacy)):
        return "neither it nor the column says which kind of personal data is masked"
    return ""


def _lookup_problem(dataset: "Dataset", lookup: Lookup, used: set[str]) -> str:
    if lookup.references == dataset.name:
        return "rows of the dataset itself cannot be looked up: they may be in the same file"
    if not lookup.by:
        return "it does not say what rows are looked up by"
    if _foreign_key(dataset, lookup) is None:
        return f"{lookup.column} is no foreign key of one column to {lookup.references}"
    ordered = {name for order in dataset.orders for name in (order.first, order.then)}
    if dataset.by_name[lookup.column].rules or lookup.column in ordered:
        return f"the rules of {lookup.column} would be checked before it is looked up"
    if lookup.column in used:
        return f"{lookup.column} is looked up when rows are merged, so no transform can use it"
    return ""


def _foreign_key(dataset: "Dataset", lookup: Lookup) -> str | None:
    for key in dataset.foreign_keys:
        if key.columns == (lookup.column,) and key.references == lookup.references:
            return key.target[0]
    return None


def _known(dataset: "Dataset", name: str) -> bool:
    return dataset.reads.get(name, name) in dataset.by_name


def _name(transform: Transform) -> str:
    return f"{type(transform).__name__} {', '.join(transform.outputs or transform.inputs)}"
