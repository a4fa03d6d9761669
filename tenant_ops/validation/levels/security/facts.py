"""What the server's catalogs say of tenants: read for many at once, so that a fleet costs few queries.

Here: the frame of such queries, and the facts several rules share. Not here: the rules.

Objects are found through pg_depend, which has an index by schema: the catalogs have none, and a thousand
tenants fill pg_class with 60,000 rows, pg_constraint with 160,000 and pg_depend with 440,000.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.tenants import Tenant

KINDS = ("owner", "admin", "editor", "viewer", "app")
TENANT_ROLE = "^t_[a-z0-9]{1,13}_(own|adm|edt|vwr|app)$"
TENANT_SCHEMA = "[ts]_[a-z2-7]{13}"

# What is in the tenants' schemas, by their place in the list of tenants.
OWN = sql.SQL("""
WITH own AS MATERIALIZED (
    SELECT p.place, n.oid AS space, n.nspname::text AS schema, n.nspname LIKE 't\\_%%' AS live
    FROM unnest(%(places)s::int[], %(schemas)s::text[]) AS p (place, name)
    JOIN pg_namespace n ON n.nspname = p.name
), things AS MATERIALIZED (
    SELECT own.place, own.space, own.live, d.classid, d.objid
    FROM own JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = own.space
)
""")

# The tenants' roles, by the tenant's place in the list.
OWN_ROLES = sql.SQL("""
WITH RECURSIVE own AS MATERIALIZED (
    SELECT p.place, r.oid, r.rolname::text AS name
    FROM unnest(%(role_places)s::int[], %(roles)s::text[]) AS p (place, name)
    JOIN pg_roles r ON r.rolname = p.name
)
""")


class Right(NamedTuple):
    """What a role may do with one thing: `kind` is schema, relation, column, function, type or default."""

    live: bool
    kind: str
    thing: str
    grantee: str
    rights: str


class Relation(NamedTuple):
    """A table, view or sequence of a tenant."""

    live: bool
    name: str
    kind: str
    owner: str
    row_security: bool
    forced: bool
    options: list[str]


class Function(NamedTuple):
    """A function of a tenant; `name` has the types of its arguments."""

    live: bool
    name: str
    owner: str
    definer: bool
    settings: list[str]
    language: str
    trusted: bool
    elsewhere: list[str]


def own_roles(tenant: Tenant) -> list[str]:
    """Every role of the tenant."""
    return [tenant.role(kind) for kind in KINDS]


def own_schemas(tenant: Tenant) -> list[str]:
    """Both schemas of the tenant."""
    return [tenant.schema_name, tenant.stage_schema]


def read(
    connection: psycopg.Connection, query: sql.Composed, tenants: Sequence[Tenant], **more: Any
) -> dict[UUID, list[tuple[Any, ...]]]:
    """Rows of a query by tenant: its first column is the tenant's place in the list."""
    parameters = {
        "places": [place for place, _ in enumerate(tenants) for _ in range(2)],
        "schemas": [name for tenant in tenants for name in own_schemas(tenant)],
        "role_places": [place for place, _ in enumerate(tenants) for _ in KINDS],
        "roles": [name for tenant in tenants for name in own_roles(tenant)],
        **more,
    }
    found: dict[UUID, list[tuple[Any, ...]]] = {tenant.id: [] for tenant in tenants}
    for place, *row in connection.execute(query, parameters):
        found[tenants[place].id].append(tuple(row))
    return found


def relations(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Relation]]:
    """The tenants' relations, without indexes."""
    rows = read(connection, _RELATIONS, tenants)
    return {tenant: [Relation(*row) for row in found] for tenant, found in rows.items()}


def functions(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Function]]:
    """The tenants' functions."""
    rows = read(connection, _FUNCTIONS, tenants, mention=rf"\m{TENANT_SCHEMA}\M")
    return {tenant: [Function(*row) for row in found] for tenant, found in rows.items()}


def rights(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Right]]:
    """Every right somebody but its owner has on something of the tenants."""
    rows = read(connection, _RIGHTS, tenants)
    return {tenant: [Right(*row) for row in found] for tenant, found in rows.items()}


_RELATIONS = OWN + sql.SQL("""
SELECT t.place, t.live, c.relname::text, c.relkind::text, pg_get_userbyid(c.relowner)::text,
       c.relrowsecurity, c.relforcerowsecurity, coalesce(c.reloptions, '{}')
FROM things t JOIN pg_class c ON c.oid = t.objid
WHERE t.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
ORDER BY 1, 3
""")

_FUNCTIONS = OWN + sql.SQL("""
SELECT t.place, t.live, p.proname || '(' || replace(oidvectortypes(p.proargtypes), ', ', ',') || ')',
       pg_get_userbyid(p.proowner)::text, p.prosecdef, coalesce(p.proconfig, '{}'),
       l.lanname::text, l.lanpltrusted,
       ARRAY(SELECT DISTINCT m[1] FROM regexp_matches(p.prosrc, %(mention)s, 'g') m
             WHERE NOT EXISTS (SELECT FROM own WHERE own.place = t.place AND own.schema = m[1]))
FROM things t JOIN pg_proc p ON p.oid = t.objid JOIN pg_language l ON l.oid = p.prolang
WHERE t.classid = 'pg_proc'::regclass
ORDER BY 1, 3
""")

# A function or type without an ACL may be used by PUBLIC; a relation or schema without one only by its owner,
# whose own rights are no grant: who owns things is a rule of its own.
_RIGHTS = OWN + sql.SQL(""", acls AS (
    SELECT own.place, own.live, 'schema' AS kind, 'schema ' || own.schema AS thing, n.nspacl AS acl
    FROM own JOIN pg_namespace n ON n.oid = own.space
    UNION ALL
    SELECT t.place, t.live, 'relation', c.relname, c.relacl
    FROM things t JOIN pg_class c ON c.oid = t.objid
    WHERE t.classid = 'pg_class'::regclass AND c.relacl IS NOT NULL
    UNION ALL
    SELECT t.place, t.live, 'column', c.relname || '.' || a.attname, a.attacl
    FROM things t JOIN pg_class c ON c.oid = t.objid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    WHERE t.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT t.place, t.live, 'function', 'function ' || p.proname,
           coalesce(p.proacl, acldefault('f', p.proowner))
    FROM things t JOIN pg_proc p ON p.oid = t.objid WHERE t.classid = 'pg_proc'::regclass
    UNION ALL
    SELECT t.place, t.live, 'default', 'later objects of kind ' || d.defaclobjtype::text, d.defaclacl
    FROM things t JOIN pg_default_acl d ON d.oid = t.objid WHERE t.classid = 'pg_default_acl'::regclass
)
SELECT acls.place, acls.live, acls.kind, acls.thing,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
       string_agg(DISTINCT a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END,
                  ', ')
FROM acls CROSS JOIN LATERAL aclexplode(acls.acl) a
WHERE a.grantee <> a.grantor
GROUP BY 1, 2, 3, 4, a.grantee
ORDER BY 1, 4, 5
""")
