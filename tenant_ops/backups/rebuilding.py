"""The catalog made again from the stores alone.

Here: looking through stores, and what is to be entered and forgotten. Not here: what a record takes from a
backup (`recording.py`), the records themselves (`catalog.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg

from tenant_ops.backups import catalog
from tenant_ops.backups.containers import Container
from tenant_ops.backups.lineage import why_unreadable
from tenant_ops.backups.notes import read_note
from tenant_ops.backups.placing import fallback_of
from tenant_ops.backups.reading import read_header
from tenant_ops.backups.recording import record_of
from tenant_ops.backups.reports import BackupRecord, RebuildReport
from tenant_ops.backups.stores import Store, absolute
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet


def rebuild(fleet: Fleet, stores: Sequence[str] = ()) -> RebuildReport:
    """Enter every complete backup of some stores, and forget those that are no longer in them.

    Backups that cannot be opened (another master key, damage) are named, not entered; so are those whose
    chain is broken, with what is missing. A store in which there is nothing at all makes nothing forgotten:
    it may not be mounted. Nor is what is pinned, held, or being removed.

    Args:
        fleet: The fleet.
        stores: Paths or URLs; the configured one and all the catalog knows when empty.

    Raises:
        InputError: a URL is no store's, or holds a secret.
        OperationFailed: a store does not answer.
    """
    chosen = [catalog.store_at(fleet, where) for where in stores or _known_stores(fleet)]
    found: dict[str, Container] = {}
    seen: list[Store] = []
    for store in chosen:
        containers = dict(_containers(store))
        found |= {backup_id: there for backup_id, there in containers.items() if backup_id not in found}
        if containers or store.tenants():
            seen.append(store)
    records, unreadable, broken = _read_all(fleet, found)
    with fleet.control.transaction() as connection:
        added = sum(catalog.add(connection, record) for record in records)
        forgotten, missing = _forget(connection, {store.where for store in seen}, found)
        known = {record.id: record for record in catalog.list_backups(fleet)}
    known |= {record.id: record for record in records}
    broken |= {
        record.id: problem
        for record in known.values()
        if record.parent is not None and (problem := why_unreadable(record, known)) is not None
    }
    return RebuildReport(
        stores=tuple(store.where for store in chosen),
        empty=tuple(store.where for store in chosen if store not in seen),
        found=len(found),
        added=added,
        forgotten=forgotten,
        unreadable=tuple(f"{backup_id}: {problem}" for backup_id, problem in unreadable.items()),
        broken=tuple(f"{backup_id}: {problem}" for backup_id, problem in sorted(broken.items())),
        missing=missing,
    )


def _known_stores(fleet: Fleet) -> tuple[str, ...]:
    with fleet.control.transaction() as connection:
        rows = connection.execute("SELECT DISTINCT store FROM tenant_ops.backup ORDER BY store").fetchall()
    configured = catalog.store_at(fleet).where
    fallback = (absolute(fleet.settings.backup_fallback_path),) if fleet.settings.backup_fallback_path else ()
    return tuple(dict.fromkeys((configured, *fallback, *(row[0] for row in rows))))


def _containers(store: Store) -> Iterator[tuple[str, Container]]:
    for tenant_id in store.tenants():
        folder = store.folder(tenant_id)
        for backup_id in folder.backups():
            yield backup_id, folder.container(backup_id)


def _read_all(
    fleet: Fleet, found: dict[str, Container]
) -> tuple[list[BackupRecord], dict[str, str], dict[str, str]]:
    """Records of what can be opened; what cannot be, and why; what lacks a link of its chain, and which."""
    records: list[BackupRecord] = []
    unreadable: dict[str, str] = {}
    broken: dict[str, str] = {}
    fallback = fallback_of(fleet, catalog.store_at(fleet).where)
    for backup_id, container in sorted(found.items()):
        try:
            lacks = _missing_link(fleet, container, found)
            if lacks is not None:
                broken[backup_id] = f"{lacks}, which it builds on, is missing"
                continue
            record = record_of(catalog.open_container(fleet, container, found))
            records.append(
                replace(record, fallback=record.store == fallback, **read_note(container, record.id))
            )
        except TenantOpsError as error:
            unreadable[backup_id] = str(error)
    return records, unreadable, broken


def _missing_link(fleet: Fleet, container: Container, found: dict[str, Container]) -> str | None:
    passed: set[str] = set()
    while (parent := read_header(container).parent) is not None and parent not in passed:
        passed.add(parent)
        container = catalog.parent_of(fleet, container, parent, found)
        if not catalog.is_complete(container):
            return parent
    return None


def _forget(
    connection: psycopg.Connection, stores: set[str], found: dict[str, Container]
) -> tuple[int, tuple[str, ...]]:
    """Delete records of backups gone from these stores: how many, and which were kept all the same."""
    rows = connection.execute(
        """
        SELECT id, pinned OR legal_hold IS NOT NULL FROM tenant_ops.backup
        WHERE store = ANY(%s) AND NOT id = ANY(%s) AND removing_at IS NULL ORDER BY id
        """,
        (list(stores), list(found)),
    ).fetchall()
    gone = [backup_id for backup_id, kept in rows if not kept]
    connection.execute("DELETE FROM tenant_ops.backup WHERE id = ANY(%s)", (gone,))
    return len(gone), tuple(backup_id for backup_id, kept in rows if kept)
