"""Good rows and bad rows: a batch of text, read as its dataset's types and held against its rules.

Here: everything one batch can decide by itself, without a database. Not here: duplicates and references
(`violations.py`), the rules themselves (`datasets/frames.py`).
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute
from pyarrow import csv as arrow_csv

from tenant_ops.datasets import Column, Dataset, Lookup
from tenant_ops.datasets.frames import REQUIRED, Fault, find_faults, typed_frame
from tenant_ops.datasets.lineage import lineage
from tenant_ops.datasets.parsing import Parsed, parse
from tenant_ops.datasets.transforming import transform
from tenant_ops.datasets.transforms import applies
from tenant_ops.loading.quarantine import BadRow
from tenant_ops.loading.sources import Batch

FILE, LINE = "_file", "_line"
"""Columns every stage has: the number of the row's file in its load, and where in it the row began."""
_GIVEN = "_given:"
_NUL = "contains a NUL character"


@dataclass(frozen=True)
class Checked:
    """A batch that was checked.

    Attributes:
        good: Text of the good rows: the dataset's columns there are, `extra_columns`, `FILE` and `LINE`.
        bad: The others, in file order.
    """

    good: arrow.Table
    bad: list[BadRow]


def check(
    dataset: Dataset, batch: Batch, file_number: int, *, validate: bool = True, key: bytes = b""
) -> Checked:
    """Transform a batch, and split it into rows Postgres can store under the dataset's rules, and the others.

    Args:
        dataset: Whose transforms, types and rules.
        batch: What was read.
        file_number: Goes into `FILE`.
        validate: Whether rules are checked; types always are.
        key: Of the tenant, see `Fleet.column_key`; needed when the dataset depends on the tenant.

    Raises:
        InputError: a function the dataset declares for a column failed.
    """
    count = len(batch.lines)
    work = _Work.of(dataset, batch, key)
    faults = _faults(work, validate=validate)
    bad = [
        BadRow(batch.lines[row].as_py(), tuple(reasons.items()), _raw(dataset, batch, row))
        for row, reasons in faults.items()
    ]
    bad += [BadRow(reject.line, ((None, reject.reason),), reject.raw) for reject in batch.rejects]
    bad.sort(key=lambda row: row.line)

    table = arrow.table(
        {
            **{name: column.text for name, column in work.parsed.items()},
            **{name: column.text for name, (_, column) in work.inputs.items()},
            **work.given,
            FILE: arrow.repeat(arrow.scalar(file_number, arrow.int16()), count),
            LINE: batch.lines,
        }
    )
    if faults:
        good = np.ones(count, bool)
        good[list(faults)] = False
        table = table.filter(arrow.array(good))
    return Checked(table, bad)


def read_keys(dataset: Dataset, batch: Batch, *, key: bytes = b"") -> list[tuple[str, ...] | None]:
    """The primary key of each row as it would be stored; None where the row does not tell it.

    It does not where something that the key is made of is missing or faulty, or is looked up when merging.

    Args:
        dataset: Whose transforms and types.
        batch: What was read.
        key: As for `check`.
    """
    work = _Work.of(dataset, batch, key)
    origins = lineage(dataset)
    sources = {dataset.reads[source] for name in dataset.key for source in origins[name].sources}
    unsure = {fault.row for fault in _unreadable(work) if fault.column in {*dataset.key, *sources}}
    nothing = [None] * len(batch.lines)
    looked_up = {each.column for each in _lookups(dataset)}
    texts = [
        work.parsed[name].text.to_pylist() if name in work.parsed and name not in looked_up else nothing
        for name in dataset.key
    ]
    return [
        None if row in unsure or None in values else values
        for row, values in enumerate(zip(*texts, strict=True))
    ]


def extra_columns(dataset: Dataset) -> dict[str, Column]:
    """What a stage has besides the dataset's own columns and those every stage has, by name.

    What lookups look for, as the type of the column they compare it with; and as text what the source gave
    where that is not what is stored, so that a row found bad later can be quarantined as it was read.
    """
    looked_for = {name: column for each in _lookups(dataset) for name, column in lookup_columns(each).items()}
    return {**looked_for, **{f"{_GIVEN}{name}": Column(name, "text") for name in dataset.rewritten}}


def lookup_columns(lookup: Lookup) -> dict[str, Column]:
    """The columns of a stage with what a lookup looks for, by name, each with what it is compared with."""
    return {f"_by{place}:{lookup.column}": column for place, column in enumerate(lookup.natural)}


