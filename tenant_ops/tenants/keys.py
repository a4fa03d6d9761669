"""One key per tenant: it wraps the keys of its backups, and what its columns are hashed under comes from it.

Here: making, finding, retiring, rewrapping and destroying it. Not here: the master key that wraps it
(`platform/keys.py`), what it wraps (`backups/`).

A key is current, then perhaps retiring (it still opens what it wrapped, and wraps nothing new), then
destroyed. Destroying a tenant's keys makes everything they wrapped unreadable, wherever copies of it lie.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row

from tenant_ops.platform.clock import Clock
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.keys import (
    KEY_BYTES,
    MasterKey,
    ensure_master_key,
    find_master_key,
    find_master_key_named,
)
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants.model import Tenant


@dataclass(frozen=True)
class LiveKey:
    """A key of a tenant that was not destroyed, as the control plane keeps it.

    Attributes:
        id: Its name.
        tenant_id: Whose.
        master_key_id: The master key that wraps it.
        retiring: It wraps nothing new any more.
    """

    id: UUID
    tenant_id: UUID
    master_key_id: str
    retiring: bool
    wrapped: bytes = field(repr=False)
    column_key: bytes | None = field(repr=False)


def tenant_key(
    database: Database, settings: Settings, tenant: Tenant, clock: Clock, *, create: bool = True
) -> tuple[str, bytes]:
    """Id and bytes of the tenant's current key, made on first use when `create` allows it.

    Raises:
        InputError: there is none and none may be made, or the master key in force does not open it.
    """
    with database.transaction() as connection:
        found = _current(connection, tenant.id)
        if found is None:
            if not create:
                raise InputError("it has no encryption key.", where=f"tenant {tenant.slug}")
            return make_tenant_key(connection, ensure_master_key(settings), tenant.id, clock())
    return str(found.id), open_key(settings, found, where=f"tenant {tenant.slug}")


def find_tenant_key(database: Database, settings: Settings, tenant_id: UUID, key_id: str) -> bytes | None:
    """The bytes of one of the tenant's keys, current or retiring; None when there is no such key any more.

    Raises:
        InputError: the master key in force does not open it.
    """
    with database.transaction() as connection:
        found = [key for key in live_keys(connection, tenant_id) if str(key.id) == key_id]
    return open_key(settings, found[0], where=f"tenant {tenant_id}") if found else None


def column_key(database: Database, settings: Settings, tenant: Tenant, clock: Clock) -> bytes:
    """What `Hash` hashes this tenant's columns under: derived from its first key, kept through rotation.

    Equal values must get equal hashes for as long as there are rows to compare with.

    Raises:
        InputError: the master key in force does not open it.
    """
    _, secret = tenant_key(database, settings, tenant, clock)
    with database.transaction() as connection:
        found = _current(connection, tenant.id)
    if found is None or found.column_key is None:
        return _derived(secret)
    return _master_of(settings, found, f"tenant {tenant.slug}").open(
        found.column_key, _column_context(found.tenant_id, found.id)
    )


def live_keys(connection: psycopg.Connection, tenant_id: UUID) -> tuple[LiveKey, ...]:
    """The tenant's keys that were not destroyed: the current one, then those that retire, newest first."""
    with connection.cursor(row_factory=class_row(LiveKey)) as cursor:
        cursor.execute(
            """
            SELECT id, tenant_id, master_key_id, retiring_at IS NOT NULL AS retiring, wrapped, column_key
            FROM tenant_ops.tenant_key WHERE tenant_id = %s AND destroyed_at IS NULL
            ORDER BY retiring_at DESC NULLS FIRST
            """,
            (tenant_id,),
        )
        return tuple(cursor)


def open_key(settings: Settings, key: LiveKey, *, where: str) -> bytes:
    """The bytes of a key.

    Raises:
        InputError: the master key that wraps it is not at hand, or does not open it.
    """
    return _master_of(settings, key, where).open(key.wrapped, _context(key.tenant_id, key.id))


