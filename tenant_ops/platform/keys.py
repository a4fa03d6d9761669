"""The master key and what it seals: envelope encryption for credentials, backups and tenant keys.

Here: finding or making the master key, and the one that was in force before it; sealing and opening small
secrets. Not here: who keeps the key (`key_service.py`), the stream format of backups (`backups/`), which
secrets exist (`tenants/`).

A sealed secret is bound to a context string, so a value moved to another tenant, kind or row does not open.
Keys never appear in errors, logs or reprs.
"""

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tenant_ops.platform.errors import InputError, OperationFailed, TenantOpsError
from tenant_ops.platform.key_service import DoesNotOpen, KeyService, LocalKey, make_service
from tenant_ops.platform.settings import Settings

KEY_BYTES = 32
# OWASP's interactive scrypt cost (64 MiB, about 0.2 s): paid once per process, only for passphrases.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**16, 8, 1
_PASSPHRASE_SALT = b"tenant_ops/master-key/1"
_SHORTEST_PASSPHRASE = 12
_MOST_FILE_BYTES = 4096
_MAKE_ONE = "Make one with: openssl rand -base64 32"
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{64}")
# Three kinds of characters: 43 letters and hyphens may well be a passphrase.
_ALMOST_BASE64 = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9_/+-]{43}=?")


@dataclass(frozen=True)
class MasterKey:
    """The key that wraps every other key of the installation.

    Attributes:
        id: Short public name of the key; says which key sealed something, reveals nothing.
        origin: Where it came from, for people.
    """

    id: str
    origin: str
    _service: KeyService = field(repr=False)

    @classmethod
    def from_bytes(cls, secret: bytes, origin: str) -> "MasterKey":
        """A master key from its 32 raw bytes."""
        local = LocalKey(secret)
        return cls(local.id, origin, local)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt a small secret, bound to `context`; it is opened again before it counts.

        Raises:
            OperationFailed: the key service is not there, or does not seal.
        """
        sealed = self._ask(lambda: self._service.wrap(plaintext, context))
        # A service that gives its input back, or cannot undo it, must show before anything rests on it.
        if len(plaintext) >= KEY_BYTES and plaintext in sealed:
            raise OperationFailed("the key service did not encrypt what it was given.", where=self.origin)
        if self.open(sealed, context) != plaintext:
            raise OperationFailed("the key service does not open what it has just sealed.", where=self.origin)
        return sealed

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made with the same key and context.

        Raises:
            InputError: another key sealed it, it belongs elsewhere, or it was changed.
            OperationFailed: the key service is not there.
        """
        try:
            return self._ask(lambda: self._service.unwrap(sealed, context))
        except DoesNotOpen:
            raise InputError(
                f"the master key {self.id} ({self.origin}) does not open it.",
                where=context,
                fix="Set BACKUP_ENCRYPTION_KEY to the key that was in force when it was sealed.",
            ) from None

    def _ask(self, question: Callable[[], bytes]) -> bytes:
        try:
            answer = question()
        except (DoesNotOpen, TenantOpsError):
            raise
        except Exception as error:
            raise OperationFailed(
                f"the key service did not answer ({type(error).__name__}).",
                where=self.origin,
                fix="See that it runs and that this machine may use it; nothing was written.",
            ) from None
        if not isinstance(answer, bytes):
            raise OperationFailed(
                "the key service answered with something else than bytes.", where=self.origin
            )
        return answer


def find_master_key(settings: Settings) -> MasterKey | None:
    """The configured master key, else the key file of this home, else None.

    It is configured by one of `BACKUP_ENCRYPTION_KEY`, `BACKUP_ENCRYPTION_KEY_FILE`, `BACKUP_KEY_SERVICE`.

    Raises:
        InputError: a key is configured but cannot be used, or two are.
        OperationFailed: its service could not be made.
    """
    given = (settings.backup_key, settings.backup_key_file, settings.backup_key_service)
    return _configured(*given, suffix="") or _home_key(settings)


def find_previous_master_key(settings: Settings) -> MasterKey | None:
    """The master key that was in force before the present one; None when it is not said, or the same.

    It is configured by the same variables with `_PREVIOUS`, and never guessed: the key this home made for
    itself counts only when `BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE` names its file.

    Raises:
        InputError: it is configured but cannot be used.
    """
    given = (
        settings.previous_backup_key,
        settings.previous_backup_key_file,
        settings.previous_backup_key_service,
    )
    current = find_master_key(settings)
    found = _configured(*given, suffix="_PREVIOUS")
    return None if current is None or found is None or found.id == current.id else found


