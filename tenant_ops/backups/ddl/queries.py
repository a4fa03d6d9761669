"""What the catalogs of one schema say, read by object id so the cost does not grow with other schemas.

Here: the catalog queries. Not here: turning rows into SQL (`tables.py`, `types.py`, ...).

pg_dump reads every schema's catalog rows whichever one is asked for: 26 s at 3,200 schemas. Here the objects
of a schema are found through the index of `pg_depend`, everything else by their ids. All queries run with an
empty search path, so the server's own deparsers qualify every name and nothing a tenant made can capture one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

Row = Any  # a named tuple; its fields are the columns of the query


@dataclass(frozen=True)
class Objects:
    """The catalog rows of one schema, by kind."""

    schema: Row
    members: list[Row]
    relations: list[Row]
    columns: list[Row]
    sequences: list[Row]
    types: list[Row]
    functions: list[Row]
    constraints: list[Row]
    indexes: list[Row]
    triggers: list[Row]
    rules: list[Row]
    policies: list[Row]
    statistics: list[Row]
    inherits: list[Row]
    dependencies: list[Row]
    comments: list[Row]
    default_rights: list[Row]

    @cached_property
    def relations_by_oid(self) -> dict[int, Row]:
        """Tables, views and sequences by object id."""
        return {row.oid: row for row in self.relations}

    @cached_property
    def not_null(self) -> dict[tuple[int, int], Row]:
        """The NOT NULL constraint of a column, by table and column number; rows since Postgres 18."""
        return {(row.conrelid, row.conkey[0]): row for row in self.constraints if row.contype == "n"}

    def name_of(self, relation: int) -> str:
        """The name of a relation of the schema."""
        return self.relations_by_oid[relation].name

    def columns_of(self, relation: int) -> list[Row]:
        """The columns of a table, view or composite type, in order."""
        return self._columns.get(relation, [])

    def column(self, relation: int, number: int) -> Row:
        """One column by its number."""
        return next(row for row in self.columns_of(relation) if row.attnum == number)

    def parents_of(self, relation: int) -> list[Row]:
        """What a table or index inherits from or is a partition of."""
        return self._parents.get(relation, [])

    @cached_property
    def _columns(self) -> dict[int, list[Row]]:
        return _grouped(self.columns, "attrelid")

    @cached_property
    def _parents(self) -> dict[int, list[Row]]:
        return _grouped(self.inherits, "inhrelid")


def read_objects(connection: psycopg.Connection, schema: str) -> Objects:
    """Read everything the catalogs know of `schema`; LookupError when it does not exist."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:

        def rows(query: str, **parameters: Any) -> list[Row]:
            return cursor.execute(query, parameters, prepare=True).fetchall()  # type: ignore[arg-type]

        found = rows(_SCHEMA, schema=schema)
        if not found:
            raise LookupError(schema)
        members = rows(_MEMBERS, schema=found[0].oid)
        own = [member for member in members if member.extension is None]

        def ids(catalog: str) -> list[int]:
            return [member.objid for member in own if member.catalog == catalog]

        relations = rows(_RELATIONS, ids=ids("pg_class"))
        types = rows(_TYPES, ids=ids("pg_type"))
        with_columns = [r.oid for r in relations] + [t.typrelid for t in types if t.typrelid]
        tables = [r.oid for r in relations if r.relkind in "rpmvf"]
        constraints = rows(_CONSTRAINTS, tables=tables, types=[t.oid for t in types if t.typtype == "d"])
        indexes = rows(_INDEXES, tables=tables)
        triggers = rows(_TRIGGERS, tables=tables)
        rules = rows(_RULES, tables=tables)
        policies = rows(_POLICIES, tables=tables)
        columns = rows(_COLUMNS, ids=with_columns)
        functions = rows(_FUNCTIONS, ids=ids("pg_proc"))
        statistics = rows(_STATISTICS, ids=ids("pg_statistic_ext"))
        every = _everything(
            {
                "pg_class": [*relations, *indexes],
                "pg_type": types,
                "pg_proc": functions,
                "pg_constraint": constraints,
                "pg_trigger": triggers,
                "pg_rewrite": rules,
                "pg_policy": policies,
                "pg_statistic_ext": statistics,
            }
        )
        every += [("pg_class", row.typrelid) for row in types if row.typrelid]
        defaults = [("pg_attrdef", column.default_oid) for column in columns if column.default_oid]
        return Objects(
            schema=found[0],
            members=members,
            relations=relations,
            columns=columns,
            sequences=rows(_SEQUENCES, ids=[r.oid for r in relations if r.relkind == "S"]),
            types=types,
            functions=functions,
            constraints=constraints,
            indexes=indexes,
            triggers=triggers,
            rules=rules,
            policies=policies,
            statistics=statistics,
            inherits=rows(_INHERITS, ids=tables + [index.oid for index in indexes]),
            dependencies=rows(_DEPENDENCIES, **_pairs([*every, *defaults])),
            comments=rows(_COMMENTS, **_pairs([*every, ("pg_namespace", found[0].oid)])),
            default_rights=rows(_DEFAULT_RIGHTS, ids=ids("pg_default_acl")),
        )


