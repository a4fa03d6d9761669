"""Listing the members of a zip without unpacking it.

Here: a reader of zip directories that trusts none of them. Not here: what names may be (`listing.py`).

Python's own `zipfile` takes files with anything before and between the members, and overlapping ones; this
one takes what zip programs write: members one after the other, the directory, its end, nothing else.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from tenant_ops.backups.containers.listing import MOST_ENTRIES, Entry, Listing
from tenant_ops.backups.crypto import DamagedBackup

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MOST_DIRECTORY_BYTES = 600 * MOST_ENTRIES
_STORED, _DEFLATED = 0, 8
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_REGULAR, _FOLDER = (0, 0o100000), 0o040000


def zip_entries(file: BinaryIO, where: str) -> Mapping[str, Entry]:
    """The members of a zip.

    Raises:
        DamagedBackup: it is no zip, or one with anything but the files of a backup in it.
    """
    try:
        return _entries(file, where)
    except struct.error:
        raise DamagedBackup("its directory was cut short.", where=where) from None


def _entries(file: BinaryIO, where: str) -> Mapping[str, Entry]:
    start, directory = _directory(file, where)
    listing = Listing(where)
    found = sorted(_central(directory, where, listing))
    for (at, size, name, packed, method), (end, *_) in zip(
        found, [*found[1:], (start, 0, "", 0, 0)], strict=True
    ):
        data = _data_at(file, at, name, listing)
        if data + packed > end:
            raise listing.refused(name, "it overlaps with what comes after it.")
        if name.endswith("/"):
            listing.add_folder(name)
        else:
            if method == _STORED and packed != size:
                raise listing.refused(name, "its two sizes differ though it is not compressed.")
            listing.add(name, Entry(data, size, packed, deflated=method == _DEFLATED))
    return listing.entries()


def _directory(file: BinaryIO, where: str) -> tuple[int, bytes]:
    """Where the directory begins, and the directory."""
    end = file.seek(0, 2)
    tail_at = max(0, end - _END.size - _FULL16)
    file.seek(tail_at)
    tail = file.read()
    found = tail.rfind(b"PK\5\6")
    if found < 0:
        raise DamagedBackup("it is not a zip file, or was cut short.", where=where)
    _, disk, first, here, count, size, start, comment = _END.unpack_from(tail, found)
    stop = tail_at + found
    if stop + _END.size + comment != end or disk or first or here != count:
        raise DamagedBackup("it does not end as a zip file does.", where=where)
    if _FULL16 in (count,) or _FULL32 in (size, start):
        count, size, start, stop = _directory64(file, stop, where)
    if count > MOST_ENTRIES or size > _MOST_DIRECTORY_BYTES:
        raise DamagedBackup(f"it has {count:,} entries, more than {MOST_ENTRIES:,}.", where=where)
    if start + size != stop:
        raise DamagedBackup("its directory is not where it says.", where=where)
    file.seek(start)
    return start, file.read(size)


def _directory64(file: BinaryIO, stop: int, where: str) -> tuple[int, int, int, int]:
    file.seek(max(0, stop - _LOCATOR.size))
    mark, disk, at, disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\6\7" or disk or disks != 1 or at + _END64.size > stop:
        raise DamagedBackup("its directory is not where it says.", where=where)
    file.seek(at)
    mark, length, _, _, disk, first, here, count, size, start = _END64.unpack(file.read(_END64.size))
    if mark != b"PK\6\6" or disk or first or here != count or at + 12 + length + _LOCATOR.size != stop:
        raise DamagedBackup("its directory is not where it says.", where=where)
    return count, size, start, at


def _central(directory: bytes, where: str, listing: Listing) -> Iterator[tuple[int, int, str, int, int]]:
    """Offset, size, name, packed size and method of each entry."""
    at, count = 0, 0
    while at < len(directory):
        (
            mark, made_by, _, flags, method, _, _, _, packed, size, name_len, extra_len, comment_len, disk, _,
            outer, offset,
        ) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        at += _CENTRAL.size
        name = directory[at : at + name_len].decode("utf-8", "backslashreplace")
        extra = directory[at + name_len : at + name_len + extra_len]
        at += name_len + extra_len + comment_len
        count += 1
        if mark != b"PK\1\2" or at > len(directory) or disk:
            raise DamagedBackup("its directory cannot be read.", where=where)
        if count > MOST_ENTRIES:
            raise DamagedBackup(f"it has more than {MOST_ENTRIES:,} entries.", where=where)
        if flags & 0x1:
            raise listing.refused(name, "it is encrypted by the zip program.")
        if method not in (_STORED, _DEFLATED):
            raise listing.refused(name, f"it is compressed by a method ({method}) backups do not use.")
        kind = (outer >> 16) & 0o170000 if made_by >> 8 == 3 else 0
        if kind not in _REGULAR and not (kind == _FOLDER and name.endswith("/")):
            raise listing.refused(name, "it is a link, a device or another thing that is no file.")
        size, packed, offset = _sizes64(extra, size, packed, offset)
        yield offset, size, name, packed, method


def _sizes64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers, taken from the ZIP64 field where they are too large for their own."""
    values = [size, packed, offset]
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            field = extra[4 : 4 + length]
            for index, value in enumerate(values):
                if value == _FULL32:
                    values[index], field = struct.unpack_from("<Q", field)[0], field[8:]
        extra = extra[4 + length :]
    return values[0], values[1], values[2]


def _data_at(file: BinaryIO, at: int, name: str, listing: Listing) -> int:
    """Where the bytes of a member begin; its own header must agree on what it is."""
    file.seek(at)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
        raise listing.refused(name, "it is not where the directory says.")
    *_, name_len, extra_len = _LOCAL.unpack(head)
    if file.read(name_len).decode("utf-8", "backslashreplace") != name:
        raise listing.refused(name, "the directory and the member itself name it differently.")
    return at + _LOCAL.size + name_len + extra_len
