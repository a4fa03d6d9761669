"""Backups in an object store, by fsspec.

Here: publishing, listing, removing. Not here: single requests and trying again (`requests.py`).

A backup is written to a spool below the home first, sealed as it will lie in the store, then its files go up,
each compared with what the store has, and COMPLETE last. There is no renaming in an object store: what has no
COMPLETE is no backup, and what a killed upload left is found by what is left of it in the spool.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from tenant_ops.backups.containers import (
    KEY_SUFFIX,
    PACKED,
    Container,
    Format,
    container_in,
    format_of,
    pack,
)
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import BACKUP_ID, COMPLETE, PARTIAL_SUFFIX
from tenant_ops.backups.stores.local import is_id
from tenant_ops.backups.stores.requests import ObjectFile, Requests
from tenant_ops.backups.stores.store import StoreFailed
from tenant_ops.platform.errors import OperationFailed

T = TypeVar("T")

_AT_ONCE = 4


@dataclass(frozen=True)
class ObjectFolder:
    """The objects below a tenant's prefix.

    Attributes:
        store: URL of the store.
        tenant_id: Whose.
        requests: How to reach them.
        spool: Local folder for what is on its way there.
    """

    store: str
    tenant_id: str
    requests: Requests
    spool: Path

    @property
    def where(self) -> str:
        """Its URL."""
        return f"{self.store}/{self.tenant_id}"

    @property
    def workshop(self) -> Path:
        """The spool."""
        return self.spool

    def at(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.where}/{name}"

    def open(self, name: str) -> BinaryIO:
        """An object to read by ranges."""
        size = self.size(name)
        if size is None:
            raise FileNotFoundError(2, "there is no such object", self.at(name))
        return cast("BinaryIO", BufferedReader(ObjectFile(self.requests, self._key(name), size), 1 << 16))

    def size(self, name: str) -> int | None:
        """Bytes of an object."""
        return self.requests.size(self._key(name))

    def names(self, below: str) -> Iterator[str]:
        """Every object below a prefix."""
        return iter(self.requests.names(self._key(below)))

    def free_bytes(self) -> int | None:
        """There is no telling."""
        return None

    def backups(self) -> tuple[str, ...]:
        """Prefixes with COMPLETE, and packed objects."""
        found = set()
        for name in self.requests.names(self._key("")):
            top, _, rest = name.partition("/")
            kind = format_of(name)
            if (BACKUP_ID.fullmatch(top) and rest == COMPLETE) or (
                kind and BACKUP_ID.fullmatch(top := name.removesuffix(f".{kind}"))
            ):
                found.add(top)
        return tuple(sorted(found))

    def incomplete(self) -> tuple[str, ...]:
        """Prefixes without COMPLETE."""
        tops = {name.partition("/")[0] for name in self.requests.names(self._key("")) if "/" in name}
        return tuple(sorted(set(filter(BACKUP_ID.fullmatch, tops)) - set(self.backups())))

    def container(self, backup_id: str) -> Container:
        """The prefix or object of that backup."""
        return container_in(self, backup_id)

    def publish(self, partial: Path, backup_id: str, kind: Format) -> Container:
        """Upload, compare, complete."""
        if self.container(backup_id).size(COMPLETE) is not None:
            raise OperationFailed("there is a backup of that id already.", where=f"{self.where}, {backup_id}")
        try:
            if kind == "dir":
                self._put_folder(partial, backup_id)
            else:
                self._put_packed(partial, backup_id, kind)
        except BaseException:
            self._forget_upload(backup_id)
            raise
        shutil.rmtree(partial)
        return self.container(backup_id)

    def remove(self, backup_id: str) -> None:
        """COMPLETE goes first: what is left when this is interrupted is no backup."""
        self.requests.delete(self._key(f"{backup_id}/{COMPLETE}"))
        for kind in PACKED:
            self.requests.delete(self._key(f"{backup_id}.{kind}"))
        self.requests.delete(self._key(f"{backup_id}{KEY_SUFFIX}"))
        self._delete_below(backup_id)

    def put(self, name: str, content: bytes) -> None:
        """Put it; a put replaces whole or not at all."""
        self.requests.put(self._key(name), content)

    def delete(self, name: str) -> bool:
        """Delete it."""
        return self.requests.delete(self._key(name))

    def sweep(self) -> list[str]:
        """Uploads whose files are still in the spool, there and here.

        One that was completed before its process died stays: it is a backup.
        """
        if not self.spool.is_dir():
            return []
        left = sorted(path for path in self.spool.iterdir() if path.name.endswith(PARTIAL_SUFFIX))
        for path in left:
            backup_id = path.name.partition(".")[0]
            if BACKUP_ID.fullmatch(backup_id) and not self._is_whole(backup_id):
                self._forget_upload(backup_id)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [path.name for path in left]

    def _put_folder(self, partial: Path, backup_id: str) -> None:
        files = sorted(path for path in partial.rglob("*") if path.is_file() and path.name != COMPLETE)
        _each(
            files,
            lambda path: self.requests.upload(
                path, self._key(f"{backup_id}/{path.relative_to(partial).as_posix()}")
            ),
        )
        self.requests.upload(partial / COMPLETE, self._key(f"{backup_id}/{COMPLETE}"))

    def _put_packed(self, partial: Path, backup_id: str, kind: Format) -> None:
        file = partial.with_name(f"{backup_id}.{kind}{PARTIAL_SUFFIX}")
        try:
            pack(partial, file, kind, backup_id)
            self.requests.upload(file, self._key(f"{backup_id}.{kind}"))
        finally:
            file.unlink(missing_ok=True)

    def _forget_upload(self, backup_id: str) -> None:
        """Delete what was uploaded of a backup, as far as the store lets us."""
        with self.requests.forgiving():
            self.remove(backup_id)
            self.requests.abort_uploads(self._key(backup_id))

    def _is_whole(self, backup_id: str) -> bool:
        """Whether all of an upload arrived; when the store does not say, it is not touched."""
        try:
            return self.container(backup_id).size(COMPLETE) is not None
        except DamagedBackup:
            return False
        except StoreFailed:
            return True

    def _delete_below(self, backup_id: str) -> None:
        keys = [self._key(f"{backup_id}/{name}") for name in self.requests.names(self._key(backup_id))]
        _each(keys, self.requests.delete)

    def _key(self, name: str) -> str:
        return f"{self.tenant_id}/{name}" if name else self.tenant_id


@dataclass(frozen=True)
class ObjectStore:
    """A prefix of a bucket, with a prefix in it for each tenant.

    Attributes:
        where: Its URL.
        requests: How to reach it.
        spool: Local folder for what is on its way there.
    """

    where: str
    requests: Requests
    spool: Path

    def folder(self, tenant_id: str) -> ObjectFolder:
        """The prefix of a tenant."""
        return ObjectFolder(self.where, tenant_id, self.requests, self.spool / tenant_id)

    def tenants(self) -> tuple[str, ...]:
        """Prefixes whose names are ids of tenants."""
        return tuple(sorted(filter(is_id, self.requests.folders())))


def _each(items: Iterable[T], work: Callable[[T], object]) -> None:
    """Work on all of them, some at once; the first error is raised when those that began have ended."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = [pool.submit(work, item) for item in items]
        try:
            for each in done:
                each.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
