"""The master key and what it seals: envelope encryption for credentials, backups and tenant keys.

Here: finding or making the master key, sealing and opening small secrets with it.
Not here: the stream format of backups (`backups/`), which secrets exist (`tenants/credentials.py`).

A sealed secret is `nonce(12) || AES-256-GCM(ciphertext || tag)`, bound to a context string, so a value moved
to another tenant, kind or row does not open. Keys never appear in errors, logs or reprs.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12
# OWASP's interactive scrypt cost (64 MiB, about 0.2 s): paid once per process, only for passphrases.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**16, 8, 1
_PASSPHRASE_SALT = b"tenant_ops/master-key/1"


@dataclass(frozen=True)
class MasterKey:
    """The key that wraps every other key of the installation.

    Attributes:
        id: Short public name derived from the key; says which key sealed something, reveals nothing.
        origin: Where it came from, for people.
    """

    id: str
    origin: str
    _secret: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, secret: bytes, origin: str) -> "MasterKey":
        """A master key from its 32 raw bytes."""
        name = hmac.new(secret, b"tenant_ops/key-id/1", hashlib.sha256).hexdigest()[:16]
        return cls(id=name, origin=origin, _secret=secret)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt a small secret, bound to `context`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._secret).encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made with the same key and context.

        Raises:
            InputError: another key sealed it, it belongs elsewhere, or it was changed.
        """
        try:
            return AESGCM(self._secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise InputError(
                f"the master key {self.id} ({self.origin}) does not open it.",
                where=context,
                fix="Set BACKUP_ENCRYPTION_KEY to the key that was in force when it was sealed.",
            ) from None


def find_master_key(settings: Settings) -> MasterKey | None:
    """The configured master key: `BACKUP_ENCRYPTION_KEY`, else the key file of this home, else None.

    Raises:
        InputError: a key is configured but cannot be used.
    """
    if settings.backup_key is not None:
        return MasterKey.from_bytes(_decode(settings.backup_key), "BACKUP_ENCRYPTION_KEY")
    path = key_path(settings)
    if not path.is_file():
        return None
    try:
        secret = base64.b64decode(path.read_text().strip(), validate=True)
    except (binascii.Error, UnicodeDecodeError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise InputError(
            "the key file does not hold base64 of 32 bytes.",
            where=str(path),
            fix="Restore it from your safe.",
        )
    return MasterKey.from_bytes(secret, path.name)


def ensure_master_key(settings: Settings) -> MasterKey:
    """The configured master key, or a fresh one written to the home's key file (mode 0600).

    Two processes that arrive together agree on one key: the file is linked into place, never overwritten.
    """
    found = find_master_key(settings)
    if found is not None:
        return found
    path = key_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its key is the one
    finally:
        draft.unlink()
    made = find_master_key(settings)
    assert made is not None
    return made


def key_path(settings: Settings) -> Path:
    """Where the home keeps the master key it made for itself."""
    return settings.home / "keys" / "master.key"


def _decode(text: str) -> bytes:
    """32 raw bytes in base64 as they stand; anything else is a passphrase of 12 characters or more."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) == KEY_BYTES:
        return raw
    if len(text) < 12:
        raise InputError(
            "the key is neither base64 of 32 bytes nor a passphrase of 12 characters or more.",
            where="BACKUP_ENCRYPTION_KEY",
            fix="Make one with: openssl rand -base64 32",
        )
    return Scrypt(salt=_PASSPHRASE_SALT, length=KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(
        text.encode()
    )
