"""CSV and TSV files.

Here: header, rows, line numbers, rows with the wrong number of values. Not here: what values mean.

Values are separated by what the header uses, quoted with `"` only, a quote inside them doubled.
An unquoted empty value is null, a quoted one is an empty text, as in Postgres' own CSV. A row of nothing but
empty values is a blank line and passed over.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import csv
import string
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute
from pyarrow import csv as arrow_csv

from tenant_ops.loading.sources.batch import Batch, Reject, find_invalid
from tenant_ops.loading.sources.columns import SAMPLES, Columns
from tenant_ops.loading.sources.encodings import INVALID
from tenant_ops.loading.sources.streams import TextStream, too_long
from tenant_ops.platform.errors import InputError

DELIMITERS = ",;\t|"
"""What may separate values when nobody says what does."""

_RESERVED = str.maketrans("", "", '"<>.\\')

LONGEST_CSV_ROW = 2 << 20
"""Bytes of the longest row."""

# Bytes handed on at a time. Arrow reads 32 blocks ahead, so those are small, but a batch costs some 6 ms
# beside what its rows cost, so those are not.
_BATCH = 2 << 20


def read_csv(
    stream: TextStream, columns: Columns, *, delimiter: str | None, usual: str = ",", batch_rows: int
) -> Iterator[Batch]:
    """The rows of a CSV file with a header.

    Args:
        stream: The file.
        columns: What its columns are held against.
        delimiter: What separates values; None finds it in the header.
        usual: What it is when the header does not tell.
        batch_rows: Most rows of a batch.

    Raises:
        InputError: there is no usable header, a quote is never closed, or a row is longer than 2 MB.
    """
    if delimiter is not None:
        delimiter = _usable(delimiter)
    header, header_lines, delimiter = _read_header(stream, columns, delimiter, usual)
    where = f"{stream.name}, line {header_lines}"
    _refuse_other_delimiter(header, delimiter, where)
    names = columns.match(header, where)
    positions = _Positions(next_line=header_lines + 1)
    for table in _joined(_tables(stream, header, delimiter, positions)):
        for start in range(0, table.num_rows, batch_rows):
            yield _batch(table.slice(start, batch_rows), names, positions, columns)
    rejects = positions.place_rest()
    if stream.quotes % 2 and positions.last_spans_lines and stream.last != b'"':
        raise InputError(
            "a quote is opened and never closed, so the rest of the file would be one value.",
            where=f"{stream.name}, line {positions.last_line}",
            fix='Close it; a quote inside a quoted value is written "".',
        )
    if rejects:
        yield Batch({}, arrow.array([], arrow.int64()), [], rejects)


@dataclass(frozen=True)
class _Misfit:
    """A row with the wrong number of values: the `number`-th of the file, over so many lines."""

    number: int
    reason: str
    raw: str
    height: int


@dataclass
class _Positions:
    """Works out the line each row begins at, from row numbers and the line breaks inside values.

    Attributes:
        next_line: The line after the rows placed so far.
        last_line: The line the last of them began at.
        last_spans_lines: Whether that row has line breaks in it.
    """

    next_line: int
    last_line: int = 0
    last_spans_lines: bool = False
    _next_row: int = 1
    _misfits: deque[_Misfit] = field(default_factory=deque)

    def note(self, row: arrow_csv.InvalidRow) -> str:
        """Arrow's callback for a row with the wrong number of values."""
        reason = f"{row.actual_columns} values where the header has {row.expected_columns}"
        self._misfits.append(_Misfit(row.number, reason, row.text, 1 + row.text.count("\n")))
        return "skip"

    def place(self, breaks: np.ndarray) -> tuple[np.ndarray, list[Reject]]:
        """Lines of the next good rows, given the line breaks inside each, and the misfits before the last."""
        misfits: list[_Misfit] = []
        after = self._next_row + len(breaks)
        while self._misfits and self._misfits[0].number < after:
            misfits.append(self._misfits.popleft())
            after += 1
        return self._place(after, breaks, misfits)

    def place_rest(self) -> list[Reject]:
        """The misfits after the last good row."""
        misfits = list(self._misfits)
        return self._place(self._next_row + len(misfits), np.empty(0, np.int64), misfits)[1]

    def _place(
        self, after: int, breaks: np.ndarray, misfits: list[_Misfit]
    ) -> tuple[np.ndarray, list[Reject]]:
        heights = np.ones(after - self._next_row, np.int64)
        good = np.ones(len(heights), bool)
        good[[misfit.number - self._next_row for misfit in misfits]] = False
        heights[good] += breaks
        heights[~good] = [misfit.height for misfit in misfits]
        lines = self.next_line + np.cumsum(heights) - heights
        if len(lines):
            self.next_line += int(heights.sum())
            self.last_line, self.last_spans_lines = int(lines[-1]), bool(heights[-1] > 1)
        self._next_row = after
        rejects = [
            Reject(line, misfit.reason, misfit.raw)
            for line, misfit in zip(lines[~good].tolist(), misfits, strict=True)
        ]
        return lines[good], rejects


