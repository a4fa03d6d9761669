"""Rows as every source gives them: columns of text, and the rows that have no columns.

Here: the batch, and making one from Python rows. Not here: any file format.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.frames import Fault
from tenant_ops.loading.sources.streams import INVALID
from tenant_ops.platform.errors import InputError

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
    names: Sequence[str],
    rows: list[dict[str, Any]],
    lines: list[int],
    rejects: list[Reject],
) -> Batch:
    """Python rows, keyed by source column name, as text.

    Args:
        dataset: What they are rows of.
        names: The dataset's columns that the source has.
        rows: Values as JSON or a database driver gives them.
        lines: Where each row begins.
        rejects: What else was found on the way.
    """
    columns: dict[str, arrow.Array] = {}
    faults: list[Fault] = []
    for name in names:
        column = dataset.by_name[name]
        spell = _spell_json if column.type == "jsonb" else _spell
        texts = [None if (value := row.get(column.source_name)) is None else spell(value) for row in rows]
        try:
            columns[name] = arrow.array(texts, arrow.string())
        except UnicodeEncodeError:
            faults += [Fault(row, name, NOT_UTF8) for row, text in enumerate(texts) if not _is_unicode(text)]
            legible = [None if text is None else text.encode(errors="backslashreplace") for text in texts]
            columns[name] = arrow.array(legible, arrow.binary()).cast(arrow.string())
    return Batch(columns, arrow.array(lines, arrow.int64()), faults + find_invalid(columns), rejects)


def columns_of(dataset: Dataset, found: Sequence[str], *, where: str, drift: str) -> dict[str, str | None]:
    """Which dataset column each source column is, in source order; None for one that is ignored.

    Raises:
        InputError: a column is unknown, named twice or not named, or a required one is missing.
    """
    known = {column.source_name: column.name for column in dataset.columns}
    for position, name in enumerate(found, 1):
        place = f"{where}, column {position}"
        if not name.strip():
            raise InputError("the column has no name.", where=place, fix="Name it in the header.")
        if name in found[: position - 1]:
            raise InputError(f"the column {name!r} is there twice.", where=place, fix="Keep one of them.")
        if name not in known and drift == "strict":
            raise unknown_column(dataset, name, place)
    missing = [
        column.source_name
        for column in dataset.columns
        if column.source_name not in found and not column.nullable and column.default is None
    ]
    if missing:
        raise InputError(
            f"the columns {', '.join(missing)} of {dataset.name} are missing.",
            where=where,
            fix=f"The header has: {', '.join(found)}.",
        )
    return {name: known.get(name) for name in found}


def unknown_column(dataset: Dataset, name: str, where: str) -> InputError:
    """The sentence for a column the dataset does not have."""
    return InputError(
        f"{dataset.name} has no column {name!r}.",
        where=where,
        fix="Remove it, or load with unknown columns ignored. "
        f"Known columns: {', '.join(column.source_name for column in dataset.columns)}.",
    )


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
