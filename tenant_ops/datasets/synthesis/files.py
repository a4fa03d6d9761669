"""Fixture files written from generated rows.

Here: file formats and compression, one file per dataset, published whole. Not here: how rows are made
(`rows.py`) or written as text (`frames.py`).

Equal seeds give equal bytes for CSV, JSON and NDJSON everywhere. What compresses them, and Parquet, writes
the same bytes again with the same library version; the content is equal with any.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import Dataset
from tenant_ops.datasets.synthesis import frames
from tenant_ops.datasets.synthesis.domains import Calendar
from tenant_ops.datasets.synthesis.layout import Layout
from tenant_ops.datasets.synthesis.rows import World
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress

STARTED = date(2024, 1, 1)
CHUNK_ROWS = 65_536
FORMATS = ("csv", "json", "ndjson", "parquet")
COMPRESSIONS = ("gz", "zst")


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Chunk:
    """Some consecutive generated rows of one dataset."""

    dataset: Dataset
    rows: pa.RecordBatch


@dataclass(frozen=True)
class GeneratedFile:
    """One fixture file that was written; `bytes` and `sha256` are the file's, compressed or not."""

    dataset: str
    path: Path
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SynthesisReport:
    """What `write_fixtures` wrote, in foreign-key order."""

    catalog: str
    version: str
    seed: int
    files: tuple[GeneratedFile, ...]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def generate(
    catalog: Catalog,
    *,
    rows: int,
    seed: int,
    datasets: Sequence[str] | None = None,
    started: date = STARTED,
) -> Iterator[Chunk]:
    """Make sound rows for a catalog's datasets, parents first, in chunks of at most 65,536.

    The rows obey every key, reference, rule and order of the definitions; columns with a `sample` recipe look
    lifelike. Equal arguments give equal rows. A subset of the datasets has the rows the whole would have.

    Args:
        catalog: The datasets.
        rows: Rows of the biggest dataset (`Volume.share` 1); the others follow their `Volume`. A dataset has
            fewer when its keys have fewer combinations.
        seed: Any whole number.
        datasets: Names to make; all when None.
        started: First day of the time covered: 14 days for small sets, a year from 3,650 rows on.

    Raises:
        InputError: `rows` is below 1, a dataset is unknown, or a definition leaves no possible value.
    """
    world = _world(catalog, rows, seed, started)
    for dataset in catalog.select(datasets):
        for batch in _batches(world, dataset):
            yield Chunk(dataset, batch)


def write_fixtures(
    catalog: Catalog,
    folder: Path,
    *,
    rows: int,
    seed: int,
    formats: str | Mapping[str, str] = "csv",
    datasets: Sequence[str] | None = None,
    started: date = STARTED,
    progress: Progress = SILENT,
) -> SynthesisReport:
    """Write one fixture file per dataset, `<folder>/<its source name>.<format>`; see `generate` for the rows.

    A file appears whole or not at all, and replaces an earlier one of the same name.

    Args:
        catalog: The datasets.
        folder: Where to write; made when missing.
        rows: Rows of the biggest dataset.
        seed: Any whole number.
        formats: One for all, or one by dataset name (`csv` for the others): `csv`, `json` (an array) or
            `ndjson`, each alone or with `.gz` or `.zst`, or `parquet`.
        datasets: Names to write; all when None.
        started: First day of the time covered.
        progress: Told of every dataset.

    Raises:
        InputError: as `generate`; a format is unknown; or the folder has the dataset in another format.
    """
    chosen = {
        dataset.name: formats if isinstance(formats, str) else formats.get(dataset.name, "csv")
        for dataset in catalog.select(datasets)
    }
    for name, suffix in chosen.items():
        _check(folder, catalog[name].source_name, suffix)
    world = _world(catalog, rows, seed, started)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[GeneratedFile] = []
    for name, suffix in chosen.items():
        progress.start(name, world.count(name))
        path = folder / f"{catalog[name].source_name}.{suffix}"
        _write(world, catalog[name], path, suffix, progress)
        progress.finish(name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        written.append(GeneratedFile(name, path, world.count(name), path.stat().st_size, digest))
    return SynthesisReport(catalog.name, catalog.version, seed, tuple(written))


def _world(catalog: Catalog, rows: int, seed: int, started: date) -> World:
    if rows < 1:
        raise InputError(f"{rows} rows cannot be made.", fix="Ask for 1 or more.")
    days = min(365, max(14, rows // 10))
    return World.of(catalog, rows, seed, Calendar(started, days))


def _batches(world: World, dataset: Dataset) -> Iterator[pa.RecordBatch]:
    count = world.count(dataset.name)
    for start in range(0, count, CHUNK_ROWS):
        index = np.arange(start, min(start + CHUNK_ROWS, count), dtype=np.int64)
        yield frames.frame(world.rows(dataset.name, index))


def _check(folder: Path, name: str, suffix: str) -> None:
    kind, dot, compression = suffix.partition(".")
    known = kind in FORMATS and (not dot or (compression in COMPRESSIONS and kind != "parquet"))
    if not known:
        raise InputError(
            f"{suffix!r} is no fixture format.",
            fix=f"Formats: {', '.join(FORMATS)}; all but parquet may end in .gz or .zst.",
        )
    others = [path for path in sorted(folder.glob(f"{name}.*")) if path.name != f"{name}.{suffix}"]
    if others:
        raise InputError(
            f"the folder already holds {others[0].name}; both would be loaded.",
            where=str(folder),
            fix="Remove that file, or write to another folder.",
        )


def _write(world: World, dataset: Dataset, path: Path, suffix: str, progress: Progress) -> None:
    part = path.with_name(f".{path.name}.part")
    kind, _, compression = suffix.partition(".")
    try:
        with (
            part.open("wb") as raw,
            _compressed(raw, compression) as file,
            _sink(kind, world.layouts[dataset.name], file) as put,
        ):
            for batch in _batches(world, dataset):
                before = raw.tell()
                put(batch)
                progress.advance(dataset.name, batch.num_rows, bytes=raw.tell() - before)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _compressed(raw: IO[bytes], compression: str) -> Iterator[_Writable]:
    match compression:
        case "gz":  # without name and time, which would differ from run to run
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
                yield file
        case "zst":
            with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as file:
                yield file
        case _:
            yield raw


@contextmanager
def _sink(kind: str, layout: Layout, file: _Writable) -> Iterator[Callable[[pa.RecordBatch], object]]:
    dataset = layout.dataset
    match kind:
        case "csv":
            file.write((",".join(column.source_name for column in dataset.columns) + "\n").encode())
            yield lambda batch: file.write(frames.csv_lines(dataset, batch))
        case "ndjson":
            yield lambda batch: file.write(frames.json_lines(dataset, batch, "\n"))
        case "json":
            separator = b"[\n"

            def put(batch: pa.RecordBatch) -> None:
                nonlocal separator
                file.write(separator + frames.json_lines(dataset, batch, ",\n")[:-2])
                separator = b",\n"

            yield put
            file.write(b"\n]\n")
        case _:
            with pq.ParquetWriter(file, frames.schema(layout), compression="zstd") as writer:
                yield writer.write_batch