def _read_header(
    stream: TextStream, columns: Columns, delimiter: str | None, usual: str
) -> tuple[list[str], int, str]:
    """The column names, how many lines they take, and what separates them."""
    start = next(stream.blocks(), b"").decode()
    # Not splitlines: a name may hold one of the characters only Unicode takes for a line end.
    lines = [f"{line}\n" for line in start.removesuffix("\n").split("\n")]
    if delimiter is None:
        delimiter = _find_delimiter(lines, columns, usual)
    try:
        header, height = _split_header(lines, delimiter)
    except csv.Error as error:
        raise InputError(
            f"the header cannot be read: {error}.",
            where=f"{stream.name}, line 1",
            fix="Begin the file with one line of column names; end lines with LF or CRLF.",
        ) from error
    if not header:
        raise InputError(
            "the file is empty." if not start.strip() else "the first line is empty.",
            where=stream.name,
            fix="Begin the file with one line of column names.",
        )
    if any(INVALID in name for name in header):
        raise InputError(
            f"the header is no text in {stream.encoding}.",
            where=f"{stream.name}, line {height}",
            fix="Name the file's encoding, or have it detected.",
        )
    stream.unread("".join(lines[height:]).encode())
    return header, height, delimiter


def _usable(delimiter: str) -> str:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    # No letter, digit or blank: those are in the mark that stands for bytes that are no text.
    if delimiter == "\t" or (len(delimiter) == 1 and delimiter in string.punctuation.translate(_RESERVED)):
        return delimiter
    raise InputError(
        f"values cannot be separated by {delimiter!r}.",
        where="delimiter",
        fix="Use one of , ; | : or tab, or leave it out and it is found in the header.",
    )


def _split_header(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    return next(reader, []), reader.line_num


def _find_delimiter(lines: list[str], columns: Columns, usual: str) -> str:
    """The one that gives most columns the dataset has, then most columns; the usual one among equals."""

    def columns_given(delimiter: str) -> tuple[int, int, bool]:
        try:
            header, _ = _split_header(lines, delimiter)
        except csv.Error:
            return (0, int(delimiter == usual), delimiter == usual)
        known = sum(name in columns.dataset.reads for name in header)
        return (known, len(header), delimiter == usual)

    return max(DELIMITERS, key=columns_given)


def _refuse_other_delimiter(header: list[str], delimiter: str, where: str) -> None:
    for other in DELIMITERS:
        if len(header) == 1 and other != delimiter and other in header[0]:
            raise InputError(
                f"the header has one column, {header[0]!r}, which looks separated by {other!r}.",
                where=where,
                fix="Name the right delimiter, or leave it to be found.",
            )


def _tables(
    stream: TextStream, header: list[str], delimiter: str, positions: _Positions
) -> Iterator[arrow.RecordBatch]:
    first = stream.read(LONGEST_CSV_ROW)
    if not first:
        return
    stream.quotes -= first.count(b'"')
    stream.unread(first)
    # Names of our own: the file's may repeat once unknown columns are ignored.
    columns = [str(position) for position in range(len(header))]
    try:
        yield from arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=LONGEST_CSV_ROW, column_names=columns
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=positions.note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, arrow.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except arrow.ArrowInvalid as error:
        if "straddl" in str(error):
            raise too_long(stream.name, LONGEST_CSV_ROW) from error
        raise InputError(f"the file cannot be read as CSV: {error}.", where=stream.name) from error


def _joined(tables: Iterator[arrow.RecordBatch]) -> Iterator[arrow.RecordBatch]:
    waiting: list[arrow.RecordBatch] = []
    for table in tables:
        waiting.append(table)
        if sum(each.nbytes for each in waiting) >= _BATCH:
            yield from arrow.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting = []
    if waiting:
        yield from arrow.Table.from_batches(waiting).combine_chunks().to_batches()


def _batch(
    table: arrow.RecordBatch, names: dict[str, str | None], positions: _Positions, columns: Columns
) -> Batch:
    breaks = reduce(
        np.add,
        (
            compute.fill_null(compute.count_substring(column, "\n"), 0).to_numpy(zero_copy_only=False)
            for column in table.columns
        ),
    )
    lines, rejects = positions.place(breaks)
    numbers = arrow.array(lines, arrow.int64())
    blank = reduce(compute.and_, map(compute.is_null, table.columns))
    if compute.any(blank).as_py():
        table, numbers = table.filter(compute.invert(blank)), numbers.filter(compute.invert(blank))
    texts: dict[str, arrow.Array] = {}
    for (source, name), text in zip(names.items(), table.columns, strict=True):
        if name is None:
            columns.sample(source, text.drop_null()[:SAMPLES].to_pylist())
        else:
            texts[name] = text
    return Batch(texts, numbers, find_invalid(texts), rejects)
