"""Whoever runs the fleet needs no superuser to restore: to create roles and schemas is enough."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenant_ops.backups import (
    execute_backup,
    execute_restore,
    find_backup,
    plan_backup,
    plan_restore,
    undo_restore,
)
from tenant_ops.platform.embedded import postgres, stop
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.backups.conftest import run_sql, songs
from tenant_ops_tests.backups.journal.conftest import debian_server

__all__ = ["debian_server"]  # a fixture
pytestmark = pytest.mark.slow


@pytest.fixture
def embedded_server(tmp_path: Path) -> Iterator[str]:
    """A server of this test's own: roles are the server's, and others' must not be in the way."""
    yield postgres(tmp_path / "server")
    stop(tmp_path / "server")


@pytest.mark.parametrize("server", ["embedded_server", "debian_server"])
def test_no_superuser_is_needed(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(server)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE operator LOGIN CREATEROLE")
        connection.execute("CREATE DATABASE operated OWNER operator")
        connection.execute("REVOKE CONNECT ON DATABASE operated FROM PUBLIC")
        database = connection.info.dbname
    url = url.replace("//postgres@", "//operator@").replace(f"/{database}?", "/operated?")
    fleet = Fleet.open(Settings.load({"DATABASE_URL": url, "TENANT_OPS_HOME": str(tmp_path / "home")}))
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    run_sql(
        fleet,
        tenant,
        "CREATE TABLE plays (id int PRIMARY KEY); INSERT INTO plays SELECT generate_series(1, 9)",
    )
    report = execute_backup(fleet, plan_backup(fleet, tenant, encryption=False))
    backup = find_backup(fleet, report.backup_id)
    for mode, target in (("replace", "acme"), ("merge", "acme"), ("new", "acme_copy")):
        run_sql(fleet, tenant, "DELETE FROM plays WHERE id > 2")
        done = execute_restore(fleet, plan_restore(fleet, backup, target, mode=mode))
        assert songs(fleet, fleet.registry.get(target)) == 9
        assert not any("operator's login" in warning for warning in done.warnings)
    undo_restore(fleet, tenant)
    assert songs(fleet, tenant) == 2
    with fleet.control.transaction() as connection:
        left = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname ~ '_rst_'").fetchone()
    assert left == (0,)
    fleet.close()
