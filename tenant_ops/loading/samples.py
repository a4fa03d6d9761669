"""A few live rows of a dataset, safe to show.

Here: masked samples for reports and asset pages. Not here: the masks (`platform/masking.py`).
"""

from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.platform.masking import mask
from tenant_ops.tenants import Fleet, Tenant

ROWS = 5
LONGEST_VALUE = 60


def masked_sample(fleet: Fleet, tenant: Tenant, dataset: Dataset) -> list[dict[str, str | None]]:
    """The first few rows by key, as text; personal data masked, long values cut."""
    query = sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in dataset.column_names),
        sql.Identifier(dataset.name),
        sql.SQL(", ").join(map(sql.Identifier, dataset.key)),
        sql.Literal(ROWS),
    )
    with fleet.session(tenant) as connection:
        rows = connection.execute(query).fetchall()
    return [
        {
            column.name: mask(value, column.privacy) if column.privacy else _cut(value)
            for column, value in zip(dataset.columns, row, strict=True)
        }
        for row in rows
    ]


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
