"""What an operator says of single backups: keep it (pin), or let nobody remove it (legal hold).

Here: setting and lifting both, with their records in the audit log. Not here: what they mean for retention
(`deciding.py`) and for a removal (`catalog.remove`).

The catalog is told first, so that a mark holds at once; then the store (`notes.py`), so that it holds when
the catalog is lost. A store that refuses is an error, and the mark stands; setting it again tries again.
"""

from typing import Any

import psycopg

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog
from tenant_ops.backups.notes import write_note
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant


def pin(fleet: Fleet, backup: BackupRecord, *, pinned: bool = True) -> None:
    """Keep a backup from retention, or let retention have it again.

    Raises:
        InputError: it is in no catalog, or is being removed.
    """
    with fleet.control.transaction() as connection:
        _check_removing(connection, backup)
        connection.execute("UPDATE tenant_ops.backup SET pinned = %s WHERE id = %s", (pinned, backup.id))
        _record(fleet, connection, backup, "backup.pinned" if pinned else "backup.unpinned", {})
    _write_note(fleet, backup)


def hold(fleet: Fleet, backup: BackupRecord, reason: str) -> None:
    """Put a backup under legal hold: nothing removes it, nor what it builds on, until it is released.

    A second hold replaces the reason; the audit log has both.

    Args:
        fleet: The fleet.
        backup: Which.
        reason: For instance the matter's number; who reads retention's report sees it.

    Raises:
        InputError: there is no reason, or the backup is in no catalog or being removed.
    """
    if not reason.strip():
        raise InputError("a legal hold needs a reason.", where=f"backup {backup.id}", fix="Give --reason.")
    with fleet.control.transaction() as connection:
        _check_removing(connection, backup)
        connection.execute(
            "UPDATE tenant_ops.backup SET legal_hold = %s, held_by = %s, held_at = %s WHERE id = %s",
            (reason.strip(), fleet.settings.actor, fleet.clock(), backup.id),
        )
        _record(fleet, connection, backup, "backup.held", {"reason": reason.strip()})
    _write_note(fleet, backup)


def release(fleet: Fleet, backup: BackupRecord, reason: str) -> None:
    """Lift a legal hold.

    Raises:
        InputError: there is no reason, or the backup is not held.
    """
    if not reason.strip():
        raise InputError(
            "releasing a hold needs a reason.", where=f"backup {backup.id}", fix="Give --reason."
        )
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT legal_hold FROM tenant_ops.backup WHERE id = %s AND legal_hold IS NOT NULL FOR UPDATE",
            (backup.id,),
        ).fetchone()
        if row is None:
            raise InputError("it is under no legal hold.", where=f"backup {backup.id}")
        connection.execute(
            "UPDATE tenant_ops.backup SET legal_hold = NULL, held_by = NULL, held_at = NULL WHERE id = %s",
            (backup.id,),
        )
        _record(fleet, connection, backup, "backup.released", {"reason": reason.strip(), "hold": row[0]})
    _write_note(fleet, backup)


def require_no_hold(fleet: Fleet, tenant: Tenant) -> None:
    """Make sure that destroying the tenant's key makes nothing unreadable that is held.

    Raises:
        InputError: one of its backups is under legal hold.
    """
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT id, legal_hold FROM tenant_ops.backup WHERE tenant_id = %s AND legal_hold IS NOT NULL",
            (tenant.id,),
        ).fetchone()
    if row is not None:
        raise InputError(
            f"its backup {row[0]} is under legal hold ({row[1]}), and would be unreadable.",
            where=f"tenant {tenant.slug}",
            fix="Release the hold first: tenant-ops backup release.",
        )


def _check_removing(connection: psycopg.Connection, backup: BackupRecord) -> None:
    row = connection.execute(
        "SELECT removing_at FROM tenant_ops.backup WHERE id = %s FOR UPDATE", (backup.id,)
    ).fetchone()
    if row is None:
        raise InputError(
            "it is not in the catalog.",
            where=f"backup {backup.id}",
            fix="Enter it: tenant-ops backup rebuild.",
        )
    if row[0] is not None:
        raise InputError("it is being removed.", where=f"backup {backup.id}")


def _write_note(fleet: Fleet, backup: BackupRecord) -> None:
    known = catalog.find_backup(fleet, backup.id)
    write_note(catalog.folder_of(fleet, known), known)


def _record(
    fleet: Fleet, connection: psycopg.Connection, backup: BackupRecord, action: str, detail: dict[str, Any]
) -> None:
    record_event(
        connection,
        chain=backup.tenant_id,
        at=fleet.clock(),
        actor=fleet.settings.actor,
        action=action,
        detail={"backup": backup.id, **detail},
    )
