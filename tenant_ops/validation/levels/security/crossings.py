"""Objects that join a tenant's schemas to others': keys, views, triggers, functions, inheritance.

Here: what Postgres knows depends on what, and schemas named in functions' texts. Not here: rights.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN, functions, read, relations, rights
from tenant_ops.validation.rules import Rule, Sighting, rule


@rule(
    level="security",
    severity="critical",
    remediation="Drop the foreign key; tenants never refer to each other.",
)
def crossing_references(evidence: Evidence) -> Iterator[Sighting]:
    """No foreign key leads into or out of the tenant's schemas."""
    for what, name, source, target in evidence.told(_crossings):
        if what == "foreign key":
            yield Sighting(
                name, f"The foreign key {name.rpartition('.')[2]} leads from {source} to {target}."
            )


@rule(
    level="security",
    severity="critical",
    remediation="Drop it, or make it from the tenant's own tables and functions.",
)
def crossing_objects(evidence: Evidence) -> Iterator[Sighting]:
    """No view, rule, trigger, function or inheritance leads into or out of the tenant's schemas."""
    for what, name, source, target in evidence.told(_crossings):
        if what != "foreign key":
            yield Sighting(f"{what} {name}", f"The {what} {name} leads from {source} to {target}.")
    for function in evidence.told(functions):
        for schema in function.elsewhere:
            message = f"The function {function.name} names the schema {schema}, another tenant's."
            yield Sighting(f"function {function.name} to {schema}", message)


@rule(
    level="security",
    severity="error",
    remediation="ALTER VIEW ... SET (security_invoker = true), or REVOKE it as its tables are.",
)
def definer_views(evidence: Evidence) -> Iterator[Sighting]:
    """A view shows nobody what they may not read themselves.

    Without security_invoker a view reads with its owner's rights, and a materialized one has read already.
    """
    views = {
        one.name
        for one in evidence.told(relations)
        if one.kind == "m" or (one.kind == "v" and not _invoker(one.options))
    }
    if not views:
        return
    readable = {
        (right.live, right.thing, right.grantee)
        for right in evidence.told(rights)
        if right.kind == "relation" and "SELECT" in right.rights
    }
    for live, view, below_live, below in evidence.told(_views):
        if view not in views:
            continue
        for grantee in sorted(role for is_live, thing, role in readable if (is_live, thing) == (live, view)):
            if (below_live, below, grantee) not in readable:
                message = f"The view {view} shows {grantee} rows of {below}, which it may not read."
                yield Sighting(f"view {view} to {grantee}", message)


def _invoker(options: list[str]) -> bool:
    return any(one in {"security_invoker=true", "security_invoker=on"} for one in options)


def _crossings(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    return read(connection, _CROSSINGS, tenants)


def _views(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    return read(connection, _VIEWS, tenants)


# What refers to a table from outside is found by what depends on it; pg_constraint has no index by the table
# referred to, and pg_trigger none by function.
_CROSSINGS = OWN + sql.SQL(""", tables AS MATERIALIZED (
    SELECT t.place, t.space, c.oid, c.relname::text AS name FROM things t JOIN pg_class c ON c.oid = t.objid
    WHERE t.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), code AS MATERIALIZED (
    SELECT t.place, t.space, p.oid, p.proname::text AS name FROM things t JOIN pg_proc p ON p.oid = t.objid
    WHERE t.classid = 'pg_proc'::regclass
), dependents AS MATERIALIZED (
    SELECT t.place, t.name, t.space, d.classid, d.objid FROM tables t
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass, 'pg_proc'::regclass,
                        'pg_attrdef'::regclass)
), edges (place, what, name, source, target) AS (
    SELECT t.place, 'foreign key', t.name || '.' || k.conname, t.space, f.relnamespace
    FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
    JOIN pg_class f ON f.oid = k.confrelid
    UNION
    SELECT d.place, 'foreign key', c.relname || '.' || k.conname, c.relnamespace, d.space
    FROM dependents d JOIN pg_constraint k ON k.oid = d.objid AND k.contype = 'f'
    JOIN pg_class c ON c.oid = k.conrelid
    WHERE d.classid = 'pg_constraint'::regclass
    UNION
    SELECT d.place, 'view', v.relname::text, v.relnamespace, d.space
    FROM dependents d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass
    UNION
    SELECT t.place, CASE WHEN r.rulename = '_RETURN' THEN 'view' ELSE 'rule' END,
           CASE WHEN r.rulename = '_RETURN' THEN t.name ELSE t.name || '.' || r.rulename END,
           t.space, c.relnamespace
    FROM tables t JOIN pg_rewrite r ON r.ev_class = t.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.refobjid
    UNION
    SELECT d.place, 'function', p.proname::text, p.pronamespace, d.space
    FROM dependents d JOIN pg_proc p ON p.oid = d.objid WHERE d.classid = 'pg_proc'::regclass
    UNION
    SELECT f.place, 'function', f.name, f.space, c.relnamespace
    FROM code f JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
        AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.refobjid
    UNION
    SELECT t.place, 'trigger', t.name || '.' || g.tgname, t.space, p.pronamespace
    FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    JOIN pg_proc p ON p.oid = g.tgfoid
    UNION
    SELECT f.place, 'trigger', c.relname || '.' || g.tgname, c.relnamespace, f.space
    FROM code f JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid
        AND d.classid = 'pg_trigger'::regclass
    JOIN pg_trigger g ON g.oid = d.objid AND NOT g.tgisinternal JOIN pg_class c ON c.oid = g.tgrelid
    UNION
    SELECT t.place, 'inheritance', t.name, t.space, c.relnamespace
    FROM tables t JOIN pg_inherits i ON i.inhrelid = t.oid JOIN pg_class c ON c.oid = i.inhparent
    UNION
    SELECT t.place, 'inheritance', c.relname::text, c.relnamespace, t.space
    FROM tables t JOIN pg_inherits i ON i.inhparent = t.oid JOIN pg_class c ON c.oid = i.inhrelid
    UNION
    SELECT d.place, 'default', d.name || '.' || a.attname, d.space, s.relnamespace
    FROM dependents d JOIN pg_attrdef x ON x.oid = d.objid
    JOIN pg_depend e ON e.classid = 'pg_attrdef'::regclass AND e.objid = x.oid
        AND e.refclassid = 'pg_class'::regclass AND e.refobjid <> x.adrelid
    JOIN pg_class s ON s.oid = e.refobjid
    JOIN pg_attribute a ON a.attrelid = x.adrelid AND a.attnum = x.adnum
    WHERE d.classid = 'pg_attrdef'::regclass
)
SELECT e.place, e.what, e.name, e.source::regnamespace::text, e.target::regnamespace::text
FROM edges e
WHERE NOT (EXISTS (SELECT FROM own WHERE own.place = e.place AND own.space = e.source)
           AND EXISTS (SELECT FROM own WHERE own.place = e.place AND own.space = e.target))
AND e.target <> 'pg_catalog'::regnamespace
ORDER BY 1, 2, 3
""")

_VIEWS = OWN + sql.SQL("""
SELECT DISTINCT t.place, t.live, v.relname::text, o.live, c.relname::text
FROM things t JOIN pg_class v ON v.oid = t.objid AND v.relkind IN ('v', 'm')
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
JOIN pg_class c ON c.oid = d.refobjid JOIN own o ON o.place = t.place AND o.space = c.relnamespace
WHERE t.classid = 'pg_class'::regclass
ORDER BY 1, 3, 5
""")

CROSSING_RULES: tuple[Rule, ...] = (crossing_references, crossing_objects, definer_views)
