"""Reading an archive: nothing of it is believed before it has been checked.

Here: opening a backup with the chain it builds on, checking and streaming members. Not here: writing
(`archive.py`), what is done with the content (`restoring.py`), where keys are found (`keys.py`), where files
lie (`containers.py`).
"""

import hashlib
import os
import re
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from tenant_ops.backups import records
from tenant_ops.backups.archive import TenantKey, key_context
from tenant_ops.backups.codec import DECODING_ERRORS, Exact, Source, decompressed
from tenant_ops.backups.containers import Container
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
    VERSION,
    Completion,
    Header,
    KeyBlock,
    Manifest,
    Member,
    MemberKind,
    manifest_codec,
    member_path,
)
from tenant_ops.platform.errors import InputError, NotAvailable

_MOST_RECORD_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 1 << 28

KeyFinder = Callable[[Container, Header, KeyBlock], TenantKey]
ParentFinder = Callable[[Container, str], Container]


@dataclass(frozen=True)
class Archive:
    """A complete backup whose header and manifest have been checked, and those it builds on.

    Attributes:
        container: Where its files lie.
        header: What it says of itself in the clear.
        manifest: What it holds.
        manifest_sha256: Hash of the manifest as stored: names this exact state of the backup.
        parent: The backup it builds on, which is the very one it was written after; None for a full one.
    """

    container: Container
    header: Header
    manifest: Manifest
    manifest_sha256: str
    _key: bytes | None = field(repr=False)
    parent: "Archive | None" = None

    @property
    def id(self) -> str:
        """The backup's id."""
        return self.header.backup_id

    def chain(self) -> "tuple[Archive, ...]":
        """The full backup, and what builds on it up to this one."""
        links: list[Archive] = [self]
        while links[-1].parent is not None:
            links.append(links[-1].parent)
        return tuple(reversed(links))

    @contextmanager
    def content(self, member: Member) -> Generator[Source]:
        """The content of a member as a stream.

        A sealed member yields only authenticated bytes; a plain one only what `check` has vouched for.
        What an earlier backup of the chain holds is read there.

        Raises:
            DamagedBackup: it is missing, changed, cut, or belongs elsewhere; it is named.
        """
        if member.origin is not None:
            with self._holder(member).content(replace(member, origin=None)) as content:
                yield content
            return
        with self._open(member) as file:
            source = self._opened(file, member.path, member.kind) if member.sealed else file
            yield Exact(decompressed(member.codec, source), member.raw_bytes, member.path)

    def check(self, member: Member, *, deep: bool = True) -> None:
        """Read a member to its end and compare it with the manifest.

        Args:
            member: Which.
            deep: Also decrypt and decompress it; else only the hash of the stored file is compared.

        Raises:
            DamagedBackup: it is not what was written.
        """
        if member.origin is not None:
            self._holder(member).check(replace(member, origin=None), deep=deep)
            return
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
        """Files beside the members that the manifest does not name."""
        known = {HEADER, KEY_BLOCK, COMPLETE, _manifest_name(self.header)}
        known |= {member.path for member in self.manifest.members if member.origin is None}
        return sorted(set(self.container.names()) - known)

    def _holder(self, member: Member) -> "Archive":
        """The backup of the chain that holds a member, and holds it as this one says."""
        for link in self.chain()[:-1]:
            if link.id == member.origin:
                if replace(member, origin=None) not in link.manifest.members:
                    raise DamagedBackup(
                        f"backup {link.id} does not hold it as it is referred to.",
                        where=self.named(member.path),
                    )
                return link
        raise DamagedBackup(
            f"it is said to lie in {member.origin}, which is not in the chain.",
            where=self.named(member.path),
        )

    def _compare_hash(self, member: Member) -> None:
        digest = hashlib.sha256()
        with self._open(member) as file:
            while piece := file.read(SEGMENT_BYTES):
                digest.update(piece)
        if digest.hexdigest() != member.stored_sha256:
            raise DamagedBackup("its hash is not the one in the manifest.", where=self.named(member.path))

    @contextmanager
    def _open(self, member: Member) -> Generator[BinaryIO]:
        with _open_file(self.container, member.path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size != member.stored_bytes:
                raise DamagedBackup(
                    f"it has {size} bytes, {member.stored_bytes} were written.",
                    where=self.named(member.path),
                )
            yield file

    def _opened(self, file: BinaryIO, path: str, kind: MemberKind) -> OpeningReader:
        if self._key is None:
            raise DamagedBackup("a plain archive holds a sealed member.", where=self.named(path))
        context = member_context(self.header.tenant_id, self.header.backup_id, path, kind)
        return OpeningReader(file, self._key, context, name=self.named(path))

    def named(self, path: str) -> str:
        """A member, as errors name it."""
        return f"backup {self.header.backup_id}, {path}"


def read_header(container: Container) -> Header:
    """What a backup says of itself; needs no key.

    Raises:
        InputError: there is no complete backup there.
        DamagedBackup: the header was changed.
        NotAvailable: a newer version wrote it.
    """
    if container.size(HEADER) is None or container.size(COMPLETE) is None:
        raise InputError(
            "this is not a complete backup.",
            where=container.where,
            fix=f"Name the directory that holds {HEADER} and {COMPLETE}, or a backup id.",
        )
    where = f"{container.name}, {HEADER}"
    document = _read_record(container, HEADER)
    header = records.decode(Header, document, where)
    if header.format != FORMAT:
        raise DamagedBackup("it is not the header of a backup.", where=where)
    if header.version != VERSION:
        raise NotAvailable(
            f"format version {header.version} was written by a newer tenant-ops; this one reads {VERSION}.",
            where=container.where,
            fix="Upgrade tenant-ops, or use the restore.py inside the backup.",
        )
    if not BACKUP_ID.match(header.backup_id):
        raise DamagedBackup("the backup id is not one.", where=where)
    if (header.type == "full") != (header.parent is None):
        raise DamagedBackup(f"a {header.type} backup with the parent {header.parent}.", where=where)
    if header.parent is not None and not BACKUP_ID.match(header.parent):
        raise DamagedBackup("the parent's id is not one.", where=where)
    if hashlib.sha256(document).hexdigest() != read_completion(container).header_sha256:
        raise DamagedBackup("it was changed after it was written.", where=where)
    return header


def read_completion(container: Container) -> Completion:
    """The hashes `COMPLETE` holds."""
    return records.decode(Completion, _read_record(container, COMPLETE), f"{container.name}, {COMPLETE}")


def read_key_block(container: Container) -> KeyBlock:
    """Which tenant key opens a backup."""
    return records.decode(KeyBlock, _read_record(container, KEY_BLOCK), f"{container.name}, {KEY_BLOCK}")


def open_archive(
    container: Container,
    find_key: KeyFinder,
    find_parent: ParentFinder = lambda container, backup_id: container.sibling(backup_id),
) -> Archive:
    """Open a backup and those it builds on, checking header, key and manifest of each.

    Args:
        container: Where its files lie.
        find_key: Called with container, header and key block of each sealed archive.
        find_parent: Where the backup of an id lies that the one in `container` builds on.

    Raises:
        InputError: there is no complete backup there, or its key is not at hand.
        WrongKey: the key found is another one; nothing was read with it.
        DamagedBackup: header, key block or manifest is not what was written.
    """
    archives = [_open_one(container, find_key)]
    while (parent := archives[-1].header.parent) is not None:
        if parent in {archive.id for archive in archives}:
            raise DamagedBackup(
                f"it says it builds on {parent}, which builds on it.", where=f"{archives[-1].id}, {HEADER}"
            )
        archives.append(_open_one(find_parent(archives[-1].container, parent), find_key))
    opened = archives.pop()
    while archives:
        _check_link(archives[-1], opened)
        opened = replace(archives.pop(), parent=opened)
    return opened


def open_alone(container: Container, find_key: KeyFinder) -> Archive:
    """Open a backup without those it builds on: for what its manifest says, not for what it holds.

    Raises:
        InputError, WrongKey, DamagedBackup: as `open_archive`.
    """
    return _open_one(container, find_key)


def _open_one(container: Container, find_key: KeyFinder) -> Archive:
    header = read_header(container)
    completion = read_completion(container)
    key = None
    if header.cipher is not None:
        if header.cipher != CIPHER:
            raise DamagedBackup(
                f"the cipher {header.cipher!r} is not known.", where=f"{container.name}, {HEADER}"
            )
        key = _find_key(container, header, find_key)
    document = _read_manifest(container, header, completion, key)
    where = f"{container.name}, {MANIFEST}"
    manifest = records.decode(Manifest, document, where)
    _check_manifest(manifest, header, completion, where)
    archive = Archive(container, header, manifest, completion.manifest_sha256, key)
    if container.format != "dir" and (strange := archive.unexpected()):
        raise DamagedBackup("it is in no manifest.", where=archive.named(strange[0]))
    return archive


def _check_link(archive: Archive, parent: Archive) -> None:
    """A chain is of one tenant, and each backup of it still the one the next was written after."""
    where = f"{archive.id}, {MANIFEST}"
    if (parent.id, parent.header.tenant_id) != (archive.header.parent, archive.header.tenant_id):
        raise DamagedBackup(f"what lies where {archive.header.parent} should is {parent.id}.", where=where)
    if parent.manifest_sha256 != archive.manifest.parent_manifest_sha256:
        raise DamagedBackup(f"it was written after another {parent.id} than is there.", where=where)
    if archive.header.cipher is not None and parent.header.cipher is None:
        raise DamagedBackup(f"it is sealed, but {parent.id}, which it builds on, is not.", where=where)


def _find_key(container: Container, header: Header, find_key: KeyFinder) -> bytes:
    block = read_key_block(container)
    try:
        return unwrap(header, block, find_key(container, header, block))
    except InputError:
        again = read_key_block(container)
        if again == block:
            raise
        # A rotation wrapped it anew, and destroyed the old key, between the two looks.
        return unwrap(header, again, find_key(container, header, again))


def unwrap(header: Header, block: KeyBlock, tenant_key: TenantKey) -> bytes:
    """The key of a backup.

    Raises:
        WrongKey: the tenant's key at hand is another one than wrapped it.
        DamagedBackup: what it wraps is not the key of this backup.
    """
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
        where = f"{header.backup_id}, {KEY_BLOCK}"
        raise DamagedBackup("it does not hold the key of this backup.", where=where)
    return key


def _read_manifest(container: Container, header: Header, completion: Completion, key: bytes | None) -> bytes:
    name = _manifest_name(header)
    where = f"{container.name}, {name}"
    with _open_file(container, name) as file:
        stored = file.read(_MOST_MANIFEST_BYTES)
        if hashlib.sha256(stored).hexdigest() != completion.manifest_sha256:
            raise DamagedBackup("it is not the manifest that was completed.", where=where)
        file.seek(0)
        source: Source = file
        if key is not None:
            context = member_context(header.tenant_id, header.backup_id, name, "manifest")
            source = OpeningReader(file, key, context, name=where)
        content = decompressed(manifest_codec(header), source)
        document = bytearray()
        try:
            while len(document) <= _MOST_MANIFEST_BYTES and (piece := content.read(SEGMENT_BYTES)):
                document += piece
        except DECODING_ERRORS:
            raise DamagedBackup("it does not decompress.", where=where) from None
    if len(document) > _MOST_MANIFEST_BYTES:
        raise DamagedBackup("it is larger than any manifest.", where=where)
    return bytes(document)


def _check_manifest(manifest: Manifest, header: Header, completion: Completion, where: str) -> None:
    expected = (header.tenant_id, header.backup_id, completion.header_sha256)
    if (manifest.tenant_id, manifest.backup_id, manifest.header_sha256) != expected:
        raise DamagedBackup("it belongs to another backup or another header.", where=where)
    if not re.fullmatch("[0-9]{1,9}", manifest.server.get("version_num", "0")):
        raise DamagedBackup("the version of its server is no number.", where=where)
    paths = [member.path for member in manifest.members]
    if len({path.casefold() for path in paths}) != len(paths):
        raise DamagedBackup("two members have the same path.", where=where)
    if wrong := [path for path in paths if not MEMBER_PATH.match(path)]:
        raise DamagedBackup(f"{wrong[0]!r} is no path of a member.", where=where)
    for member in manifest.members:
        if member.origin is not None and header.parent is None:
            raise DamagedBackup(f"{member.path} lies elsewhere, but the backup builds on none.", where=where)
        if header.cipher is not None and not member.sealed and member.kind != "readme":
            raise DamagedBackup(f"{member.path} is not sealed in a sealed archive.", where=where)
    named = {part for table in manifest.tables for part in table.parts}
    if missing := named - set(paths):
        raise DamagedBackup(
            f"a table needs members the archive does not have: {sorted(missing)}.", where=where
        )


def _manifest_name(header: Header) -> str:
    return member_path(MANIFEST, manifest_codec(header), sealed=header.cipher is not None)


def _read_record(container: Container, name: str) -> bytes:
    with _open_file(container, name) as file:
        return file.read(_MOST_RECORD_BYTES)


@contextmanager
def _open_file(container: Container, name: str) -> Generator[BinaryIO]:
    try:
        file = container.open(name)
    except OSError as error:
        said = error.strerror or str(error)
        raise DamagedBackup(f"it cannot be read: {said}.", where=f"{container.name}, {name}") from None
    with file:
        yield file
