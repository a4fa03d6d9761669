"""Connections to one Postgres server: a bounded pool, transactions, and sentences for what goes wrong.

Here: how a process reaches a server. Not here: roles, tenants and search paths (`tenants/fleet.py`), the
embedded server itself (`embedded.py`), any SQL about data.
"""

import atexit
import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import psycopg_pool
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.pool import NullPool

from tenant_ops.platform.errors import OperationFailed

CONNECT_TIMEOUT_S = 10
WAIT_FOR_CONNECTION_S = 60.0
# A peer that is gone without a word is noticed after a minute; the systems' own default is two hours.
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


class Database:
    """One Postgres database, reached through a pool of at most `pool_size` connections.

    Safe to share between threads. Nothing connects before the first use.

    Args:
        url: libpq URL.
        pool_size: Most connections held open at once.
        application: Shown to other operators in `pg_stat_activity`.
    """

    def __init__(self, url: str, *, pool_size: int = 10, application: str = "tenant_ops") -> None:
        self.url = url
        self.pool_size = pool_size
        self._conninfo = make_conninfo(
            url, application_name=application, connect_timeout=CONNECT_TIMEOUT_S, **KEEPALIVE
        )
        self._pool: psycopg_pool.ConnectionPool | None = None
        self._opening = threading.Lock()

    @contextmanager
    def transaction(
        self, *, isolation: psycopg.IsolationLevel | None = None
    ) -> Generator[psycopg.Connection]:
        """A pooled connection inside one transaction: committed at the end, rolled back on an error.

        Args:
            isolation: Stricter isolation for this transaction; None is the server's READ COMMITTED.

        Raises:
            OperationFailed: the server cannot be reached, or every connection stayed busy for a minute.
        """
        pool = self._open_pool()
        try:
            connection = pool.getconn()
        except psycopg_pool.PoolTimeout as error:
            with self.session():  # when the server is gone, this says why
                raise self._unreachable() from error
        try:
            connection.isolation_level = isolation
            with connection.transaction():
                yield connection
        finally:
            pool.putconn(connection)

    @contextmanager
    def session(self) -> Generator[psycopg.Connection]:
        """A connection of its own in autocommit mode, for locks and statements no transaction may hold."""
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise self._unreachable(error) from error
        with connection:
            yield connection

    def log_in(self, user: str, password: str) -> psycopg.Connection:
        """A connection of another login to the same server and database, in autocommit mode.

        Raises:
            psycopg.OperationalError: the server does not let it in, or does not answer.
        """
        return psycopg.connect(make_conninfo(self._conninfo, user=user, password=password), autocommit=True)

    def engine(self) -> sa.Engine:
        """An unpooled SQLAlchemy engine on the same database, for Alembic and reflection."""
        return sa.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(self._conninfo), poolclass=NullPool
        )

    def close(self) -> None:
        """Close every pooled connection; the next use opens the pool again."""
        with self._opening:
            if self._pool is not None:
                self._pool.close(timeout=2)
                self._pool = None

    def __repr__(self) -> str:
        return f"Database({self.describe()})"

    def describe(self) -> str:
        """Host and database, without user or password."""
        parts = conninfo_to_dict(self.url)
        return f"{parts.get('host', 'local socket')}/{parts.get('dbname', '')}"

    def _open_pool(self) -> psycopg_pool.ConnectionPool:
        with self._opening:
            if self._pool is None:
                # A first connection outside the pool: the pool would retry a refused one for a minute
                # and then say only that it timed out.
                with self.session():
                    pass
                self._pool = psycopg_pool.ConnectionPool(
                    self._conninfo,
                    min_size=0,
                    max_size=self.pool_size,
                    max_idle=60,
                    timeout=WAIT_FOR_CONNECTION_S,
                    check=psycopg_pool.ConnectionPool.check_connection,
                    open=True,
                    name="tenant_ops",
                )
                atexit.register(self.close)
            return self._pool

    def _unreachable(self, error: Exception | None = None) -> OperationFailed:
        reason = str(error).strip().splitlines()[-1] if error and str(error).strip() else "no free connection"
        return OperationFailed(
            f"the database does not answer: {reason}.",
            where=self.describe(),
            fix="Check DATABASE_URL and that the server runs; unset it to use the embedded Postgres.",
        )
