"""Backups below a local directory.

Here: publishing, removing, sweeping. Not here: reading (`containers/local.py`), object stores (`objects.py`).
"""

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tenant_ops.backups.containers import (
    KEY_SUFFIX,
    PACKED,
    Container,
    Format,
    LocalFiles,
    container_in,
    format_of,
    pack,
)
from tenant_ops.backups.layout import BACKUP_ID, COMPLETE, PARTIAL_SUFFIX
from tenant_ops.platform.errors import OperationFailed

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


@dataclass(frozen=True)
class LocalFolder(LocalFiles):
    """A tenant's directory."""

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def store(self) -> str:
        """The path of the directory it lies in."""
        return str(self.path.parent)

    @property
    def workshop(self) -> Path:
        """The directory itself: what is written there is published by renaming it."""
        return self.path

    def free_bytes(self) -> int | None:
        """Free room on its file system."""
        existing = next(path for path in (self.path, *self.path.parents) if path.is_dir())
        return shutil.disk_usage(existing).free

    def backups(self) -> tuple[str, ...]:
        """Directories with COMPLETE, and packed files."""
        if not self.path.is_dir():
            return ()
        found = set()
        for path in self.path.iterdir():
            kind = format_of(path.name)
            if BACKUP_ID.fullmatch(path.name) and (path / COMPLETE).is_file():
                found.add(path.name)
            elif kind and BACKUP_ID.fullmatch(name := path.name.removesuffix(f".{kind}")):
                found.add(name)
        return tuple(sorted(found))

    def incomplete(self) -> tuple[str, ...]:
        """Directories without COMPLETE."""
        names = (path.name for path in self.path.iterdir()) if self.path.is_dir() else ()
        return tuple(sorted(set(filter(BACKUP_ID.fullmatch, names)) - set(self.backups())))

    def container(self, backup_id: str) -> Container:
        """The directory or file of that backup."""
        return container_in(self, backup_id)

    def publish(self, partial: Path, backup_id: str, kind: Format) -> Container:
        """Rename the directory, or pack it beside itself and rename that."""
        if self.container(backup_id).size(COMPLETE) is not None:
            raise OperationFailed("there is a backup of that id already.", where=f"{self.where}, {backup_id}")
        self.path.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        if kind == "dir":
            if partial.parent != self.path:
                partial = self._carried(partial, backup_id)
            partial.rename(self.path / backup_id)
            sync(self.path)
        else:
            draft = self.path / f"{backup_id}.{kind}{PARTIAL_SUFFIX}"
            try:
                pack(partial, draft, kind, backup_id)
                draft.rename(self.path / f"{backup_id}.{kind}")
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            sync(self.path)
            shutil.rmtree(partial)
        return self.container(backup_id)

    def remove(self, backup_id: str) -> None:
        """COMPLETE goes first: what is left when this is interrupted is no backup."""
        (self.path / backup_id / COMPLETE).unlink(missing_ok=True)
        for kind in PACKED:
            (self.path / f"{backup_id}.{kind}").unlink(missing_ok=True)
        (self.path / f"{backup_id}{KEY_SUFFIX}").unlink(missing_ok=True)
        if (self.path / backup_id).is_dir():
            shutil.rmtree(self.path / backup_id)

    def put(self, name: str, content: bytes) -> None:
        """Write beside, sync, rename."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(draft, flags, _FILE_MODE), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync(path.parent)

    def delete(self, name: str) -> bool:
        """Unlink it."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).unlink()
            return True
        return False

    def sweep(self) -> list[str]:
        """Everything that ends in `.partial`, and drafts of small files."""
        if not self.path.is_dir():
            return []
        left = sorted(path for path in self.path.iterdir() if path.name.endswith(PARTIAL_SUFFIX))
        for path in left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return [path.name for path in left]

    def _carried(self, partial: Path, backup_id: str) -> Path:
        """The directory copied here from elsewhere, synced."""
        here = self.path / f"{backup_id}{PARTIAL_SUFFIX}"
        shutil.copytree(partial, here, symlinks=True)
        for path in [*here.rglob("*"), here]:
            sync(path)
        shutil.rmtree(partial)
        return here


@dataclass(frozen=True)
class LocalStore:
    """A local directory that holds a directory per tenant."""

    root: Path

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.root)

    def folder(self, tenant_id: str) -> LocalFolder:
        """The directory of a tenant."""
        return LocalFolder(self.root / tenant_id)

    def tenants(self) -> tuple[str, ...]:
        """Directories whose names are ids of tenants."""
        if not self.root.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.root.iterdir() if path.is_dir() and is_id(path.name)))


def is_id(name: str) -> bool:
    """Whether it is the id of a tenant."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def sync(path: Path) -> None:
    """Bring a file or directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
