"""What is read to back up one tenant does not grow with the others, statistics or none."""

from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.backups.ddl import catalogs
from tenant_ops.backups.journal import inspection
from tenant_ops.tenants import Fleet, Tenant, provision


def pages(connection: psycopg.Connection, query: str, parameters: dict[str, Any]) -> int:
    """Pages of the catalogs the query looks at."""
    explained = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}").format(sql.SQL(query))  # type: ignore[arg-type]
    row = connection.execute(explained, parameters).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def pages_read(fleet: Fleet, tenant: Tenant) -> dict[str, int]:
    with fleet.session(tenant) as connection:
        members = connection.execute(
            "SELECT classid::regclass::text, objid FROM pg_depend "
            "WHERE refclassid = 'pg_namespace'::regclass AND refobjid = current_schema()::regnamespace"
        ).fetchall()
        journal = {
            "schema": tenant.schema_name,
            "stage": tenant.stage_schema,
            "journal": f"{tenant.stage_schema}.journal",
            "triggers": inspection.TRIGGER_PREFIX,
            "functions": inspection.FUNCTION_PREFIX,
        }
        of_objects = {"catalogs": [name for name, _ in members], "ids": [oid for _, oid in members]}
        return {
            "dependencies": pages(connection, catalogs.DEPENDENCIES, of_objects),
            "identity": pages(connection, inspection._IDENTITY, journal),
        }


def test_what_is_read_of_the_catalogs_does_not_grow_with_the_fleet(fleet: Fleet, tenant: Tenant) -> None:
    alone = pages_read(fleet, tenant)
    for number in range(20):
        provision(fleet, f"other_{number}")
    among_others = pages_read(fleet, tenant)
    # An index may get one level higher: a page more for each of some 250 searches.
    assert all(among_others[name] <= 2 * alone[name] for name in alone)