def make_tenant_key(
    connection: psycopg.Connection,
    master: MasterKey,
    tenant_id: UUID,
    at: datetime,
    *,
    column_key: bytes | None = None,
) -> tuple[str, bytes]:
    """Store a fresh key inside the caller's transaction; when another process was first, theirs stands."""
    key_id, secret = uuid4(), secrets.token_bytes(KEY_BYTES)
    kept = master.seal(column_key, _column_context(tenant_id, key_id)) if column_key else None
    connection.execute(
        """
        INSERT INTO tenant_ops.tenant_key (id, tenant_id, wrapped, column_key, master_key_id, created_at)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id) WHERE destroyed_at IS NULL AND retiring_at IS NULL DO NOTHING
        """,
        (key_id, tenant_id, master.seal(secret, _context(tenant_id, key_id)), kept, master.id, at),
    )
    found = _current(connection, tenant_id)
    assert found is not None
    mine = found.id == key_id
    return str(found.id), secret if mine else master.open(found.wrapped, _context(tenant_id, found.id))


def replace_tenant_key(
    connection: psycopg.Connection, settings: Settings, tenant: Tenant, at: datetime
) -> tuple[str, str]:
    """Let the tenant's current key retire and make a new one, inside the caller's transaction.

    Returns the ids of the one that retires and of the new one. The caller holds the tenant's lock.

    Raises:
        InputError: there is no current key, or no master key, or it does not open the current one.
    """
    where = f"tenant {tenant.slug}"
    master, current = find_master_key(settings), _current(connection, tenant.id)
    if master is None or current is None:
        missing = "master key" if master is None else "encryption key to replace"
        raise InputError(f"there is no {missing}.", where=where)
    if current.column_key is None:
        kept = _derived(open_key(settings, current, where=where))
    else:
        context = _column_context(tenant.id, current.id)
        kept = _master_of(settings, current, where).open(current.column_key, context)
    connection.execute("UPDATE tenant_ops.tenant_key SET retiring_at = %s WHERE id = %s", (at, current.id))
    made, _ = make_tenant_key(connection, master, tenant.id, at, column_key=kept)
    return str(current.id), made


def rewrap_tenant_key(connection: psycopg.Connection, key: LiveKey, old: MasterKey, new: MasterKey) -> None:
    """Wrap a key with another master key inside the caller's transaction; it was opened again before."""
    context, column_context = _context(key.tenant_id, key.id), _column_context(key.tenant_id, key.id)
    kept = key.column_key and new.seal(old.open(key.column_key, column_context), column_context)
    connection.execute(
        """
        UPDATE tenant_ops.tenant_key SET wrapped = %s, column_key = %s, master_key_id = %s
        WHERE id = %s AND master_key_id = %s AND destroyed_at IS NULL
        """,
        (new.seal(old.open(key.wrapped, context), context), kept, new.id, key.id, old.id),
    )


def destroy_retired_keys(connection: psycopg.Connection, tenant_id: UUID, at: datetime) -> int:
    """Forget the tenant's keys that retire, for good; returns how many were destroyed."""
    return _destroy(connection, tenant_id, at, only_retiring=True)


def destroy_tenant_key(connection: psycopg.Connection, tenant_id: UUID, at: datetime) -> int:
    """Forget every key of the tenant for good; returns how many were destroyed."""
    return _destroy(connection, tenant_id, at, only_retiring=False)


def _destroy(connection: psycopg.Connection, tenant_id: UUID, at: datetime, *, only_retiring: bool) -> int:
    return connection.execute(
        """
        UPDATE tenant_ops.tenant_key SET wrapped = NULL, column_key = NULL, destroyed_at = %s
        WHERE tenant_id = %s AND destroyed_at IS NULL AND (retiring_at IS NOT NULL OR NOT %s)
        """,
        (at, tenant_id, only_retiring),
    ).rowcount


def _current(connection: psycopg.Connection, tenant_id: UUID) -> LiveKey | None:
    return next((key for key in live_keys(connection, tenant_id) if not key.retiring), None)


def _master_of(settings: Settings, key: LiveKey, where: str) -> MasterKey:
    master = find_master_key_named(settings, key.master_key_id)
    if master is None:
        raise InputError(
            f"its key is wrapped by master key {key.master_key_id}, which is not the one configured.",
            where=where,
            fix="Set BACKUP_ENCRYPTION_KEY to that key, or restore the key file of this home.",
        )
    return master


def _derived(secret: bytes) -> bytes:
    return hmac.digest(secret, b"tenant_ops/column-hash/1", "sha256")


def _context(tenant_id: UUID, key_id: UUID) -> str:
    return f"tenant_ops/tenant-key/1/{tenant_id}/{key_id}"


def _column_context(tenant_id: UUID, key_id: UUID) -> str:
    return f"tenant_ops/column-key/1/{tenant_id}/{key_id}"
