"""Who may do what with the tenant's schemas, tables and functions, now and with what is made later.

Here: rights in the catalogs' lists. Not here: who gets them by being in a role (`roles.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import (
    OWN,
    OWN_ROLES,
    own_roles,
    read,
    relations,
    rights,
)
from tenant_ops.validation.rules import Regrant, Rule, Sighting, rule

_WRITE = "DELETE, INSERT, SELECT, UPDATE"
_KIND_NAMES = {
    "r": "tables",
    "S": "sequences",
    "f": "functions",
    "T": "types",
    "n": "schemas",
    "L": "large objects",
}


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the right, and find out who granted it.",
    fix=Regrant(),
)
def foreign_grants(evidence: Evidence) -> Iterator[Sighting]:
    """Nobody but the tenant's own roles has a right on its schemas or anything in them."""
    tenant = evidence.tenant
    within = {True: set(own_roles(tenant)), False: {tenant.role("owner")}}
    for right in evidence.told(rights):
        if right.grantee not in within[right.live]:
            message = f"{right.grantee} may {right.rights} on {right.thing}."
            yield Sighting(f"{right.thing} to {right.grantee}", message)


@rule(
    level="security",
    severity="error",
    remediation="Grant or revoke until the role has the rights provisioning gives it.",
    fix=Regrant(),
)
def role_rights(evidence: Evidence) -> Iterator[Sighting]:
    """Administrators and editors read and write every table, viewers only read, none does more."""
    tenant = evidence.tenant
    wanted = {tenant.role("admin"): _WRITE, tenant.role("editor"): _WRITE, tenant.role("viewer"): "SELECT"}
    found = {
        (right.thing, right.grantee): right.rights
        for right in evidence.told(rights)
        if right.live and right.kind == "relation"
    }
    for table in evidence.told(relations):
        if not table.live or table.kind not in "rp":
            continue
        for role, meant in wanted.items():
            has = found.get((table.name, role), "nothing")
            if has != meant:
                dataset = table.name if table.name in evidence.catalog else None
                message = f"{role} has {has} on {table.name}; it should have {meant}."
                yield Sighting(f"{table.name} for {role}", message, dataset)


@rule(
    level="security",
    severity="error",
    remediation="ALTER ... OWNER TO the tenant's owner role.",
    fix=Regrant(),
)
def ownership(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's schemas and everything in them belong to its owner role."""
    meant = evidence.tenant.role("owner")
    for thing, owner in evidence.told(_owners):
        if owner != meant:
            yield Sighting(thing, f"{thing} belongs to {owner}.")


@rule(
    level="security",
    severity="error",
    remediation="ALTER DEFAULT PRIVILEGES FOR ROLE the tenant's owner ..., as provisioning does.",
    fix=Regrant(),
)
def default_privileges(evidence: Evidence) -> Iterator[Sighting]:
    """What the tenant's roles make later gets the rights provisioning meant, and gives none to others."""
    tenant = evidence.tenant
    owner, admin, editor, viewer = (tenant.role(kind) for kind in ("owner", "admin", "editor", "viewer"))
    wanted = {
        **{("r", role): _WRITE for role in (admin, editor)},
        ("r", viewer): "SELECT",
        **{("S", role): "SELECT, USAGE" for role in (admin, editor)},
        **{("f", role): "EXECUTE" for role in (admin, editor, viewer)},
    }
    own = {owner, admin, editor, viewer, tenant.role("app")}
    told = evidence.told(_defaults)
    found = {
        (kind, grantee): given
        for creator, schema, kind, grantee, given in told
        if schema == tenant.schema_name and creator == owner and grantee in own - {owner}
    }
    for kind, role in sorted({*wanted, *found}):
        has, meant = (one.get((kind, role), "nothing") for one in (found, wanted))
        if has != meant:
            what = _KIND_NAMES[kind]
            message = f"{role} gets {has} on later {what}; it should get {meant}."
            yield Sighting(f"later {what} for {role}", message)
    # Postgres lets PUBLIC call every function unless the creator's own default says otherwise.
    if not any(creator == owner and not schema and kind == "f" for creator, schema, kind, *_ in told):
        yield Sighting("later functions to PUBLIC", f"Everybody may call functions {owner} makes later.")
    for creator, schema, kind, grantee, given in told:
        if not schema and grantee != creator:
            what = _KIND_NAMES[kind]
            message = f"{grantee} gets {given} on {what} {creator} makes later, in any schema."
            yield Sighting(f"later {what} of {creator} to {grantee}", message)


@rule(
    level="security",
    severity="error",
    remediation="REVOKE CREATE ... FROM PUBLIC.",
)
def public_rights(evidence: Evidence) -> Iterator[Sighting]:
    """Not everybody may make schemas in the database, or objects where functions and tables are looked up.

    That PUBLIC may connect is Postgres' default and no finding: it opens nothing of the tenant.
    """
    for (thing,) in evidence.told(_public):
        yield Sighting(f"CREATE on {thing} to PUBLIC", f"Every role may create in {thing}.")


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the right on schema tenant_ops; no tenant's role needs any.",
)
def control_plane_rights(evidence: Evidence) -> Iterator[Sighting]:
    """No role of the tenant can enter the control plane, directly or through a role it is in."""
    for (role,) in evidence.told(_control_plane):
        yield Sighting(f"schema tenant_ops to {role}", f"{role} may enter the schema tenant_ops.")


