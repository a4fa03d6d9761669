"""Compressing and decompressing members as streams, in bounded memory.

Here: the codecs an archive may use. `zstd` level 1 is the default: on 617 MB of table text it made a smaller
archive than gzip (2.95:1 against 2.63:1) for 7 % more CPU than igzip, and a fifth of the CPU of zlib 6.
Not here: sealing (`crypto.py`), which member uses which codec (`archive.py`).
"""

from typing import Literal, Protocol, cast, get_args

import zstandard
from isal import igzip, igzip_lib, isal_zlib

from tenant_ops.backups.crypto import Bytes, DamagedBackup
from tenant_ops.platform.errors import InputError

Codec = Literal["zstd", "gzip", "none"]
SUFFIXES: dict[Codec, str] = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_DEFAULT_LEVEL: dict[Codec, int] = {"zstd": 1, "gzip": 1, "none": 0}
_LEVELS: dict[Codec, range] = {"zstd": range(1, 20), "gzip": range(4), "none": range(1)}
_GZIP_WINDOW = 31  # zlib's way to ask for a gzip header and trailer


class Compressor(Protocol):
    """What every codec offers for writing."""

    def compress(self, data: Bytes, /) -> bytes:
        """Take more bytes; return what is ready."""
        ...

    def flush(self) -> bytes:
        """End the stream; return what is left."""
        ...


class Source(Protocol):
    """What can be read from: a file, or an opened sealed stream."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, empty at the end."""
        ...


class _Stored:
    """The codec that leaves bytes as they are."""

    def compress(self, data: Bytes, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


def check_codec(name: str, level: int | None = None) -> tuple[Codec, int]:
    """The codec and level to use.

    Raises:
        InputError: no such codec, or a level it does not have.
    """
    for codec in get_args(Codec):
        if name == codec:
            chosen = _DEFAULT_LEVEL[codec] if level is None else level
            if chosen not in _LEVELS[codec]:
                allowed = _LEVELS[codec]
                raise InputError(
                    f"{codec} has no level {chosen}.",
                    where="compression level",
                    fix=f"Use a level from {allowed[0]} to {allowed[-1]}.",
                )
            return codec, chosen
    raise InputError(
        f"{name!r} is not a compression this project writes.",
        where="compression",
        fix=f"Use one of: {', '.join(get_args(Codec))}.",
    )


def compressor(codec: Codec, level: int) -> Compressor:
    """A fresh compressor; gzip output opens with any gzip, zstd frames carry their own checksum."""
    if codec == "zstd":
        return zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
    if codec == "gzip":
        return isal_zlib.compressobj(level=level, wbits=_GZIP_WINDOW)
    return _Stored()


def decompressed(codec: Codec, source: Source) -> Source:
    """The uncompressed bytes of `source`, read on demand; never expands more than is asked for."""
    if codec == "zstd":
        # Across frames: whatever follows the first frame is then an error, not ignored.
        return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)  # type: ignore[arg-type]
    if codec == "gzip":
        return igzip.IGzipFile(fileobj=source, mode="rb")  # type: ignore[arg-type]
    return source


DECODING_ERRORS: tuple[type[Exception], ...] = (
    zstandard.ZstdError,
    igzip.BadGzipFile,
    cast("type[Exception]", igzip_lib.IsalError),  # its stub declares an instance
    EOFError,
)


class Exact:
    """A content stream that must be as long as was written down: neither cut nor a decompression bomb.

    Args:
        source: The content.
        size: How long it is.
        where: Names it in the DamagedBackup that reading raises when it is not, or does not decompress.
    """

    def __init__(self, source: Source, size: int, where: str) -> None:
        self._source, self._size, self._where = source, size, where
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end, once everything came."""
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        try:
            piece = self._source.read(wanted)
        except DECODING_ERRORS:
            raise DamagedBackup("it does not decompress.", where=self._where) from None
        self._left -= len(piece)
        if self._left < 0 or (not piece and size and self._left):
            raise DamagedBackup(
                f"its content is not the {self._size} bytes that were written.", where=self._where
            )
        return piece
