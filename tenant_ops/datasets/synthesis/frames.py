"""Generated rows as Arrow record batches, and record batches as text.

Here: Arrow types of the column types, CSV and JSON cells. Not here: files (`files.py`).

Text is put together column by column in Arrow: 1 million rows of 8 columns take seconds, where a loop over
rows takes minutes.
"""

from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa

from tenant_ops.datasets.definition import Column, Dataset
from tenant_ops.datasets.synthesis.domains import Values, pc
from tenant_ops.datasets.synthesis.layout import Layout
from tenant_ops.datasets.synthesis.rows import Mask, Rows

_TYPES = {
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("ms", tz="UTC"),
}
_BARE_IN_JSON = {"integer", "bigint", "numeric", "double", "boolean", "jsonb"}


def schema(layout: Layout) -> pa.Schema:
    """The Arrow schema of generated rows; UUIDs, addresses and JSON documents are strings."""
    return pa.schema(
        [
            pa.field(column.source_name, _arrow_type(column, layout.scale(column.name)), column.nullable)
            for column in layout.dataset.columns
        ]
    )


def frame(rows: Rows) -> pa.RecordBatch:
    """The rows with every column of their dataset."""
    arrays = [
        _array(column, rows.layout.scale(column.name), rows.values(column.name), rows.missing(column.name))
        for column in rows.dataset.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(rows.layout))


def csv_lines(dataset: Dataset, batch: pa.RecordBatch) -> bytes:
    """The rows as CSV lines: empty is NULL, quotes only where they are needed."""
    cells = [pc.fill_null(_csv_cell(c, a), "") for c, a in zip(dataset.columns, batch.columns, strict=True)]
    return _concatenated(cells, separator=",", end="\n")


def json_lines(dataset: Dataset, batch: pa.RecordBatch, end: str) -> bytes:
    """The rows as JSON objects, each followed by `end`."""
    parts: list[pa.Array | pa.Scalar] = []
    for number, (column, array) in enumerate(zip(dataset.columns, batch.columns, strict=True)):
        parts.append(pa.scalar(("{" if number == 0 else ",") + f'"{column.source_name}":'))
        parts.append(pc.fill_null(_json_cell(column, array), "null"))
    return _concatenated([*parts, pa.scalar("}")], separator="", end=end)


def _arrow_type(column: Column, scale: int) -> pa.DataType:
    if column.type == "numeric":
        return pa.decimal128(18, scale)
    return pa.float64() if column.type == "double" else _TYPES.get(column.type, pa.string())


def _array(column: Column, scale: int, values: Values, missing: Mask) -> pa.Array:
    wanted = _arrow_type(column, scale)
    if isinstance(values, pa.Array):
        return pc.if_else(pa.array(missing), None, values) if missing.any() else values
    if column.type == "double":
        return pa.array(values / float(10**scale), wanted, mask=missing)
    if column.type == "numeric":
        valid = pa.array(~missing).buffers()[1]
        halves = np.stack([values, values >> 63], axis=1).astype("<i8")
        return pa.Array.from_buffers(wanted, len(values), [valid, pa.py_buffer(halves)])
    if column.type == "timestamptz":
        return pa.array(values, pa.int64(), mask=missing).cast(wanted)
    if column.type == "date":
        return pa.array(values.astype(np.int32), pa.int32(), mask=missing).cast(wanted)
    return pa.array(values, wanted, mask=missing)


def _text(column: Column, array: pa.Array) -> pa.Array:
    if column.type == "timestamptz":
        local = array.cast(pa.timestamp("ms")).cast(pa.string())
        return pc.binary_join_element_wise(pc.binary_replace_slice(local, 10, 11, "T"), "Z", "")
    return array.cast(pa.string())


def _csv_cell(column: Column, array: pa.Array) -> pa.Array:
    text = _text(column, array)
    if not pa.types.is_string(array.type):
        return text
    special = pc.or_(pc.match_substring_regex(text, '[",\r\n]'), pc.is_in(text, pa.array(["", r"\."])))
    if not pc.any(special).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(special, quoted, text)


def _json_cell(column: Column, array: pa.Array) -> pa.Array:
    text = _text(column, array)
    if column.type in _BARE_IN_JSON:
        return text
    quoted = pc.binary_join_element_wise('"', text, '"', "")
    special = pc.match_substring_regex(text, r'["\\\x00-\x1f]')
    if not pc.any(special).as_py():
        return quoted
    escaped = pa.array([orjson.dumps(value).decode() for value in text.to_pylist()], pa.string())
    return pc.if_else(special, escaped, quoted)


def _concatenated(parts: Sequence[pa.Array | pa.Scalar], *, separator: str, end: str) -> bytes:
    lines = pc.binary_join_element_wise(*parts, separator)
    ended = pc.binary_join_element_wise(lines, end, "")
    offsets = np.frombuffer(ended.buffers()[1], np.int32)[ended.offset : ended.offset + len(ended) + 1]
    return ended.buffers()[2].to_pybytes()[offsets[0] : offsets[-1]]
