"""Reading source files: whatever the format, batches of text columns with a position for each row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tenant_ops.datasets import Dataset
from tenant_ops.loading.reports import SourceFile
from tenant_ops.loading.sources.batch import Batch, Reject
from tenant_ops.loading.sources.csv_files import read_csv
from tenant_ops.loading.sources.json_files import members, read_json, read_ndjson
from tenant_ops.loading.sources.streams import open_text
from tenant_ops.loading.sources.tables import read_parquet, read_sqlite, sqlite_tables

ROWS_AS_OBJECTS = 20_000
"""Most rows held as Python objects, which take some ten times the memory of columns."""

__all__ = ["Batch", "Reject", "open_source", "parts_of"]


@contextmanager
def open_source(
    file: SourceFile, dataset: Dataset, *, batch_rows: int, drift: str
) -> Iterator[tuple[Iterator[Batch], Callable[[], int]]]:
    """A file's rows in batches of at most `batch_rows`, and a function that says how many bytes were read.

    Raises:
        InputError: the file as a whole cannot be used; it says where and why.
    """
    path = Path(file.path)
    if file.format in {"sqlite", "json", "ndjson"}:
        batch_rows = min(batch_rows, ROWS_AS_OBJECTS)
    options = {"batch_rows": batch_rows, "drift": drift}
    match file.format:
        case "parquet":
            yield read_parquet(path, file.name, dataset, **options), lambda: 0
        case "sqlite":
            yield read_sqlite(path, file.name, file.part or "", dataset, **options), lambda: 0
        case _:
            with open_text(path, file.compression, file.name) as stream:
                match file.format:
                    case "csv":
                        batches = read_csv(stream, dataset, delimiter=",", **options)
                    case "tsv":
                        batches = read_csv(stream, dataset, delimiter="\t", **options)
                    case "ndjson":
                        batches = read_ndjson(stream, dataset, **options)
                    case "json":
                        batches = read_json(stream, dataset, member=file.part, **options)
                yield batches, lambda: stream.consumed


def parts_of(path: Path, format_: str, compression: str, name: str) -> tuple[str, ...] | None:
    """The tables a file that can hold several of them holds; None when it is one table.

    Raises:
        InputError: the file cannot be read.
    """
    if format_ == "sqlite":
        return sqlite_tables(path, name)
    if format_ == "json":
        with open_text(path, compression, name) as stream:
            return members(stream)
    return None
