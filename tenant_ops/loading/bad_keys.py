"""Which rows the bad ones of a load were meant to be: their keys, as far as they can be told.

Here: reading them back from the quarantine, into a table. Not here: what they are good for (`replacing.py`):
a row that is bad in the files must not cost the row that is there.
"""

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import psycopg
import pyarrow as arrow
from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.loading.checking import read_keys
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.sources.batch import Batch, find_invalid
from tenant_ops.tenants import Fleet, Tenant

_AT_A_TIME = 10_000


def copy_bad_keys(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    load: Load,
    table: sql.Identifier,
) -> int:
    """Put the keys of the rows that were left out when staging into `table`, which has the key's columns.

    Returns how many keys are not known: those of rows that do not tell theirs, of what stands where a row
    should be, and of rows that are no longer in quarantine.
    """
    unknown = sum(file.quarantined + file.rejected for file in load.files)
    if not unknown:
        return 0
    key = fleet.column_key(tenant) if dataset.tenant_dependent else b""
    rows = sql.SQL(
        "SELECT raw FROM {} WHERE load_id = %s AND check_name = 'schema' AND jsonb_typeof(raw) = 'object'"
    ).format(sql.Identifier(tenant.stage_schema, "quarantine"))
    with closing(connection.cursor("bad_rows")) as cursor:
        cursor.itersize = _AT_A_TIME
        cursor.execute(rows, (load.id,))
        while raw := [row for (row,) in islice(cursor, _AT_A_TIME)]:
            with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
                for values in read_keys(dataset, _batch(dataset, raw), key=key):
                    if values is not None:
                        copy.write_row(values)
                        unknown -= 1
    return unknown


def _batch(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> Batch:
    there = {name for row in rows for name in row}
    columns = {
        column: arrow.array([row.get(source) for row in rows], arrow.string())
        for source, column in dataset.reads.items()
        if source in there
    }
    return Batch(columns, arrow.array(range(len(rows)), arrow.int64()), find_invalid(columns))
