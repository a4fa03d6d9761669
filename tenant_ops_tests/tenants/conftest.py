"""A fleet that the tests of one module share."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
from tenant_ops_tests.conftest import TEMPLATE, at_database


@pytest.fixture(scope="module")
def module_fleet(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet without tenants; its tests must not disturb each other."""
    name = f"module_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        )
    home = tmp_path_factory.mktemp("module") / "home"
    environment = {"DATABASE_URL": at_database(postgres_url, name), "TENANT_OPS_HOME": str(home)}
    fleet = Fleet.open(Settings.load(environment | {"TENANT_OPS_ACTOR": "tester"}))
    yield fleet
    fleet.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
