"""Whoever runs the fleet needs no superuser for the journal: to create roles and schemas is enough."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tenant_ops.backups.journal import AtTime, health, prune, remove
from tenant_ops.platform.embedded import postgres, stop
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops_tests.backups.journal.chains import Chain, differing
from tenant_ops_tests.backups.journal.conftest import as_login, run

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
        database = connection.info.dbname
    url = url.replace("//postgres@", "//operator@").replace(f"/{database}?", "/operated?")
    fleet = Fleet.open(Settings.load({"DATABASE_URL": url, "TENANT_OPS_HOME": str(tmp_path / "home")}))
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    run(fleet, tenant, "CREATE TABLE song (id integer PRIMARY KEY, n integer); CREATE TABLE play (n integer)")
    chain = Chain.begin(fleet, tenant)
    with as_login(fleet, tenant) as login:
        login.execute("INSERT INTO song VALUES (1, 1), (2, 2)")
        login.execute("INSERT INTO play VALUES (1), (1)")
        login.execute("UPDATE song SET n = 3 WHERE id = 2")
        login.execute("BEGIN")
        login.execute("DELETE FROM play")
        info = chain.tick()
        assert [one.since is not None for one in info.open] == [True]
        login.execute("COMMIT")
    run(fleet, tenant, "TRUNCATE song")
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
    first = datetime.fromisoformat(info.anchor.taken_at)
    with chain.replayed(AtTime(first)) as replayed:
        assert replayed.rows("SELECT n FROM song ORDER BY id") == [(1,), (3,)]
    assert prune(fleet, tenant, chain.last) == 8
    assert health(fleet, tenant).problems == ()
    remove(fleet, tenant)
    fleet.close()