def as_read(dataset: Dataset, columns: Sequence[str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a stage as it stood in its source.

    Args:
        dataset: Whose stage.
        columns: The dataset's columns that were staged.
        row: All of its stage's columns.
    """
    raw = {dataset.source_of(name): row[name] for name in columns if f"{_GIVEN}{name}" not in row}
    for name, value in row.items():
        given = name.removeprefix(_GIVEN)
        # Of what only transforms read nobody knows whether it was empty or not there; to them it is the same.
        if given != name and (given in columns or value is not None):
            raw[dataset.source_of(given)] = value
    return raw


def as_csv(table: arrow.Table) -> memoryview:
    """The rows as COPY reads them: a null is nothing, an empty text is two quotes."""
    sink = arrow.BufferOutputStream()
    arrow_csv.write_csv(table, sink, arrow_csv.WriteOptions(include_header=False, quoting_style="needed"))
    return memoryview(sink.getvalue())


@dataclass(frozen=True)
class _Work:
    """A batch while it is checked.

    Attributes:
        parsed: The dataset's columns, read.
        inputs: What lookups look for, read, by its name in the stage; with the column of the batch it was.
        given: What the source gave, by its name in the stage.
        untransformed: Cells that could not be transformed.
    """

    dataset: Dataset
    batch: Batch
    parsed: dict[str, Parsed]
    inputs: dict[str, tuple[str, Parsed]]
    given: dict[str, arrow.Array]
    untransformed: list[Fault]

    @classmethod
    def of(cls, dataset: Dataset, batch: Batch, key: bytes) -> "_Work":
        count = len(batch.lines)
        if not dataset.rewritten:
            return cls(dataset, batch, _parsed(dataset, batch.columns, count), {}, {}, [])
        made = transform(dataset, batch.columns, count, key)
        inputs: dict[str, tuple[str, Parsed]] = {}
        columns = dict(made.columns)
        nothing = arrow.nulls(count, arrow.string())
        for each in _lookups(dataset):
            names = [dataset.reads.get(name, name) for name in each.inputs]
            if applies(each, [name for name in each.inputs if dataset.reads.get(name, name) in columns]):
                columns.setdefault(each.column, nothing)
            for (staged, column), name in zip(lookup_columns(each).items(), names, strict=True):
                inputs[staged] = name, parse(column.plain, columns.get(name, nothing))
        given = {f"{_GIVEN}{name}": batch.columns.get(name, nothing) for name in dataset.rewritten}
        return cls(dataset, batch, _parsed(dataset, columns, count), inputs, given, made.faults)

    def is_looked_up(self, column: str) -> np.ndarray | None:
        """Whether each row has all that the lookup of a column needs; None when there is no such lookup."""
        for each in _lookups(self.dataset):
            if each.column == column:
                filled = [compute.is_valid(self.inputs[name][1].text) for name in lookup_columns(each)]
                return reduce(compute.and_, filled).to_numpy(zero_copy_only=False)
        return None


def _parsed(dataset: Dataset, columns: Mapping[str, arrow.Array], count: int) -> dict[str, Parsed]:
    """The dataset's columns there are, read; those that must be filled and cannot be are all null."""
    texts = {name: columns[name] for name in dataset.column_names if name in columns}
    if dataset.transforms and columns:
        for source in dataset.lacking([dataset.source_of(name) for name in columns]):
            texts.setdefault(dataset.reads[source], arrow.nulls(count, arrow.string()))
    return {name: parse(dataset.by_name[name], texts[name]) for name in dataset.column_names if name in texts}


def _faults(work: _Work, *, validate: bool) -> dict[int, dict[str | None, str]]:
    """Reasons by column of every bad row: for one cell, only the first thing that is wrong with it."""
    faults: dict[int, dict[str | None, str]] = {}
    for fault in _unreadable(work):
        faults.setdefault(fault.row, {}).setdefault(fault.column, fault.reason)
    if validate and work.parsed and len(work.batch.lines):
        frame = typed_frame({name: column.typed for name, column in work.parsed.items()})
        for fault in _without_consequences(work, find_faults(work.dataset, frame), faults):
            faults.setdefault(fault.row, {}).setdefault(fault.column, fault.reason)
    return faults


def _unreadable(work: _Work) -> Iterator[Fault]:
    """What cannot be read as text, be transformed, or be read as its type."""
    yield from work.batch.faults
    yield from work.untransformed
    for name, column in work.parsed.items():
        yield from (Fault(row, name, reason) for row, reason in column.faults.items())
    for name, column in work.inputs.values():
        yield from (Fault(row, name, reason) for row, reason in column.faults.items())
    for staged, text in work.given.items():
        nul = compute.fill_null(compute.greater_equal(compute.find_substring(text, "\x00"), 0), False)
        yield from (
            Fault(row, staged.removeprefix(_GIVEN), _NUL) for row in compute.indices_nonzero(nul).to_pylist()
        )


def _without_consequences(
    work: _Work, found: list[Fault], known: Mapping[int, Mapping[str | None, str]]
) -> list[Fault]:
    """Leave out that a column is empty where it is looked up later, or what it is made of is bad already."""
    if not found or not work.dataset.rewritten:
        return found
    made_of = {
        name: {work.dataset.reads[source] for source in origin.sources}
        for name, origin in lineage(work.dataset).items()
    }
    looked_up = {name: work.is_looked_up(name) for name in work.parsed}

    def is_consequence(fault: Fault) -> bool:
        later = looked_up.get(fault.column)
        return fault.reason == REQUIRED and (
            (later is not None and bool(later[fault.row]))
            or not made_of[fault.column].isdisjoint(known.get(fault.row, {}))
        )

    return [fault for fault in found if not is_consequence(fault)]


def _raw(dataset: Dataset, batch: Batch, row: int) -> dict[str, str | None]:
    return {dataset.source_of(name): text[row].as_py() for name, text in batch.columns.items()}


def _lookups(dataset: Dataset) -> Iterator[Lookup]:
    return (each for each in dataset.transforms if isinstance(each, Lookup))
