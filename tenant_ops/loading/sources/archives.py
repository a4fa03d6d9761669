"""Zip archives: which files are in them, and reading one of those.

Here: members, what makes an archive not to be trusted, and a member's bytes. Not here: what the bytes mean.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from tenant_ops.platform.errors import InputError

GREATEST_RATIO = 1000
"""A member that grows by more when it is unpacked is refused: real tables stay below 100."""

_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<26x2H")


def members_of(path: Path, name: str) -> list[ZipInfo]:
    """The files in an archive, in name order.

    Raises:
        InputError: it cannot be read, or a name leads out of it or is there twice.
    """
    archive, on_disk = _open(path, name)
    with on_disk, archive:
        infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=_place)
    for before, info in zip([None, *infos], infos, strict=False):
        place = _place(info)
        if place.is_absolute() or ".." in place.parts or "\\" in info.filename:
            raise InputError(
                f"the member {info.filename!r} leads out of the archive.",
                where=name,
                fix="Pack it again with plain names.",
            )
        if before is not None and _place(before) == place:
            raise InputError(f"the member {info.filename!r} is there twice.", where=name, fix="Keep one.")
    return infos


def check_member(info: ZipInfo, name: str) -> None:
    """Make sure that a member is worth opening.

    Raises:
        InputError: it is encrypted, a link, or would unpack to more than `GREATEST_RATIO` times its size.
    """
    if info.flag_bits & _ENCRYPTED:
        raise InputError("the member is encrypted.", where=name, fix="Pack it without a password.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InputError("the member is a link.", where=name, fix="Pack the file itself.")
    if info.file_size > GREATEST_RATIO * max(info.compress_size, 1):
        raise InputError(
            f"the member says it unpacks from {info.compress_size} to {info.file_size} bytes.",
            where=name,
            fix=f"A factor of more than {GREATEST_RATIO} is taken for an attack; load the file unpacked.",
        )


@contextmanager
def open_member(path: Path, member: str, name: str) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A member for reading, and a function that says how many bytes of the archive were read for it.

    Its length and checksum are checked on the way: reading raises `BadZipFile` at the end.

    Raises:
        InputError: the archive or the member cannot be read.
    """
    archive, on_disk = _open(path, name)
    with on_disk, archive:
        info = archive.NameToInfo.get(member)
        if info is None:
            raise InputError("the member is no longer there.", where=name, fix="Load again.")
        check_member(info, name)
        try:
            opened = archive.open(info)
        except (BadZipFile, NotImplementedError, OSError) as error:
            raise _unreadable(name, error) from error
        with opened:
            yield opened, lambda: 0 if on_disk.closed else max(0, on_disk.tell() - info.header_offset)


def hash_member(path: Path, info: ZipInfo, name: str) -> str:
    """SHA-256, in hexadecimal, of a member's name, how it is packed, and its packed bytes.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256(f"{info.filename}\0{info.compress_type}\0{info.file_size}\0".encode())
    with path.open("rb") as on_disk:
        on_disk.seek(info.header_offset)
        header = on_disk.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise _unreadable(name, "it ends before a member")
        on_disk.seek(sum(_LOCAL_HEADER.unpack(header)), os.SEEK_CUR)
        left = info.compress_size
        while left:
            block = on_disk.read(min(left, 1 << 20))
            if not block:
                raise _unreadable(name, "it ends inside a member")
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _open(path: Path, name: str) -> tuple[ZipFile, IO[bytes]]:
    try:
        on_disk = path.open("rb")
    except OSError as error:
        raise InputError(f"the archive cannot be read: {error.strerror}.", where=name) from error
    try:
        return ZipFile(on_disk), on_disk
    except (BadZipFile, NotImplementedError, OSError, ValueError) as error:
        on_disk.close()
        raise _unreadable(name, error) from error


def _unreadable(name: str, why: Exception | str) -> InputError:
    return InputError(f"the zip archive is cut off or damaged: {why}.", where=name, fix="Fetch it again.")


def _place(info: ZipInfo) -> PurePosixPath:
    return PurePosixPath(info.filename)
