"""What Postgres itself says a schema looks like, and what a catalog should look like to it.

Here: reading a schema as comparable parts, the parts a catalog stands for, and their fingerprint.
Not here: what a difference means (`validation/`), changing a schema (`migrations/`).

The expected side is not written down twice: the catalog's tables are made as temporary tables, read with the
same query, and rolled back. So a type, default or check is compared as Postgres spells it, whatever version
the server is. Places of columns are left out: a column added later stands last and means the same.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

import psycopg
from psycopg import sql

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.tables import create_statements
from tenant_ops.platform.database import Database

Kind = Literal[
    "table",
    "column",
    "type",
    "nullability",
    "default",
    "primary key",
    "foreign key",
    "unique",
    "check",
    "index",
]


class Part(NamedTuple):
    """One comparable part of a table: `detail` is what must be equal, `name` what it is found by."""

    table: str
    kind: Kind
    name: str
    detail: str


def live_structure(connection: psycopg.Connection, schema: str) -> frozenset[Part]:
    """The parts of every table in `schema`, in one query."""
    return frozenset(Part(*row) for row in connection.execute(_PARTS, {"schemas": [schema]}))


def expected_structure(database: Database, catalog: Catalog) -> frozenset[Part]:
    """The parts the catalog's tables have on a server of this kind; worked out once per process."""
    return _expected(database, catalog)


def fingerprints(connection: psycopg.Connection, schemas: Iterable[str]) -> dict[str, str]:
    """The fingerprint of each schema, worked out by the server in one query.

    It is `fingerprint` of `live_structure`, without sending the parts: 300 of each tenant.
    """
    # What the search path finds is told without its schema: with none, every name is told in full, and the
    # schema of each tenant is taken off.
    with connection.transaction():
        connection.execute("SELECT set_config('search_path', 'pg_catalog', true)")
        return dict(connection.execute(_FINGERPRINTS, {"schemas": list(schemas)}).fetchall())


def fingerprint(parts: Iterable[Part]) -> str:
    """SHA-256 over the parts, whatever order they come in."""
    digest = hashlib.sha256()
    for part in sorted(parts):
        digest.update("\x1f".join((part.table, part.kind, part.name, part.detail, "\n")).encode())
    return digest.hexdigest()


@lru_cache(maxsize=16)
def _expected(database: Database, catalog: Catalog) -> frozenset[Part]:
    with database.transaction() as connection, connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('search_path', 'pg_temp', true)")
        # The statements come from dataset definitions, which are code; no input reaches them.
        script = sql.SQL(";\n".join(create_statements(catalog)))  # pyright: ignore[reportArgumentType]
        connection.execute(script)
        row = connection.execute("SELECT pg_my_temp_schema()::regnamespace::text").fetchone()
        assert row is not None
        return live_structure(connection, row[0])


# A schema's tables are found through pg_depend, which has an index for it; pg_class has none by schema, and a
# thousand tenants have 60,000 rows there.
# pg_get_indexdef with pretty printing leaves out the schema of a table that the search path finds. NOT NULL
# is a constraint of its own from Postgres 18 on ('n'); it is compared as a property of the column.
_ALL_PARTS = """
WITH tables AS (
    SELECT s.name AS home, c.oid, c.relname::text AS name
    FROM unnest(%(schemas)s::text[]) AS s (name)
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass
        AND d.refobjid = to_regnamespace(quote_ident(s.name))
    JOIN pg_class c ON c.oid = d.objid
    WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f')
), columns AS (
    SELECT t.home, t.name AS tab, a.attname::text AS col, format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END AS nullability,
           concat_ws(' ', nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
                     pg_get_expr(d.adbin, d.adrelid)) AS fallback
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
)
SELECT home, name AS tab, 'table' AS kind, '' AS part, '' AS detail FROM tables
UNION ALL SELECT home, tab, 'column', col, '' FROM columns
UNION ALL SELECT home, tab, 'type', col, type FROM columns
UNION ALL SELECT home, tab, 'nullability', col, nullability FROM columns
UNION ALL SELECT home, tab, 'default', col, fallback FROM columns
UNION ALL
SELECT t.home, t.name,
       CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique'
                      WHEN 'c' THEN 'check' END,
       k.conname::text, pg_get_constraintdef(k.oid, true)
FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('p', 'f', 'u', 'c')
UNION ALL
SELECT t.home, t.name, 'index', i.relname::text,
       pg_get_indexdef(x.indexrelid, 0, true) || CASE WHEN x.indisvalid THEN '' ELSE ' (invalid)' END
FROM tables t
JOIN pg_index x ON x.indrelid = t.oid
JOIN pg_class i ON i.oid = x.indexrelid
WHERE NOT EXISTS (
    SELECT FROM pg_constraint k
    WHERE k.conrelid = x.indrelid AND k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')
)
"""
_PARTS = f"SELECT tab, kind, part, detail FROM ({_ALL_PARTS}) parts"  # noqa: S608 - constants
_FINGERPRINTS = f"""
SELECT home, encode(sha256(convert_to(string_agg(
           concat_ws(E'\\x1f', tab, kind, part, replace(detail, quote_ident(home) || '.', ''), E'\\n'), ''
           ORDER BY tab COLLATE "C", kind COLLATE "C", part COLLATE "C",
                    replace(detail, quote_ident(home) || '.', '') COLLATE "C"
       ), 'UTF8')), 'hex')
FROM ({_ALL_PARTS}) parts GROUP BY home
"""  # noqa: S608 - constants
