"""Making every backup of a tenant unreadable, wherever copies of it lie, by destroying the tenant's keys.

Here: destroying all of them, in the control plane and in every store, and the certificate of it. Not here:
erasing a tenant's data (`tenants/lifecycle.py`), removing the backups themselves (`retention/`).
"""

import errno
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg

from tenant_ops.audit import record as record_event
from tenant_ops.backups.key_files import is_there, key_folders
from tenant_ops.backups.retention import require_no_hold
from tenant_ops.platform.errors import TenantOpsError, first_line
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import destroy_tenant_key


@dataclass(frozen=True)
class ShredReport:
    """The certificate that a tenant's keys are gone.

    Attributes:
        tenant: Whose.
        tenant_id: Its id.
        key_ids: Every key the tenant ever had, all destroyed; a key is 32 random bytes kept nowhere else.
        key_files: Copies that were removed from stores.
        backups: Ids of the sealed backups the catalog knows, unreadable now.
        plain_backups: Ids of those that were never sealed: they must be removed.
        unreachable: Stores that did not answer or refused, and why. A wrapped copy of a key may lie there.
        complete: Whether every copy is gone; if not, shred again when those stores answer.
        at: When.
        actor: Who did it.
        audit_seq: Its number in the tenant's audit chain.
        audit_hash: The hash of that event, in hex, which fixes it and all before it.
    """

    tenant: str
    tenant_id: str
    key_ids: tuple[str, ...]
    key_files: int
    backups: tuple[str, ...]
    plain_backups: tuple[str, ...]
    unreachable: tuple[str, ...]
    complete: bool
    at: datetime
    actor: str
    audit_seq: int
    audit_hash: str


def shred(fleet: Fleet, tenant: Tenant) -> ShredReport:
    """Destroy every key of the tenant, those that retire too; this cannot be taken back.

    Exported keys and old backups of the control plane itself are out of its reach (`docs/backup-keys.md`).
    Doing it again is harmless, and finishes what a store that was away left over.

    Raises:
        InputError: one of its backups is under legal hold.
        TenantBusy: another operation holds the tenant.
    """
    with fleet.lock(tenant, "shred"):
        require_no_hold(fleet, tenant)
        in_stores, removed, unreachable = _drop_files(fleet, tenant)
        at = fleet.clock()
        with fleet.control.transaction() as connection:
            destroy_tenant_key(connection, tenant.id, at)
            keys = sorted(_all_keys(connection, tenant.id) | in_stores)
            sealed, plain = _backups(connection, tenant.id)
            seq = record_event(
                connection,
                chain=str(tenant.id),
                at=at,
                actor=fleet.settings.actor,
                action="key.shredded",
                detail={
                    "keys": keys,
                    "key_files": removed,
                    "backups": len(sealed),
                    "plain_backups": len(plain),
                    "unreachable": list(unreachable),
                },
            )
            row = connection.execute(
                "SELECT hash FROM tenant_ops.audit_event WHERE chain = %s AND seq = %s",
                (str(tenant.id), seq),
            ).fetchone()
    assert row is not None
    return ShredReport(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        key_ids=tuple(keys),
        key_files=removed,
        backups=sealed,
        plain_backups=plain,
        unreachable=unreachable,
        complete=not unreachable,
        at=at,
        actor=fleet.settings.actor,
        audit_seq=seq,
        audit_hash=row[0].hex(),
    )


def _drop_files(fleet: Fleet, tenant: Tenant) -> tuple[set[str], int, tuple[str, ...]]:
    """Remove the copies in stores: the keys there were, how many files, and what remains."""
    found: set[str] = set()
    removed, unreachable = 0, []
    for folder in key_folders(fleet, tenant.id):
        try:
            if not is_there(folder.store):
                raise FileNotFoundError(errno.ENOENT, "the store is not there")
            removed += folder.sweep()
            for key_id in folder.tenant_key_ids():
                removed += folder.drop_tenant_key(key_id)
                found.add(key_id)
        except (OSError, TenantOpsError) as error:
            unreachable.append(f"{folder.store}: {first_line(error)}")
    return found, removed, tuple(unreachable)


def _all_keys(connection: psycopg.Connection, tenant_id: UUID) -> set[str]:
    rows = connection.execute("SELECT id FROM tenant_ops.tenant_key WHERE tenant_id = %s", (tenant_id,))
    return {str(row[0]) for row in rows}


def _backups(connection: psycopg.Connection, tenant_id: UUID) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tenant's sealed backups, and its plain ones."""
    rows = connection.execute(
        "SELECT id, encrypted FROM tenant_ops.backup WHERE tenant_id = %s ORDER BY id", (tenant_id,)
    ).fetchall()
    return tuple(row[0] for row in rows if row[1]), tuple(row[0] for row in rows if not row[1])