def _grouped(rows: list[Row], field: str) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row)
    return groups


def _everything(kinds: dict[str, Sequence[Row]]) -> list[tuple[str, int]]:
    return [(catalog, row.oid) for catalog, rows in kinds.items() for row in rows]


def _pairs(objects: Sequence[tuple[str, int]]) -> dict[str, list[Any]]:
    return {"catalogs": [catalog for catalog, _ in objects], "ids": [oid for _, oid in objects]}


_SCHEMA = """
SELECT n.oid, n.nspname, r.rolname AS owner,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(n.nspacl) x) AS acl
FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
WHERE n.nspname = %(schema)s
"""

_MEMBERS = """
SELECT d.classid::regclass::text AS catalog, d.objid, e.extname AS extension,
       i.type, i.identity
FROM pg_depend d
LEFT JOIN pg_depend x ON x.classid = d.classid AND x.objid = d.objid AND x.objsubid = 0 AND x.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = x.refobjid
LEFT JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
       ON d.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass,
                            'pg_statistic_ext'::regclass, 'pg_default_acl'::regclass)
WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %(schema)s
ORDER BY d.classid, d.objid
"""

_RELATIONS = """
SELECT c.oid, c.relname AS name, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity,
       c.relforcerowsecurity, c.relreplident, c.reloptions, c.relispopulated, c.reltype, c.reloftype,
       r.rolname AS owner,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(c.relacl) x) AS acl,
       am.amname AS method, t.reloptions AS toast_options, c.relhassubclass,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS partition_bound,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS view_definition
FROM pg_class c
JOIN pg_roles r ON r.oid = c.relowner
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.oid = ANY(%(ids)s)
ORDER BY c.relname
"""

_COLUMNS = """
SELECT a.attrelid, a.attnum, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull, a.attidentity, a.attgenerated, a.attislocal, a.attinhcount,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(a.attacl) x) AS acl,
       a.attoptions, a.attstattarget,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END AS storage,
       a.attcompression AS compression, d.oid AS default_oid, pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%(ids)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_SEQUENCES = """
SELECT s.seqrelid AS oid, format_type(s.seqtypid, NULL) AS type, s.seqstart, s.seqincrement, s.seqmin,
       s.seqmax, s.seqcache, s.seqcycle, d.deptype, d.refobjid AS owner_table, d.refobjsubid AS owner_column
FROM pg_sequence s
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
WHERE s.seqrelid = ANY(%(ids)s)
"""

_TYPES = """
SELECT t.oid, t.typname AS name, t.typtype, t.typrelid, t.typnotnull,
       pg_get_expr(t.typdefaultbin, 'pg_type'::regclass) AS default,
       r.rolname AS owner,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(t.typacl) x) AS acl,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base,
       CASE WHEN t.typcollation NOT IN (0, b.typcollation) THEN t.typcollation::regcollation::text END
           AS collation,
       (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
           AS labels,
       format_type(g.rngsubtype, NULL) AS subtype, g.rngmultitypid, m.typname AS multirange,
       CASE WHEN g.rngcollation <> 0 THEN g.rngcollation::regcollation::text END AS range_collation,
       NULLIF(g.rngcanonical, 0)::regproc::text AS canonical,
       NULLIF(g.rngsubdiff, 0)::regproc::text AS subtype_diff,
       CASE WHEN NOT o.opcdefault THEN quote_ident(n.nspname) || '.' || quote_ident(o.opcname) END AS opclass
FROM pg_type t
JOIN pg_roles r ON r.oid = t.typowner
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_range g ON g.rngtypid = t.oid
LEFT JOIN pg_type m ON m.oid = g.rngmultitypid
LEFT JOIN pg_opclass o ON o.oid = g.rngsubopc
LEFT JOIN pg_namespace n ON n.oid = o.opcnamespace
WHERE t.oid = ANY(%(ids)s)
ORDER BY t.typname
"""

_FUNCTIONS = """
SELECT p.oid, p.proname AS name, p.prokind, l.lanname AS language, l.lanpltrusted AS trusted,
       r.rolname AS owner,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) x) AS acl,
       pg_get_function_identity_arguments(p.oid) AS arguments,
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_roles r ON r.oid = p.proowner
WHERE p.oid = ANY(%(ids)s)
  -- A range type makes its own constructors.
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                  AND d.deptype = 'i')
ORDER BY p.proname, p.oid
"""

_CONSTRAINTS = """
SELECT c.oid, c.conname AS name, c.contype, c.conrelid, c.contypid, c.conindid, c.conparentid, c.conislocal,
       c.coninhcount, c.conkey, c.convalidated, c.connoinherit,
       CASE WHEN c.contype <> 'n' OR NOT c.convalidated THEN pg_get_constraintdef(c.oid) END AS definition
