"""Taking back what the last restore did, and dropping what restores set aside.

Here: the choice between the two kinds, replaced schemas, discarding. Not here: rows a merge changed
(`merging.py`), the exchange (`swapping.py`).

Only the last restore can be taken back: what an earlier one set aside is not what was there before the last.
"""

import shutil
from datetime import datetime

import psycopg

from tenant_ops.audit import record as record_event
from tenant_ops.backups.journal import health, install
from tenant_ops.backups.restoring import swapping
from tenant_ops.backups.restoring.merging import take_back_merge
from tenant_ops.backups.restoring.reports import UndoReport
from tenant_ops.backups.restoring.sentences import in_sentences
from tenant_ops.backups.restoring.swapping import MERGED, names_like, names_of_swap
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

_LOOK = "Look which content is live before you undo again: undoing twice is back where it was."


def undo_restore(fleet: Fleet, tenant: Tenant) -> UndoReport:
    """Take back the last restore of a tenant.

    What it replaced is live again, and what it had restored is set aside in turn: undoing an undo is
    therefore the restored content again. After a merge the rows and files it changed are put back one by one,
    those that were changed again since are left; that cannot be undone in turn.

    Raises:
        InputError: nothing is set aside, or the merged tables have other columns now.
        OperationFailed: a session kept the tables locked for a minute, and nothing was changed; or the server
            ended the session.
    """
    with in_sentences(tenant.slug, "taking back the restore", _LOOK), fleet.lock(tenant, "undo restore"):
        swapping.finish_interrupted(fleet, tenant)
        with fleet.database(tenant).transaction() as connection:
            found = swapping.set_aside(connection, tenant)
        if not found:
            raise InputError("no restore is there to take back.", where=f"tenant {tenant.slug}")
        if MERGED in found[0]:
            return take_back_merge(fleet, tenant, names_like(fleet, tenant, found[0]))
        return _exchange_back(fleet, tenant, found[0])


def discard_replaced(
    fleet: Fleet, tenant: Tenant, *, keep: int = 1, before: datetime | None = None
) -> tuple[str, ...]:
    """Drop what restores set aside, but the `keep` newest; the names of the schemas dropped.

    Args:
        fleet: The fleet.
        tenant: Whose.
        keep: How many of the newest stay.
        before: Only what was set aside before this time; None for whatever its age.
    """
    limit = None if before is None else names_of_swap(fleet, tenant, before).stamp
    with fleet.lock(tenant, "discard replaced"):
        swapping.finish_interrupted(fleet, tenant)
        with fleet.database(tenant).transaction() as connection:
            found = swapping.set_aside(connection, tenant)[keep:]
        dropped = tuple(
            name for name in found if limit is None or names_like(fleet, tenant, name).stamp < limit
        )
        for schema in dropped:
            names = names_like(fleet, tenant, schema)
            swapping.drop_schema(fleet, tenant, schema)
            shutil.rmtree(names.merged_files if MERGED in schema else names.old_files, ignore_errors=True)
    return dropped


def follow_again(fleet: Fleet, tenant: Tenant, *, was_followed: bool) -> str:
    """Let the journal follow the tables that are live now, if it followed those before; what became of it.

    Raises:
        OperationFailed: a table stayed locked for a minute.
    """
    if not was_followed:
        return "none is kept"
    install(fleet, tenant)
    return "it follows the new tables; the chain of backups ended, the next backup is a full one"


def is_followed(fleet: Fleet, tenant: Tenant) -> bool:
    """Whether there is a journal."""
    return health(fleet, tenant).installed


def _exchange_back(fleet: Fleet, tenant: Tenant, old: str) -> UndoReport:
    now, then = names_of_swap(fleet, tenant, fleet.clock()), names_like(fleet, tenant, old)
    with fleet.database(tenant).transaction() as connection:
        note = swapping.read_note(connection, old)
    followed = is_followed(fleet, tenant)
    version = note.get("version")

    def also(connection: psycopg.Connection) -> None:
        swapping.comment(connection, now.schema, note.get("comment"))
        with fleet.control_within(tenant, connection) as control:
            fleet.registry.put_back(
                control, tenant, version=version, config=note.get("config", tenant.config)
            )
            record_event(
                control,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="restore.undone",
                detail={"schema": old, "set_aside": now.old_schema},
            )

    aside = {"version": tenant.version, "config": tenant.config, "undone": then.stamp}
    swapping.exchange(fleet, tenant, now, aside, comes=old, also=also)
    swapped = swapping.swap_files_back(now, then.old_files)
    follow_again(fleet, tenant, was_followed=followed)
    return UndoReport(tenant.slug, old, now.old_schema, swapped, version)
