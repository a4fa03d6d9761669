"""What the tenant's roles are, which roles they are in, and who gets in through them.

Here: attributes, settings and memberships. Not here: rights (`grants.py`), passwords (`credentials.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.platform.control_plane.upgrade import TENANTS_GROUP
from tenant_ops.tenants import State, Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN_ROLES, TENANT_ROLE, own_roles, read, rights
from tenant_ops.validation.rules import Regrant, Rule, Sighting, rule


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the membership.",
    fix=Regrant(),
)
def memberships(evidence: Evidence) -> Iterator[Sighting]:
    """Only the tenant's login is in its roles, and its roles are in no others."""
    tenant = evidence.tenant
    meant = {(tenant.role("app"), tenant.role("editor")), (tenant.role("app"), TENANTS_GROUP)}
    own = set(own_roles(tenant))
    for member, group, operator in evidence.told(_members):
        # Whoever makes roles is in those it made, and must be to act as them: an operator, not a leak.
        if (member, group) not in meant and (member in own or not operator):
            yield Sighting(f"{member} in {group}", f"{member} is a member of {group}.")


@rule(
    level="security",
    severity="critical",
    remediation="REVOKE the membership that leads there.",
)
def inherited_reach(evidence: Evidence) -> Iterator[Sighting]:
    """Nobody gets in through roles that are in roles: what counts is what a role may do in the end."""
    own = set(own_roles(evidence.tenant))
    direct = {member for member, _, _ in evidence.told(_members)}
    for role, way in evidence.told(_reach):
        if role not in own | direct:
            yield Sighting(f"{role} through {way}", f"{role} has the tenant's rights by being in {way}.")
    grantees = {one.grantee for one in evidence.told(rights)} - own - {"PUBLIC"}
    for role, way in _members_of(evidence.connection, sorted(grantees)) if grantees else ():
        if role not in own:
            yield Sighting(f"{role} through {way}", f"{role} gets in by being in {way}.")
    for role, way in evidence.told(_reading_all):
        if role not in own:
            yield Sighting(f"{role} through {way}", f"{role}, another tenant's, is in {way}.")


@rule(
    level="security",
    severity="critical",
    remediation="Take the attribute away with ALTER ROLE.",
    fix=Regrant(),
)
def role_attributes(evidence: Evidence) -> Iterator[Sighting]:
    """No role of the tenant is above the rules, and only the login of an active tenant may connect."""
    tenant = evidence.tenant
    for role, may_login, attributes, *_ in evidence.told(role_facts):
        if attributes:
            yield Sighting(f"role {role}", f"{role} has {', '.join(attributes)}.")
        if may_login and (role != tenant.role("app") or tenant.state is not State.ACTIVE):
            yield Sighting(f"login of {role}", f"{role} may log in while the tenant is {tenant.state}.")


@rule(
    level="security",
    severity="warning",
    remediation="Give it its tier's limits again with: tenant-ops tenant change-tier",
    fix=Regrant(),
)
def login_limits(evidence: Evidence) -> Iterator[Sighting]:
    """The login has the connection limit, statement timeout and search path its tier and schema call for."""
    tenant = evidence.tenant
    row = next((row for row in evidence.told(role_facts) if row[0] == tenant.role("app")), None)
    if row is None:
        yield Sighting("login", "The tenant has no login role.")
        return
    limit, settings = row[3], dict(setting.split("=", 1) for setting in row[4])
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


def role_facts(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    """Name, login, attributes, connection limit, settings and end of validity of the tenants' roles.

    Settings of this database win over those of the role, as they do at login.
    """
    return read(connection, _ROLES, tenants)


def _members(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    return read(connection, _MEMBERS, tenants)


def _reach(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    return read(connection, _REACH, tenants)


def _members_of(connection: psycopg.Connection, groups: list[str]) -> list[Any]:
    return connection.execute(_MEMBERS_OF, {"groups": groups, "pattern": "."}).fetchall()


def _reading_all(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    groups = ["pg_read_all_data", "pg_write_all_data", "pg_execute_server_program", "pg_read_server_files"]
    rows = connection.execute(_MEMBERS_OF, {"groups": groups, "pattern": TENANT_ROLE}).fetchall()
    return {tenant.id: rows for tenant in tenants}


_ROLES = OWN_ROLES + sql.SQL("""
SELECT own.place, own.name, r.rolcanlogin, array_remove(ARRAY[
           CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' END], NULL),
       r.rolconnlimit, coalesce(r.rolconfig, '{}') || coalesce(s.setconfig, '{}'), r.rolvaliduntil
FROM own JOIN pg_roles r ON r.oid = own.oid
LEFT JOIN pg_db_role_setting s ON s.setrole = own.oid
    AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1, 2
""")

_MEMBERS = OWN_ROLES + sql.SQL(""", edges AS (
    SELECT own.place, m.member, m.roleid FROM own JOIN pg_auth_members m ON m.member = own.oid
    UNION
    SELECT own.place, m.member, m.roleid FROM own JOIN pg_auth_members m ON m.roleid = own.oid
)
SELECT e.place, m.rolname::text, g.rolname::text, m.rolsuper OR m.rolcreaterole
FROM edges e JOIN pg_roles m ON m.oid = e.member JOIN pg_roles g ON g.oid = e.roleid
ORDER BY 1, 2, 3
""")

# Superusers and those who make roles are operators; nobody gets in through one without being one.
_REACH = OWN_ROLES + sql.SQL(""", reached AS (
    SELECT own.place, own.oid, own.oid AS way FROM own
    UNION
    SELECT r.place, m.member, m.roleid FROM reached r
    CROSS JOIN LATERAL (SELECT member, roleid FROM pg_auth_members WHERE roleid = r.oid OFFSET 0) m
    JOIN pg_roles o ON o.oid = m.member AND NOT o.rolsuper AND NOT o.rolcreaterole
)
SELECT DISTINCT r.place, pg_get_userbyid(r.oid)::text, pg_get_userbyid(r.way)::text FROM reached r
WHERE NOT EXISTS (SELECT FROM own WHERE own.place = r.place AND own.oid = r.oid)
ORDER BY 1, 2, 3
""")

_MEMBERS_OF = """
WITH RECURSIVE reached AS (
    SELECT oid, rolname AS way FROM pg_roles WHERE rolname = ANY (%(groups)s)
    UNION
    SELECT m.member, r.way FROM reached r
    CROSS JOIN LATERAL (SELECT member FROM pg_auth_members WHERE roleid = r.oid OFFSET 0) m
    CROSS JOIN LATERAL (SELECT rolsuper OR rolcreaterole AS operator FROM pg_roles WHERE oid = m.member
                        OFFSET 0) o
    WHERE NOT o.operator
)
SELECT DISTINCT o.rolname::text, r.way::text FROM reached r
CROSS JOIN LATERAL (SELECT rolname FROM pg_roles WHERE oid = r.oid OFFSET 0) o
WHERE o.rolname ~ %(pattern)s AND o.rolname <> r.way AND o.rolname NOT LIKE 'pg\\_%%'
ORDER BY 1, 2
"""

ROLE_RULES: tuple[Rule, ...] = (memberships, inherited_reach, role_attributes, login_limits)
