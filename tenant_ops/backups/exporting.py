"""Handing a tenant's key to a person: a file that opens the tenant's backups without this installation.

Here: writing it, and the record that it was written. Not here: what reads it (`shipped/restore.py`).

The file holds the key in the clear: it is for a safe, or for a tenant that leaves with its backups.
"""

import json
import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from tenant_ops.audit import record as record_event
from tenant_ops.backups.crypto import key_check
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import LiveKey, live_keys, open_key

FORMAT = "tenant_ops tenant key"
VERSION = 1


@dataclass(frozen=True)
class ExportPlan:
    """Which key would be written where, and how many backups of the catalog it opens."""

    tenant: str
    tenant_id: str
    key_id: str
    out: str
    backups: int
    other_keys: tuple[str, ...]


@dataclass(frozen=True)
class ExportReport:
    """Which key was written where; the audit log has it as event `audit_seq` of the tenant's chain."""

    tenant: str
    tenant_id: str
    key_id: str
    out: str
    backups: int
    audit_seq: int


def plan_export(fleet: Fleet, tenant: Tenant, out: Path, *, key_id: str | None = None) -> ExportPlan:
    """Look at what would be exported; nothing is written.

    Args:
        fleet: The fleet.
        tenant: Whose key.
        out: The file to write; it must not exist, and its folder must.
        key_id: One of the tenant's keys that still live; None is the one in force.

    Raises:
        InputError: there is no such key, or the file cannot be written there.
    """
    out = out.expanduser().absolute()
    key, others = _chosen(fleet, tenant, key_id)
    if os.path.lexists(out):
        raise InputError("there is something already; it is not replaced.", where=str(out))
    if not out.parent.is_dir():
        raise InputError("the folder does not exist.", where=str(out.parent))
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT count(*) FROM tenant_ops.backup WHERE key_id = %s", (key.id,)
        ).fetchone()
    return ExportPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        key_id=str(key.id),
        out=str(out),
        backups=row[0] if row else 0,
        other_keys=others,
    )


def export_key(fleet: Fleet, plan: ExportPlan) -> ExportReport:
    """Write the key to a file only its owner may read.

    That it leaves is in the audit log before it does: nobody has a key the log does not know of.

    Raises:
        InputError: there is something at the path, or the key is gone, or no master key at hand opens it.
    """
    tenant, path = fleet.registry.get(plan.tenant), Path(plan.out)
    key, _ = _chosen(fleet, tenant, plan.key_id)
    secret = open_key(fleet.settings, key, where=f"tenant {tenant.slug}")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"the key cannot be written: {error.strerror}.", where=str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            with fleet.control.transaction() as connection:
                seq = record_event(
                    connection,
                    chain=str(tenant.id),
                    at=fleet.clock(),
                    actor=fleet.settings.actor,
                    action="key.exported",
                    detail={"key": plan.key_id, "to": plan.out},
                )
            file.write(_document(fleet, tenant, plan.key_id, secret))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return ExportReport(plan.tenant, plan.tenant_id, plan.key_id, plan.out, plan.backups, seq)


def _document(fleet: Fleet, tenant: Tenant, key_id: str, secret: bytes) -> bytes:
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "tenant_id": str(tenant.id),
        "tenant_key_id": key_id,
        "tenant_key_check": key_check(secret),
        "exported_at": fleet.clock().isoformat(),
        "key": b64encode(secret).decode(),
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def _chosen(fleet: Fleet, tenant: Tenant, key_id: str | None) -> tuple[LiveKey, tuple[str, ...]]:
    with fleet.control.transaction() as connection:
        live = live_keys(connection, tenant.id)
    for key in live:
        if str(key.id) == key_id or (key_id is None and not key.retiring):
            return key, tuple(str(other.id) for other in live if other is not key)
    wanted = f"key {key_id} is none of its living keys" if key_id else "it has no encryption key"
    raise InputError(f"{wanted}.", where=f"tenant {tenant.slug}")
