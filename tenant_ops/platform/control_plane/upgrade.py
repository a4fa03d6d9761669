"""Bring the control-plane schema to the newest revision, once, whoever comes first.

Here: the upgrade under its advisory lock. Not here: what the tables are (`versions/`).
"""

import logging
from functools import cache
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.exc import ProgrammingError

from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import OperationFailed, first_line

SCHEMA = "tenant_ops"
# Members may connect and nothing else: one grant for all tenants, because a grant per tenant
# outgrows the database's ACL row at about 2,500 tenants.
TENANTS_GROUP = "tenant_ops_tenants"
_LOCK = 0x7E4A_0B5C  # any number nobody else uses: serialises upgrades of one database


def ensure_control_plane(database: Database) -> bool:
    """Create or upgrade the control plane; True when anything had to be done.

    Costs one query when the schema is current. Processes that arrive together wait for the first.

    Raises:
        OperationFailed: the database is newer than this code, or this role may not create schemas.
    """
    with database.transaction() as connection:
        found = _revision(connection)
    if found == _newest():
        return False
    if found is not None and found not in _known():
        raise OperationFailed(
            f"the control plane is at revision {found}, which this version does not know.",
            where=database.describe(),
            fix="Use the tenant-ops version that upgraded it, or a newer one.",
        )
    with database.session() as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        try:
            return _upgrade(database)
        except (psycopg.errors.InsufficientPrivilege, ProgrammingError) as error:
            raise OperationFailed(
                f"the control plane cannot be created: {first_line(error)}.",
                where=database.describe(),
                fix="Connect as a role with CREATEROLE that may create schemas in this database.",
            ) from error
        finally:
            lock.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _upgrade(database: Database) -> bool:
    with database.transaction() as connection:
        if _revision(connection) == _newest():
            return False
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        ensure_tenants_group(connection)
    engine = database.engine()
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return True


def ensure_tenants_group(connection: psycopg.Connection) -> None:
    """Make sure of the group every tenant login is in, and that it may connect to this database.

    Roles are shared by all databases of a server; each server that holds tenants needs the group.
    """
    known = connection.execute(
        """
        SELECT 1 FROM pg_database AS d, aclexplode(d.datacl) AS granted
        JOIN pg_roles AS r ON r.oid = granted.grantee
        WHERE d.datname = current_database() AND r.rolname = %s AND granted.privilege_type = 'CONNECT'
        """,
        (TENANTS_GROUP,),
    ).fetchone()
    if known:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(TENANTS_GROUP)))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        pass
    database = sql.Identifier(connection.info.dbname)
    group = sql.Identifier(TENANTS_GROUP)
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, group))


def _revision(connection: psycopg.Connection) -> str | None:
    exists = connection.execute("SELECT to_regclass('tenant_ops.schema_revision') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return None
    row = connection.execute("SELECT version_num FROM tenant_ops.schema_revision").fetchone()
    return row[0] if row else None


def _config() -> Config:
    config = Config()
    # Alembic reads its options through configparser: a % in the path must be doubled.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    # Alembic tells each step at info level, on every start: that is for whoever debugs a revision.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


@cache
def _newest() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""
