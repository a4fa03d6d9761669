"""How a tenant's tables hang together, as its server says: foreign keys, primary keys, columns.

Here: reading them and putting tables in an order. Not here: which rows go (`selection.py`).

Read from the server and not from the dataset definitions, because a delete follows every foreign key there
is: also those of tables the tenant made itself, and of a version older than the definitions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import psycopg
from psycopg import sql

from tenant_ops.platform.errors import InputError

ON_DELETE = {"c": "cascade", "n": "set null", "d": "set default", "r": "restrict", "a": "restrict"}


@dataclass(frozen=True)
class Reference:
    """One foreign key between two tables of a schema."""

    child: str
    child_columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str

    def matches(self, child: sql.Composable, parent: sql.Composable) -> sql.Composable:
        """The condition that a row of `child` refers to a row of `parent`, both given as aliases."""
        pairs = zip(self.child_columns, self.parent_columns, strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} = {}.{}").format(child, sql.Identifier(here), parent, sql.Identifier(there))
            for here, there in pairs
        )


@dataclass(frozen=True)
class Structure:
    """The tables of one schema: their columns, their primary keys, and the references between them."""

    schema: str
    columns: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, tuple[str, ...]]
    references: tuple[Reference, ...]

    def to(self, parent: str, *on_delete: str) -> tuple[Reference, ...]:
        """References to `parent` with one of these actions."""
        return tuple(ref for ref in self.references if ref.parent == parent and ref.on_delete in on_delete)

    def children_first(self, tables: Iterable[str]) -> tuple[str, ...]:
        """The tables, each before those it refers to.

        Raises:
            InputError: references form a circle.
        """
        wanted = set(tables)
        graph: dict[str, set[str]] = {table: set() for table in sorted(wanted)}
        for ref in self.references:
            if {ref.child, ref.parent} <= wanted and ref.child != ref.parent:
                graph[ref.parent].add(ref.child)
        try:
            return tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            raise InputError(
                f"its tables refer to each other in a circle: {' -> '.join(error.args[1])}.",
                where=f"schema {self.schema}",
                fix="Rows of such tables cannot be cleaned up one table after the other.",
            ) from error


def read_structure(connection: psycopg.Connection, schema: str) -> Structure:
    """Read the structure of a schema in three queries.

    Raises:
        InputError: a table of another schema refers into this one.
    """
    return Structure(
        schema,
        _grouped(connection.execute(_COLUMNS, (schema,)).fetchall()),
        _grouped(connection.execute(_KEYS, (schema,)).fetchall()),
        tuple(_reference(row, schema) for row in connection.execute(_REFERENCES, (schema,)).fetchall()),
    )


def _reference(row: Sequence, schema: str) -> Reference:
    name, foreign_schema, child, child_columns, parent, parent_columns, action = row
    if foreign_schema != schema:
        raise InputError(
            f"{foreign_schema}.{child} refers to its table {parent} (constraint {name}).",
            where=f"schema {schema}",
            fix="Drop that foreign key: deleting rows would reach outside the tenant.",
        )
    return Reference(child, tuple(child_columns), parent, tuple(parent_columns), ON_DELETE[action])


def _grouped(rows: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for table, column in rows:
        grouped[table] = (*grouped.get(table, ()), column)
    return grouped


_COLUMNS = """
SELECT c.relname, a.attname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND a.attgenerated = ''
ORDER BY c.relname, a.attnum
"""

_KEYS = """
SELECT c.relname, a.attname
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE c.relnamespace = to_regnamespace(%s) AND i.indisprimary
ORDER BY c.relname, k.place
"""

# A partition's constraint repeats its parent's (conparentid).
_REFERENCES = """
SELECT f.conname, child.relnamespace::regnamespace::text, child.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum),
       parent.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(f.confkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum),
       f.confdeltype::text
FROM pg_constraint f
JOIN pg_class child ON child.oid = f.conrelid
JOIN pg_class parent ON parent.oid = f.confrelid
WHERE f.contype = 'f' AND f.conparentid = 0 AND parent.relnamespace = to_regnamespace(%s)
ORDER BY f.conname
"""
