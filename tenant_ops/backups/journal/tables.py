"""Which tables of a schema the journal follows, and how.

Here: reading them from the catalogs and choosing a way for each. Not here: the triggers (`capture.py`).

A table is followed in the most exact way it allows:

- `state`: it has a key no two open transactions can hold at once. Every statement logs the rows it touched as
  they are after it, read again by key; the last entry of a key is its state.
- `rows`: it has no such key, or hides rows from its owner. Every statement logs the rows it took away and
  those it added. Sums do not depend on the order of their terms, so triggers inside triggers do no harm.
- `copy`: it inherits or is inherited from, so a statement on one table changes rows of others that nobody can
  tell apart. Statements only leave a note, and a tick that finds one copies the table.
- `always`: it changes without firing triggers (unlogged tables are emptied by a crash, subscriptions apply
  rows by themselves). Every tick copies it.

Partitions are followed through their topmost partitioned table: rows move between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.rows import namedtuple_row

Way = Literal["state", "rows", "copy", "always"]

_WAYS: dict[str, tuple[Way, str]] = {
    "": ("state", ""),
    "no key": ("rows", "it has no unique key that is checked at once"),
    "forced": ("rows", "row security is forced on it"),
    "no columns": ("copy", "it has no columns"),
    "inherits": ("copy", "it inherits, or is inherited from"),
    "outside": ("always", "it is a partition or child of a table outside the schema"),
    "mixed": ("always", "it is of a partitioned table with foreign, unlogged or outside parts"),
    "subscribed": ("always", "a subscription writes to it, which fires no statement triggers"),
    "unlogged": ("always", "it is unlogged: a crash empties it without a trace"),
}


@dataclass(frozen=True)
class Key:
    """The unique index whose columns tell the rows of a table apart.

    Attributes:
        index: Its object id.
        columns: Their names.
        equal: For each, the operator the index calls equality, written as SQL.
    """

    index: int
    columns: tuple[str, ...]
    equal: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """What the journal follows as one: a table, or a partitioned table with its partitions.

    Attributes:
        oid: Of the table, or of the topmost partitioned one.
        name: Its name.
        way: How it is followed.
        reason: Why not in a more exact way; empty for `state`.
        columns: Those of a row in the journal: all but generated ones, in order.
        wide: Of these, name and SQL that tells the bytes of a value without reading it, where there is no
            small bound on it.
        every_column: All columns, generated ones too, in order.
        key: For `state`.
        members: Object id and name of every table of it that a statement may name; partitions included.
        leaves: Names of those with rows of their own.
    """

    oid: int
    name: str
    way: Way
    reason: str
    columns: tuple[str, ...]
    wide: tuple[tuple[str, str], ...]
    every_column: tuple[str, ...]
    key: Key | None
    members: tuple[tuple[int, str], ...]
    leaves: tuple[str, ...]


def read_units(connection: psycopg.Connection, schema: str) -> tuple[Unit, ...]:
    """The units of a schema, by name, as the caller's snapshot sees them."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        found: list[Any] = cursor.execute(_TABLES, {"schema": schema}).fetchall()
        tables = {row.oid: row for row in found}
        ids = {"ids": list(tables)}
        columns = cursor.execute(_COLUMNS, ids).fetchall()
        keys = cursor.execute(_KEYS, ids).fetchall()
    return tuple(sorted(_units(tables, columns, keys), key=lambda unit: unit.name))


def _units(tables: dict[int, Any], columns: list[Any], keys: list[Any]) -> Iterator[Unit]:
    own_columns: dict[int, list[Any]] = {oid: [] for oid in tables}
    for column in columns:
        own_columns[column.attrelid].append(column)
    own_keys: dict[int, list[Any]] = {oid: [] for oid in tables}
    for key in keys:
        own_keys[key.indrelid].append(key)
    families: dict[int, list[Any]] = {}
    for table in tables.values():
        families.setdefault(_top(tables, table), []).append(table)
    for top, family in families.items():
        mixed = any(
            table.relkind == "f" or table.relpersistence == "u" or table.subscribed or table.strangers
            for table in family
        )
        if mixed and len(family) > 1:
            parts = [table for table in family if table.relkind == "r"]
            yield from (_unit(part, [part], own_columns[part.oid], None, "mixed") for part in parts)
        elif tables[top].relkind != "f":
            head = tables[top]
            key = _key(own_columns[top], own_keys[top])
            yield _unit(head, family, own_columns[top], key, _reason(tables, head, own_columns[top], key))


