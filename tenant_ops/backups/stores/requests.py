"""Single requests to an object store: made again when they fail for reasons that pass, checked, in sentences.

Here: everything that touches fsspec. Not here: what the objects are (`objects.py`).
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tenant_ops.backups.stores.store import StoreFailed
from tenant_ops.platform.errors import TenantOpsError, first_line
from tenant_ops.platform.logs import logger
from tenant_ops.platform.masking import mask_text
from tenant_ops.platform.retry import Patience, retrying

T = TypeVar("T")

PATIENCE = Patience(attempts=4, first_s=0.5, longest_s=8.0, total_s=120.0)
"""Beside what the driver repeats by itself: s3fs makes five attempts of most requests."""

_READ_AHEAD = 1 << 22
_PART_BYTES = 1 << 23  # with four files and two parts of each at once, 64 MiB are on their way at most
_PARTS_AT_ONCE = 2
_ENDS_BYTES = 1 << 16
_MD5 = re.compile(r"[0-9a-f]{32}")
_FINAL = (PermissionError, ValueError, ImportError, IsADirectoryError)


class _Differs(OSError):
    """The store has something else than it was given."""


@dataclass(frozen=True)
class Requests:
    """Requests below one prefix of an object store; keys are relative to it.

    Attributes:
        shown: URL of the prefix, for errors.
        root: The prefix, as the driver names it.
        patience: How long a request is made again.
    """

    shown: str
    root: str
    patience: Patience
    _store: Any = field(repr=False, compare=False)

    def size(self, key: str) -> int | None:
        """Bytes of an object; None when there is none.

        Raises:
            StoreFailed: the store does not say.
        """
        try:
            info = self._do(
                key, "look at", lambda: self._store.info(self._full(key)), final=FileNotFoundError
            )
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def names(self, below: str) -> list[str]:
        """The names of all objects below a key, relative to it, in order."""
        try:
            found = self._do(
                below, "list", lambda: self._store.find(self._full(below)), final=FileNotFoundError
            )
        except FileNotFoundError:
            return []
        prefix = f"{self._full(below)}/"
        return sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))

    def folders(self) -> list[str]:
        """The names right below the prefix."""
        try:
            found = self._do(
                "", "list", lambda: self._store.ls(self.root, detail=False), final=FileNotFoundError
            )
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def read(self, key: str, start: int, end: int) -> bytes:
        """Bytes of an object, from `start` up to `end`.

        Raises:
            StoreFailed: they did not come, or not all of them.
        """

        def read() -> bytes:
            piece = self._store.cat_file(self._full(key), start=start, end=end)
            if len(piece) != end - start:
                raise _Differs(f"{len(piece)} of {end - start} bytes came")
            return piece

        return b"" if start == end else self._do(key, "read", read)

    def upload(self, path: Path, key: str) -> None:
        """Put a local file; when this returns the store has it, as far as it tells.

        Raises:
            StoreFailed: it refused, or does not have what it was given.
        """

        def put() -> None:
            in_parts = "s3" in self._store.protocol
            parts = {"chunksize": _PART_BYTES, "max_concurrency": _PARTS_AT_ONCE} if in_parts else {}
            self._store.put_file(str(path), self._full(key), **parts)
            self._compare(path, key)

        self._do(key, "store", put)

    def put(self, key: str, content: bytes) -> None:
        """Put a small object, and read it back."""

        def put() -> None:
            self._store.pipe_file(self._full(key), content)
            if self._store.cat_file(self._full(key)) != content:
                raise _Differs("it does not give back what it was given")

        self._do(key, "store", put)

    def delete(self, key: str) -> bool:
        """Delete an object; whether there was one."""
        if self.size(key) is None:
            return False
        try:
            self._do(key, "delete", lambda: self._store.rm_file(self._full(key)), final=FileNotFoundError)
        except FileNotFoundError:
            return False
        return True

    def abort_uploads(self, below: str) -> None:
        """Give up multipart uploads below a key that were begun and not ended, where there are such."""
        if "s3" not in self._store.protocol:
            return
        bucket, prefix, _ = self._store.split_path(self._full(below))
        for upload in self._store.list_multipart_uploads(bucket):
            if upload["Key"].startswith(prefix):
                self._store.call_s3(
                    "abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Tidying up: what fails in it is logged, for the error it follows matters more."""
        try:
            yield
        except Exception as error:
            logger(__name__).warning(
                "leftovers stay in the store", store=self.shown, because=mask_text(first_line(error))
            )

    def _compare(self, path: Path, key: str) -> None:
        """Compare what the store has with the file: size, then its hash where it is one, else both ends."""
        info = self._store.info(self._full(key))
        size = path.stat().st_size
        if info["size"] != size:
            raise _Differs(f"it has {info['size']} bytes of {size}")
        etag = str(info.get("ETag") or info.get("etag") or "").strip('"')
        with path.open("rb") as file:
            if _MD5.fullmatch(etag):
                if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == etag:
                    return
                file.seek(0)  # an object encrypted by the store has an etag that is no hash of it
            for start in {0, max(0, size - _ENDS_BYTES)} if size else ():
                end = min(size, start + _ENDS_BYTES)
                file.seek(start)
                if self._store.cat_file(self._full(key), start=start, end=end) != file.read(end - start):
                    raise _Differs("it does not give back what it was given")

    def _full(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def _do(self, key: str, what: str, work: Callable[[], T], final: type[Exception] | None = None) -> T:
        """Do it, again when that may help; `final` is an answer, not a failure."""
        finals = (*_FINAL, TenantOpsError, *((final,) if final else ()))
        try:
            return retrying(
                lambda _: work(),
                f"{what} {key}",
                patience=self.patience,
                transient=lambda error: isinstance(error, Exception) and not isinstance(error, finals),
            )
        except Exception as error:
            if isinstance(error, TenantOpsError) or (final and isinstance(error, final)):
                raise
            raise self._sentence(key, what, error) from error

    def _sentence(self, key: str, what: str, error: Exception) -> StoreFailed:
        where = f"store {self.shown}, {f'tenant folder {key}' if key else 'its root'}"
        if isinstance(error, PermissionError):
            problem, fix = f"it refuses access ({what})", "Give its driver credentials that may do this."
        elif isinstance(error, FileNotFoundError):
            problem, fix = f"it has nothing there ({what})", "Look at the URL, and whether the bucket exists."
        else:
            said = mask_text(first_line(error)) or type(error).__name__
            problem, fix = f"it could not {what} it: {said}", "Try again when the store answers again."
        return StoreFailed(f"{problem}.", where=where, fix=fix)


class ObjectFile(io.RawIOBase):
    """An object to read and seek in, fetched by ranges of some megabytes."""

    def __init__(self, requests: Requests, key: str, size: int) -> None:
        self._requests, self._key, self._size = requests, key, size
        self._at = 0
        self._piece_at, self._piece = 0, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset from the beginning, from here, or from the end."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the range at hand goes."""
        if self._at >= self._size:
            return 0
        if not self._piece_at <= self._at < self._piece_at + len(self._piece):
            # Small at first: most of what is looked at are headers.
            ahead = _READ_AHEAD if self._at == self._piece_at + len(self._piece) else _ENDS_BYTES
            end = min(self._size, self._at + max(len(buffer), ahead))
            self._piece = self._requests.read(self._key, self._at, end)
            self._piece_at = self._at
        begin = self._at - self._piece_at
        piece = self._piece[begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
