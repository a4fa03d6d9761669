"""As whom and from where an embedded Postgres runs: an ordinary user as itself, root as a system user.

Here: choosing that user, letting it reach the binaries and the data without opening any folder to others.
Not here: what is run (`embedded.py`).
"""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import pwd

from tenant_ops.platform.errors import NotAvailable

SYSTEM_USER = "tenant_ops"
# Where root keeps a copy of the binaries when the server's user cannot reach the installed ones.
PROGRAM_COPIES = (Path("/var/lib/tenant_ops"), Path("/opt/tenant_ops"), Path("/var/tmp/tenant_ops"))  # noqa: S108


@dataclass(frozen=True)
class Account:
    """The user a server runs as."""

    uid: int
    gid: int

    def options(self, folder: Path) -> dict[str, Any]:
        """Options for `subprocess.run` to start a program as this user in `folder`.

        The program sees nothing of this process's environment: PG* variables would change the server, and
        secrets have no place there.
        """
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        options: dict[str, Any] = {"cwd": folder, "umask": 0o077, "env": environment | {"LC_ALL": "C"}}
        if self.uid != os.geteuid():
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def check_named(self) -> None:
        """Refuse a user Postgres cannot make a cluster for.

        Raises:
            NotAvailable: the user has a number only, as in a container run with `--user 12345`.
        """
        try:
            pwd.getpwuid(self.uid)
        except KeyError as error:
            raise NotAvailable(
                f"User {self.uid} has no name on this machine, and Postgres makes no cluster without one.",
                fix="Add a line for it to /etc/passwd, run as another user, or set DATABASE_URL.",
            ) from error

    def own(self, folder: Path) -> None:
        """Give `folder` to this user."""
        if self.uid != os.geteuid():
            os.chown(folder, self.uid, self.gid)

    def name_of(self, folder: Path) -> str:
        """What to call `folder` in the arguments of a program this user runs in it.

        Another user cannot enter a home under /root (mode 0700), and opening /root to everybody is out of the
        question. On Linux no capability is needed either: root enters the folder before it changes user,
        Postgres never leaves its data folder, and /proc/self/cwd names it without passing its parents.

        Raises:
            NotAvailable: not Linux, and this user cannot enter the folder.
        """
        if self.uid == os.geteuid():
            return str(folder)
        entered = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', str(folder)], check=False, **self.options(Path("/"))
        )
        if entered.returncode == 0:
            return str(folder)
        if Path("/proc/self/cwd").exists():
            return "/proc/self/cwd"
        raise NotAvailable(
            f"Postgres does not run as root, and the user it runs as instead cannot enter {folder}.",
            fix="Run as an ordinary user, set TENANT_OPS_HOME to a path every user can enter, "
            "or set DATABASE_URL.",
        )

    def reach(self, installed: Path) -> Path:
        """The folder of binaries this user can run: `installed`, or a copy of it (a venv under /root, say).

        Raises:
            NotAvailable: this user can run neither.
        """
        problem = self._cannot_run(installed)
        if problem is None:
            return installed
        tried = [f"{installed}: {problem}"]
        for prefix in PROGRAM_COPIES if self.uid != os.geteuid() else ():
            try:
                copy = _copy_programs(installed, prefix)
            except OSError as error:
                tried.append(f"{prefix}: {error.strerror}")
                continue
            problem = self._cannot_run(copy)
            if problem is None:
                return copy
            tried.append(f"{copy}: {problem}")
        raise NotAvailable(
            "The binaries of the embedded Postgres do not run here.\n" + "\n".join(tried),
            fix="Run as an ordinary user, keep the Python environment where every user can enter, "
            "or set DATABASE_URL.",
        )

    def _cannot_run(self, bin_folder: Path) -> str | None:
        try:
            subprocess.run(
                [bin_folder / "postgres", "--version"],
                capture_output=True,
                text=True,
                check=True,
                **self.options(Path("/")),
            )
        except subprocess.CalledProcessError as error:
            return error.stderr.strip()
        except OSError as error:
            return str(error)
        return None


def account_for(data: Path) -> Account:
    """Who runs the server on `data`: this user; when that is root, the owner of `data`, else a system user.

    Raises:
        NotAvailable: this process is root and the system user cannot be added, or root has lost the power to
            become another user.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    owner = data.stat() if data.exists() else None
    if owner and owner.st_uid != 0:
        account = Account(owner.st_uid, owner.st_gid)
    else:
        entry = _system_user()
        account = Account(entry.pw_uid, entry.pw_gid)
    try:
        with tempfile.TemporaryDirectory() as folder:
            account.own(Path(folder))
            subprocess.run(["/bin/sh", "-c", ":"], check=True, **account.options(Path(folder)))
    except (OSError, subprocess.SubprocessError) as error:
        raise NotAvailable(
            f"Postgres does not run as root, and root cannot become another user here: {error}.",
            fix="Run as an ordinary user, give the container back the capabilities SETUID, SETGID, CHOWN and "
            "DAC_OVERRIDE, or set DATABASE_URL.",
        ) from error
    return account


def _system_user() -> "pwd.struct_passwd":
    add = (
        ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER],
        ["adduser", "-S", "-D", "-H", "-s", "/bin/false", SYSTEM_USER],  # busybox
    )
    for command in (None, *add):
        if command and shutil.which(command[0]):
            subprocess.run(command, capture_output=True, check=False)  # another process may add it first
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
    raise NotAvailable(
        f"Postgres does not run as root, and the system user {SYSTEM_USER!r} cannot be added here.",
        fix=f"Run as an ordinary user, add a system user {SYSTEM_USER!r}, or set DATABASE_URL.",
    )


def _copy_programs(installed: Path, prefix: Path) -> Path:
    """Copy the binaries (30 MB), once for each version of the wheel, to where every user can run them."""
    package = installed.parent.parent
    version = importlib.metadata.version(package.name)
    prefix.mkdir(mode=0o755, exist_ok=True)
    if prefix.lstat().st_uid != 0 or prefix.lstat().st_mode & 0o022:
        raise PermissionError(1, "somebody else can write there")
    copy = prefix / f"postgres-{version}"
    tree = Path(package.name, installed.parent.name)
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=prefix))
        for part in ("bin", "lib", "share"):
            shutil.copytree(installed.parent / part, unfinished / tree / part, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # the binaries look for $ORIGIN/../../../
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return copy / tree / installed.name
