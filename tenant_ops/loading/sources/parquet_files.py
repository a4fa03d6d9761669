"""Parquet files.

Here: their rows as text. Not here: whether the text fits the dataset.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Generator
from pathlib import Path

import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from tenant_ops.datasets import Column
from tenant_ops.datasets.formats import spell_utc
from tenant_ops.loading.sources.batch import Batch, find_invalid, spell
from tenant_ops.loading.sources.columns import SAMPLES, Columns
from tenant_ops.loading.sources.streams import unreadable


def read_parquet(path: Path, name: str, columns: Columns, *, batch_rows: int) -> Generator[Batch]:
    """The rows of a Parquet file, a row group at a time.

    Raises:
        InputError: it is no Parquet file, or its columns do not fit the dataset.
    """
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise unreadable(name, error) from error
    with file:
        names = columns.match(file.schema_arrow.names, name)
        _sample(file, columns)
        wanted = {source: column for source, column in names.items() if column is not None}
        start = 1
        for rows in file.iter_batches(batch_size=batch_rows, columns=list(wanted)):
            texts = {
                column: _as_text(rows.column(source), columns.dataset.by_name.get(column))
                for source, column in wanted.items()
            }
            numbers = arrow.array(range(start, start + rows.num_rows), arrow.int64())
            start += rows.num_rows
            yield Batch(texts, numbers, find_invalid(texts))


def _sample(file: parquet.ParquetFile, columns: Columns) -> None:
    if columns.samples:
        for rows in file.iter_batches(batch_size=SAMPLES, columns=list(columns.samples)):
            for source in columns.samples:
                columns.sample(source, _as_text(rows.column(source), None).to_pylist())
            return


def _as_text(values: arrow.Array, column: Column | None) -> arrow.Array:
    kind = values.type
    if arrow.types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if arrow.types.is_timestamp(kind) and kind.tz is not None:
        # Arrow spells the wall clock of the zone, so go by UTC.
        return spell_utc(values.cast(arrow.timestamp(kind.unit, tz="UTC")))
    as_json = column is not None and column.type == "jsonb"
    if arrow.types.is_nested(kind) or arrow.types.is_binary(kind) or as_json:
        return arrow.array(spell(values.to_pylist(), as_json=as_json), arrow.string())
    return compute.cast(values, arrow.string())
