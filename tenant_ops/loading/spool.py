"""Files that were fetched from elsewhere and are read from this machine: each once, whoever needs it.

Here: where they lie, how they get there whole, and when they go. Not here: where they come from.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

KEPT_S = 24 * 3600
"""Seconds a file stays after it was last asked for."""


@dataclass(frozen=True)
class Spool:
    """A folder of fetched files, which only this installation's user can read.

    Attributes:
        folder: Where it is; made when it is needed.
    """

    folder: Path

    def keep(self, identity: str, name: str, fetch: Callable[[Path], None]) -> Path:
        """The file known by `identity`, fetched unless it is there.

        Several processes may ask for it at once: one fetches, the others wait for it.

        Args:
            identity: Where its bytes come from and which version they are.
            name: What it is called there; its endings say what it is.
            fetch: Writes the bytes to the path it is given. When it raises, nothing is kept.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        path = self.folder / f"{key}-{_plain(name)}"
        with _alone(self.folder / f"{key}.lock"):
            self._sweep()
            if not path.exists():
                partial = self.folder / f"{key}.partial"
                try:
                    partial.touch(mode=0o600)
                    fetch(partial)
                    partial.replace(path)
                finally:
                    partial.unlink(missing_ok=True)
            os.utime(path)
        return path

    def _sweep(self) -> None:
        """Remove what nobody asked for in a long time; what is being read stays readable."""
        oldest = time.time() - KEPT_S
        for path in self.folder.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.utime(lock)
        yield
    finally:
        os.close(descriptor)


def _plain(name: str) -> str:
    """A file name's end, in characters every file system has."""
    base = PurePosixPath(name).name[-80:]
    return "".join(character if character.isascii() and character.isalnum() else "." for character in base)
