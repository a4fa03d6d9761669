"""Security level: can anybody reach this tenant's data who should not, or do more than meant?

Here: grants, ownership, memberships, attributes, functions, credentials. The measure is what provisioning
makes (`tenants/provisioning.py`). Not here: what logins did (`audit/`).
"""

from collections.abc import Iterator

from tenant_ops.platform.control_plane.upgrade import TENANTS_GROUP
from tenant_ops.tenants import State, Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule, Sighting, rule

_KINDS = ("owner", "admin", "editor", "viewer", "app")


def _roles(tenant: Tenant) -> list[str]:
    return [tenant.role(kind) for kind in _KINDS]


def _schemas(tenant: Tenant) -> list[str]:
    return [tenant.schema_name, tenant.stage_schema]


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the right, and find out who granted it.",
)
def foreign_grants(evidence: Evidence) -> Iterator[Sighting]:
    """Nobody but the tenant's own roles has a right on its schemas or anything in them."""
    tenant = evidence.tenant
    rows = evidence.connection.execute(_GRANTS, {**evidence.contents, "schemas": _schemas(tenant)})
    within = {tenant.schema_name: set(_roles(tenant)), tenant.stage_schema: {tenant.role("owner")}}
    for schema, thing, grantee, rights in rows:
        if grantee not in within[schema]:
            yield Sighting(f"{thing} to {grantee}", f"{grantee} may {rights} on {thing}.")


@rule(
    level="security",
    severity="error",
    remediation="Grant or revoke until the role has the rights provisioning gives it.",
)
def role_rights(evidence: Evidence) -> Iterator[Sighting]:
    """Administrators and editors read and write every table, viewers only read, none does more."""
    tenant = evidence.tenant
    write = "DELETE, INSERT, SELECT, UPDATE"
    wanted = {tenant.role("admin"): write, tenant.role("editor"): write, tenant.role("viewer"): "SELECT"}
    rows = evidence.connection.execute(
        """
        SELECT c.relname::text, g.rolname::text,
               coalesce((SELECT string_agg(DISTINCT a.privilege_type || CASE WHEN a.is_grantable
                                           THEN ' WITH GRANT OPTION' ELSE '' END, ', ')
                         FROM aclexplode(c.relacl) a WHERE a.grantee = g.oid), 'nothing')
        FROM pg_class c, pg_roles g
        WHERE c.oid = ANY (%(pg_class)s::oid[]) AND c.relkind IN ('r', 'p')
        AND c.relnamespace = current_schema()::regnamespace AND g.rolname = ANY (%(roles)s)
        ORDER BY 1, 2
        """,
        {**evidence.contents, "roles": list(wanted)},
    )
    for table, role, rights in rows:
        if rights != wanted[role]:
            dataset = table if table in evidence.catalog else None
            message = f"{role} has {rights} on {table}; it should have {wanted[role]}."
            yield Sighting(f"{table} for {role}", message, dataset)


@rule(
    level="security",
    severity="error",
    remediation="ALTER ... OWNER TO the tenant's owner role.",
)
def ownership(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant's schemas and everything in them belong to its owner role."""
    rows = evidence.connection.execute(
        _OWNERS,
        {
            **evidence.contents,
            "schemas": _schemas(evidence.tenant),
            "owner": evidence.tenant.role("owner"),
        },
    )
    for thing, owner in rows:
        yield Sighting(thing, f"{thing} belongs to {owner}.")


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the membership.",
)
def memberships(evidence: Evidence) -> Iterator[Sighting]:
    """Only the tenant's login is in its roles, and its roles are in no others."""
    tenant = evidence.tenant
    meant = {(tenant.role("app"), tenant.role("editor")), (tenant.role("app"), TENANTS_GROUP)}
    # Whoever makes roles is in those it made, and must be to act as them: an operator, not a leak.
    rows = evidence.connection.execute(
        """
        SELECT m.rolname::text, g.rolname::text FROM pg_auth_members a
        JOIN pg_roles m ON m.oid = a.member
        JOIN pg_roles g ON g.oid = a.roleid
        WHERE m.rolname = ANY (%(own)s)
        OR (g.rolname = ANY (%(own)s) AND NOT m.rolsuper AND NOT m.rolcreaterole)
        ORDER BY 1, 2
        """,
        {"own": _roles(tenant)},
    )
    for member, group in rows:
        if (member, group) not in meant:
            yield Sighting(f"{member} in {group}", f"{member} is a member of {group}.")


@rule(
    level="security",
    severity="critical",
    remediation="Take the attribute away with ALTER ROLE.",
)
def role_attributes(evidence: Evidence) -> Iterator[Sighting]:
    """No role of the tenant is above the rules, and only the login of an active tenant may connect."""
    tenant = evidence.tenant
    rows = evidence.connection.execute(
        """
        SELECT rolname::text, rolcanlogin, array_remove(ARRAY[
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
            CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
            CASE WHEN rolreplication THEN 'REPLICATION' END], NULL)
        FROM pg_roles WHERE rolname = ANY (%s) ORDER BY 1
        """,
        (_roles(tenant),),
    )
    for role, may_login, attributes in rows:
        if attributes:
            yield Sighting(f"role {role}", f"{role} has {', '.join(attributes)}.")
        if may_login and (role != tenant.role("app") or tenant.state is not State.ACTIVE):
            yield Sighting(f"login of {role}", f"{role} may log in while the tenant is {tenant.state}.")


