"""One server process shared by every process of a checkout, counted by the kernel instead of by pid files.

Here: who starts a server, who may join it, who stops it, and the folder its socket lives in. Not here: what
the server is (`embedded.py` shares a Postgres this way, `cache.py` a Valkey).

Two lock files in the server's folder decide everything, and the kernel drops both kinds of lock however a
process ends, `kill -9` included:

- `server.lock` is held exclusively by the server itself, through a descriptor it inherits from its starter.
  Whoever can take it knows that no process of an earlier server is left, so it may start one. Inside it
  stands the folder of the server's socket.
- `users.lock` is held shared by every process that uses the server. A process that can turn its share into
  the exclusive lock at exit was the last one, and stops the server. If the last one is killed instead, the
  server stays, and the next user joins it.
"""

import atexit
import contextlib
import hashlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

from tenant_ops.platform.errors import NotAvailable, OperationFailed

START_PATIENCE_S = 300.0  # crash recovery replays up to max_wal_size before the server answers
SILENCE_PATIENCE_S = 60.0  # but a server listens from its first second
MOST_LAUNCHES = 3  # others may stop or kill the server while it starts
STOP_PATIENCE_S = 30.0
POLL_S = 0.005
LOG_LINES_SHOWN = 12
# Unix sockets name their peer: pid, uid, gid on Linux; pid on macOS (<sys/un.h>).
_LINUX_PEER = struct.Struct("3i")
_MACOS_SOL_LOCAL, _MACOS_PEER_PID = 0, 2