def find_master_key_named(settings: Settings, key_id: str) -> MasterKey | None:
    """The master key of that id, if it is the present one or the one before.

    While one master key takes the place of another, some things are wrapped by this one and some by that.
    """
    current = find_master_key(settings)
    if current is not None and current.id == key_id:
        return current
    previous = find_previous_master_key(settings)
    return previous if previous is not None and previous.id == key_id else None


def open_sealed(settings: Settings, sealed: bytes, context: str) -> bytes:
    """Open what the present master key sealed, or the one before it.

    Raises:
        InputError: there is no key, or neither opens it.
    """
    current = find_master_key(settings)
    if current is None:
        raise InputError("there is no master key.", where=context, fix="Set BACKUP_ENCRYPTION_KEY.")
    try:
        return current.open(sealed, context)
    except InputError as refusal:
        previous = find_previous_master_key(settings)
        if previous is None:
            raise
        try:
            return previous.open(sealed, context)
        except InputError:
            raise refusal from None


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


def _configured(text: str | None, file: str | None, service: str | None, *, suffix: str) -> MasterKey | None:
    names = {
        f"BACKUP_ENCRYPTION_KEY{suffix}": text,
        f"BACKUP_ENCRYPTION_KEY{suffix}_FILE": file,
        f"BACKUP_KEY_SERVICE{suffix}": service,
    }
    given = [name for name, value in names.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are both set.", where="master key", fix="Unset all but one.")
    if text is not None:
        return MasterKey.from_bytes(_decode(text, given[0]), given[0])
    if file is not None:
        path = Path(file).expanduser()
        return MasterKey.from_bytes(_decode(_read_key_file(path), str(path)), given[0])
    if service is not None:
        made = make_service(service, given[0])
        return MasterKey(made.id, f"{given[0]} {service}", made)
    return None


def _home_key(settings: Settings) -> MasterKey | None:
    path = key_path(settings)
    if not path.is_file():
        return None
    try:
        secret = base64.b64decode(_read_key_file(path), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise InputError(
            "the key file does not hold base64 of 32 bytes.",
            where=str(path),
            fix="Restore it from your safe.",
        )
    return MasterKey.from_bytes(secret, path.name)


def _read_key_file(path: Path) -> str:
    """The text of a file that only its owner, and at most a group, may read.

    A group may: that is how Kubernetes hands a secret to a process that is not root.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MOST_FILE_BYTES)
    except OSError as error:
        raise InputError(
            f"the key file cannot be read: {error.strerror or type(error).__name__}.",
            where=str(path),
            fix="Name a file that holds base64 of 32 bytes, or a passphrase.",
        ) from None
    if mode & 0o027:
        raise InputError(
            f"other users may read or change the key file (mode {mode:04o}).",
            where=str(path),
            fix=f"Run: chmod 600 {path}, and take a new key if somebody may have read it.",
        )
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise InputError("the key file is not text.", where=str(path), fix=_MAKE_ONE) from None


def _decode(text: str, where: str) -> bytes:
    """32 raw bytes in base64 as they stand; anything else is a passphrase of 12 characters or more."""
    text = text.strip()
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) == KEY_BYTES:
        return raw
    if _HEX_KEY.fullmatch(text) or _ALMOST_BASE64.fullmatch(text):
        # As a passphrase it would work, and surprise whoever opens a backup with the bytes it stands for.
        raise InputError(
            "the key looks like 32 bytes in hex, in URL-safe base64 or without its last `=`.",
            where=where,
            fix="Write it in plain base64, as openssl base64 does: 44 characters, the last one `=`.",
        )
    if len(text) < _SHORTEST_PASSPHRASE:
        raise InputError(
            f"the key is neither base64 of 32 bytes nor a passphrase of {_SHORTEST_PASSPHRASE} characters "
            "or more."
            if text
            else "it is set, but empty.",
            where=where,
            fix=_MAKE_ONE,
        )
    try:
        return _from_passphrase(text.encode())
    except UnicodeEncodeError:
        raise InputError("the passphrase is not UTF-8.", where=where, fix=_MAKE_ONE) from None


@lru_cache(maxsize=4)  # the present one and the one before, in two homes at most
def _from_passphrase(passphrase: bytes) -> bytes:
    kdf = Scrypt(salt=_PASSPHRASE_SALT, length=KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return kdf.derive(passphrase)
