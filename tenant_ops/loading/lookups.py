"""Foreign keys of staged rows, found by what people call the rows they lead to.

Here: finding them, for a whole stage at once, and which rows found none. Not here: reading what is looked for
(`checking.py`), keeping rows that found none in quarantine (`violations.py`).

It is done when merging: only then is the dataset that is referred to sure to be merged. Every time anew, for
rows may have come meanwhile.
"""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset, Lookup
from tenant_ops.loading.checking import lookup_columns
from tenant_ops.loading.stages import stage_table
from tenant_ops.tenants import Tenant


def lookups_of(dataset: Dataset) -> Iterator[Lookup]:
    """The lookups among the transforms of a dataset."""
    return (each for each in dataset.transforms if isinstance(each, Lookup))


def resolve(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> None:
    """Fill the looked-up columns of the stage; a row that finds nothing has nothing there.

    A row with an empty input keeps what it was given.
    """
    for lookup in lookups_of(dataset):
        column = sql.Identifier(lookup.column)
        connection.execute(
            sql.SQL(
                """
                UPDATE {stage} u SET {column} = found.key FROM (
                    SELECT s.ctid, t.{key} AS key FROM {stage} s LEFT JOIN {target} t ON {same}
                    WHERE {asked}
                ) found
                WHERE u.ctid = found.ctid AND u.{column} IS DISTINCT FROM found.key
                """
            ).format(
                stage=stage_table(tenant, dataset),
                column=column,
                key=sql.Identifier(lookup.key),
                target=sql.Identifier(tenant.schema_name, lookup.references),
                same=_same(lookup),
                asked=_asked(lookup),
            )
        )


def found_nothing(tenant: Tenant, dataset: Dataset, lookup: Lookup, good: sql.Composable) -> sql.Composed:
    """Selects the `ctid` of staged rows, of those that are `good` so far, whose lookup leads to no row."""
    return sql.SQL(
        "SELECT s.ctid FROM {stage} s WHERE {good} AND {asked} "
        "AND NOT EXISTS (SELECT FROM {target} t WHERE {same})"
    ).format(
        stage=stage_table(tenant, dataset),
        good=good,
        asked=_asked(lookup),
        target=sql.Identifier(tenant.schema_name, lookup.references),
        same=_same(lookup),
    )


def _asked(lookup: Lookup) -> sql.Composed:
    """All that is looked for is there."""
    return sql.SQL(" AND ").join(
        sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in lookup_columns(lookup)
    )


def _same(lookup: Lookup) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = s.{}").format(sql.Identifier(column.name), sql.Identifier(name))
        for name, column in lookup_columns(lookup).items()
    )
