"""The stage of a dataset: an unlogged table beside the live one, with rows that are checked and not merged.

Here: the table itself. Not here: filling it (`filling.py`), moving its rows on (`merging.py`).
"""

import psycopg
from psycopg import sql

from tenant_ops.datasets import Column, Dataset
from tenant_ops.datasets.tables import sql_type
from tenant_ops.loading.checking import FILE, LINE, extra_columns
from tenant_ops.tenants import Tenant

ROW = "_row"
"""Column of every stage: tells rows of one line apart, in their order; null where a line has one row."""
VIOLATION = "_violation"
"""Column of every stage: which check of the merge the row failed, null while it failed none."""


def stage_table(tenant: Tenant, dataset: Dataset) -> sql.Identifier:
    """The stage of a dataset."""
    return sql.Identifier(tenant.stage_schema, f"stage_{dataset.name}")


def create_stage(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> None:
    """The live table's columns, types and defaults, without its constraints: bad keys are to be found.

    Taken from the definition, which may be ahead of a live table that is not migrated yet.
    """
    columns = [f'"{column.name}" {sql_type(column)} {_default(column)}' for column in dataset.columns]
    extra = [
        sql.SQL("{} {}, ").format(sql.Identifier(name), sql.SQL(sql_type(column)))  # pyright: ignore[reportArgumentType]
        for name, column in extra_columns(dataset).items()
    ]
    connection.execute(
        sql.SQL(
            "CREATE UNLOGGED TABLE {} "
            "({}, {}{} smallint NOT NULL, {} bigint NOT NULL, {} bigint, {} smallint) "
            "WITH (autovacuum_enabled = false)"
        ).format(
            stage_table(tenant, dataset),
            # Names and defaults come from a dataset definition, which is code; no input reaches them.
            sql.SQL(", ".join(columns)),  # pyright: ignore[reportArgumentType]
            sql.SQL("").join(extra),
            *map(sql.Identifier, (FILE, LINE, ROW, VIOLATION)),
        )
    )


def drop_stage(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> None:
    """Drop the stage, if there is one."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(stage_table(tenant, dataset)))


def count_staged(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> int | None:
    """Rows in the stage, None when there is none.

    A stage is unlogged: after a crash of the server it is there, and empty.
    """
    name = stage_table(tenant, dataset)
    exists = connection.execute("SELECT to_regclass(%s)", (name.as_string(),)).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    return row[0] if row else None


def delete_file(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, number: int) -> None:
    """Delete the rows of one file."""
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE {} = %s").format(stage_table(tenant, dataset), sql.Identifier(FILE)),
        (number,),
    )


def latest_cursor(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, by: str, after: str | None
) -> str | None:
    """How far an incremental load comes with the good rows of the stage.

    Bad rows move nothing, and are not read again once good ones with later values are loaded: they are
    repaired and loaded from quarantine.

    Args:
        connection: A session of the tenant's.
        tenant: Whose stage.
        dataset: Which.
        by: The cursor column.
        after: How far loads had come before.
    """
    column = dataset.by_name[by]
    # Text is compared by bytes, as when rows are passed over, whatever the server's collation.
    latest = 'max({by} COLLATE "C")' if column.type == "text" else "max({by})"
    row = connection.execute(
        sql.SQL(
            f"SELECT greatest({latest}, %s::{sql_type(column)})::text FROM {{stage}} "  # noqa: S608  # pyright: ignore[reportArgumentType]
            "WHERE coalesce({mark}, 0) = 0"
        ).format(by=sql.Identifier(by), stage=stage_table(tenant, dataset), mark=sql.Identifier(VIOLATION)),
        (after,),
    ).fetchone()
    return row[0] if row else None


def _default(column: Column) -> str:
    return f"DEFAULT {column.default}" if column.default else ""
