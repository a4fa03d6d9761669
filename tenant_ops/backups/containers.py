"""Where the files of one backup lie.

Here: what reading needs of such a place, and a plain directory. Not here: what the files mean
(`reading.py`), how they are written (`archive.py`).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class Container(Protocol):
    """The files of one backup, by name; names hold `/` between folder and file."""

    @property
    def name(self) -> str:
        """The backup's id, when nobody renamed it."""
        ...

    @property
    def where(self) -> str:
        """The path or URL, for people and the catalog."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to read, seekable; links are not followed. Raises OSError."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is no such file."""
        ...

    def names(self) -> Iterator[str]:
        """Every file, link or other thing in it that is not a folder."""
        ...

    def sibling(self, backup_id: str) -> "Container":
        """Where another backup of the same tenant would lie; it need not exist."""
        ...

    def beside(self, name: str) -> bytes | None:
        """A small file that lies beside the tenant's backups; None when there is none."""
        ...


@dataclass(frozen=True)
class Directory:
    """A directory that holds one backup."""

    path: Path

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def where(self) -> str:
        """The directory's path."""
        return str(self.path)

    def open(self, name: str) -> BinaryIO:
        """A file to read; refuses a link in its last step."""
        return os.fdopen(os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW), "rb")

    def size(self, name: str) -> int | None:
        """Bytes of a regular file."""
        path = self.path / name
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else None

    def names(self) -> Iterator[str]:
        """Everything below that is not a folder."""
        for path in self.path.rglob("*"):
            if path.is_symlink() or not path.is_dir():
                yield path.relative_to(self.path).as_posix()

    def sibling(self, backup_id: str) -> "Directory":
        """The directory of that name beside this one."""
        return Directory(self.path.resolve().parent / backup_id)

    def beside(self, name: str) -> bytes | None:
        """A file below the directory this one lies in."""
        path = self.path.resolve().parent / name
        return path.read_bytes() if path.is_file() else None
