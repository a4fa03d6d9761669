"""A schema of everything Postgres offers comes back as another tenant, equal to the last word of pg_dump."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import execute_backup, execute_restore, find_backup, plan_backup, plan_restore
from tenant_ops.backups.ddl import SchemaDefinition
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.embedded import programs
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.backups.dumps import dumped
from tenant_ops_tests.backups.journal.conftest import DEBIAN, debian_server

SCHEMAS = Path(__file__).parent / "schemas"
# Scripts and the first major version that understands each. The embedded server has no ICU.
SCRIPTS = {"types_and_functions": 15, "tables": 15, "from_16": 16, "from_17": 17, "from_18": 18}

__all__ = ["debian_server"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_schema_of_everything_comes_back_as_pg_dump_sees_it(
    fleet: Fleet, tenant: Tenant, script: str
) -> None:
    run_script(fleet, tenant, script)
    assert_comes_back(fleet, tenant, programs())


@pytest.mark.slow
@pytest.mark.parametrize("script", [*SCRIPTS, "icu"])
def test_the_same_on_the_oldest_server_there_is(debian_server: str, script: str, tmp_path: Path) -> None:
    with psycopg.connect(debian_server) as connection:
        if connection.info.server_version // 10000 < SCRIPTS.get(script, 0):
            pytest.skip("that server is older")
    settings = Settings.load({"DATABASE_URL": debian_server, "TENANT_OPS_HOME": str(tmp_path)})
    fleet = Fleet.open(settings)
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    run_script(fleet, tenant, script)
    assert_comes_back(fleet, tenant, DEBIAN[0].parent)
    fleet.close()


def assert_comes_back(fleet: Fleet, tenant: Tenant, binaries: Path) -> None:
    backup = find_backup(fleet, execute_backup(fleet, plan_backup(fleet, tenant)).backup_id)
    report = execute_restore(fleet, plan_restore(fleet, backup, f"{tenant.slug}_copy"))
    copy = fleet.registry.get(f"{tenant.slug}_copy")
    there, here = dumped(fleet, copy, binaries), dumped(fleet, tenant, binaries)
    differing = [name for name in here | there if here.get(name) != there.get(name)]
    for name in differing:
        print(name, here.get(name), there.get(name), sep="\n    ")
    assert differing == []
    assert len(here) > 5
    assert report.skipped == ()
    assert read(fleet, copy).fingerprint == read(fleet, tenant).fingerprint


def run_script(fleet: Fleet, tenant: Tenant, name: str) -> None:
    """Run a script of the folder `schemas` as the tenant's owner."""
    script = (SCHEMAS / f"{name}.sql").read_text().replace("THE_SCHEMA", tenant.schema_name)
    for kind in ("owner", "admin", "editor", "viewer"):
        script = script.replace(f"THE_{kind.upper()}", tenant.role(kind))
    with fleet.session(tenant) as connection:
        connection.execute(script.encode())  # type: ignore[arg-type]


def read(fleet: Fleet, tenant: Tenant) -> SchemaDefinition:
    """Its definition."""
    with hold_snapshot(fleet, tenant) as snapshot:
        return snapshot.definition


def as_superuser(fleet: Fleet, tenant: Tenant, script: str) -> None:
    """Run SQL in the tenant's schema as somebody who may do everything."""
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(tenant.schema_name)))
        connection.execute(script.encode())  # type: ignore[arg-type]
