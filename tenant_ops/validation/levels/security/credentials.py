"""Credentials and connections of the tenant's login: age, use, how passwords are kept, how sessions come in.

What the server hides from whoever runs this is unchecked, with the reason. Not here: secrets in the tenant's
configuration and rows (`values.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.platform.errors import NotAvailable
from tenant_ops.tenants import State, Tenant
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import OWN_ROLES, own_roles, read
from tenant_ops.validation.levels.security.roles import role_facts
from tenant_ops.validation.rules import Rule, Sighting, rule

UNUSED_AFTER = timedelta(days=14)
"""Well within the 30 days that monitoring's samples are kept."""
WATCHED_WITHIN = timedelta(days=2)
LEAST_ITERATIONS = 4096
"""Rounds of SCRAM-SHA-256 that RFC 7677 asks for at least."""


@rule(
    level="security",
    severity="warning",
    remediation="Rotate the login's password.",
)
def credential_rotation(evidence: Evidence) -> Iterator[Sighting]:
    """Every credential is younger than its tier allows."""
    background = evidence.background
    if not background.credentials:
        yield Sighting("credential", "The tenant has no credential on record.")
    for one in background.credentials:
        due = one.rotate_at or one.created_at + timedelta(days=evidence.tenant.tier.rotation_days)
        if due < background.now:
            yield Sighting(f"credential {one.kind}", f"The {one.kind} was to be rotated on {due:%Y-%m-%d}.")


@rule(
    level="security",
    severity="warning",
    remediation="Rotate the login, or remove the credential nobody can log in with.",
)
def stale_credentials(evidence: Evidence) -> Iterator[Sighting]:
    """Every credential on record is that of a login that is there and lets in."""
    logins = {role: may_login for role, may_login, *_ in evidence.told(role_facts)}
    for one in evidence.background.credentials:
        if one.username not in logins:
            yield Sighting(
                f"credential {one.kind}", f"The {one.kind} is for a role that is not the tenant's."
            )
        elif not logins[one.username] and evidence.tenant.state is State.ACTIVE:
            yield Sighting(f"credential {one.kind}", f"Nobody can log in with the {one.kind}: it is NOLOGIN.")


@rule(
    level="security",
    severity="info",
    remediation="Suspend the tenant, or rotate the credential if it should be used.",
)
def unused_login(evidence: Evidence) -> Iterator[Sighting]:
    """The login of an active tenant is used at least once in 14 days.

    Postgres keeps no time of the last login: monitoring's samples of open connections tell.
    """
    background, use = evidence.background, evidence.background.use
    since = background.now - UNUSED_AFTER
    if evidence.tenant.state is not State.ACTIVE or evidence.tenant.created_at > since:
        return
    if use is None or use.since > since or use.until < background.now - WATCHED_WITHIN:
        raise NotAvailable(
            "monitoring has not watched the login for 14 days, and Postgres keeps no last use."
        )
    if (use.seen is None or use.seen < since) and not _sessions(evidence):
        yield Sighting("login", "Monitoring has not seen the login connected for 14 days.")


@rule(
    level="security",
    severity="error",
    remediation="Set password_encryption to scram-sha-256 and rotate the login's password.",
)
def password_hashing(evidence: Evidence) -> Iterator[Sighting]:
    """Only the login has a password, kept as a SCRAM-SHA-256 verifier of at least 4,096 rounds."""
    tenant = evidence.tenant
    for role, scheme, iterations in evidence.told(_passwords, operator=True):
        if role != tenant.role("app"):
            if scheme != "none":
                yield Sighting(f"role {role}", f"{role} has a password, and is not the login.")
        elif scheme == "none" and tenant.state is State.ACTIVE:
            yield Sighting(f"role {role}", f"{role} has no password.")
        elif scheme == "md5":
            yield Sighting(f"role {role}", f"The password of {role} is kept as MD5.")
        elif scheme == "scram" and iterations < LEAST_ITERATIONS:
            yield Sighting(f"role {role}", f"The password of {role} is kept with {iterations:,} rounds only.")


@rule(
    level="security",
    severity="warning",
    remediation="Rotate the login's password, and ALTER ROLE ... VALID UNTIL a later day or 'infinity'.",
)
def password_validity(evidence: Evidence) -> Iterator[Sighting]:
    """The password of an active tenant's login has not run out."""
    tenant = evidence.tenant
    for role, _, _, _, _, until in evidence.told(role_facts):
        expired = until is not None and until < evidence.background.now
        if role == tenant.role("app") and tenant.state is State.ACTIVE and expired:
            yield Sighting(f"role {role}", f"The password of {role} ran out on {until:%Y-%m-%d}.")


@rule(
    level="security",
    severity="error",
    remediation="Let pg_hba.conf take network connections by hostssl only.",
)
def connections_without_tls(evidence: Evidence) -> Iterator[Sighting]:
    """Sessions of the tenant's login that come over the network are encrypted; local sockets need not be."""
    sessions = _sessions(evidence)
    if any(not visible for _, visible, *_ in sessions):
        raise NotAvailable("who runs this may not see how the login's sessions came in (pg_read_all_stats).")
    plain: dict[str, int] = {}
    for role, _, network, encrypted, offered in sessions:
        if network and not encrypted:
            if not offered:
                raise NotAvailable(
                    "the server has no TLS; what protects sessions on their way is unknown here."
                )
            plain[role] = plain.get(role, 0) + 1
    for role, count in plain.items():
        yield Sighting(f"sessions of {role}", f"{count} sessions of {role} came in without TLS.", count=count)


def _sessions(evidence: Evidence) -> list[Any]:
    return evidence.told(_connected, operator=True)


def _connected(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    owner = {role: tenant.id for tenant in tenants for role in own_roles(tenant)}
    found: dict[UUID, list[Any]] = {tenant.id: [] for tenant in tenants}
    for row in connection.execute(_CONNECTED, (list(owner),)):
        found[owner[row[0]]].append(row)
    return found


def _passwords(connection: psycopg.Connection, tenants: Sequence[Tenant]) -> Mapping[UUID, list[Any]]:
    readable = connection.execute(
        "SELECT has_column_privilege('pg_authid', 'rolpassword', 'SELECT')"
    ).fetchone()
    if readable != (True,):
        raise NotAvailable("only a superuser sees how passwords are kept.")
    return read(connection, _PASSWORDS, tenants)


# Of a session one may not look into, Postgres shows the login and nothing else.
_CONNECTED = """
SELECT a.usename::text, a.backend_type IS NOT NULL, a.client_addr IS NOT NULL, coalesce(s.ssl, false),
       current_setting('ssl')::boolean
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid)
WHERE a.usename = ANY (%s)
"""

# The verifier itself never leaves the server: SCRAM-SHA-256$<iterations>:<salt>$...
_PASSWORDS = OWN_ROLES + sql.SQL("""
SELECT own.place, own.name,
       CASE WHEN a.rolpassword IS NULL THEN 'none' WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%%' THEN 'scram'
            ELSE 'md5' END,
       coalesce(substring(a.rolpassword FROM '^SCRAM-SHA-256\\$([0-9]+):')::int, 0)
FROM own JOIN pg_authid a ON a.oid = own.oid
ORDER BY 1, 2
""")

CREDENTIAL_RULES: tuple[Rule, ...] = (
    credential_rotation,
    stale_credentials,
    unused_login,
    password_hashing,
    password_validity,
    connections_without_tls,
)
