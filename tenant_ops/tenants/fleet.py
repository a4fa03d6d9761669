"""The fleet: everything an operation on a tenant needs, passed in, never global.

Here: opening a fleet, a tenant's connection under its own role, the lock that keeps two operations apart.
Not here: what operations do.

Isolation rests on `session`: every statement for a tenant runs in a transaction with that tenant's role and
search path set locally, so it ends with the transaction, whatever pool the connection goes back to.
"""

import zlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.platform.clock import Clock, utc_now
from tenant_ops.platform.control_plane.upgrade import ensure_control_plane
from tenant_ops.platform.database import Database
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.errors import InputError, TenantBusy
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants.keys import column_key, tenant_key
from tenant_ops.tenants.model import Tenant
from tenant_ops.tenants.registry import Registry

LOCK_WAIT_S = 10
_HELD: ContextVar[frozenset[str]] = ContextVar("tenants_held", default=frozenset())


@dataclass(frozen=True)
class Fleet:
    """A control plane, the servers its tenants live on, and the datasets they have.

    Attributes:
        settings: What the environment said.
        control: The database with the control-plane schema.
        catalog: The datasets every tenant has.
        clock: Where the time comes from.
        servers: Servers by placement name; `default` is the control database's own.
    """

    settings: Settings
    control: Database
    catalog: Catalog = MUSIC
    clock: Clock = utc_now
    servers: dict[str, Database] = field(default_factory=dict, hash=False)

    @classmethod
    def open(
        cls, settings: Settings | None = None, *, catalog: Catalog = MUSIC, clock: Clock = utc_now
    ) -> "Fleet":
        """Connect to the configured Postgres (the embedded one when none is), ready for use.

        Raises:
            OperationFailed: the server does not answer, or the control plane cannot be created.
        """
        settings = settings or Settings.load()
        url = settings.database_url or postgres(settings.home)
        control = Database(url, pool_size=settings.pool_size)
        ensure_control_plane(control)
        return cls(settings, control, catalog, clock)

    @property
    def registry(self) -> Registry:
        """The tenant registry."""
        return Registry(self.control, self.clock)

    def database(self, tenant: Tenant) -> Database:
        """The server the tenant is placed on.

        Raises:
            InputError: its placement names no known server.
        """
        if tenant.placement == "default":
            return self.control
        if tenant.placement not in self.servers:
            raise InputError(
                f"its placement {tenant.placement!r} is not a known server.", where=f"tenant {tenant.slug}"
            )
        return self.servers[tenant.placement]

    @contextmanager
    def session(
        self,
        tenant: Tenant,
        role: str = "owner",
        *,
        statement_timeout_s: float | None = None,
        isolation: psycopg.IsolationLevel | None = None,
    ) -> Generator[psycopg.Connection]:
        """A transaction on the tenant's server as one of its roles, seeing only its schema.

        Args:
            tenant: Whose.
            role: `owner`, `admin`, `editor` or `viewer`.
            statement_timeout_s: Longest statement in seconds; None sets no limit.
            isolation: Stricter isolation, for statements that must all see the same rows.
        """
        timeout = "0" if statement_timeout_s is None else str(int(statement_timeout_s * 1000))
        with self.database(tenant).transaction(isolation=isolation) as connection:
            connection.execute(
                """
                SELECT set_config('role', %s, true), set_config('search_path', %s, true),
                       set_config('statement_timeout', %s, true), set_config('TimeZone', 'UTC', true)
                """,
                (tenant.role(role), f'"{tenant.schema_name}"', timeout),
            )
            yield connection

    @contextmanager
    def lock(self, tenant: Tenant, operation: str, *, wait_s: float = LOCK_WAIT_S) -> Generator[None]:
        """Hold the tenant for one operation; inside it, the same thread may lock it again.

        The lock is the server's (an advisory lock of a connection of its own), so it holds across
        processes and machines and is gone when the holder dies.

        Raises:
            TenantBusy: another operation still held it after `wait_s` seconds.
        """
        held = _HELD.get()
        if tenant.key in held:
            yield
            return
        number = zlib.crc32(tenant.key.encode()) | (0x7E << 32)
        with self.database(tenant).session() as connection:
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false), set_config('application_name', %s, false)",
                (str(int(wait_s * 1000)), f"tenant_ops {operation} {tenant.slug}"[:63]),
            )
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (number,))
            except psycopg.errors.LockNotAvailable:
                raise TenantBusy(
                    f"another operation holds it; {operation} waited {wait_s:g} s.",
                    where=f"tenant {tenant.slug}",
                    fix="Try again when it has finished.",
                ) from None
            token = _HELD.set(held | {tenant.key})
            try:
                yield
            finally:
                _HELD.reset(token)

    @contextmanager
    def control_within(self, tenant: Tenant, connection: psycopg.Connection) -> Generator[psycopg.Connection]:
        """The control plane, as the last thing a tenant's `session` does before it commits.

        Where both share a server it is the same transaction, so what was done and the record of it stand or
        fall together. Otherwise it commits just before the session does.
        """
        if self.database(tenant) is self.control:
            connection.execute("SELECT set_config('role', 'none', true)")
            yield connection
            return
        with self.control.transaction() as control:
            yield control

    def files(self, tenant: Tenant) -> Path:
        """The directory of the tenant's files."""
        return self.settings.home / "tenants" / tenant.key / "files"

    def tenant_key(self, tenant: Tenant, *, create: bool = True) -> tuple[str, bytes]:
        """Id and 32 bytes of the key that wraps the keys of this tenant's backups.

        Raises:
            InputError: the master key in force does not open it, or it was destroyed.
        """
        return tenant_key(self.control, self.settings, tenant, self.clock, create=create)

    def column_key(self, tenant: Tenant) -> bytes:
        """The 32 bytes this tenant's hashed columns are hashed under; the same before and after rotation.

        Raises:
            InputError: the master key in force does not open it.
        """
        return column_key(self.control, self.settings, tenant, self.clock)

    def close(self) -> None:
        """Close the connections this process holds."""
        for database in (self.control, *self.servers.values()):
            database.close()
