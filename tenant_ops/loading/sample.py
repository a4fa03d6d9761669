"""What a live table holds, for people and for comparing: a masked sample, a checksum.

Here: two small queries. Not here: where they are shown (`orchestration/`).
"""

from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from tenant_ops.datasets import Dataset
from tenant_ops.platform.masking import mask
from tenant_ops.tenants import Fleet, Tenant

LONGEST_VALUE = 80


def masked_sample(fleet: Fleet, tenant: Tenant, dataset: Dataset, *, limit: int = 5) -> list[dict[str, Any]]:
    """Up to `limit` rows in key order; private columns are masked, all values are short text or None."""
    query = sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(
            sql.SQL("left({0}::text, {1}) AS {0}").format(sql.Identifier(name), LONGEST_VALUE)
            for name in dataset.column_names
        ),
        sql.Identifier(dataset.name),
        # Qualified: the bare name would mean the text in the select list, and miss the index.
        sql.SQL(", ").join(sql.Identifier(dataset.name, name) for name in dataset.key),
        sql.Literal(limit),
    )
    with fleet.session(tenant, "viewer") as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query).fetchall()
    private = {column.name: column.privacy for column in dataset.columns if column.privacy}
    return [
        {name: mask(value, private[name]) if name in private else value for name, value in row.items()}
        for row in rows
    ]


def checksum(fleet: Fleet, tenant: Tenant, dataset: Dataset) -> str:
    """A number that changes with any value of any row, whatever the rows' order; about 0.6 s per million.

    Equal only means equal within one major version of Postgres: its row hash may change between them.
    """
    query = sql.SQL(
        "SELECT count(*) || '-' || coalesce(sum(hash_record_extended(t, 0)::numeric), 0) FROM {} t"
    )
    with fleet.session(tenant, "viewer") as connection:
        row = connection.execute(query.format(sql.Identifier(dataset.name))).fetchone()
    assert row is not None
    return row[0]
