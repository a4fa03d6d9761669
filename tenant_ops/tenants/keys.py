"""One key per tenant: it seals the tenant's credentials and wraps the keys of its backups.

Here: making, finding and destroying it. Not here: the master key that wraps it (`platform/keys.py`).

Destroying a tenant's key makes everything it sealed unreadable, wherever copies of it lie.
"""

import secrets
from datetime import datetime
from uuid import UUID, uuid4

import psycopg

from tenant_ops.platform.clock import Clock
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.keys import KEY_BYTES, MasterKey, ensure_master_key, find_master_key
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants.model import Tenant


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
    key_id, wrapped, master_key_id = found
    master = find_master_key(settings)
    if master is None or master.id != master_key_id:
        raise InputError(
            f"its key is wrapped by master key {master_key_id}, which is not the one configured.",
            where=f"tenant {tenant.slug}",
            fix="Set BACKUP_ENCRYPTION_KEY to that key, or restore the key file of this home.",
        )
    return str(key_id), master.open(wrapped, _context(tenant.id, key_id))


def make_tenant_key(
    connection: psycopg.Connection, master: MasterKey, tenant_id: UUID, at: datetime
) -> tuple[str, bytes]:
    """Store a fresh key inside the caller's transaction; when another process was first, theirs stands."""
    key_id, secret = uuid4(), secrets.token_bytes(KEY_BYTES)
    connection.execute(
        """
        INSERT INTO tenant_ops.tenant_key (id, tenant_id, wrapped, master_key_id, created_at)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id) WHERE destroyed_at IS NULL AND retiring_at IS NULL DO NOTHING
        """,
        (key_id, tenant_id, master.seal(secret, _context(tenant_id, key_id)), master.id, at),
    )
    found = _current(connection, tenant_id)
    assert found is not None
    return str(found[0]), secret if found[0] == key_id else master.open(
        found[1], _context(tenant_id, found[0])
    )


def destroy_tenant_key(connection: psycopg.Connection, tenant_id: UUID, at: datetime) -> int:
    """Forget every key of the tenant for good; returns how many were destroyed."""
    return connection.execute(
        """
        UPDATE tenant_ops.tenant_key SET wrapped = NULL, destroyed_at = %s
        WHERE tenant_id = %s AND destroyed_at IS NULL
        """,
        (at, tenant_id),
    ).rowcount


def _current(connection: psycopg.Connection, tenant_id: UUID) -> tuple[UUID, bytes, str] | None:
    return connection.execute(
        """
        SELECT id, wrapped, master_key_id FROM tenant_ops.tenant_key
        WHERE tenant_id = %s AND destroyed_at IS NULL AND retiring_at IS NULL
        """,
        (tenant_id,),
    ).fetchone()


def _context(tenant_id: UUID, key_id: UUID) -> str:
    return f"tenant_ops/tenant-key/1/{tenant_id}/{key_id}"
