"""The bytes of a source file: decompressed, without byte-order mark, always valid UTF-8.

Here: opening a file, and telling what makes it unreadable as a whole. Not here: rows and columns.

Bytes that are not UTF-8 would stop a reader at the first one. They are turned into `INVALID` followed by
their value in hexadecimal, so that only the cell that holds them is refused.
"""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import zstandard
from isal import igzip

from tenant_ops.platform.errors import InputError

INVALID = "\ufdd0"
"""Marks bytes that were not UTF-8: a code point Unicode sets aside as never being a character."""

LONGEST_ROW = 8 << 20
"""Bytes of the longest row (or JSON element) that is read; a longer one is a broken file."""

_BLOCK = 1 << 20
_OTHER_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Utf8Stream:
    """A file's text as bytes, for one reader.

    Attributes:
        name: What the file is called in errors.
        quotes: How many double quotes `read` gave out.
        last: The last byte it gave out that is no line end.
    """

    closed = False

    def __init__(self, source: _Readable, on_disk: IO[bytes], name: str) -> None:
        self.name = name
        self.quotes = 0
        self.last = b""
        self._source = source
        self._on_disk = on_disk
        self._ready = b""
        self._blocks = self._read_blocks()

    @property
    def consumed(self) -> int:
        """Bytes of the file on disk that were used, for progress."""
        return 0 if self._on_disk.closed else self._on_disk.tell()

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks that end with a line, so that they never split a character.

        Raises:
            InputError: the file is cut off, in another encoding, or has a line longer than `LONGEST_ROW`.
        """
        return self._blocks

    def readable(self) -> bool:
        """Whether it can be read, as Arrow asks."""
        return True

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while len(self._ready) < size and (block := next(self._blocks, b"")):
            self._ready += block
        taken, self._ready = self._ready[:size], self._ready[size:]
        self.quotes += taken.count(b'"')
        self.last = taken[-8:].rstrip(b"\r\n")[-1:] or self.last
        return taken

    def unread(self, data: bytes) -> None:
        """Give back what was taken from a block and not used; `read` goes on with it."""
        self._ready = data + self._ready

    def _read_blocks(self) -> Iterator[bytes]:
        rest, start = b"", True
        while block := self._take():
            if start:
                block, start = self._without_mark(block), False
            whole, end, rest = (rest + block).rpartition(b"\n")
            if whole or end:
                yield _valid(whole + end)
            if len(rest) > LONGEST_ROW:
                raise too_long(self.name)
        if rest:
            yield _valid(rest)

    def _take(self) -> bytes:
        try:
            return self._source.read(_BLOCK)
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            raise unreadable(self.name, error) from error

    def _without_mark(self, block: bytes) -> bytes:
        for mark, encoding in _OTHER_MARKS.items():
            if block.startswith(mark):
                raise InputError(
                    f"the file is in {encoding}.", where=self.name, fix="Save it as UTF-8 and load it again."
                )
        return block.removeprefix(codecs.BOM_UTF8)


class _Zstandard:
    """A zstd file, frame after frame; the library's own reader takes a cut-off file for an empty one."""

    def __init__(self, on_disk: IO[bytes]) -> None:
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
def open_text(path: Path, compression: str, name: str) -> Iterator[Utf8Stream]:
    """The file as a stream of valid UTF-8.

    Args:
        path: Where it is.
        compression: `gz`, `zst` or empty.
        name: What to call it in errors.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        on_disk = path.open("rb")
    except OSError as error:
        raise unreadable(name, error) from error
    with on_disk:
        match compression:
            case "gz":
                yield Utf8Stream(igzip.IGzipFile(fileobj=on_disk), on_disk, name)
            case "zst":
                yield Utf8Stream(_Zstandard(on_disk), on_disk, name)
            case _:
                yield Utf8Stream(on_disk, on_disk, name)


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


def _valid(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "tenant_ops.mark_invalid").encode()
    return data


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    broken = error.object[error.start : error.end]
    return f"{INVALID}<{broken.hex()}>", error.end


codecs.register_error("tenant_ops.mark_invalid", _mark_invalid)
