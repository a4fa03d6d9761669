"""The text of a source file: decompressed, without its mark, always valid UTF-8.

Here: opening a file or a member of a zip archive, and telling what makes it unreadable as a whole. Not here:
encodings (`encodings.py`), rows and columns.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import zstandard
from isal import igzip

from tenant_ops.loading.sources.archives import open_member
from tenant_ops.loading.sources.encodings import AUTO, LOOKED_AT, as_utf8, find_encoding
from tenant_ops.platform.errors import InputError

LONGEST_ROW = 8 << 20
"""Bytes of the longest row (or JSON element) that is read; a longer one is a broken file."""

_BLOCK = 1 << 18


class Readable(Protocol):
    """Whatever gives bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many; none at the end."""
        ...


class TextStream:
    """A file's text as UTF-8 bytes, for one reader, which takes lines, pieces or so many bytes at a time.

    Attributes:
        name: What the file is called in errors.
        encoding: What it is written in.
        quotes: How many double quotes `read` gave out.
        last: The last byte it gave out that is no line end.

    Raises:
        InputError: its beginning cannot be read, or its encoding is not known.
    """

    closed = False

    def __init__(
        self,
        source: Readable,
        name: str,
        *,
        encoding: str = AUTO,
        consumed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.quotes = 0
        self.last = b""
        self._source = source
        self._consumed = consumed
        self._ready = b""
        start = b""
        while len(start) < LOOKED_AT.get(encoding, 4) and (block := self._take()):
            start += block
        self.encoding, mark = find_encoding(start, encoding, name)
        rest = chain([start[mark:]] if start[mark:] else [], iter(self._take, b""))
        self._pieces = as_utf8(rest, self.encoding, mark)
        self._blocks = self._whole_lines()

    @property
    def consumed(self) -> int:
        """Bytes of the file on disk that were used, for progress."""
        return self._consumed()

    def pieces(self) -> Iterator[bytes]:
        """The text in pieces that never split a character, for a reader that does not go by lines.

        Raises:
            InputError: the file is cut off.
        """
        return self._pieces

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks that end with a line.

        Raises:
            InputError: the file is cut off, or has a line longer than `LONGEST_ROW`.
        """
        return self._blocks

    def readable(self) -> bool:
        """Whether it can be read, as Arrow asks."""
        return True

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end.

        One block, and on while a quote is open: a reader that looks for its rows' ends finds them in little
        more than a block, and needs to hold little, but a row of `size` bytes still comes whole.
        """
        taken, self._ready = self._ready or next(self._blocks, b""), b""
        self.quotes += taken.count(b'"')
        while self.quotes % 2 and len(taken) < size and (block := next(self._blocks, b"")):
            self.quotes += block.count(b'"')
            taken += block
        if len(taken) > size:
            taken, self._ready = taken[:size], taken[size:]
            self.quotes -= self._ready.count(b'"')
        self.last = taken[-8:].rstrip(b"\r\n")[-1:] or self.last
        return taken

    def unread(self, data: bytes) -> None:
        """Give back what was taken from a block and not used; `read` goes on with it."""
        self._ready = data + self._ready

    def _whole_lines(self) -> Iterator[bytes]:
        rest = b""
        for piece in self._pieces:
            whole, end, rest = (rest + piece).rpartition(b"\n")
            if whole or end:
                yield whole + end
            if len(rest) > LONGEST_ROW:
                raise too_long(self.name)
        if rest:
            yield rest

    def _take(self) -> bytes:
        try:
            return self._source.read(_BLOCK)
        except (EOFError, OSError, zlib.error, zstandard.ZstdError, BadZipFile) as error:
            raise unreadable(self.name, error) from error


class _Zstandard:
    """A zstd file, frame after frame; the library's own reader takes a cut-off file for an empty one."""

    def __init__(self, on_disk: Readable) -> None:
        self._on_disk = on_disk
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._inside = False

    def read(self, _size: int) -> bytes:
        while True:
            data = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._inside = zstandard.ZstdDecompressor().decompressobj(), False
            data = data or self._on_disk.read(_BLOCK >> 3)
            if not data:
                if self._inside:
                    raise EOFError("it ends inside a zstd frame")
                return b""
            self._inside = True
            if out := self._frame.decompress(data):
                return out


@contextmanager
def open_text(
    path: Path, compression: str, name: str, *, member: str | None = None, encoding: str = AUTO
) -> Iterator[TextStream]:
    """A file's text.

    Args:
        path: Where it is.
        compression: `gz`, `zst` or empty.
        name: What to call it in errors.
        member: The member of the zip archive at `path` that is meant.
        encoding: `auto`, `detect`, or the name of one.

    Raises:
        InputError: it cannot be opened.
    """
    with _open_bytes(path, member, name) as (source, consumed):
        match compression:
            case "gz":
                source = igzip.IGzipFile(fileobj=source)
            case "zst":
                source = _Zstandard(source)
        yield TextStream(source, name, encoding=encoding, consumed=consumed)


@contextmanager
def _open_bytes(path: Path, member: str | None, name: str) -> Iterator[tuple[Readable, Callable[[], int]]]:
    """The file, or a member of it, and a function that says how many of its bytes on disk were read."""
    if member is not None:
        with open_member(path, member, name) as opened:
            yield opened
        return
    try:
        on_disk = path.open("rb")
    except OSError as error:
        raise unreadable(name, error) from error
    with on_disk:
        yield on_disk, lambda: 0 if on_disk.closed else on_disk.tell()


def unreadable(name: str, error: Exception) -> InputError:
    """The sentence for a file that cannot be read to its end."""
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"the file cannot be read: {error.strerror}.", where=name)
    return InputError(
        f"the file is cut off or not what its name says: {error}.", where=name, fix="Fetch it again."
    )


def too_long(name: str, limit: int = LONGEST_ROW, line: int | None = None) -> InputError:
    """The sentence for a row no table has."""
    return InputError(
        f"a row is longer than {limit >> 20} MB.",
        where=f"{name}, line {line}" if line else name,
        fix="Look for a quote or bracket that is never closed.",
    )
