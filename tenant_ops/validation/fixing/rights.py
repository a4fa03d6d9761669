"""Fix: the tenant's roles, and everything in its schemas, have the rights and owners provisioning gives.

Here: the difference between the rights there are and those there should be, as statements with their
opposites. Not here: what is a leak (`levels/security/`). What should be is what provisioning makes
(`tenants/provisioning.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from tenant_ops.platform.control_plane.upgrade import TENANTS_GROUP
from tenant_ops.tenants import State
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import Change, Foreseen
from tenant_ops.validation.fixing.images import Keeper

SHOWN = 5
KINDS = ("owner", "admin", "editor", "viewer", "app")
WRITE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
ATTRIBUTES = ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "CREATEDB", "REPLICATION")

Statement = tuple[str, str]
"""What is run, and what takes it back."""


@dataclass(frozen=True)
class RestoreRights(Change):
    """Bring owners, grants, default privileges, memberships, attributes and limits back."""

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Count the statements and show the first."""
        statements = [do for do, _ in (*_owners(evidence), *_rights(evidence))]
        return Foreseen(
            f"{len(statements)} statements bring rights and owners back to what provisioning gives",
            sample=tuple(statements[:SHOWN]),
            refusal="" if statements else "Rights and owners are as provisioning gives them.",
        )

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Run them with the operator's rights; owners first, for rights are theirs to give."""
        for part in (_owners, _rights):
            statements = list(part(evidence))
            with evidence.as_operator() as connection:
                for do, _ in statements:
                    connection.execute(do.encode())
            keeper.undo[:0] = [(True, undo) for _, undo in reversed(statements)]
        return 0


def _owners(evidence: Evidence) -> Iterator[Statement]:
    tenant = evidence.tenant
    own = _name(tenant.role("owner"))
    rows = evidence.connection.execute(
        _OWNERS,
        {
            **evidence.contents,
            "schemas": [tenant.schema_name, tenant.stage_schema],
            "owner": tenant.role("owner"),
        },
    )
    for thing, owner in rows:
        yield f"ALTER {thing} OWNER TO {own}", f"ALTER {thing} OWNER TO {_name(owner)}"


def _rights(evidence: Evidence) -> Iterator[Statement]:
    yield from _grants(evidence)
    yield from _memberships(evidence)
    yield from _attributes(evidence)
    yield from _limits(evidence)


def _grants(evidence: Evidence) -> Iterator[Statement]:
    tenant = evidence.tenant
    rows = evidence.connection.execute(
        _GRANTS, {**evidence.contents, "schemas": [tenant.schema_name, tenant.stage_schema]}
    ).fetchall()
    seen = {(schema, kind) for schema, kind, *_ in rows}
    later = [
        (tenant.schema_name, kind, _name(tenant.schema_name), None, None)
        for kind in ("LATER r", "LATER S", "LATER f")
        if (tenant.schema_name, kind) not in seen
    ]
    for schema, kind, thing, column, entries in (*rows, *later):
        wanted = _wanted(evidence, kind) if schema == tenant.schema_name and not column else {}
        found: dict[str, dict[str, bool]] = {}
        for grantee, right, grantable in entries or ():
            found.setdefault(grantee, {})[right] = grantable
        for grantee in sorted({*found, *wanted}):
            has, should = found.get(grantee, {}), wanted.get(grantee, frozenset())
            surplus = sorted(right for right in has if right not in should or has[right])
            missing = sorted(right for right in should if right not in has or has[right])
            yield from _change(tenant.role("owner"), kind, thing, column, grantee, surplus, missing, has)


def _change(
    owner: str,
    kind: str,
    thing: str,
    column: str | None,
    grantee: str,
    surplus: list[str],
    missing: list[str],
    has: dict[str, bool],
) -> Iterator[Statement]:
    who = "PUBLIC" if grantee == "PUBLIC" else _name(grantee)
    before = f"ALTER DEFAULT PRIVILEGES FOR ROLE {_name(owner)} IN SCHEMA {thing} " if "LATER" in kind else ""
    on = {"LATER r": "TABLES", "LATER S": "SEQUENCES", "LATER f": "FUNCTIONS"}.get(kind) or f"{kind} {thing}"

    def listed(rights: list[str]) -> str:
        return ", ".join(f"{right} ({_name(column)})" if column else right for right in rights)

    for right in surplus:
        again = " WITH GRANT OPTION" if has[right] else ""
        yield (
            f"{before}REVOKE {listed([right])} ON {on} FROM {who} CASCADE",
            f"{before}GRANT {listed([right])} ON {on} TO {who}{again}",
        )
    if missing:
        yield (
            f"{before}GRANT {listed(missing)} ON {on} TO {who}",
            f"{before}REVOKE {listed(missing)} ON {on} FROM {who}",
        )


def _wanted(evidence: Evidence, kind: str) -> dict[str, frozenset[str]]:
    tenant = evidence.tenant
    admin, editor, viewer = (tenant.role(name) for name in ("admin", "editor", "viewer"))
    match kind:
        case "SCHEMA":
            return dict.fromkeys((admin, editor, viewer), frozenset({"USAGE"}))
        case "TABLE" | "LATER r":
            return {admin: WRITE, editor: WRITE, viewer: frozenset({"SELECT"})}
        case "SEQUENCE" | "LATER S":
            return dict.fromkeys((admin, editor), frozenset({"USAGE", "SELECT"}))
        case "ROUTINE" | "LATER f":
            return dict.fromkeys((admin, editor, viewer), frozenset({"EXECUTE"}))
        case _:
            return {}


