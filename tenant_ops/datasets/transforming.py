"""The transforms of a dataset, carried out on a batch: columns of text in, columns of text out.

Here: what each transform does, a whole column at a time. Not here: declaring them (`transforms.py`), looking
up keys, which only the database can (`loading/lookups.py`).
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets.definition import Dataset
from tenant_ops.datasets.frames import Fault
from tenant_ops.datasets.transforms import (
    Clean,
    Compute,
    Default,
    Derive,
    Drop,
    Hash,
    Lookup,
    MapValues,
    Mask,
    Number,
    Split,
    Transform,
    applies,
)
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.masking import mask

Columns = dict[str, arrow.Array]


@dataclass(frozen=True)
class Transformed:
    """A batch after its transforms.

    Attributes:
        columns: Text by name: the dataset's columns, and what transforms were made from.
        faults: Cells a transform could not be applied to, under the name of the column it read.
    """

    columns: Columns
    faults: list[Fault]


def transform(dataset: Dataset, columns: Mapping[str, arrow.Array], rows: int, key: bytes) -> Transformed:
    """Apply the dataset's transforms to a batch, all but its lookups.

    Args:
        dataset: Whose transforms.
        columns: Text by name, as `Dataset.reads` calls the columns of a source.
        rows: How many rows there are.
        key: What `Hash` hashes under, the tenant's own; unused without one.

    Raises:
        InputError: the function of a `Compute` failed, or returned something else than a column.
    """
    made = dict(columns)
    faults: list[Fault] = []
    for each in dataset.transforms:
        inputs = {name: made.get(dataset.reads.get(name, name)) for name in each.inputs}
        if not applies(each, {name for name, column in inputs.items() if column is not None}):
            continue
        texts = {
            name: arrow.nulls(rows, arrow.string()) if column is None else column
            for name, column in inputs.items()
        }
        work = _Work(dataset, texts, rows, key)
        made.update(_apply(each, work, made))
        faults += work.faults
    return Transformed(made, faults)


class _Work:
    """What one transform has to do: its inputs, and the faults it finds in them."""

    def __init__(self, dataset: Dataset, inputs: Columns, rows: int, key: bytes) -> None:
        self.dataset = dataset
        self.inputs = inputs
        self.rows = rows
        self.key = key
        self.faults: list[Fault] = []

    def refuse(self, name: str, bad: arrow.Array, reason: str) -> None:
        """Note that these cells cannot be transformed."""
        rows = compute.indices_nonzero(compute.fill_null(bad, False)).to_pylist()
        column = self.dataset.reads.get(name, name)
        self.faults += [Fault(row, column, reason) for row in rows]


def _apply(each: Transform, work: _Work, before: Columns) -> Columns:
    """The columns a transform makes."""
    first = next(iter(work.inputs.values()), None)
    match each:
        case Derive() | Compute() | Split():
            return _kept_where_null(_make(each, work), before)
        case Lookup() | Drop():
            return {}
        case _:
            return {work.dataset.reads.get(each.column, each.column): _change(each, work, first)}


def _change(
    each: Clean | Number | MapValues | Hash | Mask | Default, work: _Work, text: arrow.Array
) -> arrow.Array:
    match each:
        case Clean():
            return _clean(each, text)
        case Number():
            return _number(each, work, text)
        case MapValues():
            return _map_values(each, work, text)
        case Hash():
            return _by_value(text, _hasher(work.key))
        case Default(_, value):
            return compute.fill_null(text, value)
        case Mask(name, privacy):
            column = work.dataset.by_name.get(work.dataset.reads.get(name, name))
            as_class = privacy or (column.privacy if column else None) or "secret"
            return _by_value(text, lambda value: mask(value, as_class))


def _make(each: Derive | Compute | Split, work: _Work) -> Columns:
    match each:
        case Derive(name):
            pieces = [
                piece for text, part in each.parts for piece in (text, work.inputs[part] if part else "")
            ]
            return {name: compute.binary_join_element_wise(*pieces, "")}
        case Compute():
            return {each.column: _compute(each, work)}
        case Split():
            return _split(each, work)


def _kept_where_null(made: Columns, before: Columns) -> Columns:
    """What the source gave stays where nothing was made."""
    return {
        name: compute.coalesce(column, before[name]) if name in before else column
        for name, column in made.items()
    }


def _clean(each: Clean, text: arrow.Array) -> arrow.Array:
    if each.strip:
        text = compute.utf8_trim_whitespace(text)
    if each.lower:
        text = compute.utf8_lower(text)
    return compute.if_else(compute.equal(text, ""), None, text) if each.empty_as_null else text


def _number(each: Number, work: _Work, text: arrow.Array) -> arrow.Array:
    decimal, thousands = re.escape(each.decimal), re.escape(each.thousands)
    grouped = rf"\d{{1,3}}(?:{thousands}\d{{3}})+|\d+" if thousands else r"\d+"
    usual = rf"^[+-]?(?:(?:{grouped})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?$"
    fits = compute.match_substring_regex(text, usual)
    work.refuse(
        each.column,
        compute.invert(fits),
        f"not a number with {each.decimal!r} before decimals"
        + (f" and {each.thousands!r} between thousands" if thousands else ""),
    )
    plain = compute.if_else(fits, text, None)
    if each.thousands:
        plain = compute.replace_substring(plain, each.thousands, "")
    return compute.replace_substring(plain, each.decimal, ".")


def _map_values(each: MapValues, work: _Work, text: arrow.Array) -> arrow.Array:
    known = arrow.array(list(each.values), arrow.string())
    at = compute.index_in(text, known)
    mapped = arrow.array(list(each.values.values()), arrow.string()).take(at)
    unknown = compute.and_(compute.is_valid(text), compute.is_null(at))
    if each.otherwise == "refuse":
        work.refuse(each.column, unknown, "not one of the values there is a mapping for")
    return compute.if_else(unknown, text, mapped) if each.otherwise == "keep" else mapped


def _split(each: Split, work: _Work) -> Columns:
    text = work.inputs[each.column]
    lists = compute.split_pattern(text, each.by, max_splits=len(each.into) - 1)
    if each.exact:
        few = compute.less(compute.list_value_length(lists), len(each.into))
        work.refuse(each.column, few, f"fewer than {len(each.into)} parts between {each.by!r}")
    padded = compute.list_slice(lists, 0, len(each.into), return_fixed_size_list=True)
    parts = (compute.list_element(padded, place) for place in range(len(each.into)))
    # The parts of a null are what happens to stand in its place.
    there = compute.is_valid(text)
    return {name: compute.if_else(there, part, None) for name, part in zip(each.into, parts, strict=True)}


def _compute(each: Compute, work: _Work) -> arrow.Array:
    where = f"dataset {work.dataset.name}, column {each.column}"
    try:
        result = each.function(*work.inputs.values())
        column = result.combine_chunks() if isinstance(result, arrow.ChunkedArray) else result
        text = compute.cast(column, arrow.string())
    except Exception as error:
        raise InputError(f"the function that computes it failed: {error}", where=where) from error
    if not isinstance(text, arrow.Array) or len(text) != work.rows:
        raise InputError(f"the function that computes it did not return {work.rows} values.", where=where)
    return text


def _hasher(key: bytes) -> Callable[[str], str]:
    keyed = hmac.new(key, digestmod="sha256")

    def hashed(value: str) -> str:
        # A copy of what is keyed already: a third faster than from the key, 1.3 s for a million values.
        one = keyed.copy()
        one.update(value.encode())
        return one.hexdigest()

    return hashed


def _by_value(text: arrow.Array, change: Callable[[str], str | None]) -> arrow.Array:
    """Change each different value once."""
    encoded = compute.dictionary_encode(text)
    changed = [change(value) for value in encoded.dictionary.to_pylist()]
    return arrow.array(changed, arrow.string()).take(encoded.indices)
