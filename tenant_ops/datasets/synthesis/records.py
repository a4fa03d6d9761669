"""Fixture files with one record on each line, as lines that can be copied and added to.

Here: CSV, JSON arrays and NDJSON as `write_fixtures` lays them out. Not here: loading files of any layout
(`loading/`), which rows are added (`faults.py`).
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tenant_ops.datasets.definition import Dataset
from tenant_ops.platform.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class RecordFile:
    """A file's records; `lines` are their texts without line ends and without an array's commas."""

    kind: str
    columns: tuple[str, ...]
    lines: tuple[str, ...]

    @classmethod
    def read(cls, dataset: Dataset, path: Path) -> "RecordFile":
        """Read a file.

        Raises:
            InputError: it is compressed or Parquet, or a record spans lines.
        """
        kind = path.suffix.removeprefix(".")
        if kind not in {"csv", "json", "ndjson"}:
            raise InputError("only uncompressed CSV, JSON and NDJSON can be read by line.", where=str(path))
        lines = path.read_bytes().decode().split("\n")[:-1]
        if kind == "csv":
            lines = lines[1:]
        elif kind == "json":
            lines = [line.removesuffix(",") for line in lines[1:-1]]
        columns = tuple(column.source_name for column in dataset.columns)
        file = cls(kind, columns, tuple(lines))
        try:
            complete = len(file.rows()) == len(lines)
        except ValueError:
            complete = False
        if not complete:
            raise InputError("a record spans several lines, or a line is no record.", where=str(path))
        return file

    @property
    def first_line(self) -> int:
        """The line of the file the first record stands on, from 1."""
        return 1 if self.kind == "ndjson" else 2

    def rows(self) -> list[Row]:
        """The records: values as text for CSV (None where empty), as JSON has them otherwise."""
        if self.kind == "csv":
            records = csv.reader(self.lines, strict=True)
            return [
                {name: text or None for name, text in zip(self.columns, record, strict=True)}
                for record in records
            ]
        return [orjson.loads(line) for line in self.lines]

    def written(self, row: Mapping[str, Any]) -> str:
        """The record as a line."""
        if self.kind != "csv":
            return orjson.dumps(row).decode()
        buffer = io.StringIO()
        values = ["" if row[name] is None else row[name] for name in self.columns]
        csv.writer(buffer, lineterminator="").writerow(values)
        return buffer.getvalue()

    def write(self, path: Path, lines: Sequence[str]) -> None:
        """Write other records in this file's layout."""
        match self.kind:
            case "csv":
                text = "\n".join([",".join(self.columns), *lines])
            case "json":
                text = "[\n" + ",\n".join(lines) + "\n]"
            case _:
                text = "\n".join(lines)
        path.write_bytes(f"{text}\n".encode())