def _memberships(evidence: Evidence) -> Iterator[Statement]:
    tenant = evidence.tenant
    app = tenant.role("app")
    meant = {(app, tenant.role("editor")), (app, TENANTS_GROUP)}
    # Whoever makes roles is in those it made, and must be: an operator, not a leak.
    rows = evidence.connection.execute(
        """
        SELECT DISTINCT m.rolname::text, g.rolname::text FROM pg_auth_members a
        JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
        WHERE m.rolname = ANY (%(own)s)
        OR (g.rolname = ANY (%(own)s) AND NOT m.rolsuper AND NOT m.rolcreaterole) ORDER BY 1, 2
        """,
        {"own": [tenant.role(kind) for kind in KINDS]},
    )
    found = {(member, group) for member, group in rows}
    for member, group in sorted(found - meant):
        grant = f"GRANT {_name(group)} TO {_name(member)}"
        yield f"REVOKE {_name(group)} FROM {_name(member)} CASCADE", grant
    for member, group in sorted(meant - found):
        yield f"GRANT {_name(group)} TO {_name(member)}", f"REVOKE {_name(group)} FROM {_name(member)}"


def _attributes(evidence: Evidence) -> Iterator[Statement]:
    tenant = evidence.tenant
    rows = evidence.connection.execute(
        """
        SELECT rolname::text, rolcanlogin,
               ARRAY[rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication]
        FROM pg_roles WHERE rolname = ANY (%s) ORDER BY 1
        """,
        ([tenant.role(kind) for kind in KINDS],),
    )
    for role, may_log_in, has in rows:
        name = _name(role)
        for attribute in (named for named, there in zip(ATTRIBUTES, has, strict=True) if there):
            yield f"ALTER ROLE {name} NO{attribute}", f"ALTER ROLE {name} {attribute}"
        if may_log_in and (role != tenant.role("app") or tenant.state is not State.ACTIVE):
            yield f"ALTER ROLE {name} NOLOGIN", f"ALTER ROLE {name} LOGIN"


def _limits(evidence: Evidence) -> Iterator[Statement]:
    tenant = evidence.tenant
    row = evidence.connection.execute(
        "SELECT rolconnlimit, coalesce(rolconfig, '{}') FROM pg_roles WHERE rolname = %s",
        (tenant.role("app"),),
    ).fetchone()
    if row is None:
        return
    name, limit = _name(tenant.role("app")), tenant.tier.connection_limit
    if row[0] != limit:
        yield (
            f"ALTER ROLE {name} CONNECTION LIMIT {limit}",
            f"ALTER ROLE {name} CONNECTION LIMIT {row[0]}",
        )
    settings = dict(setting.split("=", 1) for setting in row[1])
    wanted = {
        "statement_timeout": f"{tenant.tier.statement_timeout_s}s",
        "search_path": tenant.schema_name,
    }
    for setting, value in wanted.items():
        found = settings.get(setting)
        if found is not None and found.strip('"') == value:
            continue
        back = f"RESET {setting}" if found is None else f"SET {setting} = {_literal(found)}"
        yield f"ALTER ROLE {name} SET {setting} = {_literal(value)}", f"ALTER ROLE {name} {back}"


def _name(name: str) -> str:
    return sql.Identifier(name).as_string()


def _literal(text: str) -> str:
    return sql.Literal(text).as_string()


_OWNERS = """
SELECT 'SCHEMA ' || quote_ident(nspname), pg_get_userbyid(nspowner)::text
FROM pg_namespace WHERE nspname = ANY (%(schemas)s) AND pg_get_userbyid(nspowner) <> %(owner)s
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW '
                      WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END
       || format('%%I.%%I', n.nspname, c.relname), pg_get_userbyid(c.relowner)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(pg_class)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND pg_get_userbyid(c.relowner) <> %(owner)s
AND NOT (c.relkind = 'S' AND EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')))
UNION ALL
SELECT 'ROUTINE ' || format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       pg_get_userbyid(p.proowner)::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid = ANY (%(pg_proc)s::oid[]) AND pg_get_userbyid(p.proowner) <> %(owner)s
ORDER BY 1
"""

# An object without an ACL has the default one: of a function, everybody may call it.
_GRANTS = """
WITH things AS (
    SELECT oid AS space, 'SCHEMA' AS kind, quote_ident(nspname) AS thing, NULL::text AS col, nspacl AS acl,
           nspowner AS owner
    FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT c.relnamespace, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
           format('%%I.%%I', n.nspname, c.relname), NULL, c.relacl, c.relowner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (%(pg_class)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT c.relnamespace, 'TABLE', format('%%I.%%I', n.nspname, c.relname), a.attname::text, a.attacl,
           c.relowner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    WHERE c.oid = ANY (%(pg_class)s::oid[])
    UNION ALL
    SELECT p.pronamespace, 'ROUTINE',
           format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), NULL,
           coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = ANY (%(pg_proc)s::oid[])
    UNION ALL
    SELECT n.oid, 'LATER ' || d.defaclobjtype::text, quote_ident(n.nspname), NULL, d.defaclacl, d.defaclrole
    FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
    WHERE d.oid = ANY (%(pg_default_acl)s::oid[]) AND d.defaclobjtype IN ('r', 'S', 'f')
)
SELECT n.nspname::text, t.kind, t.thing, t.col, (
    SELECT json_agg(json_build_array(coalesce(g.rolname::text, 'PUBLIC'), a.privilege_type, a.is_grantable))
    FROM aclexplode(t.acl) a LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> t.owner
)
FROM things t JOIN pg_namespace n ON n.oid = t.space ORDER BY 1, 2, 3, 4
"""
