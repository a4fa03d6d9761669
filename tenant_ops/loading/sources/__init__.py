"""Reading source files: whatever the format, batches of text columns with a position for each row."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenant_ops.datasets import Dataset, Drift
from tenant_ops.loading.reports import Drifted, Reading, SourceFile
from tenant_ops.loading.sources.batch import Batch, Reject
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.csv_files import read_csv
from tenant_ops.loading.sources.databases import read_database, read_sqlite, sqlite_tables
from tenant_ops.loading.sources.json_files import members, read_json, read_ndjson
from tenant_ops.loading.sources.parquet_files import read_parquet
from tenant_ops.loading.sources.streams import TextStream, open_text

ROWS_AS_OBJECTS = 20_000
"""Most rows held as Python objects, which take some ten times the memory of columns."""

__all__ = ["Batch", "OpenSource", "Reject", "open_source", "parts_of"]


@dataclass(frozen=True)
class OpenSource:
    """A source while it is read.

    Attributes:
        batches: Its rows.
        consumed: Says how many of its bytes were read so far.
        encoding: What its text is read as; empty when it is no text.
    """

    batches: Iterator[Batch]
    consumed: Callable[[], int]
    encoding: str
    _columns: Columns

    @property
    def drift(self) -> tuple[Drifted, ...]:
        """Columns it has too many or too few; complete once all rows were read."""
        return self._columns.drift

    @property
    def samples(self) -> dict[str, list[str]]:
        """The first values of each column that was passed over, by its name in the source."""
        return self._columns.samples


@contextmanager
def open_source(
    file: SourceFile,
    dataset: Dataset,
    *,
    batch_rows: int,
    drift: Drift | str,
    reading: Reading,
    since: tuple[str, str] | None = None,
) -> Iterator[OpenSource]:
    """A source's rows in batches of at most `batch_rows`.

    Args:
        file: Where they are.
        dataset: What they are rows of.
        batch_rows: Most rows of a batch.
        drift: What happens to columns the dataset does not have.
        reading: How text and databases are read.
        since: A column of the source and the value its rows begin with. A source that can leave out rows
            before that does so; others give them all.

    Raises:
        InputError: the source as a whole cannot be used; it says where and why.
    """
    path = Path(file.path)
    if file.format in {"sqlite", "database", "json", "ndjson"}:
        batch_rows = min(batch_rows, ROWS_AS_OBJECTS)
    columns = Columns(dataset, file.name, drift)
    match file.format:
        case "parquet":
            batches = read_parquet(path, file.name, columns, batch_rows=batch_rows)
        case "sqlite":
            batches = read_sqlite(path, file.name, file.part or "", columns, batch_rows=batch_rows)
        case "database":
            batches = read_database(
                file.path,
                file.name,
                columns,
                table=file.part,
                query=reading.query,
                batch_rows=batch_rows,
                since=since,
            )
        case _:
            with open_text(
                path, file.compression, file.name, member=file.member, encoding=reading.encoding
            ) as stream:
                batches = _read_text(file, stream, columns, reading, batch_rows)
                yield OpenSource(batches, lambda: stream.consumed, stream.encoding, columns)
            return
    with closing(batches):
        yield OpenSource(batches, lambda: 0, "", columns)


def _read_text(
    file: SourceFile, stream: TextStream, columns: Columns, reading: Reading, batch_rows: int
) -> Iterator[Batch]:
    match file.format:
        case "ndjson":
            return read_ndjson(stream, columns, batch_rows=batch_rows)
        case "json":
            return read_json(stream, columns, member=file.part, batch_rows=batch_rows)
        case _:
            usual = "\t" if file.format == "tsv" else ","
            return read_csv(stream, columns, delimiter=reading.delimiter, usual=usual, batch_rows=batch_rows)


def parts_of(file: SourceFile, reading: Reading) -> tuple[str, ...] | None:
    """The tables a file that can hold several of them holds; None when it is one table.

    Raises:
        InputError: the file cannot be read.
    """
    if file.format == "sqlite":
        return sqlite_tables(Path(file.path), file.name)
    if file.format == "json":
        with open_text(
            Path(file.path), file.compression, file.name, member=file.member, encoding=reading.encoding
        ) as stream:
            return members(stream)
    return None
