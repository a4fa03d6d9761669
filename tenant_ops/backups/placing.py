"""Which store takes a new backup: the one it is meant for or, when that fails, the fallback.

Here: trying them in turn, errors of file systems as sentences. Not here: what is written (`taking.py`), the
stores (`stores/`), carrying a backup from the fallback to where it belongs (`reconciling.py`).
"""

import errno
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from tenant_ops.backups import catalog
from tenant_ops.backups.archive import Published, TenantKey
from tenant_ops.backups.keys import keep_key_beside
from tenant_ops.backups.stores import Folder, StoreFailed, absolute
from tenant_ops.platform.errors import OperationFailed, first_line
from tenant_ops.platform.logs import logger
from tenant_ops.tenants import Fleet, Tenant

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Placed:
    """A backup that was written, and where.

    Attributes:
        published: The backup.
        store: The store it lies in.
        fallback: Whether that is not the one it is meant for.
        leftovers: What killed backups had left there; it was removed.
        warnings: Why it lies in the fallback.
    """

    published: Published
    store: str
    fallback: bool
    leftovers: tuple[str, ...]
    warnings: tuple[str, ...]


def fallback_of(fleet: Fleet, store: str) -> str | None:
    """The store that takes what the given one does not; only the configured one has such a second."""
    second = fleet.settings.backup_fallback_path
    if not second or absolute(second) == store or absolute(fleet.settings.backup_path) != store:
        return None
    return absolute(second)


def spanned(fleet: Fleet, store: str) -> frozenset[str]:
    """The stores a chain may span whose newest backup goes to the given one: it and the other of the two."""
    first = absolute(fleet.settings.backup_path)
    second = fallback_of(fleet, first)
    return frozenset({first, second} if second and store in (first, second) else {store})


def place(
    fleet: Fleet,
    tenant: Tenant,
    store: str,
    key: TenantKey | None,
    write: Callable[[Folder], Published],
    *,
    needed_bytes: int,
) -> Placed:
    """Have a backup written into its store or, when that does not take it, into the fallback.

    Args:
        fleet: The fleet.
        tenant: Whose backup; the caller holds its backup lock.
        store: The one it is meant for, as the plan names it.
        key: The tenant's; put beside the backup.
        write: Writes it into a folder; safe to repeat.
        needed_bytes: Estimated, for the error when there is no room.

    Raises:
        StoreFailed: neither takes it; nothing of it was kept.
        OperationFailed: the database refused.
    """

    def attempt(where: str) -> Placed:
        folder = catalog.store_at(fleet, where).folder(str(tenant.id))
        with in_sentences(folder, tenant, needed_bytes):
            leftovers = folder.sweep()
            if key:
                keep_key_beside(fleet, tenant, key, folder)
            return Placed(write(folder), where, fallback=False, leftovers=tuple(leftovers), warnings=())

    try:
        return attempt(store)
    except StoreFailed as failure:
        second = fallback_of(fleet, store)
        if second is None:
            raise
        logger(__name__).warning(
            "backup goes to the fallback store", tenant=tenant.slug, because=str(failure)
        )
        try:
            placed = attempt(second)
        except StoreFailed as again:
            raise StoreFailed(
                f"neither store takes the backup: {failure} The fallback: {again}",
                where=f"tenant {tenant.slug}",
            ) from failure
        said = f"it lies in the fallback store {second}: {failure} To move it: tenant-ops backup reconcile."
        return replace(placed, fallback=True, warnings=(said,))


@contextmanager
def in_sentences(folder: Folder, tenant: Tenant, needed_bytes: int) -> Generator[None]:
    """What the file system or the database says, as a sentence with the tenant's name and a remedy.

    Raises:
        StoreFailed: the file system refused.
        OperationFailed: the database refused.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _NO_ROOM
        free = f" ({free_bytes(folder.workshop):,} bytes are free, about {needed_bytes:,} are needed)"
        room = free if full else ""
        raise StoreFailed(
            f"the backup could not be written: {error.strerror}{room}; nothing of it was kept.",
            where=f"tenant {tenant.slug}, {folder.workshop}",
            fix="Free some room or choose another --output-path."
            if full
            else "Check the path and its rights.",
        ) from error
    except psycopg.Error as error:
        raise OperationFailed(
            f"the database refused: {first_line(error)}.", where=f"tenant {tenant.slug}"
        ) from error


def free_bytes(folder: Path) -> int:
    """Room on the file system of a folder that may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free
