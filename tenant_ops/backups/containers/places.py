"""One backup as a folder of files, or as one file; in whatever store.

Here: both, and finding which of them a backup is. Not here: how packed files are taken apart (`zips.py`,
`tars.py`), where they lie (`local.py`, `backups/stores/`).
"""

import errno
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from tenant_ops.backups.containers.container import (
    KEY_SUFFIX,
    PACKED,
    Container,
    Files,
    Format,
    format_of,
)
from tenant_ops.backups.containers.listing import Entry
from tenant_ops.backups.containers.local import LocalFiles
from tenant_ops.backups.containers.streams import Inflated, Slice, deflated, framed
from tenant_ops.backups.containers.tars import tar_entries
from tenant_ops.backups.containers.zips import zip_entries
from tenant_ops.backups.layout import COMPLETE, KEY_BLOCK

_MOST_BESIDE_BYTES = 1 << 20


@dataclass(frozen=True)
class Loose:
    """A folder whose files are one backup, wherever it lies.

    Attributes:
        files: The tenant's.
        name: Of the folder.
    """

    files: Files
    name: str

    @property
    def where(self) -> str:
        """The folder's path or URL."""
        return self.files.at(self.name)

    @property
    def format(self) -> Format:
        """A folder."""
        return "dir"

    def open(self, name: str) -> BinaryIO:
        """A file to read."""
        return self.files.open(f"{self.name}/{name}")

    def size(self, name: str) -> int | None:
        """Bytes of a file."""
        return self.files.size(f"{self.name}/{name}")

    def names(self) -> Iterator[str]:
        """Everything below the folder."""
        return self.files.names(self.name)

    def sibling(self, backup_id: str) -> Container:
        """Another backup in the same place."""
        return container_in(self.files, backup_id)

    def beside(self, name: str) -> bytes | None:
        """A file below the folder this one lies in."""
        return read_small(self.files, name)


class Directory(Loose):
    """A local directory that holds one backup."""

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        super().__init__(LocalFiles(path.parent), path.name)


@dataclass(frozen=True)
class Packed:
    """A zip or tar file that holds one backup. It is read in place: nothing is unpacked anywhere.

    What does not belong into a backup makes the whole file refused when it is first looked into.

    Attributes:
        files: The tenant's.
        file: Name of the file.
        format: Which kind.
    """

    files: Files
    file: str
    format: Format

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file.removesuffix(f".{self.format}")

    @property
    def where(self) -> str:
        """The file's path or URL."""
        return self.files.at(self.file)

    def open(self, name: str) -> BinaryIO:
        """A member to read, through its offset in the file."""
        if name == KEY_BLOCK and self.files.size(self._own_key) is not None:
            return self.files.open(self._own_key)
        entry = self._entries.get(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such member", name)
        with ExitStack() as opened:
            stream = opened.enter_context(self._stream())
            if entry.deflated:
                raw: io.RawIOBase = deflated(stream, entry.at, entry.packed, entry.size)
            else:
                raw = Slice(stream, entry.at, entry.size)
            opened.pop_all()
            return io.BufferedReader(raw, 1 << 16)

    def size(self, name: str) -> int | None:
        """Bytes of a member."""
        if self.files.size(self.file) is None:
            return None
        if name == KEY_BLOCK and (own := self.files.size(self._own_key)) is not None:
            return own
        entry = self._entries.get(name)
        return None if entry is None else entry.size

    def names(self) -> Iterator[str]:
        """Every member."""
        return iter(self._entries)

    def sibling(self, backup_id: str) -> Container:
        """Another backup in the same place."""
        return container_in(self.files, backup_id)

    def beside(self, name: str) -> bytes | None:
        """A file below the folder this one lies in."""
        return read_small(self.files, name)

    @property
    def _own_key(self) -> str:
        return f"{self.name}{KEY_SUFFIX}"

    @cached_property
    def _entries(self) -> Mapping[str, Entry]:
        with self._stream() as stream:
            reader = zip_entries if self.format == "zip" else tar_entries
            return reader(stream, self.file)

    def _stream(self) -> BinaryIO:
        file = self.files.open(self.file)
        if self.format in ("zip", "tar"):
            return file
        codec = "gzip" if self.format == "tar.gz" else "zstd"
        return io.BufferedReader(Inflated(file, self.file, codec, framed(file, self.file, codec)), 1 << 16)


def container_in(files: Files, backup_id: str) -> Container:
    """The backup of that id among a tenant's files, in whatever format; a folder when it is in none."""
    loose = Loose(files, backup_id)
    if loose.size(COMPLETE) is None:
        for kind in PACKED:
            if files.size(f"{backup_id}.{kind}") is not None:
                return Packed(files, f"{backup_id}.{kind}", kind)
    return loose


def container_of(files: Files, name: str) -> Container:
    """The backup a name means: a file's when it ends like a packed one, else a folder's."""
    kind = format_of(name)
    return Packed(files, name, kind) if kind and files.size(name) is not None else Loose(files, name)


def read_small(files: Files, name: str) -> bytes | None:
    """The content of a small file; None when there is none."""
    if files.size(name) is None:
        return None
    with files.open(name) as file:
        return file.read(_MOST_BESIDE_BYTES)
