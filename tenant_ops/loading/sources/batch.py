"""Rows as every source gives them: columns of text, and the rows that have no columns.

Here: the batch, and making one from Python rows. Not here: any file format.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.frames import Fault
from tenant_ops.loading.sources.encodings import INVALID, MARKED_NUL, ON_ERROR, show_bytes

NOT_UTF8, NUL = "not valid UTF-8", "contains a NUL character"


class Number:
    """A number that no type of Python takes, as it was written.

    No dataclass, since JSON would then spell it as an object.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


@dataclass(frozen=True)
class Reject:
    """A row that could not be split into columns: `raw` is what stood there."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Batch:
    """Some rows of a source.

    Attributes:
        columns: Text by dataset column; null is empty. Columns the source does not have are left out.
        lines: Where each row begins: its line in a text file, its number (from 1) in others.
        faults: Cells whose text is not text.
        rejects: Rows that are not in `columns`.
    """

    columns: dict[str, arrow.Array]
    lines: arrow.Array
    faults: list[Fault] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows were read, rejected ones included."""
        return len(self.lines) + len(self.rejects)


def find_invalid(columns: dict[str, arrow.Array]) -> list[Fault]:
    """The cells that held bytes which are no text, or NULs."""
    faults: list[Fault] = []
    for name, text in columns.items():
        marked = compute.fill_null(compute.match_substring(text, INVALID), False)
        rows = compute.indices_nonzero(marked)
        if len(rows):
            nul = compute.match_substring(text.take(rows), MARKED_NUL)
            faults += [
                Fault(row, name, NUL if is_nul else NOT_UTF8)
                for row, is_nul in zip(rows.to_pylist(), nul.to_pylist(), strict=True)
            ]
    return faults


def batch_of_rows(
    dataset: Dataset,
    reads: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[int],
    rejects: list[Reject],
) -> Batch:
    """Python rows, keyed by source column name, as text.

    Args:
        dataset: What they are rows of.
        reads: The columns the source has, by their names in it.
        rows: Values as JSON or a database driver gives them.
        lines: Where each row begins.
        rejects: What else was found on the way.
    """
    values = {name: [row.get(source) for row in rows] for source, name in reads.items()}
    return batch_of_values(dataset, values, lines, rejects)


def batch_of_values(
    dataset: Dataset,
    values: Mapping[str, Sequence[Any]],
    lines: Sequence[int],
    rejects: list[Reject] | None = None,
    *,
    json_is_text: bool = False,
) -> Batch:
    """Columns of Python values as text.

    Args:
        dataset: What they are columns of.
        values: Columns by their name in the batch.
        lines: Where each row begins.
        rejects: What else was found on the way.
        json_is_text: Whether text that becomes `jsonb` is a document, and not a string in one.
    """
    columns: dict[str, arrow.Array] = {}
    for name, column_values in values.items():
        column = dataset.by_name.get(name)
        as_json = column is not None and column.type == "jsonb"
        texts = spell(column_values, as_json=as_json, json_is_text=json_is_text)
        try:
            columns[name] = arrow.array(texts, arrow.string())
        except UnicodeEncodeError:
            marked = [None if text is None else text.encode(errors=ON_ERROR) for text in texts]
            columns[name] = arrow.array(marked, arrow.binary()).cast(arrow.string())
    return Batch(columns, arrow.array(lines, arrow.int64()), find_invalid(columns), rejects or [])


def spell(values: Iterable[Any], *, as_json: bool, json_is_text: bool = False) -> list[str | None]:
    """Values as text: what stands in a JSON document when that is wanted, else what a person would write."""
    write = _spell_json if as_json else _spell
    if as_json and json_is_text:
        write = _spell_document
    return [None if value is None else write(value) for value in values]


def _spell(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return _spell_json(value)
        case bytes() | memoryview():
            return show_bytes(bytes(value))
        case _:
            return str(value)


def _spell_document(value: Any) -> str:
    return value if isinstance(value, str) else _spell_json(value)


def _spell_json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_exact_number).decode()
    except orjson.JSONEncodeError:
        return _spell_odd_json(value)


def _spell_odd_json(value: Any) -> str:
    """JSON with whole numbers beyond 64 bits; lone surrogates stay escaped, and Postgres refuses them."""
    match value:
        case dict():
            members = (f"{_spell_odd_json(key)}:{_spell_odd_json(item)}" for key, item in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(_spell_odd_json, value))}]"
        case Decimal() | Number():
            return str(value)
        case _:
            return json.dumps(value, default=str)


def _exact_number(value: Any) -> Any:
    return orjson.Fragment(str(value)) if isinstance(value, Decimal | Number) else str(value)
