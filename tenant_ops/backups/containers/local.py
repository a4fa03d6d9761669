"""Files below a local folder.

Here: reading them. Not here: what they mean (`places.py`), writing (`backups/stores/local.py`).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class LocalFiles:
    """The files below a local folder."""

    path: Path

    def at(self, name: str) -> str:
        """The file's path."""
        return str(self.path / name)

    def open(self, name: str) -> BinaryIO:
        """A file to read; refuses a link in its last step."""
        return os.fdopen(os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW), "rb")

    def size(self, name: str) -> int | None:
        """Bytes of a regular file."""
        path = self.path / name
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else None

    def names(self, below: str) -> Iterator[str]:
        """Everything below a folder that is not a folder."""
        folder = self.path / below
        for path in folder.rglob("*"):
            if path.is_symlink() or not path.is_dir():
                yield path.relative_to(folder).as_posix()
