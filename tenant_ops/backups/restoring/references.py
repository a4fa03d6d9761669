"""Whether rows would refer to nothing after some tables were changed.

Here: foreign keys among and around the tables of a merge. Not here: the differences (`differences.py`).

The server would refuse such a row, unless the foreign key deletes or empties what refers: then rows nobody
named would go with those that are restored. Both are told before anything is changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from tenant_ops.backups.restoring.differences import Compared


def dangling(connection: psycopg.Connection, schema: str, tables: Mapping[str, Compared]) -> Iterator[str]:
    """Foreign keys that rows would break once the differences of `tables` are gone, in sentences.

    Args:
        connection: As the owner; the tables were compared in this transaction.
        schema: The live one.
        tables: Those that change, by name.
    """
    for key in _foreign_keys(connection, schema):
        child, parent = tables.get(key.child), tables.get(key.parent)
        if child is None and parent is None:
            continue
        if not (_has(child, key.columns) and _has(parent, key.refers_to)):
            continue
        match = sql.SQL(" AND ").join(
            sql.SQL("p.{} OPERATOR({}.{}) c.{}").format(
                sql.Identifier(theirs),
                sql.Identifier(operator[0]),
                sql.SQL(operator[1]),
                sql.Identifier(ours),
            )
            for ours, theirs, operator in zip(key.columns, key.refers_to, key.operators, strict=True)
        )
        present = sql.SQL(" AND ").join(
            sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(column)) for column in key.columns
        )
        row = connection.execute(
            sql.SQL(
                "SELECT count(*) FROM ({}) c WHERE {} AND NOT EXISTS (SELECT FROM ({}) p WHERE {})"
            ).format(
                _afterwards(schema, key.child, child, key.columns),
                present,
                _afterwards(schema, key.parent, parent, key.refers_to),
                match,
            )
        ).fetchone()
        if row and row[0]:
            yield (
                f"{row[0]} rows of {key.child} would refer to rows of {key.parent} that are not there "
                f"(foreign key {key.name}); restore both tables"
            )


def _has(table: Compared | None, columns: list[str]) -> bool:
    return table is None or {column.name for column in table.columns}.issuperset(columns)


def _afterwards(schema: str, name: str, table: Compared | None, columns: list[str]) -> sql.Composed:
    """Columns of a table as they will be."""
    fields = sql.SQL(", ").join(sql.Identifier("t", column) for column in columns)
    if table is None:
        return sql.SQL("SELECT {} FROM {} t").format(fields, sql.Identifier(schema, name))
    new = sql.SQL(", ").join(sql.SQL("(d.became).{}").format(sql.Identifier(column)) for column in columns)
    return sql.SQL(
        "SELECT {} FROM {} t "
        "WHERE NOT EXISTS (SELECT FROM {diff} d WHERE d.part = t.tableoid AND d.at = t.ctid) "
        "UNION ALL SELECT {} FROM {diff} d WHERE NOT d.deletes"
    ).format(fields, table.table, new, diff=table.diff)


def _foreign_keys(connection: psycopg.Connection, schema: str) -> list[Any]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(
            """
            SELECT k.conname::text AS name, c.relname::text AS child, p.relname::text AS parent,
                   (SELECT array_agg(a.attname::text ORDER BY x.at)
                    FROM unnest(k.conkey) WITH ORDINALITY x(attnum, at)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum)
                   AS columns,
                   (SELECT array_agg(a.attname::text ORDER BY x.at)
                    FROM unnest(k.confkey) WITH ORDINALITY x(attnum, at)
                    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.attnum)
                   AS refers_to,
                   (SELECT array_agg(ARRAY[n.nspname::text, o.oprname::text] ORDER BY x.at)
                    FROM unnest(k.conpfeqop) WITH ORDINALITY x(oid, at)
                    JOIN pg_catalog.pg_operator o ON o.oid = x.oid
                    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace) AS operators
            FROM pg_catalog.pg_constraint k
            JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
            JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
            WHERE k.contype = 'f' AND k.conparentid = 0 AND p.relnamespace = c.relnamespace
              AND c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
            ORDER BY k.conname
            """,
            (schema,),
        ).fetchall()
