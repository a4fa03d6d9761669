"""Parts of files, and decompressed files, as files one can seek in.

Here: slices, and the frames compressed tars are made of. Not here: what lies in them (`zips.py`, `tars.py`),
writing them (`packing.py`).

A compressed tar of this project is a row of frames, each decompressed by itself and preceded by its lengths:
in an extra field of its gzip header, or in a skippable zstd frame. Stock programs see one stream; here a
member is reached without decompressing those before it. One that another program compressed is one frame.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from tenant_ops.backups.codec import DECODING_ERRORS, Source, decompressed
from tenant_ops.backups.crypto import DamagedBackup

FRAME_LENGTHS = struct.Struct("<QQ")
"""Bytes of the frame, bytes it decompresses to."""
GZIP_FRAME = bytes.fromhex("1f8b0804 00000000 00ff 1400") + b"TO" + b"\x10\0"
"""What a gzip frame begins with; its lengths follow."""
ZSTD_FRAME = bytes.fromhex("5e2a4d18 10000000")
"""What stands before a zstd frame: a skippable frame that holds the lengths of what follows."""

GREATEST_RATIO = 1000
"""What another program compressed is not decompressed to more than this: backups stay below 30."""
_FREE_BYTES = 1 << 24
_PIECE = 1 << 18

Codec = Literal["gzip", "zstd", "deflate"]


@dataclass(frozen=True)
class Frame:
    """A part of a file that decompresses by itself.

    Attributes:
        at: Where it begins in the file.
        packed: How long it is.
        size: What it decompresses to; None when that is not known.
    """

    at: int
    packed: int
    size: int | None


class Slice(io.RawIOBase):
    """A part of a file, which it closes when it is closed itself."""

    def __init__(self, file: BinaryIO, start: int, size: int, *, closes: bool = True) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0
        self._closes = closes

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset from the beginning, from here, or from the end."""
        self._at = _sought(offset, whence, self._at, self._size)
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as one read of the file does."""
        self._file.seek(self._start + self._at)
        piece = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file too."""
        if self._closes and not self.closed:
            self._file.close()
        super().close()


class Inflated(io.RawIOBase):
    """What the frames of a file decompress to, as one file. Memory is bounded whatever is in it.

    Args:
        file: The compressed one; closed with this.
        name: Names it in errors.
        codec: How the frames are compressed.
        frames: Where they lie; asked for as far as they are needed.

    Raises:
        DamagedBackup: when it is read: it does not decompress to what its frames say.
    """

    def __init__(self, file: BinaryIO, name: str, codec: Codec, frames: Iterator[Frame]) -> None:
        self._file, self._name, self._more = file, name, frames
        self._codec: Codec = codec
        self._frames: list[tuple[int, Frame]] = []
        self._end = 0  # where the frames known so far end, decompressed
        self._at = 0
        self._open: tuple[Frame, Source] | None = None
        self._done = 0  # how much of the open frame was decompressed

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset; from the end only where the frames tell their sizes."""
        if whence == os.SEEK_END:
            while self._next_frame():
                pass
            if any(frame.size is None for _, frame in self._frames):
                raise OSError("where it ends is not known")
        self._at = _sought(offset, whence, self._at, self._end)
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the frame goes that the offset is in."""
        place = self._frame_at(self._at)
        if place is None:
            return 0
        start, frame = place
        if self._open is None or self._open[0] is not frame or self._done > self._at - start:
            part = Slice(self._file, frame.at, frame.packed, closes=False)
            self._open, self._done = (frame, _decoder(self._codec, part)), 0
        while self._done < self._at - start:
            if not self._decode(frame, min(_PIECE, self._at - start - self._done)):
                return 0
        left = len(buffer) if frame.size is None else min(len(buffer), frame.size - self._done)
        piece = self._decode(frame, left)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()

    def _decode(self, frame: Frame, size: int) -> bytes:
        """The next bytes of the open frame; none only at the end of one whose size is not known."""
        assert self._open is not None
        try:
            piece = self._open[1].read(size)
        except (*DECODING_ERRORS, zlib.error):
            raise DamagedBackup("it does not decompress.", where=self._name) from None
        self._done += len(piece)
        if not piece and size and frame.size is not None:
            raise DamagedBackup(
                f"a part of it does not decompress to the {frame.size} bytes it says.", where=self._name
            )
        if frame.size is None and self._done > GREATEST_RATIO * frame.packed + _FREE_BYTES:
            raise DamagedBackup(
                f"it decompresses to more than {GREATEST_RATIO} times its size.", where=self._name
            )
        return piece

    def _frame_at(self, offset: int) -> tuple[int, Frame] | None:
        while True:
            for start, frame in reversed(self._frames):
                if start <= offset and (frame.size is None or offset < start + frame.size):
                    return start, frame
                if start <= offset:
                    break
            if not self._next_frame():
                return None

    def _next_frame(self) -> bool:
        frame = next(self._more, None)
        if frame is None:
            return False
        self._frames.append((self._end, frame))
        self._end += frame.size or 0
        return True


def framed(file: BinaryIO, name: str, codec: Literal["gzip", "zstd"]) -> Iterator[Frame]:
    """The frames of a compressed file.

    Raises:
        DamagedBackup: a frame of this project is longer than what is there, or says it is nothing.
    """
    mark = GZIP_FRAME if codec == "gzip" else ZSTD_FRAME
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at < end:
        file.seek(at)
        head = file.read(len(mark) + FRAME_LENGTHS.size)
        if len(head) < len(mark) + FRAME_LENGTHS.size or not head.startswith(mark):
            yield Frame(at, end - at, None)
            return
        packed, size = FRAME_LENGTHS.unpack(head[len(mark) :])
        begin = at if codec == "gzip" else at + len(head)
        if not 0 < packed <= end - begin or size > 1 << 62:
            # A cut inside the checksum of the last frame decompresses all the same: the lengths tell it.
            raise DamagedBackup("it was cut short.", where=name)
        yield Frame(begin, packed, size)
        at = begin + packed


def deflated(file: BinaryIO, at: int, packed: int, size: int) -> Inflated:
    """A part of a file that was deflated by itself."""
    return Inflated(file, f"{size} bytes", "deflate", iter([Frame(at, packed, size)]))


class _Inflating:
    """A raw deflate stream as a source; never expands more than is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int = -1, /) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._source.read(_PIECE)
            piece = self._inflate.decompress(packed, size)
            if piece or not packed:
                return piece
        return b""


def _decoder(codec: Codec, part: Slice) -> Source:
    whole = io.BufferedReader(part, _PIECE)
    return _Inflating(whole) if codec == "deflate" else decompressed(codec, whole)


def _sought(offset: int, whence: int, here: int, end: int) -> int:
    return max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: here, os.SEEK_END: end}[whence])