class SharedServer(ABC):
    """A server that lives in `folder` and listens on a Unix socket named `socket_name`."""

    title: str
    socket_name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.start_log = self.folder / "start.log"

    @abstractmethod
    def owner(self) -> int:
        """User id the server runs as, once its files exist."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes requests now."""

    @abstractmethod
    def launch(self, lock: int) -> None:
        """Call `spawn`, after whatever has to be made first; anything run here inherits `lock`."""

    def stop_signal(self, *, by_force: bool) -> signal.Signals:
        """What to send the server to end it."""
        return signal.SIGKILL if by_force else signal.SIGTERM

    def read_log(self) -> str:
        """What the server said last."""
        return self.start_log.read_text(errors="replace") if self.start_log.is_file() else ""

    def failure(self, what: str, log: str) -> OperationFailed:
        """The error for a server that `what`, with the end of its log."""
        lines = [line for line in log.splitlines() if line.strip()][-LOG_LINES_SHOWN:]
        fix = "Remove the cause named above, then try again."
        if "No space left on device" in log:
            fix = f"Free disk space for {self.folder}, then try again."
        return OperationFailed(f"{self.title} {what}:\n" + "\n".join(lines), fix=fix)

    def socket_folder(self) -> Path | None:
        """Where the running server listens; None when none runs, or when others could listen there too."""
        try:
            identity, _, noted = (self.folder / "server.lock").read_bytes().partition(b" ")
            folder = Path(os.fsdecode(noted))
            return folder if identity == self._identity() and _is_private(folder, self.owner()) else None
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise _foreign(self) from error

    def socket_path(self) -> Path | None:
        """The socket in that folder."""
        folder = self.socket_folder()
        return folder / self.socket_name if folder else None

    def claim_socket_folder(self, lock: int) -> Path:
        """A folder in /tmp only the server's user can enter, noted in the lock file.

        In /tmp because a socket's path may have 107 bytes at most (103 on macOS). Its name follows from the
        server's folder, so that connection pools survive a restart, unless somebody else sits on the name.
        """
        name = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:16]
        folder = Path("/tmp", f"tenant_ops-{name}")  # noqa: S108 - owner and mode are checked below
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.owner(), -1)
        if _is_private(folder, self.owner()) and _listener(folder / self.socket_name) is None:
            for stale in folder.iterdir():
                stale.unlink()
        else:
            folder = Path(tempfile.mkdtemp(prefix="tenant_ops-"))
            os.chown(folder, self.owner(), -1)
        os.truncate(lock, 0)
        os.pwrite(lock, self._identity() + b" " + os.fsencode(folder), 0)
        return folder

    def _identity(self) -> bytes:
        """Tells this folder from a copy of it, whose lock file names the original's socket."""
        found = self.folder.stat()
        return f"{found.st_dev}:{found.st_ino}".encode()

    def spawn(self, command: Sequence[str | Path], *, lock: int, options: dict[str, Any]) -> None:
        """Run the server in a session of its own (Ctrl-C does not reach it), as no child of this process.

        The shell in between ends at once, so init adopts the server and it never becomes this process's
        zombie. `options` are those of `subprocess.run`.
        """
        with self.start_log.open("wb") as log:
            subprocess.run(
                ["/bin/sh", "-c", '"$0" "$@" &', *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,
                check=True,
                **options,
            )


class _Share:
    """This process's share in a server's `users.lock`."""

    def __init__(self, server: SharedServer) -> None:
        self.server = server
        self.lock = _open(server, "users.lock")
        self.for_child: int | None = None
        try:
            self._wait_for_share()
        except BaseException:
            os.close(self.lock)
            raise

    def is_current(self) -> bool:
        """Whether the lock still counts: not after somebody removed the server's folder."""
        return os.fstat(self.lock).st_nlink > 0

    def leave(self) -> None:
        """Give the share back; the last one to leave stops the server."""
        try:
            if _lock(self.lock, fcntl.LOCK_EX):
                stop(self.server)
        finally:
            os.close(self.lock)

    def _wait_for_share(self) -> None:
        """Only a process that is stopping the server holds this lock exclusively, so the wait is short."""
        for _ in _moments(3 * STOP_PATIENCE_S):
            if _lock(self.lock, fcntl.LOCK_SH):
                return
        raise OperationFailed(
            f"{self.server.title} in {self.server.folder} has been stopping for {3 * STOP_PATIENCE_S:.0f} s.",
            fix="Look for a process of this project that hangs at its exit, end it, and try again.",
        )


# What a process shares ends with the process, so this is the one place for state of a process.
_shares: dict[Path, _Share] = {}
_joining = threading.RLock()


def join(server: SharedServer) -> None:
    """Start the server or join the one that runs, and keep it running until this process ends.

    Cheap (a fifth of a millisecond) when this process already shares a living server.

    Raises:
        NotAvailable: not on this platform, not for this user, or the server cannot be reached from here.
        OperationFailed: the server does not start.
    """
    if sys.platform == "win32":
        raise NotAvailable(
            f"{server.title} runs on Linux and macOS only.",
            fix="Give the URL of a server of your own (DATABASE_URL, REDIS_URL), or work inside WSL 2.",
        )
    with _joining:
        share = _shares.get(server.folder)
        if share and share.is_current() and (path := server.socket_path()) and _listener(path) is not None:
            return
        try:
            server.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotAvailable(
                f"The folder {server.folder} cannot be made: {error.strerror}.",
                fix="Set TENANT_OPS_HOME to a folder you may write to.",
            ) from error
        if not share or not share.is_current():
            _shares[server.folder] = _Share(server)
        try:
            _start_or_join(server)
        except BaseException:
            os.close(_shares.pop(server.folder).lock)
            raise


def stop(server: SharedServer, *, patience_s: float = STOP_PATIENCE_S) -> None:
    """Stop the server under all of its users, by force if it is still there after `patience_s` seconds.

    Returns when the last of its processes is gone; does nothing when none runs.

    Raises:
        OperationFailed: the server outlives both signals, or runs out of this process's reach.
    """
    if not server.folder.is_dir():
        return
    started = time.monotonic()
    sent: set[signal.Signals] = set()
    for _ in _moments(2 * patience_s):
        path = server.socket_path()
        lock = _take_server_lock(server)
        if lock is not None:
            with contextlib.suppress(OSError):
                os.truncate(lock, 0)
                if path:
                    path.parent.rmdir()
            os.close(lock)
            return
        wanted = server.stop_signal(by_force=time.monotonic() - started > patience_s)
        if path and wanted not in sent and (pid := _listener(path)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wanted)
            sent.add(wanted)
    raise OperationFailed(
        f"{server.title} in {server.folder} does not stop.",
        fix="Stop it where it was started (another container, another user), then try again.",
    )


def _start_or_join(server: SharedServer) -> None:
    launched, started = 0, time.monotonic()
    for _ in _moments(START_PATIENCE_S):
        if server.answers():
            return
        lock = _take_server_lock(server)
        if lock is None:
            silent = time.monotonic() > started + SILENCE_PATIENCE_S
            if silent and not ((path := server.socket_path()) and _listener(path) is not None):
                break
            continue
        try:
            if launched == MOST_LAUNCHES:
                raise server.failure("does not start", server.read_log())
            server.launch(lock)
            launched += 1
        except OSError as error:
            raise server.failure("does not start", str(error)) from error
        finally:
            os.close(lock)
    raise NotAvailable(
        f"{server.title} in {server.folder} is held by processes that do not answer: a server in another "
        "container, or what a killed server left, finishing its last query.",
        fix="Give each container its own TENANT_OPS_HOME, or wait for those processes to end.",
    )


def _moments(patience_s: float) -> Iterator[None]:
    end = time.monotonic() + patience_s
    yield
    while time.monotonic() < end:
        time.sleep(POLL_S)
        yield


def _take_server_lock(server: SharedServer) -> int | None:
    lock = _open(server, "server.lock")
    if _lock(lock, fcntl.LOCK_EX):
        return lock
    os.close(lock)
    return None


def _open(server: SharedServer, name: str) -> int:
    try:
        return os.open(server.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise _foreign(server) from error


def _foreign(server: SharedServer) -> NotAvailable:
    return NotAvailable(
        f"{server.title} in {server.folder} belongs to another user.",
        fix="Run as that user, delete that folder (its data is lost), or set TENANT_OPS_HOME.",
    )


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_private(folder: Path, owner: int) -> bool:
    """Whether nobody but `owner` (and root) can put a socket there."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def _listener(path: Path) -> int | None:
    """Process id of who listens on a socket, 0 if it lives in another container, None if nobody does."""
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.settimeout(1)
        peer.connect(str(path))
        if sys.platform == "darwin":
            return peer.getsockopt(_MACOS_SOL_LOCAL, _MACOS_PEER_PID)
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_PEER.size)
        return _LINUX_PEER.unpack(credentials)[0]
    return None


def _leave_all() -> None:
    while _shares:
        _, share = _shares.popitem()
        with contextlib.suppress(OperationFailed, NotAvailable):  # nobody is left to tell; the next one joins
            share.leave()


def _before_fork() -> None:
    """Take a share for the child to come: the descriptor it inherits is its parent's very lock."""
    _joining.acquire()
    for share in _shares.values():
        with contextlib.suppress(OSError, NotAvailable):
            share.for_child = _open(share.server, "users.lock")
            _lock(share.for_child, fcntl.LOCK_SH)


def _after_fork(*, in_child: bool) -> None:
    for share in _shares.values():
        if share.for_child is not None:
            os.close(share.lock if in_child else share.for_child)
            share.lock = share.for_child if in_child else share.lock
            share.for_child = None
    _joining.release()


if sys.platform != "win32":
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, in_child=False),
        after_in_child=partial(_after_fork, in_child=True),
    )
    atexit.register(_leave_all)
