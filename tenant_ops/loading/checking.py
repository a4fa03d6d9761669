"""Good rows and bad rows: a batch of text, read as its dataset's types and held against its rules.

Here: everything one batch can decide by itself, without a database. Not here: duplicates and references
(`violations.py`), the rules themselves (`datasets/frames.py`).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as arrow
from pyarrow import csv as arrow_csv

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.frames import find_faults, typed_frame
from tenant_ops.datasets.parsing import Parsed, parse
from tenant_ops.loading.quarantine import BadRow
from tenant_ops.loading.sources import Batch

FILE, LINE = "_file", "_line"
"""Columns every stage has: the number of the row's file in its load, and where in it the row began."""


@dataclass(frozen=True)
class Checked:
    """A batch that was checked.

    Attributes:
        good: Text of the good rows, with `FILE` and `LINE`.
        bad: The others, in file order.
    """

    good: arrow.Table
    bad: list[BadRow]


def check(dataset: Dataset, batch: Batch, file_number: int, *, validate: bool = True) -> Checked:
    """Split a batch into rows Postgres can store under the dataset's rules, and the others.

    Args:
        dataset: Whose types and rules.
        batch: What was read.
        file_number: Goes into `FILE`.
        validate: Whether rules are checked; types always are.
    """
    parsed = {name: parse(dataset.by_name[name], text) for name, text in batch.columns.items()}
    faults = _faults(dataset, batch, parsed, validate=validate)
    bad = [
        BadRow(batch.lines[row].as_py(), tuple(reasons.items()), _raw(dataset, batch, row))
        for row, reasons in faults.items()
    ]
    bad += [BadRow(reject.line, ((None, reject.reason),), reject.raw) for reject in batch.rejects]
    bad.sort(key=lambda row: row.line)

    count = len(batch.lines)
    table = arrow.table(
        {
            **{name: column.text for name, column in parsed.items()},
            FILE: arrow.repeat(arrow.scalar(file_number, arrow.int16()), count),
            LINE: batch.lines,
        }
    )
    if faults:
        good = np.ones(count, bool)
        good[list(faults)] = False
        table = table.filter(arrow.array(good))
    return Checked(table, bad)


def as_csv(table: arrow.Table) -> memoryview:
    """The rows as COPY reads them: a null is nothing, an empty text is two quotes."""
    sink = arrow.BufferOutputStream()
    arrow_csv.write_csv(table, sink, arrow_csv.WriteOptions(include_header=False, quoting_style="needed"))
    return memoryview(sink.getvalue())


def _faults(
    dataset: Dataset, batch: Batch, parsed: dict[str, Parsed], *, validate: bool
) -> dict[int, dict[str | None, str]]:
    """Reasons by column of every bad row: for one cell, only the first thing that is wrong with it."""
    faults: dict[int, dict[str | None, str]] = {}
    for fault in batch.faults:
        faults.setdefault(fault.row, {}).setdefault(fault.column, fault.reason)
    for name, column in parsed.items():
        for row, reason in column.faults.items():
            faults.setdefault(row, {}).setdefault(name, reason)
    if validate and parsed and len(batch.lines):
        frame = typed_frame({name: column.typed for name, column in parsed.items()})
        for fault in find_faults(dataset, frame):
            faults.setdefault(fault.row, {}).setdefault(fault.column, fault.reason)
    return faults


def _raw(dataset: Dataset, batch: Batch, row: int) -> dict[str, str | None]:
    return {dataset.by_name[name].source_name: text[row].as_py() for name, text in batch.columns.items()}