def _top(tables: dict[int, Any], table: Any) -> int:
    """The topmost partitioned table of the schema that this one is a partition of."""
    while table.relispartition and table.parents and table.parents[0] in tables:
        table = tables[table.parents[0]]
    return table.oid


def _reason(tables: dict[int, Any], head: Any, columns: list[Any], key: Key | None) -> str:
    """Why the table is not followed by state; the first that holds decides."""
    reasons = (
        ("unlogged", head.relpersistence == "u"),
        ("subscribed", head.subscribed),
        ("mixed", head.strangers),
        ("outside", any(parent not in tables for parent in head.parents)),
        ("inherits", bool(head.parents) or (head.relkind == "r" and head.has_children)),
        ("no columns", all(column.attgenerated for column in columns)),
        ("forced", head.relforcerowsecurity),
        ("no key", key is None),
    )
    return next((reason for reason, holds in reasons if holds), "")


def _unit(head: Any, members: list[Any], columns: list[Any], key: Key | None, reason: str) -> Unit:
    carried = [column for column in columns if not column.attgenerated]
    way, said = _WAYS[reason]
    return Unit(
        oid=head.oid,
        name=head.name,
        way=way,
        reason=said,
        columns=tuple(column.name for column in carried),
        wide=tuple((column.name, column.size) for column in carried if column.size),
        every_column=tuple(column.name for column in columns),
        key=key if way == "state" else None,
        members=tuple((table.oid, table.name) for table in members),
        leaves=tuple(table.name for table in members if table.relkind == "r"),
    )


def _key(columns: list[Any], keys: list[Any]) -> Key | None:
    by_number = {column.attnum: column for column in columns}
    for key in keys:
        chosen = [by_number[number] for number in key.columns]
        if all(column.attnotnull and not column.attgenerated for column in chosen) and all(key.equal):
            return Key(key.indexrelid, tuple(column.name for column in chosen), tuple(key.equal))
    return None


# Found through pg_depend, whose index makes the cost independent of how many other schemas there are.
_TABLES = """
SELECT c.oid, c.relname::text AS name, c.relkind::text, c.relpersistence::text, c.relispartition,
       c.relforcerowsecurity,
       ARRAY(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid
             ORDER BY i.inhseqno)::oid[] AS parents,
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS has_children,
       c.relkind = 'p' AND EXISTS (
           SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
           WHERE l.relkind = 'f' OR l.relnamespace <> c.relnamespace) AS strangers,
       EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS subscribed
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = to_regnamespace(quote_ident(%(schema)s))::oid
  AND d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f')
ORDER BY c.oid
"""

_COLUMNS = """
SELECT a.attrelid, a.attnum, a.attname::text AS name, a.attnotnull, a.attgenerated::text,
       CASE WHEN a.attlen > 0 OR t.typcategory IN ('N', 'I', 'E', 'B', 'D') THEN NULL
            WHEN t.typcategory = 'S' AND COALESCE(NULLIF(a.atttypmod, -1), NULLIF(t.typtypmod, -1)) < 100000
            THEN NULL
            WHEN COALESCE(NULLIF(t.typbasetype, 0), t.oid) IN (
                'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype,
                'bytea'::regtype)
            THEN 'octet_length' ELSE 'pg_column_size' END AS size
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY(%(ids)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# Checked at once: with a deferrable key two open transactions may hold one value, and log it in either order.
_KEYS = """
SELECT i.indrelid, i.indexrelid, k.columns, k.equal
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
CROSS JOIN LATERAL (
    SELECT array_agg(i.indkey[n]::int ORDER BY n) AS columns,
           array_agg('OPERATOR(' || quote_ident(s.nspname) || '.' || o.oprname || ')'
                                ORDER BY n) AS equal
    FROM generate_series(0, i.indnkeyatts - 1) n
    LEFT JOIN pg_opclass oc ON oc.oid = i.indclass[n]
    LEFT JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
         AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
    LEFT JOIN pg_operator o ON o.oid = ao.amopopr
    LEFT JOIN pg_namespace s ON s.oid = o.oprnamespace
) k
WHERE i.indrelid = ANY(%(ids)s) AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indislive
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
"""
