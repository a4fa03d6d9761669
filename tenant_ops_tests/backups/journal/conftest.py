"""Servers and tenants for the tests of the journal."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tenant_ops.platform.embedded import postgres, stop
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.backups.journal.chains import Chain

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
# What an operator of a server of their own would have to set, and restart it for.
COMMIT_TIMES = ("track_commit_timestamp = on", "max_prepared_transactions = 20", "fsync = off")


@pytest.fixture(scope="session")
def timed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of these tests' own that keeps the times of commits, and allows prepared transactions."""
    home = tmp_path_factory.mktemp("timed")
    with psycopg.connect(postgres(home), autocommit=True) as connection:
        for setting in COMMIT_TIMES:
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    stop(home)
    yield postgres(home)
    stop(home)


@pytest.fixture
def debian_server() -> Iterator[str]:
    """The same on the oldest Postgres that Debian's packages have put on this machine."""
    if not DEBIAN:
        pytest.skip("no Debian PostgreSQL is installed")
    folder = Path(tempfile.mkdtemp(prefix="pg_"))
    options: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder}
    if os.geteuid() == 0:  # which Postgres refuses to run as
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid}
    data = folder / "data"
    settings = ["listen_addresses =", *(f"{setting}" for setting in COMMIT_TIMES)]
    start = " ".join(f"-c {setting.replace(' ', '')}" for setting in settings)
    binaries = DEBIAN[0].parent
    try:
        subprocess.run([binaries / "initdb", "-D", data, "-U", "postgres", "--auth-local=trust"], **options)
        command = [binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", f"{start} -k {folder}"]
        subprocess.run([*command, "start"], **options)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        stopping = [binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stopping, **{**options, "check": False})
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def timed_fleet(timed_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet on that server."""
    home = str(tmp_path_factory.mktemp("home"))
    fleet = Fleet.open(
        Settings.load({"DATABASE_URL": timed_server, "TENANT_OPS_HOME": home, "TENANT_OPS_ACTOR": "tester"})
    )
    yield fleet
    fleet.close()


@pytest.fixture
def timed_tenant(timed_fleet: Fleet) -> Tenant:
    """An empty tenant on that server."""
    slug = f"timed_{uuid4().hex[:8]}"
    provision(timed_fleet, slug)
    return timed_fleet.registry.get(slug)


@pytest.fixture
def begin(fleet: Fleet, tenant: Tenant) -> Callable[[str], Chain]:
    """Runs SQL as the tenant's owner, then installs the journal and takes a base."""

    def start(script: str) -> Chain:
        run(fleet, tenant, script)
        return Chain.begin(fleet, tenant)

    return start


def run(fleet: Fleet, tenant: Tenant, script: str) -> None:
    """Run SQL as the tenant's owner, in one transaction; a lock that never comes is a failure, not a wait."""
    with fleet.session(tenant) as connection:
        connection.execute("SET LOCAL lock_timeout = '30s'")
        connection.execute(script.encode())


def as_login(fleet: Fleet, tenant: Tenant) -> psycopg.Connection:
    """A connection of the tenant's own login, as its application has it; the server trusts its socket."""
    return psycopg.connect(
        fleet.database(tenant).url, user=tenant.role("app"), autocommit=True, application_name="application"
    )
