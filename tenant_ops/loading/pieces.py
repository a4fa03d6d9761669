"""What becomes of a file before it is written: pieces of text that COPY can read, and the bad rows.

Here: reading a file batch by batch, checking it, leaving out what an incremental load has had. Not here:
formats (`sources/`), what makes a row bad (`checking.py`), writing (`filling.py`).
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets import Column, Dataset, Drift
from tenant_ops.datasets.parsing import parse
from tenant_ops.loading.checking import FILE, LINE, as_csv, check, extra_columns
from tenant_ops.loading.discovery import content_hash
from tenant_ops.loading.proposals import propose_columns
from tenant_ops.loading.quarantine import BadRow
from tenant_ops.loading.reports import DatasetPlan, Drifted, LoadPlan, SourceFile
from tenant_ops.loading.sources import Batch, OpenSource, open_source
from tenant_ops.loading.sources.quarantined import open_quarantined
from tenant_ops.loading.stages import ROW
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

SHARING_LINES = frozenset({"json", "quarantine"})
"""Formats in which several rows may begin on one line."""


@dataclass(frozen=True)
class Piece:
    """One batch of a file, checked.

    Attributes:
        columns: Those of `text` that are the dataset's, and its `extra_columns`; none when there are no good
            rows.
        text: The good rows as COPY reads them: `columns`, then `FILE`, `LINE` and `ROW`.
        good: How many they are.
        bad: The others, in file order.
        passed_over: Rows that an incremental load has had before.
        bytes: What was read of the file for it.
    """

    columns: tuple[str, ...]
    text: memoryview | bytes
    good: int
    bad: list[BadRow]
    passed_over: int
    bytes: int

    @property
    def read(self) -> int:
        """Rows of the batch."""
        return self.good + len(self.bad) + self.passed_over


class Pieces(Protocol):
    """A file as pieces, in its order."""

    def skip(self, batches: int) -> tuple[int, int]:
        """Pass over so many pieces, without checking them; how many rows and bytes they held."""
        ...

    def __iter__(self) -> Iterator[Piece]:
        """The pieces from there on."""
        ...

    @property
    def encoding(self) -> str:
        """What the file's text is read as."""
        ...

    @property
    def drift(self) -> tuple[Drifted, ...]:
        """Columns it has too many or too few; complete after the last piece."""
        ...

    @property
    def samples(self) -> dict[str, list[str]]:
        """The first values of columns that were passed over; complete after the last piece."""
        ...


@contextmanager
def read_pieces(
    fleet: Fleet,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    file: SourceFile,
    number: int,
    *,
    batch_rows: int,
) -> Iterator[Pieces]:
    """Read and check a file.

    Args:
        fleet: The fleet.
        tenant: Who loads it.
        dataset: What its rows are.
        plan: How they are read and checked.
        file: What is read.
        number: Its place in the load.
        batch_rows: Most rows of a piece.

    Raises:
        InputError: the file as a whole cannot be used, or (after its last piece) has changed meanwhile.
    """
    key = fleet.column_key(tenant) if dataset.tenant_dependent else b""
    with _open(fleet, tenant, dataset, plan, file, batch_rows) as source:
        pieces = _FileInPieces(file, number, dataset, plan, source, key)
        yield pieces
        if plan.of(dataset.name).drift is Drift.EVOLVE:
            propose_columns(fleet.settings.home, fleet.catalog.version, dataset, pieces.samples)


def _open(
    fleet: Fleet, tenant: Tenant, dataset: Dataset, plan: LoadPlan, file: SourceFile, batch_rows: int
) -> AbstractContextManager[OpenSource]:
    if file.format == "quarantine":
        return open_quarantined(fleet, tenant, file, dataset, batch_rows=batch_rows)
    part = plan.of(dataset.name)
    since = None
    # A source can leave out rows only by what it stores itself.
    if part.cursor and part.after is not None and part.cursor not in dataset.rewritten:
        since = (dataset.source_of(part.cursor), part.after)
    return open_source(
        file, dataset, batch_rows=batch_rows, drift=part.drift, reading=plan.reading, since=since
    )


class _FileInPieces:
    """A file that is read as its pieces are asked for."""

    def __init__(
        self,
        file: SourceFile,
        number: int,
        dataset: Dataset,
        plan: LoadPlan,
        source: OpenSource,
        key: bytes,
    ) -> None:
        self._file = file
        self._number = number
        self._dataset = dataset
        self._plan = plan
        self._source = source
        self._key = key
        self._rows = 0
        self._bytes = 0

    def skip(self, batches: int) -> tuple[int, int]:
        for _, batch in zip(range(batches), self._source.batches, strict=False):
            self._rows += batch.rows
        return self._rows, self._consumed()

    def __iter__(self) -> Iterator[Piece]:
        for batch in self._source.batches:
            yield self._piece(batch)
            self._rows += batch.rows
        check_unchanged(self._file)

    @property
    def encoding(self) -> str:
        return self._source.encoding

    @property
    def drift(self) -> tuple[Drifted, ...]:
        return self._source.drift

    @property
    def samples(self) -> dict[str, list[str]]:
        return self._source.samples

    def _piece(self, batch: Batch) -> Piece:
        part = self._plan.of(self._dataset.name)
        checked = check(self._dataset, batch, self._number, validate=self._plan.validate, key=self._key)
        good = _since(checked.good, self._dataset, part)
        columns = tuple(name for name in self._dataset.column_names if name in good.column_names)
        good = good.select([*columns, *extra_columns(self._dataset), FILE, LINE])
        good = good.append_column(ROW, self._numbers(good.num_rows))
        return Piece(
            columns=columns if good.num_rows else (),
            text=as_csv(good) if good.num_rows else b"",
            good=good.num_rows,
            bad=checked.bad,
            passed_over=checked.good.num_rows - good.num_rows,
            bytes=self._consumed(),
        )

    def _numbers(self, count: int) -> arrow.Array:
        if self._file.format not in SHARING_LINES:
            return arrow.nulls(count, arrow.int64())
        return arrow.array(np.arange(self._rows, self._rows + count))

    def _consumed(self) -> int:
        """Bytes read since this was asked last."""
        before, self._bytes = self._bytes, self._source.consumed()
        return self._bytes - before


def check_unchanged(file: SourceFile) -> None:
    """The ledger must not say that other bytes were loaded than those that were read.

    Raises:
        InputError: the file is not the one that was planned.
    """
    if content_hash(file) != file.sha256:
        raise InputError(
            "the file changed after the load was planned.",
            where=file.name,
            fix="Load again when it is whole.",
        )


def cursor_bound(column: Column, after: str) -> arrow.Scalar:
    """The value of a cursor column that loads had come to.

    Raises:
        InputError: it cannot be read as the column's type.
    """
    parsed = parse(column.plain, arrow.array([after], arrow.string()))
    if parsed.faults:
        raise InputError(
            f"{after!r} is {parsed.faults[0]}.", where=f"cursor {column.name}", fix="Load with mode batch."
        )
    return parsed.typed[0]


def _since(good: arrow.Table, dataset: Dataset, part: DatasetPlan) -> arrow.Table:
    """The rows that are not before the plan's `after`; a row without a value is not before anything."""
    if part.cursor is None or part.after is None or part.cursor not in good.column_names:
        return good
    column = dataset.by_name[part.cursor].plain
    values = parse(column.plain, good.column(part.cursor).combine_chunks()).typed
    before = compute.fill_null(compute.less(values, cursor_bound(column, part.after)), False)
    return good.filter(compute.invert(before))
