"""Repaired rows in a file: an export, edited by the operator.

Here: reading it into a table to join with, and refusing rows it cannot be about. Not here: writing exports
(`exporting.py`), what becomes of the rows (`replay.py`).

Only what is in the file counts: a row that was taken out stays in quarantine, a column (or member) that was
taken out keeps its quarantined value. The columns the export added are there to be read, not to be changed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import orjson
import psycopg
from psycopg import sql

from tenant_ops.datasets import Catalog, Column, Dataset
from tenant_ops.loading.quarantine.exporting import DATASET, ID, OWN_COLUMNS
from tenant_ops.loading.quarantine.review import not_there
from tenant_ops.loading.reports import Format, Reading, SourceFile
from tenant_ops.loading.sources import open_source
from tenant_ops.loading.sources.batch import spell
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Tenant

FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_BATCH_ROWS = 10_000

Row = dict[str, str | None]


@contextmanager
def repairs(
    connection: psycopg.Connection, tenant: Tenant, catalog: Catalog, path: Path, datasets: Sequence[str]
) -> Iterator[sql.Identifier]:
    """A table with the file's rows of these datasets, while it is needed: `id`, `line`, `row` with values.

    It is made and dropped in the caller's transaction, beside the quarantine: an owner of a schema may always
    make tables there, and temporary ones not on every server.

    Raises:
        InputError: the file cannot be read, or has a row that is not in the quarantine, or one twice.
    """
    table = sql.Identifier(tenant.stage_schema, f"repaired_{uuid4().hex[:12]}")
    connection.execute(
        sql.SQL("CREATE TABLE {} (id bigint, line bigint, dataset text, row jsonb)").format(table)
    )
    known = _known_columns(connection, tenant, catalog)
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for line, row in _rows(path, sorted({name for names in known.values() for name in names})):
            row_id, dataset, values = _checked(path, line, row, known)
            if dataset in datasets:
                copy.write_row((row_id, line, dataset, orjson.dumps(values).decode()))
    connection.execute(sql.SQL("CREATE INDEX ON {} (id)").format(table))
    connection.execute(sql.SQL("ANALYZE {}").format(table))
    _refuse_repeated(connection, table, path)
    _refuse_unknown(connection, tenant, table, path)
    yield table
    connection.execute(sql.SQL("DROP TABLE {}").format(table))


def _known_columns(connection: psycopg.Connection, tenant: Tenant, catalog: Catalog) -> dict[str, set[str]]:
    """What rows of each dataset may have: what its sources may, and what its quarantined rows have."""
    known = {dataset.name: set(dataset.reads) for dataset in catalog}
    found = connection.execute(
        sql.SQL(
            "SELECT DISTINCT q.dataset, key FROM {} q, jsonb_object_keys(q.raw) AS key "
            "WHERE jsonb_typeof(q.raw) = 'object'"
        ).format(sql.Identifier(tenant.stage_schema, "quarantine"))
    )
    for dataset, name in found:
        known.setdefault(dataset, set()).add(name)
    return known


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows with their lines; a column the file does not have is not in them."""
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise InputError(
            "this is no kind of file quarantined rows are repaired in.",
            where=str(path),
            fix=f"Give an edited export, ending in {', '.join(FORMATS)}.",
        )
    if not path.is_file():
        raise InputError("there is no such file.", where=str(path))
    return _object_rows(path) if format_ == "ndjson" else _table_rows(path, format_, columns)


def _table_rows(path: Path, format_: Format, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    names = dict.fromkeys((*OWN_COLUMNS, *columns))
    as_dataset = Dataset(
        name="quarantine",
        description="Rows of any dataset.",
        columns=tuple(
            Column(f"c{number}", "text", nullable=name not in (ID, DATASET), source=name)
            for number, name in enumerate(names)
        ),
        key=("c0",),
    )
    sources = {name: source for source, name in as_dataset.reads.items()}
    file = SourceFile(path.name, str(path), format_, "", None, path.stat().st_size, "")
    reading = Reading(delimiter="\t" if format_ == "tsv" else ",")
    with open_source(file, as_dataset, batch_rows=_BATCH_ROWS, drift="strict", reading=reading) as source:
        for batch in source.batches:
            for reject in batch.rejects:
                raise InputError(f"{reject.reason}.", where=f"{path.name}, line {reject.line}")
            values = {sources[name]: column.to_pylist() for name, column in batch.columns.items()}
            for row, line in enumerate(batch.lines.to_pylist()):
                yield line, {name: column[row] for name, column in values.items()}


def _object_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise InputError("not valid JSON.", where=f"{path.name}, line {line}") from error
            if not isinstance(row, dict):
                raise InputError("not a JSON object.", where=f"{path.name}, line {line}")
            yield line, dict(zip(row, spell(row.values(), as_json=False), strict=True))


def _checked(path: Path, line: int, row: Row, known: Mapping[str, set[str]]) -> tuple[int, str, Row]:
    """The row's number, its dataset, and its values."""
    where = f"{path.name}, line {line}"
    row_id, dataset = row.get(ID), row.get(DATASET)
    if row_id is None or not row_id.isascii() or not row_id.isdecimal() or len(row_id) > 18:
        raise InputError(
            f"{ID} is {row_id!r}, which is no number of a row.", where=where, fix="Leave it as exported."
        )
    if dataset is None or dataset not in known:
        raise InputError(
            f"{DATASET} is {dataset!r}, which is no dataset.", where=where, fix="Leave it as exported."
        )
    values = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
    for name, value in values.items():
        if value is not None and name not in known[dataset]:
            raise InputError(
                f"{dataset} has no column {name!r}.",
                where=where,
                fix=f"Known columns: {', '.join(sorted(known[dataset]))}.",
            )
        if value is not None and not _storable(value):
            raise InputError("no text can hold this character.", where=f"{where}, column {name}")
    return int(row_id), dataset, {name: value for name, value in values.items() if name in known[dataset]}


def _storable(value: str) -> bool:
    return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _refuse_repeated(connection: psycopg.Connection, table: sql.Identifier, path: Path) -> None:
    twice = connection.execute(
        sql.SQL(
            "SELECT id, min(line), max(line) FROM {} GROUP BY id HAVING count(*) > 1 ORDER BY 2 LIMIT 1"
        ).format(table)
    ).fetchone()
    if twice is not None:
        raise InputError(
            f"row {twice[0]} is there twice, also on line {twice[1]}.",
            where=f"{path.name}, line {twice[2]}",
            fix="Keep one of them.",
        )


def _refuse_unknown(
    connection: psycopg.Connection, tenant: Tenant, table: sql.Identifier, path: Path
) -> None:
    unknown = connection.execute(
        sql.SQL(
            """
            SELECT r.line, r.id
            FROM {table} r
            LEFT JOIN {quarantine} q ON q.id = r.id AND q.dataset = r.dataset AND q.raw IS NOT NULL
            LEFT JOIN {load} l ON l.id = q.load_id
            WHERE q.id IS NULL OR l.state <> 'merged' ORDER BY r.line LIMIT 1
            """
        ).format(
            table=table,
            quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
            load=sql.Identifier(tenant.stage_schema, "load"),
        )
    ).fetchone()
    if unknown is not None:
        raise not_there(tenant, unknown[1], f", {path.name}, line {unknown[0]}")
