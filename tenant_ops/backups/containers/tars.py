"""Listing the members of a tar without unpacking it.

Here: a reader of tar headers that trusts none of them. Not here: what names may be (`listing.py`).

Python's own `tarfile` holds whatever an extended header says in memory, and follows links; this one reads
regular files, their names and their sizes, and refuses everything else.
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from tenant_ops.backups.containers.listing import Entry, Listing
from tenant_ops.backups.crypto import DamagedBackup

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MOST_EXTENDED_BYTES = 1 << 16
_MOST_PADDING = 1 << 20
_REGULAR, _FOLDER = (b"0", b"\0", b"7"), b"5"
_KINDS = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"K": "a link",
    b"S": "a sparse file",
}


def tar_entries(file: BinaryIO, where: str) -> Mapping[str, Entry]:
    """The members of a tar.

    Raises:
        DamagedBackup: it is no tar, or one with anything but the files of a backup in it.
    """
    listing = Listing(where)
    for kind, name, at, size in _headers(file, where):
        if kind == _FOLDER or (kind in _REGULAR and name.endswith("/") and not size):
            listing.add_folder(name)
        elif kind in _REGULAR:
            listing.add(name, Entry(at, size, size))
        else:
            raise listing.refused(name, f"it is {_KINDS.get(kind, 'no regular file')}.")
    return listing.entries()


def _headers(file: BinaryIO, where: str) -> Iterator[tuple[bytes, str, int, int]]:
    """Type, name, offset and size of each entry, with what extended headers say of them."""
    at, said = 0, {}
    while True:
        block = _read(file, at, BLOCK, where)
        if block == _ZEROS:
            return _check_padding(file, at, where)
        kind, name, size = _header(block, where)
        at += BLOCK
        if kind in (b"L", b"x", b"g"):
            if size > _MOST_EXTENDED_BYTES:
                raise DamagedBackup(f"it has an extended header of {size} bytes.", where=where)
            text = _read(file, at, size, where)
            if kind != b"g":
                said |= {"path": text.rstrip(b"\0")} if kind == b"L" else _extended(text, where)
        else:
            name, size = said.get("path", name), _size(said.get("size"), size, where)
            yield kind, name.decode("utf-8", "backslashreplace"), at, size
            said = {}
        at += -(-size // BLOCK) * BLOCK


def _header(block: bytes, where: str) -> tuple[bytes, bytes, int]:
    total = sum(block) - sum(block[148:156]) + 8 * 32
    try:
        right = int(block[148:156].rstrip(b"\0 ") or b"0", 8) == total
    except ValueError:
        right = False
    if not right:
        raise DamagedBackup("a header in it has the wrong checksum.", where=where)
    field = block[124:136]
    if field[0] & 0x80:
        size = int.from_bytes(field[1:]) if field[0] == 0x80 else -1
    else:
        size = _octal(field.strip(b"\0 "))
    if not 0 <= size < 1 << 62:
        raise DamagedBackup("a header in it has no size.", where=where)
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return block[156:157], name, size


def _extended(text: bytes, where: str) -> dict[str, bytes]:
    """What a pax header says of the path and the size of the entry after it."""
    said = {}
    while text:
        digits, space, _ = text.partition(b" ")
        length = int(digits) if space and digits.isdigit() and len(digits) < 6 else 0
        record, text = text[len(digits) + 1 : length], text[length:]
        name, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not (equals and record.endswith(b"\n")):
            raise DamagedBackup("an extended header in it cannot be read.", where=where)
        if name in (b"path", b"size"):
            said[name.decode()] = value
        elif name.startswith(b"GNU.sparse") or name == b"linkpath":
            raise DamagedBackup("an entry in it is no plain file.", where=where)
    return said


def _size(said: bytes | None, size: int, where: str) -> int:
    if said is None:
        return size
    if not said.isdigit() or len(said) > 18:
        raise DamagedBackup("an extended header in it has no size.", where=where)
    return int(said)


def _octal(text: bytes) -> int:
    try:
        return int(text or b"0", 8)
    except ValueError:
        return -1


def _check_padding(file: BinaryIO, at: int, where: str) -> None:
    """After the end there are zeros only: what else stood there, another program might read."""
    file.seek(at)
    padding = file.read(_MOST_PADDING + 1)
    if len(padding) < 2 * BLOCK or len(padding) > _MOST_PADDING or padding.strip(b"\0"):
        raise DamagedBackup("it does not end where its last member does.", where=where)


def _read(file: BinaryIO, at: int, size: int, where: str) -> bytes:
    file.seek(at)
    block = file.read(size)
    if len(block) != size:
        raise DamagedBackup("it was cut short.", where=where)
    return block
