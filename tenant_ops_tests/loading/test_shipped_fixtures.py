"""What loading makes of the shipped fixtures: sound sets whole, of the faulty one exactly the sound rows."""

import json
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_ops.datasets import MUSIC
from tenant_ops.loading import execute_load, plan_load
from tenant_ops.platform.settings import fixtures_root
from tenant_ops.tenants import Fleet, Tenant

SHIPPED = fixtures_root() / MUSIC.version


def quarantined(connection: psycopg.Connection, tenant: Tenant) -> list[tuple[str, int, str | None]]:
    table = sql.Identifier(f"s_{tenant.key}", "quarantine")
    statement = sql.SQL("SELECT file, line, column_name FROM {} ORDER BY id").format(table)
    return [
        (Path(file).name, line, column) for file, line, column in connection.execute(statement).fetchall()
    ]


@pytest.mark.parametrize("name", ["starter", "enterprise"])
def test_a_sound_set_loads_whole(fleet: Fleet, tenant: Tenant, name: str):
    report = execute_load(fleet, plan_load(fleet, tenant, source=SHIPPED / name))
    assert report.quarantined == 0
    assert report.read == report.inserted > 0
    with fleet.session(tenant) as connection:
        assert quarantined(connection, tenant) == []


def test_of_the_faulty_set_exactly_the_listed_rows_are_quarantined(fleet: Fleet, tenant: Tenant):
    faults = json.loads((SHIPPED / "faulty" / "faults.json").read_text())["faults"]
    report = execute_load(fleet, plan_load(fleet, tenant, source=SHIPPED / "faulty"))
    with fleet.session(tenant) as connection:
        found = quarantined(connection, tenant)
    assert {(file, line) for file, line, _ in found} == {(fault["file"], fault["line"]) for fault in faults}
    assert len(found) == len(faults), "one reason for each"
    assert report.inserted == report.read - len(faults)
    columns = {(fault["file"], fault["line"]): fault["column"] for fault in faults}
    blamed = [(file, line, column) for file, line, column in found if column and "," not in column]
    assert all(columns[file, line] is None or column in columns[file, line] for file, line, column in blamed)