@rule(
    level="security",
    severity="error",
    remediation="REVOKE the right, or DROP OWNED BY the role in the other database.",
)
def rights_elsewhere(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's roles have rights on nothing outside its schemas."""
    yield from _elsewhere(evidence, "a", "has rights on")


@rule(
    level="security",
    severity="error",
    remediation="Drop it, or give it to a role that is not a tenant's.",
)
def owned_elsewhere(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's roles own nothing outside its schemas: no event trigger, server or large object."""
    yield from _elsewhere(evidence, "o", "owns")


def _elsewhere(evidence: Evidence, wanted: str, verb: str) -> Iterator[Sighting]:
    found: dict[tuple[str, str], int] = {}
    for role, how, thing in evidence.told(_outside):
        if how == wanted:
            found[role, thing] = found.get((role, thing), 0) + 1
    for (role, thing), count in found.items():
        yield Sighting(f"{thing} of {role}", f"{role} {verb} {thing}.", count=count)


def _owners(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, list[tuple[str, ...]]]:
    return read(connection, _OWNERS, tenants)


def _defaults(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, list[tuple[str, ...]]]:
    return read(connection, _DEFAULTS, tenants)


def _outside(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, list[tuple[str, ...]]]:
    return read(connection, _OUTSIDE, tenants)


def _control_plane(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, list[tuple[str, ...]]]:
    return read(connection, _CONTROL_PLANE, tenants)


def _public(
    connection: psycopg.Connection, tenants: Sequence[Tenant]
) -> Mapping[UUID, list[tuple[str, ...]]]:
    rows = connection.execute(_PUBLIC).fetchall()
    return {tenant.id: rows for tenant in tenants}


_OWNERS = OWN + sql.SQL("""
SELECT own.place, 'schema ' || n.nspname, pg_get_userbyid(n.nspowner)::text
FROM own JOIN pg_namespace n ON n.oid = own.space
UNION ALL
SELECT t.place, c.relname, pg_get_userbyid(c.relowner)::text
FROM things t JOIN pg_class c ON c.oid = t.objid WHERE t.classid = 'pg_class'::regclass
UNION ALL
SELECT t.place, 'function ' || p.proname, pg_get_userbyid(p.proowner)::text
FROM things t JOIN pg_proc p ON p.oid = t.objid WHERE t.classid = 'pg_proc'::regclass
ORDER BY 1, 2
""")

_DEFAULTS = OWN_ROLES + sql.SQL("""
SELECT own.place, own.name,
       CASE d.defaclnamespace WHEN 0 THEN '' ELSE d.defaclnamespace::regnamespace::text END,
       d.defaclobjtype::text, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
       string_agg(DISTINCT a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END,
                  ', ')
FROM own JOIN pg_default_acl d ON d.defaclrole = own.oid CROSS JOIN LATERAL aclexplode(d.defaclacl) a
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
""")

# pg_shdepend has every object a role owns or is granted something on, with an index by role.
_OUTSIDE = OWN_ROLES + sql.SQL(""", spaces AS MATERIALIZED (
    SELECT p.place, n.oid FROM unnest(%(places)s::int[], %(schemas)s::text[]) AS p (place, name)
    JOIN pg_namespace n ON n.nspname = p.name
), held AS MATERIALIZED (
    SELECT own.place, own.name, d.*,
           CASE d.classid
                WHEN 'pg_class'::regclass THEN (SELECT c.relnamespace FROM pg_class c WHERE c.oid = d.objid)
                WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = d.objid)
                WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = d.objid)
                WHEN 'pg_namespace'::regclass THEN d.objid END AS space
    FROM own JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = own.oid
    WHERE d.deptype IN ('o', 'a')
    AND d.classid NOT IN ('pg_default_acl'::regclass, 'pg_auth_members'::regclass)
)
SELECT h.place, h.name, h.deptype::text,
       CASE WHEN h.dbid IN (0, current.oid) THEN pg_describe_object(h.classid, h.objid, 0)
            ELSE 'an object in another database' END
FROM held h, (SELECT oid FROM pg_database WHERE datname = current_database()) current
WHERE h.dbid NOT IN (0, current.oid) OR h.space IS NULL
OR NOT EXISTS (SELECT FROM spaces s WHERE s.place = h.place AND s.oid = h.space)
ORDER BY 1, 2, 3, 4
""")

_CONTROL_PLANE = OWN_ROLES + sql.SQL("""
SELECT own.place, own.name FROM own JOIN pg_namespace n ON n.nspname = 'tenant_ops'
WHERE NOT (SELECT rolsuper FROM pg_roles r WHERE r.oid = own.oid)
AND (has_schema_privilege(own.oid, n.oid, 'USAGE') OR has_schema_privilege(own.oid, n.oid, 'CREATE'))
ORDER BY 1, 2
""")

_PUBLIC = """
SELECT 'the database' FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CREATE'
UNION ALL
SELECT 'schema ' || n.nspname FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname IN ('public', 'tenant_ops', 'pg_catalog') AND a.grantee = 0 AND a.privilege_type = 'CREATE'
"""

GRANT_RULES: tuple[Rule, ...] = (
    foreign_grants,
    role_rights,
    ownership,
    default_privileges,
    public_rights,
    control_plane_rights,
    rights_elsewhere,
    owned_elsewhere,
)
