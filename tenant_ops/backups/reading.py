"""Reading an archive: nothing of it is believed before it has been checked.

Here: opening, checking and streaming members. Not here: writing (`archive.py`), what is done with the
content (`restoring.py`), where keys are found (`keys.py`).
"""

import hashlib
import os
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tenant_ops.backups import records
from tenant_ops.backups.archive import TenantKey, key_context
from tenant_ops.backups.codec import DECODING_ERRORS, Source, decompressed
from tenant_ops.backups.crypto import (
    CIPHER,
    SEGMENT_BYTES,
    DamagedBackup,
    OpeningReader,
    WrongKey,
    key_check,
    member_context,
    unwrap_key,
)
from tenant_ops.backups.layout import (
    BACKUP_ID,
    COMPLETE,
    FORMAT,
    HEADER,
    KEY_BLOCK,
    MANIFEST,
    MEMBER_PATH,
    SEALED_SUFFIX,
    VERSION,
    Completion,
    Header,
    KeyBlock,
    Manifest,
    Member,
    MemberKind,
)
from tenant_ops.platform.errors import InputError, NotAvailable

_MOST_RECORD_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 1 << 28

KeyFinder = Callable[[Header, KeyBlock], TenantKey]


@dataclass(frozen=True)
class Archive:
    """A complete backup whose header and manifest have been checked.

    Attributes:
        path: Its directory.
        header: What it says of itself in the clear.
        manifest: What it holds.
        manifest_sha256: Hash of the manifest as stored: names this exact state of the backup.
    """

    path: Path
    header: Header
    manifest: Manifest
    manifest_sha256: str
    _key: bytes | None = field(repr=False)

    @contextmanager
    def content(self, member: Member) -> Generator[Source]:
        """The content of a member as a stream.

        A sealed member yields only authenticated bytes; a plain one only what `check` has vouched for.

        Raises:
            DamagedBackup: it is missing, changed, cut, or belongs elsewhere; it is named.
        """
        with self._open(member) as file:
            source = self._opened(file, member.path, member.kind) if member.sealed else file
            yield _Exact(decompressed(member.codec, source), member)

    def check(self, member: Member, *, deep: bool = True) -> None:
        """Read a member to its end and compare it with the manifest.

        Args:
            member: Which.
            deep: Also decrypt and decompress it; else only the hash of the stored file is compared.

        Raises:
            DamagedBackup: it is not what was written.
        """
        if not (deep and member.sealed):  # decrypting authenticates more than the hash does
            self._compare_hash(member)
        if deep:
            with self.content(member) as content:
                while content.read(SEGMENT_BYTES):
                    pass

    def read(self, member: Member) -> bytes:
        """The whole content of a small member."""
        with self.content(member) as content:
            return b"".join(iter(lambda: content.read(SEGMENT_BYTES), b""))

    def unexpected(self) -> list[str]:
        """Files in the directory that the manifest does not name."""
        known = {HEADER, KEY_BLOCK, COMPLETE, _manifest_name(self.header)}
        known |= {member.path for member in self.manifest.members}
        found = (path for path in self.path.rglob("*") if path.is_symlink() or not path.is_dir())
        return sorted({str(path.relative_to(self.path)) for path in found} - known)

    def _compare_hash(self, member: Member) -> None:
        digest = hashlib.sha256()
        with self._open(member) as file:
            while piece := file.read(SEGMENT_BYTES):
                digest.update(piece)
        if digest.hexdigest() != member.stored_sha256:
            raise DamagedBackup("its hash is not the one in the manifest.", where=self._named(member.path))

    @contextmanager
    def _open(self, member: Member) -> Generator[BinaryIO]:
        with _open_file(self.path, member.path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != member.stored_bytes:
                raise DamagedBackup(
                    f"it has {size} bytes, {member.stored_bytes} were written.",
                    where=self._named(member.path),
                )
            yield file

    def _opened(self, file: BinaryIO, path: str, kind: MemberKind) -> OpeningReader:
        if self._key is None:
            raise DamagedBackup("a plain archive holds a sealed member.", where=self._named(path))
        context = member_context(self.header.tenant_id, self.header.backup_id, path, kind)
        return OpeningReader(file, self._key, context, name=self._named(path))

    def _named(self, path: str) -> str:
        return f"backup {self.header.backup_id}, {path}"


class _Exact:
    """A content stream that must be as long as the manifest says: neither cut nor a decompression bomb."""

    def __init__(self, source: Source, member: Member) -> None:
        self._source = source
        self._member = member
        self._left = member.raw_bytes

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        try:
            piece = self._source.read(wanted)
        except DECODING_ERRORS:
            raise DamagedBackup("it does not decompress.", where=self._member.path) from None
        self._left -= len(piece)
        if self._left < 0 or (not piece and size and self._left):
            raise DamagedBackup(
                f"its content is not the {self._member.raw_bytes} bytes that were written.",
                where=self._member.path,
            )
        return piece


def read_header(path: Path) -> Header:
    """What the backup at `path` says of itself; needs no key.

    Raises:
        InputError: there is no complete backup there.
        DamagedBackup: the header was changed.
        NotAvailable: a newer version wrote it.
    """
    if not (path / HEADER).is_file() or not (path / COMPLETE).is_file():
        raise InputError(
            "this is not a complete backup.",
            where=str(path),
            fix=f"Name the directory that holds {HEADER} and {COMPLETE}, or a backup id.",
        )
    document = _read_record(path, HEADER)
    header = records.decode(Header, document, f"{path.name}, {HEADER}")
    if header.format != FORMAT:
        raise DamagedBackup("it is not the header of a backup.", where=f"{path.name}, {HEADER}")
    if header.version != VERSION:
        raise NotAvailable(
            f"format version {header.version} was written by a newer tenant-ops; this one reads {VERSION}.",
            where=str(path),
            fix="Upgrade tenant-ops, or use the restore.py inside the backup.",
        )
    if not BACKUP_ID.match(header.backup_id):
        raise DamagedBackup("the backup id is not one.", where=f"{path.name}, {HEADER}")
    if hashlib.sha256(document).hexdigest() != read_completion(path).header_sha256:
        raise DamagedBackup("it was changed after it was written.", where=f"{path.name}, {HEADER}")
    return header


def read_completion(path: Path) -> Completion:
    """The hashes `COMPLETE` holds."""
    return records.decode(Completion, _read_record(path, COMPLETE), f"{path.name}, {COMPLETE}")


def read_key_block(path: Path) -> KeyBlock:
    """Which tenant key opens the backup at `path`."""
    return records.decode(KeyBlock, _read_record(path, KEY_BLOCK), f"{path.name}, {KEY_BLOCK}")


def open_archive(path: Path, find_key: KeyFinder) -> Archive:
    """Open the backup at `path`, checking header, key and manifest.

    Args:
        path: Its directory.
        find_key: Called with the header and the key block of a sealed archive.

    Raises:
        InputError: there is no complete backup there, or its key is not at hand.
        WrongKey: the key found is another one; nothing was read with it.
        DamagedBackup: header, key block or manifest is not what was written.
    """
    header = read_header(path)
    completion = read_completion(path)
    key = None
    if header.cipher is not None:
        if header.cipher != CIPHER:
            raise DamagedBackup(f"the cipher {header.cipher!r} is not known.", where=f"{path.name}, {HEADER}")
        key = _unwrap(header, read_key_block(path), find_key)
    document = _read_manifest(path, header, completion, key)
    manifest = records.decode(Manifest, document, f"{path.name}, {MANIFEST}")
    _check_manifest(manifest, header, completion, f"{path.name}, {MANIFEST}")
    return Archive(path, header, manifest, completion.manifest_sha256, key)


def _unwrap(header: Header, block: KeyBlock, find_key: KeyFinder) -> bytes:
    tenant_key = find_key(header, block)
    if key_check(tenant_key.secret) != block.tenant_key_check:
        raise WrongKey(
            f"this backup was sealed with tenant key {block.tenant_key_id}, the key at hand is another.",
            where=f"backup {header.backup_id}",
        )
    try:
        wrapped = b64decode(block.wrapped_key, validate=True)
    except ValueError:
        wrapped = b""
    key = unwrap_key(wrapped, tenant_key.secret, key_context(header, block.tenant_key_id))
    if key_check(key) != block.key_check:
        raise DamagedBackup(
            "it does not hold the key of this backup.", where=f"{header.backup_id}, {KEY_BLOCK}"
        )
    return key


def _read_manifest(path: Path, header: Header, completion: Completion, key: bytes | None) -> bytes:
    name = _manifest_name(header)
    with _open_file(path, name) as file:
        stored = file.read(_MOST_MANIFEST_BYTES)
        if hashlib.sha256(stored).hexdigest() != completion.manifest_sha256:
            raise DamagedBackup("it is not the manifest that was completed.", where=f"{path.name}, {name}")
        if key is None:
            return stored
        file.seek(0)
        context = member_context(header.tenant_id, header.backup_id, name, "manifest")
        return OpeningReader(file, key, context, name=f"{path.name}, {name}").read()


def _check_manifest(manifest: Manifest, header: Header, completion: Completion, where: str) -> None:
    expected = (header.tenant_id, header.backup_id, completion.header_sha256)
    if (manifest.tenant_id, manifest.backup_id, manifest.header_sha256) != expected:
        raise DamagedBackup("it belongs to another backup or another header.", where=where)
    paths = [member.path for member in manifest.members]
    if len({path.casefold() for path in paths}) != len(paths):
        raise DamagedBackup("two members have the same path.", where=where)
    for member in manifest.members:
        if not MEMBER_PATH.match(member.path):
            raise DamagedBackup(f"{member.path!r} is no path of a member.", where=where)
        if member.origin is not None:
            raise NotAvailable(
                f"{member.path} lies in another backup of a chain, which this version does not read.",
                where=where,
                fix="Upgrade tenant-ops, or use the restore.py inside the backup.",
            )
        if header.cipher is not None and not member.sealed and member.kind != "readme":
            raise DamagedBackup(f"{member.path} is not sealed in a sealed archive.", where=where)
    named = {part for table in manifest.tables for part in table.parts}
    if missing := named - set(paths):
        raise DamagedBackup(
            f"a table needs members the archive does not have: {sorted(missing)}.", where=where
        )


def _manifest_name(header: Header) -> str:
    return f"{MANIFEST}{SEALED_SUFFIX}" if header.cipher is not None else MANIFEST


def _read_record(path: Path, name: str) -> bytes:
    with _open_file(path, name) as file:
        return file.read(_MOST_RECORD_BYTES)


@contextmanager
def _open_file(folder: Path, name: str) -> Generator[BinaryIO]:
    where = f"{folder.name}, {name}"
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise DamagedBackup(f"it cannot be read: {error.strerror}.", where=where) from None
    with os.fdopen(descriptor, "rb") as file:
        yield file
