"""Making one file of the folder a backup was written to.

Here: writing zip, tar and compressed tar. Not here: reading them (`zips.py`, `tars.py`, `streams.py`), where
the file goes (`backups/stores/`).

Header, key and manifest come first, so that a reader of a stream knows what it will see; COMPLETE comes last.
All lie below a folder named like the backup: what a stock program unpacks is the same backup as a folder.
"""

import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard
from isal import isal_zlib

from tenant_ops.backups.codec import Compressor
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.containers.streams import FRAME_LENGTHS, GZIP_FRAME, ZSTD_FRAME
from tenant_ops.backups.containers.tars import BLOCK
from tenant_ops.backups.layout import COMPLETE, HEADER, KEY_BLOCK, MANIFEST, SEALED_SUFFIX

_FIRST = (HEADER, KEY_BLOCK, MANIFEST)
_INCOMPRESSIBLE = (SEALED_SUFFIX, ".zst", ".gz")
_PIECE = 1 << 20
_RAW = -zlib.MAX_WBITS
_ZIP64_FROM = 1 << 31


def pack(folder: Path, target: Path, kind: Format, name: str) -> None:
    """Write the files of a folder into one new file, which is on disk when this returns.

    Args:
        folder: Where the backup was written to, complete.
        target: The file to make.
        kind: Any format but `dir`.
        name: Of the folder in it.

    Raises:
        OSError: the file system refuses; what was written so far is left there.
    """
    files = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), key=_place
    )
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        if kind == "zip":
            _write_zip(out, folder, files, name)
        else:
            _write_tar(out, folder, files, name, kind)
        out.flush()
        os.fsync(out.fileno())


def _place(path: str) -> tuple[int, str]:
    for place, name in enumerate(_FIRST):
        if path == name or path.startswith(f"{name}."):  # the manifest may be packed and sealed
            return place, path
    return len(_FIRST) + (path == COMPLETE), path


def _write_zip(out: BinaryIO, folder: Path, files: list[str], name: str) -> None:
    with zipfile.ZipFile(out, "w", compresslevel=1) as archive:
        for file in files:
            info = zipfile.ZipInfo.from_file(folder / file, f"{name}/{file}", strict_timestamps=False)
            packs = not file.endswith(_INCOMPRESSIBLE)
            info.compress_type = zipfile.ZIP_DEFLATED if packs else zipfile.ZIP_STORED
            large = info.file_size >= _ZIP64_FROM
            with archive.open(info, "w", force_zip64=large) as member:
                for piece in _pieces(folder / file):
                    member.write(piece)


def _write_tar(out: BinaryIO, folder: Path, files: list[str], name: str, kind: Format) -> None:
    frames = {"tar": _as_it_is, "tar.gz": _gzip_frame, "tar.zst": _zstd_frame}[kind]
    for file in files:
        path = folder / file
        status = path.stat()
        entry = tarfile.TarInfo(f"{name}/{file}")
        entry.size, entry.mtime, entry.mode = status.st_size, int(status.st_mtime), 0o600
        with frames(out, packs=not file.endswith(_INCOMPRESSIBLE)) as frame:
            frame.write(entry.tobuf(tarfile.GNU_FORMAT))
            for piece in _pieces(path):
                frame.write(piece)
            frame.write(bytes(-status.st_size % BLOCK))
    with frames(out, packs=True) as frame:
        frame.write(bytes(2 * BLOCK))


class _Frame:
    """Where the content of a frame is written; counts it."""

    def __init__(self, out: BinaryIO, compressor: Compressor | None) -> None:
        self._out, self._compressor = out, compressor
        self.size, self.crc = 0, 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self._compressor is None:
            self._out.write(data)
            return
        self.crc = isal_zlib.crc32(data, self.crc)
        self._out.write(self._compressor.compress(data))


@contextmanager
def _as_it_is(out: BinaryIO, *, packs: bool) -> Iterator[_Frame]:  # noqa: ARG001
    yield _Frame(out, None)


@contextmanager
def _gzip_frame(out: BinaryIO, *, packs: bool) -> Iterator[_Frame]:
    """A gzip member whose header tells its lengths; what does not get smaller is stored in it."""
    begin = out.tell()
    out.write(GZIP_FRAME + bytes(FRAME_LENGTHS.size))
    compressor = isal_zlib.compressobj(1, wbits=_RAW) if packs else zlib.compressobj(0, wbits=_RAW)
    frame = _Frame(out, compressor)
    yield frame
    out.write(compressor.flush() + struct.pack("<LL", frame.crc, frame.size & 0xFFFFFFFF))
    _fill_in(out, begin + len(GZIP_FRAME), out.tell() - begin, frame.size)


@contextmanager
def _zstd_frame(out: BinaryIO, *, packs: bool) -> Iterator[_Frame]:
    """A zstd frame, with its lengths in a skippable one before it."""
    begin = out.tell()
    out.write(ZSTD_FRAME + bytes(FRAME_LENGTHS.size))
    # Level -5 finds out soonest that sealed bytes do not get smaller.
    compressor = zstandard.ZstdCompressor(level=3 if packs else -5, write_checksum=True).compressobj()
    frame = _Frame(out, compressor)
    yield frame
    out.write(compressor.flush())
    lengths_at = begin + len(ZSTD_FRAME)
    _fill_in(out, lengths_at, out.tell() - lengths_at - FRAME_LENGTHS.size, frame.size)


def _fill_in(out: BinaryIO, at: int, packed: int, size: int) -> None:
    end = out.tell()
    out.seek(at)
    out.write(FRAME_LENGTHS.pack(packed, size))
    out.seek(end)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
