"""Which rows the bad ones of a load were meant to be: their keys, as far as they can be read.

Here: reading them back from the quarantine, into a table. Not here: what they are good for (`replacing.py`):
a row that is bad in the files must not cost the row that is there.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pyarrow as arrow
from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.parsing import parse
from tenant_ops.loading.ledger import Load
from tenant_ops.tenants import Tenant

_AT_A_TIME = 10_000


def copy_bad_keys(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, load: Load, table: sql.Identifier
) -> int:
    """Put the keys of the rows that were left out when staging into `table`, which has the key's columns.

    Returns how many keys cannot be read: those of rows that are none, that have a fault in a key column or no
    value in it, and of rows that are no longer in quarantine.
    """
    expected = sum(file.quarantined + file.rejected for file in load.files)
    if not expected:
        return 0
    known = 0
    statement = sql.SQL("COPY {} FROM STDIN").format(table)
    for rows in _batches(connection, tenant, dataset, load):
        keys = _keys(dataset, rows)
        known += len(keys)
        with connection.cursor().copy(statement) as copy:
            for key in keys:
                copy.write_row(key)
    return expected - known


def _keys(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    columns: list[list[str | None]] = []
    for name in dataset.key:
        column = dataset.by_name[name]
        texts = [value if isinstance(value := row.get(column.source_name), str) else None for row in rows]
        parsed = parse(column, arrow.array(texts, arrow.string()))
        readable = enumerate(parsed.text.to_pylist())
        columns.append([None if row in parsed.faults else text for row, text in readable])
    return [key for key in zip(*columns, strict=True) if None not in key]  # pyright: ignore[reportReturnType]


def _batches(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, load: Load
) -> Iterator[list[dict[str, Any]]]:
    """The rows that have columns, and no fault in those of the key."""
    rows: list[dict[str, Any]] = []
    for row in _entries(connection, tenant, dataset, load):
        rows.append(row)
        if len(rows) == _AT_A_TIME:
            yield rows
            rows = []
    yield rows


def _entries(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, load: Load
) -> Iterator[dict[str, Any]]:
    # The first entry of a row has the row, the others only what else is wrong with it.
    query = sql.SQL(
        """
        SELECT (array_agg(raw) FILTER (WHERE raw IS NOT NULL))[1] FROM (
            SELECT raw, column_name, count(raw) OVER (ORDER BY id) AS nth
            FROM {} WHERE load_id = %s AND check_name = 'schema'
        ) entries
        GROUP BY nth HAVING NOT bool_or(coalesce(string_to_array(column_name, ', ') && %s, false))
        """
    ).format(sql.Identifier(tenant.stage_schema, "quarantine"))
    with closing(connection.cursor("bad_rows")) as cursor:
        for (raw,) in cursor.execute(query, (load.id, list(dataset.key))):
            if isinstance(raw, dict):
                yield raw