@rule(
    level="security",
    severity="warning",
    remediation="Give it its tier's limits again with: tenant-ops tenant change-tier",
)
def login_limits(evidence: Evidence) -> Iterator[Sighting]:
    """The login has the connection limit, statement timeout and search path its tier and schema call for."""
    tenant = evidence.tenant
    row = evidence.connection.execute(
        "SELECT rolconnlimit, coalesce(rolconfig, '{}') FROM pg_roles WHERE rolname = %s",
        (tenant.role("app"),),
    ).fetchone()
    if row is None:
        yield Sighting("login", "The tenant has no login role.")
        return
    limit, settings = row[0], dict(setting.split("=", 1) for setting in row[1])
    wanted = {
        "connection limit": (str(limit), str(tenant.tier.connection_limit)),
        "statement_timeout": (settings.get("statement_timeout"), f"{tenant.tier.statement_timeout_s}s"),
        "search_path": (settings.get("search_path", "").strip('"'), tenant.schema_name),
    }
    for name, (found, meant) in wanted.items():
        if found != meant:
            yield Sighting(
                f"login {name}", f"The login's {name} is {found or 'unset'}; it should be {meant}."
            )


@rule(
    level="security",
    severity="error",
    remediation="ALTER FUNCTION ... SET search_path, or make it SECURITY INVOKER.",
)
def definer_functions(evidence: Evidence) -> Iterator[Sighting]:
    """A function that runs with its owner's rights pins its search path."""
    rows = evidence.connection.execute(
        """
        SELECT oid::regprocedure::text FROM pg_proc WHERE oid = ANY (%(pg_proc)s::oid[])
        AND prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) c WHERE c LIKE 'search\\_path=%%')
        ORDER BY 1
        """,
        evidence.contents,
    )
    for (name,) in rows:
        yield Sighting(f"function {name}", f"{name} is SECURITY DEFINER and takes its caller's search path.")


@rule(
    level="security",
    severity="critical",
    remediation="Drop the foreign key; tenants never refer to each other.",
)
def crossing_references(evidence: Evidence) -> Iterator[Sighting]:
    """No foreign key leads into or out of the tenant's schema."""
    rows = evidence.connection.execute(
        """
        WITH involved AS (
            SELECT oid FROM pg_constraint WHERE conrelid = ANY (%(pg_class)s::oid[])
            UNION
            SELECT objid FROM pg_depend
            WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY (%(pg_class)s::oid[])
            AND classid = 'pg_constraint'::regclass
        )
        SELECT c.relname::text, k.conname::text, f.relnamespace::regnamespace::text,
               c.relnamespace::regnamespace::text
        FROM involved
        JOIN pg_constraint k USING (oid)
        JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_class f ON f.oid = k.confrelid
        WHERE k.contype = 'f' AND c.relnamespace <> f.relnamespace
        ORDER BY 1, 2
        """,
        evidence.contents,
    )
    for table, name, target, source in rows:
        yield Sighting(f"{table}.{name}", f"The foreign key {name} leads from {source} to {target}.")


@rule(
    level="security",
    severity="warning",
    remediation="Rotate the login's password.",
)
def credential_rotation(evidence: Evidence) -> Iterator[Sighting]:
    """Every credential is younger than its tier allows."""
    background = evidence.background
    if not background.rotate_at:
        yield Sighting("credential", "The tenant has no credential on record.")
    for kind, due in background.rotate_at.items():
        if due is not None and due < background.now:
            yield Sighting(f"credential {kind}", f"The {kind} was to be rotated on {due:%Y-%m-%d}.")


SECURITY_RULES: tuple[Rule, ...] = (
    foreign_grants,
    role_rights,
    ownership,
    memberships,
    role_attributes,
    login_limits,
    definer_functions,
    crossing_references,
    credential_rotation,
)

# A function without an ACL may be called by PUBLIC; a relation or schema without one only by its owner,
# whose own rights are no grant: who owns things is a rule of its own.
_GRANTS = """
WITH acls AS (
    SELECT oid AS space, 'schema ' || nspname AS thing, nspacl AS acl
    FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT relnamespace, relname, relacl FROM pg_class WHERE oid = ANY (%(pg_class)s::oid[])
    UNION ALL
    SELECT c.relnamespace, c.relname || '.' || a.attname, a.attacl
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    WHERE c.oid = ANY (%(pg_class)s::oid[])
    UNION ALL
    SELECT pronamespace, 'function ' || proname, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc WHERE oid = ANY (%(pg_proc)s::oid[])
    UNION ALL
    SELECT defaclnamespace, 'later objects of kind ' || defaclobjtype::text, defaclacl
    FROM pg_default_acl WHERE oid = ANY (%(pg_default_acl)s::oid[])
)
SELECT s.nspname::text, acls.thing, coalesce(g.rolname::text, 'PUBLIC'),
       string_agg(DISTINCT a.privilege_type, ', ')
FROM acls JOIN pg_namespace s ON s.oid = acls.space
CROSS JOIN LATERAL aclexplode(acls.acl) a
LEFT JOIN pg_roles g ON g.oid = a.grantee
WHERE a.grantee <> a.grantor
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
"""

_OWNERS = """
WITH things AS (
    SELECT 'schema ' || nspname AS thing, nspowner AS owner
    FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT relname, relowner FROM pg_class WHERE oid = ANY (%(pg_class)s::oid[])
    UNION ALL
    SELECT 'function ' || proname, proowner FROM pg_proc WHERE oid = ANY (%(pg_proc)s::oid[])
)
SELECT thing, pg_get_userbyid(owner)::text FROM things
WHERE pg_get_userbyid(owner) <> %(owner)s ORDER BY 1
"""
