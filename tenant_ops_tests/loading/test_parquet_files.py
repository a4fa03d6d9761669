"""Reading Parquet files."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tenant_ops.datasets import Column, Dataset
from tenant_ops.loading.sources.batch import Batch
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.parquet_files import read_parquet
from tenant_ops.platform.errors import InputError

THINGS = Dataset(
    "things",
    "",
    (
        Column("id", "uuid"),
        Column("count", "bigint", nullable=True, source="Count"),
        Column("price", "numeric", nullable=True),
        Column("ratio", "double", nullable=True),
        Column("ok", "boolean", nullable=True),
        Column("day", "date", nullable=True),
        Column("at", "timestamptz", nullable=True),
        Column("label", "text", nullable=True),
        Column("extra", "jsonb", nullable=True),
    ),
    ("id",),
)
ID = uuid.UUID("0b0e0a4e-3d5a-4a3c-8d0e-6b1f4b8f8a11")


def parquet_rows(path: Path, drift: str = "strict") -> list[Batch]:
    return list(read_parquet(path, path.name, Columns(THINGS, path.name, drift), batch_rows=2))


def texts(batches: list[Batch], column: str) -> list[str | None]:
    return [text for batch in batches for text in batch.columns[column].to_pylist()]


def test_parquet_values_become_text_that_means_the_same(tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)
    parquet.write_table(
        arrow.table(
            {
                "id": [str(ID)] * 3,
                "Count": arrow.array([1, None, 2**62], arrow.int64()),
                "price": arrow.array(
                    [Decimal("1.10"), None, Decimal("99999999.99")], arrow.decimal128(10, 2)
                ),
                "ratio": [0.1, None, 1e-300],
                "ok": [True, None, False],
                "day": [dt.date(2024, 2, 29), None, dt.date(1, 1, 1)],
                "at": arrow.array([moment, None, moment], arrow.timestamp("ns", tz="UTC")).cast(
                    arrow.timestamp("ns", tz="America/New_York")
                ),
                "label": arrow.array(["a", None, ""]).dictionary_encode(),
                "extra": [{"x": 1.5, "y": ["z"]}, None, {"x": None, "y": []}],
            }
        ),
        path,
    )
    batches = parquet_rows(path)
    assert [batch.lines.to_pylist() for batch in batches] == [[1, 2], [3]]
    assert texts(batches, "count") == ["1", None, str(2**62)]
    assert texts(batches, "price") == ["1.10", None, "99999999.99"]
    assert texts(batches, "ratio") == ["0.1", None, "1e-300"]
    assert texts(batches, "ok") == ["true", None, "false"]
    assert texts(batches, "day") == ["2024-02-29", None, "0001-01-01"]
    assert texts(batches, "at") == ["2024-05-06 07:08:09.123456000Z", None, "2024-05-06 07:08:09.123456000Z"]
    assert texts(batches, "label") == ["a", None, ""]
    assert texts(batches, "extra") == ['{"x":1.5,"y":["z"]}', None, '{"x":null,"y":[]}']


def test_parquet_columns_are_those_of_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    parquet.write_table(arrow.table({"id": [str(ID)], "other": [1]}), path)
    with pytest.raises(InputError, match=r"things\.parquet, column 2: things has no column 'other'"):
        parquet_rows(path)
    columns = Columns(THINGS, "things", "ignore")
    (batch,) = read_parquet(path, "things", columns, batch_rows=2)
    assert list(batch.columns) == ["id"]
    assert columns.samples == {"other": ["1"]}
    assert [(drifted.column, drifted.kind) for drifted in columns.drift] == [
        ("other", "unknown"),
        *((name, "missing") for name in ("Count", "price", "ratio", "ok", "day", "at", "label", "extra")),
    ]


def test_what_only_looks_like_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"things\.parquet: the file is cut off or not what its name says"):
        parquet_rows(path)
