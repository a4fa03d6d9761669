"""Running plans: a release is there whole or not at all, and the record of it with it."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tenant_ops.audit import history
from tenant_ops.datasets import MUSIC, Catalog, Column, Dataset, ForeignKey, OneOf
from tenant_ops.datasets.structure import expected_structure, fingerprint, live_structure
from tenant_ops.migrations import (
    MigrationFailed,
    MigrationReport,
    execute_migration,
    migration_history,
    plan_migration,
    status,
)
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant, provision, suspend
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops_tests.migrations.conftest import Write

# What the datasets would be once 1.1.0 ships: the baseline new tenants get.
NEXT = Catalog(
    MUSIC.name,
    "1.1.0",
    (
        *(
            replace(
                dataset,
                columns=(
                    *dataset.columns,
                    Column("mood", "text", nullable=True, rules=(OneOf(("bright", "calm")),)),
                ),
                indexes=(("mood",),),
            )
            if dataset.name == "tracks"
            else dataset
            for dataset in MUSIC.datasets
        ),
        Dataset(
            "venues",
            "Places where artists play.",
            (Column("venue_id", "uuid"), Column("artist_id", "uuid"), Column("name", "text")),
            ("venue_id",),
            foreign_keys=(ForeignKey(("artist_id",), "artists", ("artist_id",)),),
        ),
    ),
)


def go(fleet: Fleet, slug: str, folder: Path, to: str, **options: bool) -> MigrationReport:
    plan = plan_migration(fleet, fleet.registry.get(slug), to_version=to, folder=folder, **options)
    return execute_migration(fleet, plan, safety_copy=lambda _: "copy-1")


def shape(fleet: Fleet, tenant: Tenant) -> str:
    with fleet.session(tenant) as connection:
        return fingerprint(live_structure(connection, tenant.schema_name))


def fill(fleet: Fleet, tenant: Tenant, *, playlists: tuple[str, ...] = ()) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("""
            INSERT INTO artists VALUES (gen_random_uuid(), 'Solo', 'jazz', 'DE', 1, now());
            INSERT INTO tracks (track_id, artist_id, title, duration_ms, explicit)
            SELECT gen_random_uuid(), artist_id, 'Blue', 100000, false FROM artists;
            INSERT INTO users (user_id, email, display_name, role, status, created_at)
            VALUES (gen_random_uuid(), 'a@b.example', 'A', 'admin', 'active', now());
        """)
        for title in playlists:
            connection.execute(
                """
                INSERT INTO playlists SELECT gen_random_uuid(), user_id, %s, 'private', false, now(), now()
                FROM users
                """,
                (title,),
            )


def test_going_up_changes_tables_data_version_history_and_audit_together(
    fleet: Fleet, tenant: Tenant, releases: Path
) -> None:
    fill(fleet, tenant)
    before = shape(fleet, tenant)
    report = go(fleet, "acme", releases, "1.1.0")
    assert (report.executed, report.to_version, report.backup) == (True, "1.1.0", "copy-1")
    assert [step.name for step in report.steps] == ["010_track_mood", "020_venues"]
    assert fleet.registry.get("acme").version == "1.1.0"
    with fleet.session(tenant) as connection:
        assert connection.execute("SELECT mood FROM tracks").fetchall() == [("bright",)]
    (entry,) = migration_history(fleet, tenant)
    assert (entry.release, entry.direction, entry.outcome) == ("1.1.0", "up", "applied")
    assert (entry.fingerprint_before, entry.fingerprint_after) == (before, shape(fleet, tenant))
    with fleet.control.transaction() as connection:
        (event, *_) = history(connection, str(tenant.id))
    assert (event.action, event.detail["release"]) == ("tenant.migrate", "1.1.0")


def test_a_migrated_tenant_is_what_a_new_one_would_be(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    go(fleet, "acme", releases, "1.1.0")
    newer = replace(fleet, catalog=NEXT)
    provision(newer, "fresh")
    fresh = newer.registry.get("fresh")
    assert shape(fleet, tenant) == shape(newer, fresh)
    assert shape(fleet, tenant) == fingerprint(expected_structure(fleet.control, NEXT))
    migrated = newer.registry.get("acme")
    report = execute_validation(newer, plan_validation(newer, migrated, types=["schema", "security"]))
    assert report.findings == ()


def test_up_down_up_is_up(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    first = shape(fleet, tenant)
    go(fleet, "acme", releases, "2.0.0")
    second = shape(fleet, tenant)
    go(fleet, "acme", releases, "1.0.0")
    assert shape(fleet, tenant) == first
    assert fleet.registry.get("acme").version == "1.0.0"
    go(fleet, "acme", releases, "2.0.0")
    assert shape(fleet, tenant) == second


def test_nothing_to_do_takes_no_backup_and_leaves_no_trace(fleet: Fleet, tenant: Tenant) -> None:
    def never(_: Tenant) -> str:
        raise AssertionError("a backup was taken")

    report = execute_migration(fleet, plan_migration(fleet, tenant), safety_copy=never)
    assert (report.executed, report.message) == (
        False,
        "acme is at 1.0.0, the newest release; nothing to do.",
    )
    assert migration_history(fleet, tenant) == ()


def test_losing_data_needs_a_backup(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    go(fleet, "acme", releases, "2.0.0")
    plan = plan_migration(fleet, fleet.registry.get("acme"), to_version="1.2.0", folder=releases)
    with pytest.raises(InputError, match="no backup would be taken"):
        execute_migration(fleet, plan)
    assert execute_migration(fleet, plan, safety_copy=lambda _: "copy").to_version == "1.2.0"


def test_a_conflict_stops_the_release_and_names_no_data(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    fill(fleet, tenant, playlists=("Mine", "Mine", "Yours"))
    with pytest.raises(MigrationFailed) as caught:
        go(fleet, "acme", releases, "1.2.0")
    assert "1.2.0/010_one_title_per_owner: precheck.sql found 1 row in the way" in str(caught.value)
    assert fleet.registry.get("acme").version == "1.1.0"
    assert caught.value.report.to_version == "1.1.0"
    assert len(caught.value.report.steps) == 2
    last = migration_history(fleet, tenant)[-1]
    assert (last.release, last.outcome) == ("1.2.0", "failed")


def test_auto_resolve_applies_what_the_step_declares(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    fill(fleet, tenant, playlists=("Mine", "Mine", "Yours"))
    report = go(fleet, "acme", releases, "1.2.0", auto_resolve=True)
    assert [step.resolved for step in report.steps] == [False, False, True]
    with fleet.session(tenant) as connection:
        titles = connection.execute("SELECT title FROM playlists ORDER BY 1").fetchall()
    assert titles == [("Mine",), ("Mine (2)",), ("Yours",)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"up": "ALTER TABLE tracks ADD COLUMN a int;\n\nSELECT no_such"},
            r'up\.sql:3: column "no_such" does',
        ),
        (
            {"up": "ALTER TABLE tracks ADD CHECK (title = '')"},
            r'up\.sql: check constraint "tracks_title_check1" of relation "tracks" is violated by some row',
        ),
        ({"up": "SELECT title::integer FROM tracks"}, r"up\.sql: InvalidTextRepresentation\. "),
        ({"verify": "SELECT 1"}, r"verify\.sql found 1 row that should not be"),
        ({"up": "DO $$ BEGIN EXECUTE 'RESET' || ' ROLE'; END $$"}, r"up\.sql changed the role"),
        ({"up": "DO $$ BEGIN EXECUTE 'SET LOCAL' || ' search_path = x'; END $$"}, "or the search path"),
        ({"up": "DO $$ BEGIN EXECUTE 'CREATE ' || 'SCHEMA x'; END $$"}, "permission denied for database"),
        (
            {"up": "DO $$ BEGIN EXECUTE 'SELECT * FROM tenant_ops' || '.tenant'; END $$"},
            "permission denied for schema tenant_ops",
        ),
    ],
)
def test_a_failing_file_leaves_the_tenant_as_it_was(
    fleet: Fleet, tenant: Tenant, write_step: Write, files: dict[str, str], message: str
) -> None:
    fill(fleet, tenant)
    before = shape(fleet, tenant)
    with pytest.raises(MigrationFailed, match=message) as caught:
        go(fleet, "acme", write_step(**files), "1.1.0")
    assert "Blue" not in str(caught.value)
    assert (shape(fleet, tenant), fleet.registry.get("acme").version) == (before, "1.0.0")
    (entry,) = migration_history(fleet, tenant)
    assert (entry.outcome, entry.fingerprint_after) == ("failed", None)


def test_a_step_edited_after_it_was_applied_is_refused(
    fleet: Fleet, tenant: Tenant, own_releases: Path
) -> None:
    go(fleet, "acme", own_releases, "1.1.0")
    file = own_releases / "1.1.0/020_venues/up.sql"
    file.write_text(file.read_text() + "-- a harmless remark\n")
    with pytest.raises(InputError, match=r"1\.1\.0/020_venues was edited after it was applied"):
        plan_migration(fleet, fleet.registry.get("acme"), folder=own_releases)


def test_files_that_change_after_the_plan_are_refused(
    fleet: Fleet, tenant: Tenant, own_releases: Path
) -> None:
    plan = plan_migration(fleet, tenant, to_version="1.1.0", folder=own_releases)
    file = own_releases / "1.1.0/010_track_mood/up.sql"
    file.write_text(file.read_text() + "-- later\n")
    with pytest.raises(InputError, match="changed since the plan"):
        execute_migration(fleet, plan)
    assert migration_history(fleet, tenant) == ()


def test_a_plan_is_run_once(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    plan = plan_migration(fleet, tenant, to_version="1.1.0", folder=releases)
    execute_migration(fleet, plan)
    with pytest.raises(InputError, match=r"it is at 1\.1\.0, not at 1\.0\.0"):
        execute_migration(fleet, plan)


def test_a_suspended_tenant_is_left_alone(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    plan = plan_migration(fleet, tenant, to_version="1.1.0", folder=releases)
    suspend(fleet, "acme", reason="unpaid")
    with pytest.raises(InputError, match="the tenant is suspended"):
        execute_migration(fleet, plan)


@contextmanager
def reader(fleet: Fleet, tenant: Tenant):
    """Somebody who reads tracks and does not end the transaction."""
    with psycopg.connect(fleet.control.url) as connection:
        connection.execute(f"SELECT count(*) FROM {tenant.schema_name}.tracks")
        yield connection


def test_a_lock_that_stays_gives_up_without_a_trace_and_quickly(
    fleet: Fleet, tenant: Tenant, write_step: Write
) -> None:
    folder = write_step(about='from: "1.0.0"\nlock_timeout_ms: 30\n')
    with (
        reader(fleet, tenant),
        pytest.raises(MigrationFailed, match=r"lock timeout.*Run it again when") as caught,
    ):
        go(fleet, "acme", folder, "1.1.0")
    assert 0.5 < caught.value.report.seconds < 8
    assert fleet.registry.get("acme").version == "1.0.0"


def test_a_lock_that_goes_is_waited_for(fleet: Fleet, tenant: Tenant, write_step: Write) -> None:
    folder = write_step(about='from: "1.0.0"\nlock_timeout_ms: 30\n')
    with reader(fleet, tenant) as connection:
        threading.Timer(0.15, connection.rollback).start()
        report = go(fleet, "acme", folder, "1.1.0")
    assert report.to_version == "1.1.0"


def test_two_at_once_migrate_once(fleet: Fleet, tenant: Tenant, releases: Path) -> None:
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(go(fleet, "acme", releases, "1.1.0").executed)
        except InputError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 1
    assert len(migration_history(fleet, tenant)) == 1


def test_other_tenants_stay_where_they_are(
    fleet: Fleet, new_tenant: Callable[..., Tenant], releases: Path
) -> None:
    new_tenant("acme")
    other = new_tenant("other")
    before = shape(fleet, other)
    go(fleet, "acme", releases, "2.0.0")
    assert (shape(fleet, other), fleet.registry.get("other").version) == (before, "1.0.0")


def test_the_status_says_where_everybody_stands(
    fleet: Fleet, new_tenant: Callable[..., Tenant], write_step: Write, releases: Path
) -> None:
    for slug in ("ahead", "behind", "stuck"):
        new_tenant(slug)
    go(fleet, "ahead", releases, "1.2.0")
    with pytest.raises(MigrationFailed):
        go(fleet, "stuck", write_step(verify="SELECT 1"), "1.1.0")
    found = status(fleet, folder=releases)
    assert (found.newest, found.versions) == ("2.1.0", {"1.0.0": 2, "1.2.0": 1})
    ahead, behind, stuck = found.tenants
    assert (ahead.pending, ahead.last_failure, ahead.last_change is None) == (("2.0.0", "2.1.0"), None, False)
    assert (behind.pending, behind.last_change) == (("1.1.0", "1.2.0", "2.0.0", "2.1.0"), None)
    assert stuck.last_failure == "1.1.0/010_change: verify.sql found 1 row that should not be"


def test_a_killed_connection_leaves_the_tenant_as_it_was_and_running_again_finishes(
    fleet: Fleet, tenant: Tenant, releases: Path, write_step: Write
) -> None:
    before = shape(fleet, tenant)
    folder = write_step(up="ALTER TABLE tracks ADD COLUMN mood text;\nSELECT pg_sleep(20);")

    def kill() -> None:
        with psycopg.connect(fleet.control.url, autocommit=True) as connection:
            while True:
                killed = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event = 'PgSleep'"
                ).fetchall()
                if killed:
                    return
                time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(MigrationFailed, match="terminating connection"):
        go(fleet, "acme", folder, "1.1.0")
    killer.join()
    assert (shape(fleet, tenant), fleet.registry.get("acme").version) == (before, "1.0.0")
    assert go(fleet, "acme", releases, "1.1.0").to_version == "1.1.0"
