"""Who keeps a master key and wraps other keys with it: this process, or a key management service.

Here: the protocol, the key this process holds itself, making the service a setting names.
Not here: which of them is in force (`keys.py`), what is wrapped.

A service of one's own is a class with `id`, `wrap` and `unwrap`, and a function without arguments that makes
it, named by `BACKUP_KEY_SERVICE=module:function`. `docs/backup-keys.md` has the contract and an example.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenant_ops.platform.errors import InputError, TenantOpsError

NONCE_BYTES = 12
_LONGEST_ID = 200


class DoesNotOpen(Exception):
    """What `unwrap` raises for something this key did not wrap, or not for this context."""


class KeyService(Protocol):
    """A key that wraps others and need not leave its keeper.

    `wrap` and `unwrap` must end by themselves (set a timeout), may be called from several threads, and raise
    `DoesNotOpen` for what the key did not wrap, an `OperationFailed` for a sentence of their own, or anything
    else: of that only the class is shown, because a client's message may hold what was sent.
    """

    @property
    def id(self) -> str:
        """Names the key in what it wrapped: stable, without secrets, another one for another key."""
        ...

    def wrap(self, secret: bytes, context: str) -> bytes:
        """Encrypt a secret of at most a few hundred bytes, bound to `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """What `wrap` was given; raises `DoesNotOpen` for another key, another context, or a change."""
        ...


@dataclass(frozen=True)
class LocalKey:
    """A key of 32 bytes in this process: `nonce(12) || AES-256-GCM(ciphertext || tag)`, context as AAD."""

    _secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Derived from the key; reveals nothing."""
        return hmac.new(self._secret, b"tenant_ops/key-id/1", hashlib.sha256).hexdigest()[:16]

    def wrap(self, secret: bytes, context: str) -> bytes:
        """Encrypt `secret`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._secret).encrypt(nonce, secret, context.encode())

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Decrypt what `wrap` made."""
        try:
            return AESGCM(self._secret).decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context.encode()
            )
        except (InvalidTag, ValueError):
            raise DoesNotOpen from None


@cache  # one per process: a service keeps its connections
def make_service(name: str, setting: str) -> KeyService:
    """The service that `module:function` makes.

    Args:
        name: What the setting says.
        setting: Its name, for errors.

    Raises:
        InputError: there is no such function, or what it makes is no key service.
    """
    module, _, function = name.partition(":")
    if not (module and function):
        raise InputError("it is not written as module:function.", where=setting)
    try:
        service = getattr(import_module(module), function)()
    except TenantOpsError:
        raise
    except Exception as error:
        raise InputError(
            f"{name} could not be made ({type(error).__name__}).",
            where=setting,
            fix="It names a function without arguments in a module that Python can import.",
        ) from None
    if not all(callable(getattr(service, method, None)) for method in ("wrap", "unwrap")):
        raise InputError(f"what {name} makes has no wrap and unwrap.", where=setting)
    key_id = getattr(service, "id", None)
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _LONGEST_ID or not key_id.isprintable():
        raise InputError(
            f"the id of what {name} makes is no text of 1 to {_LONGEST_ID} characters.", where=setting
        )
    return service
