"""A dataset as a Postgres table: SQLAlchemy tables and the DDL made from them.

Here: column types, keys, checks, indexes and comments. Not here: roles and grants
(`tenants/provisioning.py`), changes between versions (`migrations/`).

The DDL carries no schema names: the same bytes build every tenant, under a `search_path`.
"""

from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, SetTableComment
from sqlalchemy.sql.ddl import DDLElement

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import (
    Between,
    Column,
    ColumnType,
    Dataset,
    Length,
    OneOf,
    Rule,
)

SQL_TYPES: dict[ColumnType, sa.types.TypeEngine] = {
    "uuid": postgresql.UUID(),
    "text": postgresql.TEXT(),
    "integer": postgresql.INTEGER(),
    "bigint": postgresql.BIGINT(),
    "numeric": postgresql.NUMERIC(),
    "double": postgresql.DOUBLE_PRECISION(),
    "boolean": postgresql.BOOLEAN(),
    "date": postgresql.DATE(),
    "timestamptz": postgresql.TIMESTAMP(timezone=True),
    "jsonb": postgresql.JSONB(),
    "inet": postgresql.INET(),
}

# Named parameters, so that no % is doubled: what is compiled here is never executed with parameters.
_DIALECT = postgresql.dialect(paramstyle="named")
_NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


def metadata(catalog: Catalog) -> sa.MetaData:
    """Every dataset of the catalog as a SQLAlchemy table, without a schema name."""
    tables = sa.MetaData(naming_convention=_NAMES)
    for dataset in catalog:
        _add_table(tables, dataset)
    return tables


@cache
def create_statements(catalog: Catalog) -> tuple[str, ...]:
    """The DDL that builds every table of the catalog, in an order that works.

    Columns get no comment: 117 more catalog rows per tenant for what the asset catalog already says.
    """
    tables = metadata(catalog)
    statements: list[str] = []
    for dataset in catalog:
        table = tables.tables[dataset.name]
        statements.append(_render(CreateTable(table)))
        statements.extend(_render(CreateIndex(index)) for index in sorted(table.indexes, key=_index_name))
        statements.append(_render(SetTableComment(table)))
    return tuple(statements)


def sql_type(column: Column) -> str:
    """The column's type as Postgres spells it; SQLAlchemy's own spelling forgets the time zone."""
    return SQL_TYPES[column.type].compile(dialect=_DIALECT)


def condition(column: str, rule: Rule) -> str | None:
    """The rule as a SQL condition on `column`, or None where the table does not enforce it.

    Patterns are checked on incoming data and by validation, not by the table: a regular expression
    costs more per row than all other checks together.
    """
    name = _DIALECT.identifier_preparer.quote(column)
    match rule:
        case Between(low, high):
            parts = [f"{name} >= {low}"] if low is not None else []
            parts += [f"{name} <= {high}"] if high is not None else []
            return " AND ".join(parts) or None
        case OneOf(values):
            return f"{name} IN ({', '.join(_literal(value) for value in values)})"
        case Length(low, high):
            parts = [f"char_length({name}) >= {low}"] if low else []
            parts += [f"char_length({name}) <= {high}"] if high is not None else []
            return " AND ".join(parts) or None
        case _:
            return None


def _add_table(tables: sa.MetaData, dataset: Dataset) -> sa.Table:
    constraints: list[sa.schema.SchemaItem] = [sa.PrimaryKeyConstraint(*dataset.key)]
    constraints += [
        sa.ForeignKeyConstraint(
            key.columns,
            [f"{key.references}.{name}" for name in key.target],
            ondelete=key.on_delete.upper(),
        )
        for key in dataset.foreign_keys
    ]
    constraints += [sa.UniqueConstraint(column.name) for column in dataset.columns if column.unique]
    constraints += [sa.UniqueConstraint(*columns) for columns in dataset.unique]
    constraints += _checks(dataset)
    constraints += [sa.Index(None, *columns) for columns in _index_columns(dataset)]
    return sa.Table(
        dataset.name,
        tables,
        *(_column(column) for column in dataset.columns),
        *constraints,
        comment=dataset.description,
    )


def _column(column: Column) -> sa.Column:
    return sa.Column(
        column.name,
        SQL_TYPES[column.type],
        nullable=column.nullable,
        server_default=sa.literal_column(column.default) if column.default else None,
        comment=column.description or None,
    )


def _checks(dataset: Dataset) -> list[sa.CheckConstraint]:
    # Literal columns rather than sa.text, which takes a word after a colon for a parameter.
    checks: list[sa.CheckConstraint] = []
    for column in dataset.columns:
        conditions = [text for rule in column.rules if (text := condition(column.name, rule))]
        if conditions:
            checks.append(sa.CheckConstraint(sa.literal_column(" AND ".join(conditions)), name=column.name))
    for order in dataset.orders:
        name = f"{order.first}_{order.then}_order"
        text = f'"{order.first}" <= "{order.then}"'
        checks.append(sa.CheckConstraint(sa.literal_column(text), name=name))
    return checks


def _index_columns(dataset: Dataset) -> Sequence[tuple[str, ...]]:
    """Declared indexes, and one for each foreign key the primary key or another index does not serve."""
    served = [dataset.key, *dataset.unique, *dataset.indexes]
    served += [(column.name,) for column in dataset.columns if column.unique]
    missing = [
        key.columns
        for key in dataset.foreign_keys
        if not any(columns[: len(key.columns)] == key.columns for columns in served)
    ]
    return (*dataset.indexes, *dict.fromkeys(missing))


def _render(element: DDLElement) -> str:
    return str(element.compile(dialect=_DIALECT)).strip()


def _index_name(index: sa.Index) -> str:
    return str(index.name)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
