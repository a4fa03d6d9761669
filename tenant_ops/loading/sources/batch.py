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
from tenant_ops.loading.sources.streams import INVALID

NOT_UTF8 = "not valid UTF-8"


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
    """The cells that held bytes which are not UTF-8."""
    faults: list[Fault] = []
    for name, text in columns.items():
        marked = compute.fill_null(compute.match_substring(text, INVALID), False)
        faults += [Fault(row, name, NOT_UTF8) for row in compute.indices_nonzero(marked).to_pylist()]
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
    columns: dict[str, arrow.Array] = {}
    faults: list[Fault] = []
    for source, name in reads.items():
        column = dataset.by_name.get(name)
        as_json = column is not None and column.type == "jsonb"
        texts = spell((row.get(source) for row in rows), as_json=as_json)
        try:
            columns[name] = arrow.array(texts, arrow.string())
        except UnicodeEncodeError:
            faults += [Fault(row, name, NOT_UTF8) for row, text in enumerate(texts) if not _is_unicode(text)]
            legible = [None if text is None else text.encode(errors="backslashreplace") for text in texts]
            columns[name] = arrow.array(legible, arrow.binary()).cast(arrow.string())
    return Batch(columns, arrow.array(lines, arrow.int64()), faults + find_invalid(columns), rejects)


def spell(values: Iterable[Any], *, as_json: bool) -> list[str | None]:
    """Values as text: what stands in a JSON document when that is wanted, else what a person would write."""
    write = _spell_json if as_json else _spell
    return [None if value is None else write(value) for value in values]


def _spell(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return _spell_json(value)
        case bytes():
            return f"{INVALID}<{value.hex()}>"
        case _:
            return str(value)


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
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, default=str)


def _exact_number(value: Any) -> Any:
    return orjson.Fragment(str(value)) if isinstance(value, Decimal) else str(value)


def _is_unicode(text: str | None) -> bool:
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        return False
    return True
