"""Fixes while the application writes, and when the process dies: nothing lost, nothing half done."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    FixReport,
    execute_fixes,
    execute_validation,
    plan_fixes,
    plan_validation,
    undo_fixes,
)
from tenant_ops.validation.fixing import applying
from tenant_ops_tests.validation.fixing import contents, fixed, keys

TITLES = ["One ", "Two ", "Three "]


@pytest.fixture
def untidy(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with three titles that carry blanks."""
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO artists VALUES (gen_random_uuid(), 'Solo', 'jazz', 'DE', 1, now())")
        for title in TITLES:
            connection.execute(
                """
                INSERT INTO tracks (track_id, artist_id, title, duration_ms, explicit)
                SELECT gen_random_uuid(), artist_id, %s, 1000, false FROM artists
                """,
                (title,),
            )
    return tenant


def application(fleet: Fleet, tenant: Tenant) -> psycopg.Connection:
    """A second session, as the tenant's application has."""
    connection = psycopg.connect(fleet.control.url)
    connection.execute("SELECT set_config('search_path', %s, false)", (tenant.schema_name,))
    connection.commit()
    return connection


def titles(fleet: Fleet, tenant: Tenant) -> list[str]:
    with fleet.session(tenant) as connection:
        return sorted(row[0] for row in connection.execute("SELECT title FROM tracks"))


def test_what_the_application_writes_meanwhile_is_not_lost(fleet: Fleet, untidy: Tenant) -> None:
    plan = plan_validation(fleet, untidy, types=["data"])
    fixes = plan_fixes(fleet, plan, execute_validation(fleet, plan).findings)
    reports: list[FixReport] = []
    with application(fleet, untidy) as other:
        other.execute("UPDATE tracks SET title = 'Renamed ' WHERE title = 'One '")
        thread = threading.Thread(target=lambda: reports.append(execute_fixes(fleet, plan, fixes)))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()  # it waits for the row
        other.commit()
        thread.join()
    assert [(one.done, one.rows) for one in reports[0].outcomes] == [(True, 3)]
    assert titles(fleet, untidy) == ["Renamed", "Three", "Two"]
    assert reports[0].fix_id is not None
    undo_fixes(fleet, untidy, reports[0].fix_id)
    assert titles(fleet, untidy) == ["Renamed ", "Three ", "Two "]


def test_a_row_that_is_held_for_long_leaves_the_fix_undone(
    fleet: Fleet, untidy: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "LOCK_TIMEOUT_S", 0.2)
    with application(fleet, untidy) as other:
        other.execute("UPDATE tracks SET duration_ms = 2000 WHERE title = 'One '")
        (outcome,) = fixed(fleet, untidy, types=["data"]).outcomes
        other.rollback()
    assert not outcome.done
    assert outcome.reason.startswith("Somebody else held rows it needs")
    assert titles(fleet, untidy) == sorted(TITLES)


def test_undoing_keeps_what_was_written_to_other_columns(fleet: Fleet, untidy: Tenant) -> None:
    report = fixed(fleet, untidy, types=["data"])
    with fleet.session(untidy) as connection:
        connection.execute("UPDATE tracks SET duration_ms = 7000 WHERE title = 'One'")
        connection.execute("UPDATE tracks SET title = 'Mine' WHERE title = 'Two'")
    assert report.fix_id is not None
    undone = undo_fixes(fleet, untidy, report.fix_id)
    assert (undone.restored, undone.changed_since, len(undone.left)) == (2, 1, 1)
    assert undone.left[0].startswith("tracks: track_id=")
    assert titles(fleet, untidy) == ["Mine", "One ", "Three "]
    with fleet.session(untidy) as connection:
        row = connection.execute("SELECT duration_ms FROM tracks WHERE title = 'One '").fetchone()
    assert row == (7000,)


def test_a_tenant_cannot_undo_the_fix_of_another(fleet: Fleet, untidy: Tenant, new_tenant) -> None:
    other = new_tenant("bravo")
    before = contents(fleet, other)
    report = fixed(fleet, untidy, types=["data"])
    assert report.fix_id is not None
    with pytest.raises(Exception, match="there is no fix"):
        undo_fixes(fleet, other, report.fix_id)
    assert contents(fleet, other) == before
    assert titles(fleet, untidy) == ["One", "Three", "Two"]


def test_a_fix_that_is_killed_leaves_nothing_half_done(
    fleet: Fleet, untidy: Tenant, settings, tmp_path: Path
) -> None:
    before = contents(fleet, untidy)
    script = tmp_path / "fix.py"
    script.write_text(_SCRIPT)
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "TENANT_OPS_HOME": str(settings.home),
    }
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "rows are written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert contents(fleet, untidy) == before
    with fleet.session(untidy) as connection:
        row = connection.execute("SELECT to_regclass(%s)", (f"{untidy.stage_schema}.fix",)).fetchone()
    assert row == (None,)
    (outcome,) = fixed(fleet, untidy, types=["data"]).outcomes  # nobody holds a lock any more
    assert outcome.done
    assert keys(fleet, untidy, "data") == {}


# Stops inside the transaction, after the rows were written and before the rules are checked again.
_SCRIPT = """
import time
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops.validation.fixing.worsening import Judge

def stop(*_):
    print("rows are written", flush=True)
    time.sleep(60)

Judge.compare = stop
fleet = Fleet.open(Settings.load())
tenant = fleet.registry.get("acme")
execute_validation(fleet, plan_validation(fleet, tenant, types=["data"], auto_fix=True))
"""
