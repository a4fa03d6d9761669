"""Sealing a stream of bytes so that any change, cut, swap or replay of it is refused.

Here: the segment format, the context a member is bound to, wrapping and checking keys. The cipher is
AES-256-GCM in the AES-GCM-HKDF streaming construction of Tink (type `AES256_GCM_HKDF_1MB`), which has a
security proof and independent implementations: https://developers.google.com/tink/streaming-aead.
Not here: where keys come from (`keys.py`), which members an archive has (`archive.py`). The format in prose:
`docs/backup-format.md`.
"""

import hashlib
import hmac
import secrets
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tenant_ops.platform.errors import InputError, OperationFailed

CIPHER = "AES256_GCM_HKDF_1MB"
KEY_BYTES = 32
# 1 MiB: 4.8 GB/s per core; 4 MiB segments cost 10 % more CPU in copies, 16 MiB fall to 0.9 GB/s.
SEGMENT_BYTES = 1 << 20
TAG_BYTES = 16
NONCE_BYTES = 12
_PREFIX_BYTES = 7
HEADER_BYTES = 1 + KEY_BYTES + _PREFIX_BYTES
_MOST_SEGMENTS = 2**32

Bytes = bytes | bytearray | memoryview


class DamagedBackup(OperationFailed):
    """A backup is not what was written: changed, cut short, swapped or replayed. Names the member."""


class WrongKey(InputError):
    """The key at hand is not the one this backup was made with (exit code 2)."""


def member_context(tenant_id: str, backup_id: str, path: str, kind: str) -> bytes:
    """What a sealed member is bound to: moved to another tenant, backup, path or kind it does not open."""
    parts = (tenant_id, backup_id, path, kind)
    if any("|" in part for part in parts):
        raise ValueError(f"a member context may not hold a bar: {parts}")
    return "|".join(("tenant_ops/1", *parts)).encode()


class SealingWriter:
    """Encrypts what is written to it, segment by segment, into a file that stays open.

    Args:
        file: Where the sealed bytes go.
        key: The key of the backup, 32 bytes; each member derives its own from it.
        context: See `member_context`.
    """

    def __init__(self, file: BinaryIO, key: bytes, context: bytes) -> None:
        salt = secrets.token_bytes(KEY_BYTES)
        prefix = secrets.token_bytes(_PREFIX_BYTES)
        header = bytes([HEADER_BYTES]) + salt + prefix
        self._file = file
        self._cipher = _derive(key, salt, context)
        self._prefix = prefix
        self._segment = 0
        self._pending = bytearray()
        self._room = SEGMENT_BYTES - HEADER_BYTES - TAG_BYTES
        self.stored_bytes = 0
        self._stored_hash = hashlib.sha256()
        self._store(header)

    def write(self, data: Bytes) -> None:
        """Take more plaintext; at most one segment of it is kept in memory."""
        self._pending += data
        # A full segment is written only when a byte follows it: the last one carries the end flag.
        while len(self._pending) > self._room:
            self._seal(self._pending[: self._room], last=False)
            del self._pending[: self._room]
            self._room = SEGMENT_BYTES - TAG_BYTES

    def finish(self) -> None:
        """Write the segment that ends the stream."""
        self._seal(self._pending, last=True)
        self._pending = bytearray()

    def stored_sha256(self) -> str:
        """SHA-256 of the sealed bytes so far, in hex."""
        return self._stored_hash.hexdigest()

    def _seal(self, plaintext: Bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._segment, last=last)
        self._segment += 1
        self._store(self._cipher.encrypt(nonce, bytes(plaintext), None))

    def _store(self, data: bytes) -> None:
        self._file.write(data)
        self._stored_hash.update(data)
        self.stored_bytes += len(data)


class OpeningReader:
    """Decrypts what `SealingWriter` wrote; a file-like object that never returns an unchecked byte.

    Args:
        file: The sealed bytes, from the first to the last.
        key: The key of the backup.
        context: See `member_context`.
        name: Names the member in errors.

    Raises:
        DamagedBackup: the bytes were changed, cut, reordered, or belong to another member.
    """

    def __init__(self, file: BinaryIO, key: bytes, context: bytes, *, name: str) -> None:
        self._file = file
        self._name = name
        header = file.read(HEADER_BYTES)
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise DamagedBackup("it does not begin with a sealed stream.", where=name)
        self._cipher = _derive(key, header[1 : 1 + KEY_BYTES], context)
        self._prefix = header[1 + KEY_BYTES :]
        self._segment = 0
        self._next = file.read(SEGMENT_BYTES - HEADER_BYTES)
        self._plain = memoryview(b"")
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all that is left when negative; empty only at the authenticated end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(SEGMENT_BYTES), b""))
        while not self._plain and not self._ended:
            self._open_segment()
        piece = bytes(self._plain[:size])
        self._plain = self._plain[size:]
        return piece

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as one read does; how many bytes that were."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _open_segment(self) -> None:
        sealed = self._next
        self._next = self._file.read(SEGMENT_BYTES)
        last = not self._next
        try:
            nonce = _nonce(self._prefix, self._segment, last=last)
            self._plain = memoryview(self._cipher.decrypt(nonce, sealed, None))
        except (InvalidTag, ValueError):
            raise DamagedBackup(
                f"segment {self._segment + 1} does not authenticate: it was changed, cut short, moved, "
                "or sealed with another key.",
                where=self._name,
                fix="Restore from another copy of this backup, or from another backup.",
            ) from None
        self._segment += 1
        self._ended = last


def new_key() -> bytes:
    """A fresh random key."""
    return secrets.token_bytes(KEY_BYTES)


def wrap_key(key: bytes, wrapping: bytes, context: str) -> bytes:
    """Encrypt one key with another: `nonce(12) || AES-256-GCM(key)`, bound to `context`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(wrapping).encrypt(nonce, key, context.encode())


def unwrap_key(wrapped: bytes, wrapping: bytes, context: str) -> bytes:
    """Decrypt what `wrap_key` made.

    Raises:
        WrongKey: another key wrapped it, or it belongs to another context.
    """
    try:
        return AESGCM(wrapping).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise WrongKey("the wrapped key does not open with the key at hand.", where=context) from None


def key_check(key: bytes) -> str:
    """A public value that says whether a key is the right one and reveals nothing about it.

    GCM alone does not commit to a key; this names a wrong one before anything is read or written.
    """
    return hmac.new(key, b"tenant_ops/key-check/1", hashlib.sha256).hexdigest()[:32]


def _derive(key: bytes, salt: bytes, context: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=context).derive(key))


def _nonce(prefix: bytes, segment: int, *, last: bool) -> bytes:
    if segment >= _MOST_SEGMENTS:
        raise ValueError("a sealed stream may not exceed 2**32 segments (4 PiB)")
    return prefix + segment.to_bytes(4) + bytes([last])
