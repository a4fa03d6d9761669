"""Writing an archive: a directory of members that becomes visible whole or not at all.

Here: members, their sealing and compression, the atomic publish. Not here: what the members hold
(`snapshot.py`, `files.py`), reading (`reading.py`).

The order that makes a crash harmless: everything is written to `<id>.partial`, synced, completed by the file
`COMPLETE`, synced again, and only then renamed to `<id>`. Readers ignore directories without `COMPLETE`.
"""

import hashlib
import os
import shutil
from base64 import b64encode
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from tenant_ops.backups import records
from tenant_ops.backups.codec import Codec, check_codec, compressor
from tenant_ops.backups.containers import Format
from tenant_ops.backups.crypto import (
    CIPHER,
    Bytes,
    SealingWriter,
    key_check,
    member_context,
    new_key,
    wrap_key,
)
from tenant_ops.backups.layout import (
    COMPLETE,
    HEADER,
    KEY_BLOCK,
    MANIFEST,
    MEMBER_PATH,
    PARTIAL_SUFFIX,
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
from tenant_ops.backups.stores import Folder, LocalFolder
from tenant_ops.backups.stores.local import sync

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_SYNCS_AT_ONCE = 8


@dataclass(frozen=True)
class TenantKey:
    """A tenant's key in the clear: wraps the key of each of its backups. Its bytes are never shown."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Published:
    """An archive that is complete and visible.

    Attributes:
        where: Path or URL.
        stored_bytes: Its size in the store.
    """

    where: str
    manifest: Manifest
    manifest_sha256: str
    stored_bytes: int

    @property
    def path(self) -> Path:
        """Where it lies in a local store."""
        return Path(self.where)


class _PlainWriter:
    """The counterpart of `SealingWriter` for archives without a key."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.stored_bytes = 0

    def write(self, data: Bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.stored_bytes += len(data)

    def finish(self) -> None:
        """Nothing ends a plain file but its length, which the manifest holds."""

    def stored_sha256(self) -> str:
        return self._hash.hexdigest()


class MemberWriter:
    """Where the content of one member is written."""

    def __init__(self, out: SealingWriter | _PlainWriter, codec: Codec, level: int) -> None:
        self._out = out
        self._compressor = compressor(codec, level)
        self.raw_bytes = 0

    def write(self, data: Bytes) -> int:
        """Take more content."""
        self.raw_bytes += len(data)
        packed = self._compressor.compress(data)
        if packed:
            self._out.write(packed)
        return len(data)

    def finish(self) -> None:
        """End the content."""
        self._out.write(self._compressor.flush())
        self._out.finish()


class ArchiveWriter:
    """Writes one archive below `folder`, which holds the backups of one tenant.

    Args:
        folder: The tenant's folder in the store; made when missing.
        header: What the archive says of itself; its `cipher` is filled in here.
        tenant_key: Seals every member when given; None writes a plain archive.
        level: Compression level of the header's codec.
    """

    def __init__(self, folder: Path, header: Header, *, tenant_key: TenantKey | None, level: int) -> None:
        self.path = folder / header.backup_id
        self.members: list[Member] = []
        self._partial = folder / f"{header.backup_id}{PARTIAL_SUFFIX}"
        self._header = replace(header, cipher=CIPHER if tenant_key else None)
        self._level = level
        self._key = new_key() if tenant_key else None
        self._folders = {self._partial}
        folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        self._partial.mkdir(mode=_FOLDER_MODE)
        self._header_sha256 = self._put(HEADER, records.encode(self._header))
        if tenant_key and self._key:
            self._put(KEY_BLOCK, records.encode(key_block(self._header, tenant_key, self._key)))

    @contextmanager
    def member(
        self, stem: str, kind: MemberKind, *, codec: Codec | None = None, readable: bool = False
    ) -> Generator[MemberWriter]:
        """Write one member; it counts only when the block ends without an error.

        Args:
            stem: Path without the suffixes of codec and sealing.
            kind: What it holds.
            codec: The header's codec when None.
            readable: Leave it in the clear, uncompressed: for what a person needs before having the key.
        """
        used: Codec = "none" if readable else codec or self._header.codec
        key = None if readable else self._key
        path = member_path(stem, used, sealed=key is not None)
        if not MEMBER_PATH.match(path):
            raise ValueError(f"{path!r} is no name for a member")
        with self._create(path) as file:
            context = member_context(self._header.tenant_id, self._header.backup_id, path, kind)
            out = SealingWriter(file, key, context) if key else _PlainWriter(file)
            level = self._level if used == self._header.codec else check_codec(used)[1]
            writer = MemberWriter(out, used, level)
            yield writer
            writer.finish()
        self.members.append(
            Member(
                path=path,
                kind=kind,
                codec=used,
                sealed=key is not None,
                raw_bytes=writer.raw_bytes,
                stored_bytes=out.stored_bytes,
                stored_sha256=out.stored_sha256(),
            )
        )

    def add(self, stem: str, kind: MemberKind, content: bytes, *, readable: bool = False) -> None:
        """Write a member whose content is at hand."""
        with self.member(stem, kind, readable=readable) as member:
            member.write(content)

    def refer(self, member: Member, holder: str) -> None:
        """Count a member among this archive's that lies in an earlier backup of the chain.

        Args:
            member: As the manifest of the parent has it.
            holder: The parent, which holds it unless it refers to another itself.
        """
        self.members.append(replace(member, origin=member.origin or holder))

    def publish(self, manifest: Manifest, into: Folder | None = None, kind: Format = "dir") -> Published:
        """Complete the archive and make it visible; survives a power cut once it returns.

        Args:
            manifest: Its members and header hash are filled in here.
            into: The tenant's folder in a store; None is the local one it was written in.
            kind: The format it gets there.

        Raises:
            OSError, StoreFailed: the store does not take it; `abandon` removes what was written.
        """
        members = tuple(self.members)
        manifest = replace(manifest, header_sha256=self._header_sha256, members=members)
        with self.member(MANIFEST, "manifest", codec=manifest_codec(self._header)) as member:
            member.write(records.encode(manifest))
        sealed_manifest = self.members.pop()
        self._sync()
        completion = Completion(self._header.backup_id, self._header_sha256, sealed_manifest.stored_sha256)
        self._put(COMPLETE, records.encode(completion))
        sync(self._partial / COMPLETE)
        sync(self._partial)
        stored = sum(file.stat().st_size for file in self._partial.rglob("*") if file.is_file())
        folder = into or LocalFolder(self.path.parent)
        container = folder.publish(self._partial, self._header.backup_id, kind)
        if kind != "dir":
            stored = folder.size(f"{self._header.backup_id}.{kind}") or stored
        return Published(container.where, manifest, sealed_manifest.stored_sha256, stored)

    def abandon(self) -> None:
        """Remove what was written so far."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _put(self, name: str, content: bytes) -> str:
        with self._create(name) as file:
            file.write(content)
        return hashlib.sha256(content).hexdigest()

    def _create(self, path: str) -> BinaryIO:
        target = self._partial / path
        if target.parent not in self._folders:
            target.parent.mkdir(mode=_FOLDER_MODE)
            self._folders.add(target.parent)
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb")

    def _sync(self) -> None:
        """Everything to disk: a dozen syncs side by side share one journal commit (25 ms become 6)."""
        files = [path for folder in self._folders for path in folder.iterdir() if path.is_file()]
        with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
            list(pool.map(sync, files))
        for folder in sorted(self._folders, reverse=True):
            sync(folder)


def key_context(header: Header, tenant_key_id: str) -> str:
    """What a wrapped backup key is bound to."""
    return f"tenant_ops/1|backup-key|{header.tenant_id}|{header.backup_id}|{tenant_key_id}"


def key_block(header: Header, tenant_key: TenantKey, key: bytes) -> KeyBlock:
    """The key of a backup, wrapped by a key of the tenant."""
    return KeyBlock(
        version=VERSION,
        backup_id=header.backup_id,
        tenant_key_id=tenant_key.id,
        tenant_key_check=key_check(tenant_key.secret),
        wrapped_key=b64encode(wrap_key(key, tenant_key.secret, key_context(header, tenant_key.id))).decode(),
        key_check=key_check(key),
    )
