"""What an archive on disk consists of: names, and the JSON records in it.

Here: the names every reader and writer agrees on. Not here: writing (`archive.py`), reading (`reading.py`),
sealing (`crypto.py`). The same in prose, complete enough to write a reader from: `docs/backup-format.md`.
"""

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tenant_ops.backups.codec import SUFFIXES, Codec

FORMAT = "tenant_ops backup"
VERSION = 1

HEADER = "backup.json"
KEY_BLOCK = "key.json"
MANIFEST = "manifest.json"
COMPLETE = "COMPLETE"
SEALED_SUFFIX = ".enc"
PARTIAL_SUFFIX = ".partial"
KEYS_FOLDER = "keys"

BackupType = Literal["full", "incremental", "differential"]
MemberKind = Literal["manifest", "schema", "data", "files-index", "files", "config", "journal", "readme"]

BACKUP_ID = re.compile(r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")
MEMBER_PATH = re.compile(r"^(?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")


@dataclass(frozen=True)
class Header:
    """`backup.json`: what can be known of a backup without any key. Holds no names and no personal data."""

    format: str
    version: int
    tenant_id: str
    backup_id: str
    type: BackupType
    parent: str | None
    created_at: str
    codec: Codec
    cipher: str | None


@dataclass(frozen=True)
class KeyBlock:
    """`key.json`: the key of the backup, wrapped by a key of the tenant. Rotation rewrites this file only."""

    version: int
    backup_id: str
    tenant_key_id: str
    tenant_key_check: str
    wrapped_key: str
    key_check: str


@dataclass(frozen=True)
class TenantConfig:
    """The member of kind `config`, as far as a restore needs it to make the tenant again."""

    tier: str
    admin_email: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TenantKeyFile:
    """`keys/<id>.json` beside the backups: a tenant's key, wrapped by the master key."""

    version: int
    tenant_id: str
    tenant_key_id: str
    tenant_key_check: str
    master_key_id: str
    context: str
    wrapped: str


@dataclass(frozen=True)
class Member:
    """One file of the archive, as the manifest knows it.

    Attributes:
        path: Where it lies in the archive.
        kind: What it holds; part of what it is sealed to.
        codec: How it is compressed.
        sealed: Whether it is encrypted.
        raw_bytes: Size of the content.
        stored_bytes: Size of the file.
        stored_sha256: Hash of the file.
        origin: The backup the file lies in, when an earlier backup of the chain already holds it.
    """

    path: str
    kind: MemberKind
    codec: Codec
    sealed: bool
    raw_bytes: int
    stored_bytes: int
    stored_sha256: str
    origin: str | None = None


@dataclass(frozen=True)
class TableContent:
    """The rows of one table: COPY text, split over `parts` in order; no parts when it is empty.

    Attributes:
        rows: How many; None in a backup that builds on another when the table changed since and was not read.
        content_hash: Of the rows; None where `rows` is.
        parts: Paths of the members that hold them; where `rows` is None, as they were in the full backup.
    """

    name: str
    columns: tuple[str, ...]
    rows: int | None
    content_hash: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True)
class SequenceValue:
    """Where a sequence stood, read after the rows were."""

    name: str
    value: int
    called: bool


@dataclass(frozen=True)
class Need:
    """What must be in the database for the schema to be made, and lies outside it.

    Attributes:
        type: As `pg_get_object_address` takes it: `collation`, `role`, `table`, ....
        identity: For people.
        names: Its name, part by part.
        arguments: Of a function, and the like.
    """

    type: str
    identity: str
    names: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class NotCarried:
    """An object of the schema this backup does not hold, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: everything the archive holds. Sealed like a member when the archive is."""

    version: int
    tenant_id: str
    backup_id: str
    header_sha256: str
    parent_manifest_sha256: str | None
    taken_at: str
    snapshot: str
    server: dict[str, str]
    tenant: dict[str, Any]
    schema_sha256: str
    row_hash: str
    members: tuple[Member, ...]
    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceValue, ...]
    extensions: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    not_carried: tuple[NotCarried, ...] = ()
    warnings: tuple[str, ...] = ()
    files: int = 0
    file_bytes: int = 0
    journal: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the tables that were counted."""
        return sum(table.rows or 0 for table in self.tables)

    def member(self, path: str) -> Member:
        """The member at `path`; KeyError when there is none."""
        return next(member for member in self.members if member.path == path)


@dataclass(frozen=True)
class Completion:
    """`COMPLETE`, written last: a directory without it is not a backup."""

    backup_id: str
    header_sha256: str
    manifest_sha256: str


def new_backup_id(now: datetime) -> str:
    """A name that sorts by time and is never used twice."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def manifest_codec(header: Header) -> Codec:
    """How a backup's manifest is packed: that of a full one can be read as it is, others repeat most of it.

    Packed by what every Python can unpack.
    """
    return "none" if header.parent is None else "gzip"


def member_path(stem: str, codec: Codec, *, sealed: bool) -> str:
    """The file name of a member: its suffixes say what to undo, from right to left."""
    return f"{stem}{SUFFIXES[codec]}{SEALED_SUFFIX if sealed else ''}"
