"""One server process shared by every process of a checkout, counted by the kernel instead of by pid files.

Here: who starts a server, who may join it, who stops it. Not here: what the server is (`embedded.py` runs
Postgres this way, `cache.py` runs Valkey).

Two lock files in the server's folder decide everything, and the kernel drops both kinds of lock however a
process ends, `kill -9` included:

- `server.lock` is held exclusively by the server itself, through a descriptor it inherits from its starter.
  Whoever can take it knows that no process of an earlier server is left, so it may start one.
- `users.lock` is held shared by every process that uses the server. A process that can turn its share into
  the exclusive lock at exit was the last one, and stops the server.
"""

import atexit
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

if sys.platform != "win32":
    import fcntl

from tenant_ops.platform.errors import NotAvailable, OperationFailed

# Crash recovery replays up to max_wal_size; measured at 60-100 MB/s on a small machine.
START_PATIENCE_S = 300.0
STOP_PATIENCE_S = 30.0
POLL_S = 0.005
# Unix sockets name their peer: pid, uid, gid on Linux; pid on macOS (<sys/un.h>).
_LINUX_PEER = struct.Struct("3i")
_MACOS_SOL_LOCAL, _MACOS_PEER_PID = 0, 2


class SharedServer(Protocol):
    """What a server tells about itself to be shared."""

    title: str
    folder: Path
    stop_signal: signal.Signals
    kill_signal: signal.Signals

    def socket_path(self) -> Path | None:
        """Where the running server listens, or None while nothing says so."""
        ...

    def answers(self) -> bool:
        """Whether the server takes requests now."""
        ...

    def launch(self, lock: int) -> None:
        """Start the server without waiting for it; every process it leaves behind inherits `lock`."""
        ...

    def why_it_ended(self) -> OperationFailed:
        """Explain, from its log, why a server that was just launched is gone."""
        ...

    def tidy(self) -> None:
        """Remove what the stopped server leaves outside its folder."""
        ...


class _Share:
    """This process's share in a server's `users.lock`."""

    def __init__(self, server: SharedServer) -> None:
        self.server = server
        self.lock = _open(server.folder / "users.lock")
        try:
            _wait_for_share(self.lock, server)
        except BaseException:
            os.close(self.lock)
            raise

    def leave(self) -> None:
        """Give the share back; the last one to leave stops the server."""
        try:
            if _lock(self.lock, fcntl.LOCK_EX):
                stop(self.server)
        finally:
            os.close(self.lock)

    def renew_after_fork(self) -> None:
        """Take a share of the child's own: a forked descriptor is the parent's very lock."""
        inherited, self.lock = self.lock, _open(self.server.folder / "users.lock")
        _lock(self.lock, fcntl.LOCK_SH)
        os.close(inherited)


_shares: dict[Path, _Share] = {}
_joining = threading.RLock()


def join(server: SharedServer) -> None:
    """Start the server or join the one that runs, and keep it running until this process ends.

    Cheap (tens of microseconds) when this process already shares a living server.

    Raises:
        NotAvailable: the lock files belong to another user, or the server runs where it cannot be reached.
        OperationFailed: the server does not start.
    """
    with _joining:
        if server.folder in _shares and is_alive(server):
            return
        if server.folder not in _shares:
            _shares[server.folder] = _Share(server)
        try:
            _start_or_join(server)
        except BaseException:
            os.close(_shares.pop(server.folder).lock)
            raise


def is_alive(server: SharedServer) -> bool:
    """Whether any process of the server is left, whether or not it answers."""
    lock = _take_server_lock(server)
    if lock is None:
        return True
    os.close(lock)
    return False


def stop(server: SharedServer, *, patience_s: float = STOP_PATIENCE_S) -> None:
    """Stop the server under all of its users, by force if it is still there after `patience_s` seconds.

    Returns when the last of its processes is gone; does nothing when none runs.

    Raises:
        OperationFailed: the server outlives both signals, or runs out of this process's reach.
    """
    asked: set[signal.Signals] = set()
    started = time.monotonic()
    while (lock := _take_server_lock(server)) is None:
        waited = time.monotonic() - started
        if waited > 2 * patience_s:
            raise OperationFailed(
                f"{server.title} in {server.folder} does not stop.",
                fix="Stop it where it was started (another container, another user), then try again.",
            )
        wanted = server.kill_signal if waited > patience_s else server.stop_signal
        if wanted not in asked and (pid := _listener(server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wanted)
            asked.add(wanted)
        time.sleep(POLL_S)
    try:
        server.tidy()
    finally:
        os.close(lock)


def spawn(command: Sequence[str | Path], *, lock: int, log: Path, options: dict[str, Any]) -> None:
    """Run `command` in a session of its own (Ctrl-C does not reach it), as no child of this process.

    The shell in between exits at once, so the server is adopted by init and never becomes this process's
    zombie. Output goes to `log`, emptied first; `options` are those of `subprocess.run`.
    """
    with log.open("wb") as output:
        subprocess.run(
            ["/bin/sh", "-c", '"$0" "$@" &', *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock],
            start_new_session=True,
            check=True,
            **options,
        )


def _start_or_join(server: SharedServer) -> None:
    launched = False
    for _ in _until(time.monotonic() + START_PATIENCE_S):
        if server.answers():
            return
        lock = _take_server_lock(server)
        if lock is None:
            continue
        try:
            if launched:
                raise server.why_it_ended()
            server.launch(lock)
            launched = True
        finally:
            os.close(lock)
    raise NotAvailable(
        f"{server.title} in {server.folder} did not answer for {START_PATIENCE_S:.0f} seconds.",
        fix="If another container or machine uses this folder, give each its own, or share a server by URL.",
    )


def _wait_for_share(lock: int, server: SharedServer) -> None:
    """Only a process that is stopping the server holds this lock exclusively, so the wait is short."""
    for _ in _until(time.monotonic() + 3 * STOP_PATIENCE_S):
        if _lock(lock, fcntl.LOCK_SH):
            return
    raise OperationFailed(
        f"{server.title} in {server.folder} has been stopping for {3 * STOP_PATIENCE_S:.0f} seconds.",
        fix="Look for a process of this project that hangs at its exit, end it, and try again.",
    )


def _until(deadline: float) -> Iterator[None]:
    yield
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        yield


def _take_server_lock(server: SharedServer) -> int | None:
    lock = _open(server.folder / "server.lock")
    if _lock(lock, fcntl.LOCK_EX):
        return lock
    os.close(lock)
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise NotAvailable(
            f"{path} belongs to another user.",
            fix=f"Run as the user who created {path.parent}, or delete that folder, or use another home.",
        ) from error


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listener(server: SharedServer) -> int | None:
    """Process id of who listens on the server's socket: never a stale number out of a file."""
    path = server.socket_path()
    if path is None:
        return None
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.settimeout(1)
        peer.connect(str(path))
        if sys.platform == "darwin":
            return peer.getsockopt(_MACOS_SOL_LOCAL, _MACOS_PEER_PID) or None
        pid, _, _ = _LINUX_PEER.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_PEER.size)
        )
        return pid or None
    return None


def _leave_all() -> None:
    while _shares:
        _, share = _shares.popitem()
        share.leave()


def _after_fork_in_child() -> None:
    global _joining
    _joining = threading.RLock()
    for share in _shares.values():
        share.renew_after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
    atexit.register(_leave_all)
