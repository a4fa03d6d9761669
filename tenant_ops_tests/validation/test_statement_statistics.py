"""What only a server with pg_stat_statements can say, on one the test starts: Debian's, any version."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, login_password, provision
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops_tests.validation.conftest import fill

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/lib/pg_stat_statements.so"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="no Debian PostgreSQL with contrib modules is installed"),
]


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server with statement statistics; root starts it as `postgres`."""
    binaries = INSTALLED[-1].parents[1] / "bin"
    folder = Path(tempfile.mkdtemp(prefix="pg_"))
    options: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid}
    data = folder / "data"
    start = f"-c listen_addresses= -k {folder} -c shared_preload_libraries=pg_stat_statements -c fsync=off"
    try:
        subprocess.run([binaries / "initdb", "-D", data, "-U", "postgres", "--auth-local=trust"], **options)
        subprocess.run(
            [binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", start, "start"], **options
        )
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        subprocess.run(
            [binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**options, "check": False}
        )
        shutil.rmtree(folder, ignore_errors=True)


def test_slow_statements_of_the_login_are_found_and_everything_else_holds_there_too(
    server: str, tmp_path: Path
) -> None:
    fleet = Fleet.open(Settings.load({"DATABASE_URL": server, "TENANT_OPS_HOME": str(tmp_path / "home")}))
    provision(fleet, "acme", tier_name="enterprise")
    provision(fleet, "other", tier_name="enterprise")
    tenant = fleet.registry.get("acme")
    fill(fleet, tenant, tmp_path / "rows")
    plan = plan_validation(fleet, tenant)
    before = execute_validation(fleet, plan)
    without_a_past = {rule.id for rule in HISTORY_RULES}
    assert {one.rule for one in before.unchecked} == {"performance.slow_statements", *without_a_past}
    assert (before.findings, before.score) == ((), 100)
    with fleet.control.session() as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
    for slug, seconds in (("acme", 1.05), ("other", 1.1)):
        login = fleet.registry.get(slug)
        with psycopg.connect(
            server, user=login.role("app"), password=login_password(fleet, login)
        ) as connection:
            for _ in range(5):
                connection.execute("SELECT 'a secret', pg_sleep(%s)", (seconds,))
    after = execute_validation(fleet, plan)
    fleet.close()
    (finding,) = after.findings
    assert (finding.rule, finding.count) == ("performance.slow_statements", 5)
    assert finding.subject.startswith("statement ") and "secret" not in str(finding)
    assert {one.rule for one in after.unchecked} == without_a_past