FROM pg_constraint c
WHERE c.conrelid = ANY(%(tables)s)
UNION ALL
SELECT c.oid, c.conname, c.contype, c.conrelid, c.contypid, c.conindid, c.conparentid, c.conislocal,
       c.coninhcount, c.conkey, c.convalidated, c.connoinherit, pg_get_constraintdef(c.oid)
FROM pg_constraint c
WHERE c.conrelid = 0 AND c.contypid = ANY(%(types)s) AND c.contype = 'c'
ORDER BY name
"""

_INDEXES = """
SELECT c.oid, c.relname AS name, i.indrelid, i.indisvalid, i.indisclustered, i.indisreplident, c.relkind,
       c.reloptions, pg_get_indexdef(c.oid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY(%(tables)s)
ORDER BY c.relname
"""

# The journal's own triggers belong to the journal: a restored schema gets new ones, or none.
_TRIGGERS = """
SELECT t.oid, t.tgname AS name, t.tgrelid, t.tgenabled, pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger t
WHERE t.tgrelid = ANY(%(tables)s) AND NOT t.tgisinternal AND t.tgparentid = 0
  AND NOT (starts_with(t.tgname, 'tenant_ops_journal_')
           AND (SELECT p.pronamespace FROM pg_proc p WHERE p.oid = t.tgfoid)
               <> (SELECT c.relnamespace FROM pg_class c WHERE c.oid = t.tgrelid))
ORDER BY t.tgname
"""

_RULES = """
SELECT r.oid, r.rulename AS name, r.ev_class, r.ev_enabled,
       CASE WHEN r.rulename <> '_RETURN' THEN pg_get_ruledef(r.oid) END AS definition
FROM pg_rewrite r
WHERE r.ev_class = ANY(%(tables)s)
ORDER BY r.rulename
"""

_POLICIES = """
SELECT p.oid, p.polname AS name, p.polrelid, p.polcmd, p.polpermissive,
       (SELECT array_agg(CASE WHEN o = 0 THEN 'public' ELSE o::regrole::text END ORDER BY o)
        FROM unnest(p.polroles) o) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check
FROM pg_policy p
WHERE p.polrelid = ANY(%(tables)s)
ORDER BY p.polname
"""

_STATISTICS = """
SELECT s.oid, s.stxname AS name, s.stxrelid, s.stxstattarget, pg_get_statisticsobjdef(s.oid) AS definition
FROM pg_statistic_ext s
WHERE s.oid = ANY(%(ids)s)
ORDER BY s.stxname
"""

_INHERITS = """
SELECT i.inhrelid, i.inhparent, i.inhseqno, c.relname AS parent_name, n.nspname AS parent_schema, c.relkind
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhparent
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhrelid = ANY(%(ids)s)
ORDER BY i.inhrelid, i.inhseqno
"""

# What lies outside the schema and outside Postgres itself is said with its extension, or by name.
_DEPENDENCIES = """
SELECT o.catalog, o.id AS objid, d.refclassid::regclass::text AS refcatalog, d.refobjid, d.deptype,
       COALESCE(NULLIF(t.typelem, 0), NULLIF(g.rngtypid, 0), 0) AS element, t.typrelid AS row_of,
       e.extname AS extension
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id)
JOIN pg_depend d ON d.classid = o.catalog::regclass AND d.objid = o.id
LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
LEFT JOIN pg_range g ON d.refclassid = 'pg_type'::regclass AND g.rngmultitypid = d.refobjid
LEFT JOIN pg_depend x ON x.classid = d.refclassid AND x.objid = d.refobjid AND x.objsubid = 0
                     AND x.deptype = 'e'
LEFT JOIN pg_extension e
       ON e.oid = COALESCE(x.refobjid, CASE WHEN d.refclassid = 'pg_extension'::regclass THEN d.refobjid END)
WHERE d.refobjid >= 16384
"""

_COMMENTS = """
SELECT o.catalog, o.id AS objid, d.objsubid, d.description
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id)
JOIN pg_description d ON d.classoid = o.catalog::regclass AND d.objoid = o.id
ORDER BY d.objoid, d.objsubid
"""

_DEFAULT_RIGHTS = """
SELECT a.oid, a.defaclobjtype AS kind, r.rolname AS owner,
       (SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                          x.privilege_type, x.is_grantable))
        FROM aclexplode(a.defaclacl) x) AS acl
FROM pg_default_acl a JOIN pg_roles r ON r.oid = a.defaclrole
WHERE a.oid = ANY(%(ids)s)
ORDER BY a.defaclobjtype
"""
