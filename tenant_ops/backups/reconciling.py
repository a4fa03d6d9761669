"""Carrying backups from the fallback store to the one they were meant for.

Here: the plan, and carrying it out. Not here: how they came there (`placing.py`), stores (`stores/`).

A backup is copied, opened where it now lies and compared with what the catalog recorded; then the catalog's
record changes, and only then is it removed from the fallback. Killed at any point, the catalog
names a store that has it, and another run goes on.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from uuid import UUID

from tenant_ops.audit import record as record_event
from tenant_ops.backups import catalog
from tenant_ops.backups.containers import Container
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import COMPLETE, KEYS_FOLDER, PARTIAL_SUFFIX
from tenant_ops.backups.notes import forget_note, write_note
from tenant_ops.backups.placing import in_sentences
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.stores import Folder, absolute
from tenant_ops.backups.stores.local import sync
from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet

_PIECE = 1 << 20


@dataclass(frozen=True)
class Waiting:
    """A backup that lies in the fallback store.

    Attributes:
        tenant: Whose.
        store: The store it lies in.
        carried: It is in the store it was meant for already; only this copy is left.
    """

    backup_id: str
    tenant: str
    tenant_id: str
    store: str
    stored_bytes: int
    carried: bool


@dataclass(frozen=True)
class ReconcilePlan:
    """What would be carried where.

    Attributes:
        store: The store they were meant for.
        waiting: In the order they are carried: what others build on first.
    """

    store: str
    waiting: tuple[Waiting, ...]
    stored_bytes: int


@dataclass(frozen=True)
class ReconcileReport:
    """What was carried.

    Attributes:
        moved: Ids of backups that are now where they were meant to be.
        removed: Ids of copies that an earlier run had left in the fallback.
        failed: Those that wait on, each with why.
        moved_bytes: Stored size of the moved ones.
    """

    store: str
    moved: tuple[str, ...]
    removed: tuple[str, ...]
    failed: tuple[str, ...]
    moved_bytes: int
    seconds: float


def plan_reconcile(fleet: Fleet) -> ReconcilePlan:
    """Look at what waits in the fallback store; nothing is changed.

    Raises:
        InputError: a configured store is none.
        StoreFailed: the fallback does not answer.
    """
    store = absolute(fleet.settings.backup_path)
    records = catalog.list_backups(fleet)
    waiting = [_waiting(record, record.store, carried=False) for record in records if record.fallback]
    waiting += _left_behind(fleet, {record.id: record for record in records})
    waiting.sort(key=lambda each: each.backup_id)
    return ReconcilePlan(store, tuple(waiting), sum(each.stored_bytes for each in waiting))


def execute_reconcile(fleet: Fleet, plan: ReconcilePlan, *, progress: Progress = SILENT) -> ReconcileReport:
    """Carry over what waits. One that fails leaves the others alone, and waits on."""
    started = perf_counter()
    moved: list[Waiting] = []
    removed: list[str] = []
    failed: list[str] = []
    task = "carry backups from the fallback store"
    progress.start(task, total=len(plan.waiting))
    for each in plan.waiting:
        try:
            if _carry(fleet, each, plan.store):
                moved.append(each)
            else:
                removed.append(each.backup_id)
        except TenantOpsError as error:
            failed.append(f"{each.backup_id} of {each.tenant}: {error}")
        progress.advance(task, bytes=each.stored_bytes)
    progress.finish(task)
    return ReconcileReport(
        store=plan.store,
        moved=tuple(each.backup_id for each in moved),
        removed=tuple(removed),
        failed=tuple(failed),
        moved_bytes=sum(each.stored_bytes for each in moved),
        seconds=round(perf_counter() - started, 4),
    )


def _left_behind(fleet: Fleet, known: dict[str, BackupRecord]) -> Iterator[Waiting]:
    """Copies whose removal from the fallback did not come about, or not to its end."""
    configured = fleet.settings.backup_fallback_path
    if not configured:
        return
    store = catalog.store_at(fleet, configured)
    for tenant_id in store.tenants():
        folder = store.folder(tenant_id)
        for backup_id in (*folder.backups(), *folder.incomplete()):
            record = known.get(backup_id)
            if record and not record.fallback and record.present and record.store != store.where:
                yield _waiting(record, store.where, carried=True)


def _waiting(record: BackupRecord, store: str, *, carried: bool) -> Waiting:
    return Waiting(record.id, record.tenant, record.tenant_id, store, record.stored_bytes, carried)


def _carry(fleet: Fleet, each: Waiting, store: str) -> bool:
    """Bring one backup to a store and remove it where it was; False when it was there already."""
    tenant = fleet.registry.by_id(UUID(each.tenant_id))
    target = catalog.store_at(fleet, store).folder(each.tenant_id)
    source = catalog.store_at(fleet, each.store).folder(each.tenant_id)
    with fleet.lock(tenant, "backup"), in_sentences(target, tenant, each.stored_bytes):
        record = catalog.find_backup(fleet, each.backup_id)
        if record.removing_at is not None:
            raise InputError("it is being removed.", where=f"backup {each.backup_id}")
        if record.fallback:
            _copy(fleet, record, source, target)
        there = target.container(each.backup_id)
        _compare(catalog.open_container(fleet, there), record)
        if record.fallback:
            write_note(target, record)  # before the catalog says that it lies there
            _switch(fleet, record, there, target)
        source.remove(each.backup_id)
        forget_note(source, each.backup_id)
    return record.fallback


def _copy(fleet: Fleet, record: BackupRecord, source: Folder, target: Folder) -> None:
    archive = catalog.open_backup(fleet, record)
    target.sweep()
    for name in source.names(KEYS_FOLDER):
        path = f"{KEYS_FOLDER}/{name}"
        if target.size(path) is None:
            with source.open(path) as file:
                target.put(path, file.read())
    if target.container(record.id).size(COMPLETE) is not None:
        return  # an earlier run came as far as this
    partial = target.workshop / f"{record.id}{PARTIAL_SUFFIX}"
    try:
        _bring(archive, partial)
        target.publish(partial, record.id, record.format)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _bring(archive: Archive, folder: Path) -> None:
    """The files of a backup, and none but those, as a local folder; on disk when this returns."""
    names = set(archive.container.names()) - set(archive.unexpected())
    folder.mkdir(parents=True, mode=0o700)
    for name in sorted(names):
        path = folder / name
        path.parent.mkdir(exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with archive.container.open(name) as file, os.fdopen(os.open(path, flags, 0o600), "wb") as out:
            shutil.copyfileobj(file, out, _PIECE)
            out.flush()
            os.fsync(out.fileno())
    for path in (*filter(Path.is_dir, folder.iterdir()), folder):
        sync(path)


def _compare(archive: Archive, record: BackupRecord) -> None:
    if archive.manifest_sha256 != record.manifest_sha256:
        raise DamagedBackup("it is not the backup that was recorded.", where=archive.container.where)
    for member in archive.manifest.members:
        if member.origin is None:
            archive.check(member, deep=False)


def _switch(fleet: Fleet, record: BackupRecord, there: Container, target: Folder) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.backup SET path = %s, store = %s, fallback = false WHERE id = %s",
            (there.where, target.store, record.id),
        )
        record_event(
            connection,
            chain=record.tenant_id,
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="backup.carried",
            detail={"backup": record.id, "from": record.store, "to": target.store},
        )
