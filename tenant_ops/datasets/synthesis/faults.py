"""A sound set of fixture files, spoilt in known places.

Here: copying a set with faults planted, and the exact list of them. Not here: what the faults are
(`spoilers.py`), finding them (`loading/`, `validation/`), making the sound set (`files.py`).

Every fault is a row of its own: a copy of a sound row under a key of its own, with one thing wrong. The sound
rows stay as they are, so a load must take exactly those and turn away exactly the planted ones.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import Column, Dataset
from tenant_ops.datasets.synthesis.domains import broken_rules
from tenant_ops.datasets.synthesis.records import RecordFile, Row
from tenant_ops.datasets.synthesis.spoilers import Spoilt, spoilers, unknown_uuid


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        dataset: Where the row belongs.
        file: Name of the file it stands in.
        line: Line of the file, from 1.
        row: Record of the file, from 1; a header is none.
        column: What is wrong, several names with commas between; None when the whole row is.
        kind: What is wrong with it, one of `spoilers.KINDS`.
        note: The same in words.
    """

    dataset: str
    file: str
    line: int
    row: int
    column: str | None
    kind: str
    note: str


def corrupt(catalog: Catalog, source: Path, target: Path) -> tuple[Fault, ...]:
    """Copy a sound set, with one fault of each kind in every dataset whose columns and format allow it.

    Writes the spoilt files, `faults.json` (the returned list) and `FAULTS.md` (the same for people). Equal
    input gives equal bytes.

    Args:
        catalog: The datasets of the set.
        source: Folder of uncompressed CSV, JSON and NDJSON files, one record a line, as `write_fixtures`
            writes them.
        target: Folder to write to; made when missing.

    Raises:
        InputError: a file is compressed, is Parquet, or holds a record of several lines.
    """
    target.mkdir(parents=True, exist_ok=True)
    faults: list[Fault] = []
    for dataset in catalog:
        for path in sorted(source.glob(f"{dataset.source_name}.*")):
            faults += _spoil(dataset, RecordFile.read(dataset, path), target / path.name)
    listed = {"catalog": catalog.name, "version": catalog.version, "faults": [asdict(f) for f in faults]}
    (target / "faults.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8", newline="\n")
    (target / "FAULTS.md").write_text(_for_people(faults), encoding="utf-8", newline="\n")
    return tuple(faults)


def _spoil(dataset: Dataset, file: RecordFile, target: Path) -> list[Fault]:
    lines = list(file.lines)
    faults: list[Fault] = []
    for place, kind, spoilt in _plan(dataset, file):
        row = place + len(faults)
        text = file.written(spoilt.row)
        lines.insert(row, spoilt.damage(text) if spoilt.damage else text)
        line = file.first_line + row
        faults.append(Fault(dataset.name, target.name, line, row + 1, spoilt.column, kind, spoilt.note))
    file.write(target, lines)
    return faults


def _plan(dataset: Dataset, file: RecordFile) -> Iterator[tuple[int, str, Spoilt]]:
    """The faults and how many sound rows stand before each: at least one, spread over the file."""
    rows = file.rows()
    movable = _movable(dataset, rows)
    if movable is None:
        return
    chosen = spoilers(file.kind)
    for number, (kind, spoil) in enumerate(chosen.items()):
        place = max(1, (number + 1) * len(rows) // (len(chosen) + 1))
        before, after = rows[place - 1], rows[place % len(rows)]
        copy = {**before, **{c.source_name: _moved(dataset, c, rows, number) for c in movable}}
        spoilt = spoil(dataset, copy, before, after)
        if spoilt is not None:
            yield place, kind, spoilt


def _movable(dataset: Dataset, rows: list[Row]) -> list[Column] | None:
    """One column of each key and unique set that can take a value no row has; None when a set has none."""
    bound = {name for key in dataset.foreign_keys for name in key.columns}
    bound |= {name for order in dataset.orders for name in (order.first, order.then)}
    chosen: dict[str, Column] = {}
    singles = [(column.name,) for column in dataset.columns if column.unique]
    for columns in (dataset.key, *dataset.unique, *singles) if rows else [()]:
        free = [dataset.by_name[name] for name in columns if name not in bound]
        found = next((c for c in free if _can_move(dataset, c, rows)), None)
        if found is None:
            return None
        chosen[found.name] = found
    return list(chosen.values())


def _can_move(dataset: Dataset, column: Column, rows: list[Row]) -> bool:
    value = _moved(dataset, column, rows, 0)
    if value is None:
        return column.nullable and column.name not in dataset.key
    return not broken_rules(column, str(value))


def _moved(dataset: Dataset, column: Column, rows: list[Row], number: int) -> Any:
    """A value of the column that no row has, another for each number; None when none is known."""
    present = [row[column.source_name] for row in rows if row[column.source_name] is not None]
    if not present or (column.nullable and column.name not in dataset.key):
        return None
    match column.type:
        case "uuid":
            return unknown_uuid(f"{dataset.name}/{column.name}/{number}")
        case "integer" | "bigint":
            return type(present[0])(max(map(int, present)) + 1 + number)
        case "date":
            return (max(map(date.fromisoformat, present)) + timedelta(days=1 + number)).isoformat()
        case "text":
            return f"copy{number}.{present[0]}"
        case _:
            return None


def _for_people(faults: Sequence[Fault]) -> str:
    head = (
        "# Planted faults\n\n"
        "Every other row of this folder is sound: a load takes those and turns away exactly these.\n"
        "The same list for machines is `faults.json`. Lines count from 1, headers included.\n\n"
        "| file | line | column | kind | what is wrong |\n|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {f.file} | {f.line} | {f.column or 'the whole row'} | {f.kind} | {f.note} |\n" for f in faults
    )
