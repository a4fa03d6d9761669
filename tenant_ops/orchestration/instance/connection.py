"""How Dagster's own tables are reached: which database, a few kept connections, tables made on first use.

Not here: the tenants' connections (`platform/database.py`), what is stored (`storage.py`).
"""

import os
import weakref
from collections.abc import Mapping

import click
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from tenant_ops.platform import embedded
from tenant_ops.platform.errors import TenantOpsError, first_line
from tenant_ops.platform.settings import Settings, libpq_url

# A database shared with the tenants keeps Dagster's tables apart, in this schema.
SCHEMA = "dagster"
# Held per engine for the life of an instance; more are opened under load and closed again.
POOL_SIZE, MOST_EXTRA = 2, 20
# "Dagster's tables are being made", as a Postgres advisory lock.
CREATING_TABLES = 0x64616773746572
TABLES_EXIST = (
    "SELECT count(*) = 4 FROM unnest(ARRAY['runs', 'instance_info', 'event_logs', 'jobs']) AS name "
    "WHERE to_regclass(name) IS NOT NULL"
)


class InstanceUnusable(click.ClickException):
    """Dagster's instance cannot be used, for the reason given in a sentence (exit code 1)."""


def settings(env: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Raises:
        InstanceUnusable: a variable holds something that cannot be used.
    """
    try:
        return Settings.load(env)
    except TenantOpsError as error:
        raise InstanceUnusable(str(error)) from error


def instance_url(env: Mapping[str, str] | None = None) -> str:
    """Where Dagster's own tables are, as a SQLAlchemy URL for psycopg2.

    SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3, which dagster-postgres does not speak.

    Raises:
        InstanceUnusable: a variable holds no Postgres URL, or there is none and no embedded server either.
    """
    env = os.environ if env is None else env
    try:
        explicit = libpq_url(env.get("DAGSTER_POSTGRES_URL"), "DAGSTER_POSTGRES_URL")
        if explicit:
            return for_psycopg2(explicit)
        found = settings(env)
        shared = found.database_url or embedded.postgres(found.home)
    except TenantOpsError as error:
        raise InstanceUnusable(str(error)) from error
    return with_options(for_psycopg2(shared), search_path=SCHEMA)


# After a fork the child must not use the connections it shares with its parent.
_ENGINES: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


def _forget_connections() -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)


def engine(url: str, *, pool_recycle: int = 3600, max_overflow: int = MOST_EXTRA) -> sa.Engine:
    """A small pool of connections, each statement its own transaction unless one is begun."""
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=max_overflow,
        pool_recycle=pool_recycle,
        pool_pre_ping=True,  # survives a restart of the server
        pool_use_lifo=True,
    )
    _ENGINES.add(engine)
    return engine


def prepare(url: str) -> None:
    """Make Dagster's schema and tables once, whoever of several starting processes comes first.

    Raises:
        InstanceUnusable: the server does not answer, or does not allow it.
    """
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            if connection.scalar(sa.text(TABLES_EXIST)):
                return
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": CREATING_TABLES})
            schema = connection.scalar(sa.text("SELECT setting FROM pg_settings WHERE name = 'search_path'"))
            if schema == SCHEMA:
                connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
            DagsterPostgresStorage(url)
    except (OperationalError, ProgrammingError) as error:
        place = make_url(url).set(drivername="postgresql", query={}).render_as_string(hide_password=True)
        reason = first_line(error.orig or error)
        raise InstanceUnusable(
            f"Dagster's Postgres ({place}) cannot be used: {reason}. Check DAGSTER_POSTGRES_URL and "
            "DATABASE_URL and that the server runs; unset both to use the embedded Postgres."
        ) from error


def for_psycopg2(url: str) -> str:
    """A libpq URL as SQLAlchemy takes it for psycopg2, giving up on a silent server after 10 s."""
    parsed = make_url(url).set(drivername="postgresql+psycopg2")
    defaults = {"connect_timeout": "10", "application_name": "dagster"}
    return parsed.update_query_dict(
        {name: value for name, value in defaults.items() if name not in parsed.query}
    ).render_as_string(hide_password=False)


def with_options(url: str, **settings: str) -> str:
    """The URL with server settings for every connection made from it, beside those it has."""
    parsed = make_url(url)
    given = parsed.query.get("options", "")
    options = [given] if isinstance(given, str) else list(given)
    options += [f"-c{name}={value}" for name, value in settings.items()]
    return parsed.update_query_dict({"options": " ".join(options).strip()}).render_as_string(
        hide_password=False
    )
