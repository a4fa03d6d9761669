"""Sessions in which a backup's statements and rows can do no more than the tenant they belong to.

Here: a login for one restore, the sessions it opens, clearing logins away that a killed restore left.
Not here: what runs in the sessions (`loading.py`, `merging.py`).

Loading rows runs code that came with the backup: checks of domains, generated columns, expressions of
indexes. `SET ROLE` does not hold such code back, for a function may `RESET ROLE` and is then whoever logged
in: on most servers somebody who is a member of every tenant's role, or superuser. So whoever logs in here is
a role made for this restore, a member of the tenant's owner role and of nothing else that has any rights.
"""

import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.backups.content import SESSION_FORMAT
from tenant_ops.platform.control_plane.upgrade import TENANTS_GROUP
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError, first_line
from tenant_ops.tenants import Fleet, Tenant

MEMORY_MB = 256
RESTORE, DRILL = "rst", "drl"
_LOGIN_WITHIN = "10 minutes"
# Nothing is lost by not waiting for the disk: the exchange at the end does, and for all before it.
_SESSION = (
    "SET search_path = ''",
    "SET check_function_bodies = off",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET row_security = off",
    "SET synchronous_commit = off",
    f"SET maintenance_work_mem = '{MEMORY_MB}MB'",
    *(setting.replace("SET LOCAL", "SET") for setting in SESSION_FORMAT),
)


@dataclass(frozen=True)
class OwnerSessions:
    """Sessions as a tenant's owner role.

    Attributes:
        connections: In autocommit mode.
        warnings: What an operator should know of them.
    """

    connections: tuple[psycopg.Connection, ...]
    warnings: tuple[str, ...]


@contextmanager
def owner_sessions(
    fleet: Fleet, tenant: Tenant, count: int, *, trusted: bool, purpose: str = RESTORE
) -> Generator[OwnerSessions]:
    """Open sessions of a login that is nothing but the tenant; it is gone at the end of the block.

    Args:
        fleet: The fleet.
        tenant: Held by the caller: whoever else made a login for it and the same purpose is dead.
        count: How many sessions.
        trusted: Whether the server's own login may be used where the server does not let the other one in:
            true for what is proved to come from here.
        purpose: `RESTORE`, or `DRILL`, which does not keep restores away and must not be ended by them.

    Raises:
        InputError: the server does not let the login in, and what is loaded is not trusted.
    """
    database = fleet.database(tenant)
    with ExitStack() as stack:
        role, password = _make(database, tenant, purpose)
        stack.callback(drop_logins, database, tenant, purpose)
        try:
            sessions = _opened(stack, count, lambda: database.log_in(role, password))
            warnings: tuple[str, ...] = ()
        except psycopg.OperationalError as error:
            if not trusted:
                raise InputError(
                    f"nothing proves who wrote this backup, and the server does not let in the login that "
                    f"would keep its functions from other tenants: {first_line(error)}.",
                    where=f"tenant {tenant.slug}",
                    fix="Allow roles t_*_rst_* and t_*_drl_* in pg_hba.conf, restore an encrypted backup, or "
                    "say that it is trusted: --trust-plain.",
                ) from error
            sessions = _opened(stack, count, lambda: stack.enter_context(database.session()))
            warnings = (
                "the server does not let in a login of the restore's own, so functions of the backup ran in "
                f"sessions of the operator's login: {first_line(error)}.",
            )
        owner = sql.SQL("SET ROLE {}").format(sql.Identifier(tenant.role("owner"))).as_string()
        for connection in sessions:
            connection.execute("; ".join([owner, *_SESSION]).encode())
        yield OwnerSessions(sessions, warnings)


@contextmanager
def as_owner(connection: psycopg.Connection, tenant: Tenant) -> Generator[psycopg.Connection]:
    """A transaction as the owner, whatever code of the backup made of the session before."""
    with connection.transaction():
        connection.execute(
            sql.SQL("SET LOCAL ROLE {}; SET LOCAL search_path = ''").format(
                sql.Identifier(tenant.role("owner"))
            )
        )
        yield connection


def drop_logins(database: Database, tenant: Tenant, purpose: str = RESTORE) -> tuple[str, ...]:
    """Drop the logins restores (or drills) of this tenant made, end their sessions; their names.

    For holders of the tenant's lock (or its drill's): every one there is was left by a restore that died, or
    is the caller's.
    """
    with database.transaction() as connection:
        roles = tuple(_logins(connection, tenant, purpose))
        for role in roles:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", (role,)
            )
            # Owns nothing, unless code of a backup had it make something.
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))
    return roles


def _logins(connection: psycopg.Connection, tenant: Tenant, purpose: str) -> Iterator[str]:
    prefix = f"t_{tenant.key}_{purpose}_"
    # As a range, so that an index of the catalog serves: `starts_with` reads all roles of the fleet.
    for (name,) in connection.execute(
        "SELECT rolname::text FROM pg_roles WHERE rolname >= %s::name AND rolname < %s::name",
        (prefix, f"{prefix}~"),
    ):
        yield name


def _make(database: Database, tenant: Tenant, purpose: str) -> tuple[str, str]:
    role = f"t_{tenant.key}_{purpose}_{secrets.token_hex(4)}"
    password = secrets.token_urlsafe(24)
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT (clock_timestamp() + %s::interval)::text, rolsuper FROM pg_roles "
            "WHERE rolname = current_user",
            (_LOGIN_WITHIN,),
        ).fetchone()
        assert row is not None
        until, superuser = row
        # A verifier made here: the password never reaches the server's log.
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
                "PASSWORD {} VALID UNTIL {} IN ROLE {}, {}"
            ).format(
                sql.Identifier(role),
                sql.Literal(verifier.decode()),
                sql.Literal(until),
                sql.Identifier(tenant.role("owner")),
                sql.Identifier(TENANTS_GROUP),
            )
        )
        if not superuser:  # to end its sessions, and to drop what it may own
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
    return role, password


def _opened(
    stack: ExitStack, count: int, connect: Callable[[], psycopg.Connection]
) -> tuple[psycopg.Connection, ...]:
    connections = []
    for _ in range(count):
        connections.append(connect())
        stack.callback(connections[-1].close)
    return tuple(connections)
