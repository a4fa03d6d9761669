"""Fixes: planned, applied whole or not at all, never for the worse, and undone byte for byte."""

import psycopg
import pytest
from psycopg import sql

from tenant_ops.audit import history
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import (
    FixReport,
    ValidationPlan,
    ValidationReport,
    execute_fixes,
    execute_validation,
    plan_fixes,
    plan_validation,
    undo_fixes,
)

TITLES = [" Blue", "Red\t", "  Grün \r\n", "Plain", "In the middle"]


@pytest.fixture
def untidy(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with three titles that carry blanks, and two that do not."""
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


def titles(fleet: Fleet, tenant: Tenant) -> set[str]:
    with fleet.session(tenant) as connection:
        return {row[0] for row in connection.execute("SELECT title FROM tracks")}


def examine(fleet: Fleet, tenant: Tenant) -> tuple[ValidationPlan, ValidationReport]:
    plan = plan_validation(fleet, tenant, types=["schema", "data", "performance"])
    return plan, execute_validation(fleet, plan)


def fix(fleet: Fleet, tenant: Tenant) -> FixReport:
    plan, report = examine(fleet, tenant)
    return execute_fixes(fleet, plan, plan_fixes(fleet, plan, report.findings))


def test_the_plan_says_what_would_change_and_changes_nothing(fleet: Fleet, untidy: Tenant) -> None:
    plan, report = examine(fleet, untidy)
    (step,) = plan_fixes(fleet, plan, report.findings).steps
    assert (step.rule, step.dataset, step.rows, step.undoable) == (
        "data.tracks.title.trimmed",
        "tracks",
        3,
        True,
    )
    assert len(step.sample) == 3 and step.sample[0].startswith("track_id=")
    assert titles(fleet, untidy) == set(TITLES)


def test_auto_fix_mends_and_reports_what_is_left(fleet: Fleet, untidy: Tenant) -> None:
    plan = plan_validation(fleet, untidy, types=["data"], auto_fix=True)
    report = execute_validation(fleet, plan)
    assert report.findings == ()
    assert report.fixes is not None
    assert [(one.rule, one.rows, one.done) for one in report.fixes.outcomes] == [
        ("data.tracks.title.trimmed", 3, True)
    ]
    assert titles(fleet, untidy) == {title.strip() for title in TITLES}
    with fleet.control.transaction() as connection:
        (event, *_) = history(connection, str(untidy.id))
    assert (event.action, event.detail["fix_id"]) == ("tenant.fix", report.fixes.fix_id)


def test_a_fix_is_undone_byte_for_byte_and_once(fleet: Fleet, untidy: Tenant) -> None:
    fix_id = fix(fleet, untidy).fix_id
    assert fix_id is not None
    undone = undo_fixes(fleet, untidy, fix_id)
    assert (undone.restored, undone.changed_since) == (3, 0)
    assert titles(fleet, untidy) == set(TITLES)
    with pytest.raises(InputError, match="undone already"):
        undo_fixes(fleet, untidy, fix_id)


def test_undoing_leaves_alone_what_was_changed_since(fleet: Fleet, untidy: Tenant) -> None:
    fix_id = fix(fleet, untidy).fix_id
    assert fix_id is not None
    with fleet.session(untidy) as connection:
        connection.execute("UPDATE tracks SET title = 'Renamed' WHERE title = 'Blue'")
        connection.execute("DELETE FROM tracks WHERE title = 'Red'")
    undone = undo_fixes(fleet, untidy, fix_id)
    assert (undone.restored, undone.changed_since) == (1, 2)
    assert titles(fleet, untidy) == {"Renamed", "  Grün \r\n", "Plain", "In the middle"}


@pytest.mark.parametrize(
    "fix_id", ["0c1b6a3e-0000-4000-8000-000000000001", "not an id", "'; DROP TABLE tracks --"]
)
def test_undoing_an_unknown_fix_is_refused(fleet: Fleet, untidy: Tenant, fix_id: str) -> None:
    with pytest.raises(InputError, match="there is no fix"):
        undo_fixes(fleet, untidy, fix_id)


def test_rows_that_changed_since_the_plan_roll_the_step_back(fleet: Fleet, untidy: Tenant) -> None:
    plan, report = examine(fleet, untidy)
    fixes = plan_fixes(fleet, plan, report.findings)
    with fleet.session(untidy) as connection:
        connection.execute("UPDATE tracks SET title = 'Plain ' WHERE title = 'Plain'")
    (outcome,) = execute_fixes(fleet, plan, fixes).outcomes
    assert (outcome.done, outcome.reason) == (False, "4 rows instead of 3 would change: plan again.")
    assert " Blue" in titles(fleet, untidy)


def two_labels(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        for label in ("main", "main "):
            connection.execute(
                """
                INSERT INTO integrations (integration_id, kind, label, status, created_at)
                VALUES (gen_random_uuid(), 'webhook', %s, 'enabled', now())
                """,
                (label,),
            )


def test_a_fix_postgres_refuses_leaves_the_others_done(fleet: Fleet, untidy: Tenant) -> None:
    two_labels(fleet, untidy)
    refused, done = fix(fleet, untidy).outcomes
    assert (refused.rule, refused.done) == ("data.integrations.label.trimmed", False)
    assert refused.reason == "Postgres refused it (integrations_kind_label_key)."
    assert (done.rule, done.done) == ("data.tracks.title.trimmed", True)


def test_a_fix_that_breaks_another_rule_is_rolled_back(fleet: Fleet, tenant: Tenant) -> None:
    two_labels(fleet, tenant)
    with fleet.session(tenant) as connection:
        connection.execute("ALTER TABLE integrations DROP CONSTRAINT integrations_kind_label_key")
    (outcome,) = fix(fleet, tenant).outcomes
    assert not outcome.done
    assert outcome.reason.startswith("It would break data.integrations.unique.kind_label")
    with fleet.session(tenant) as connection:
        rows = connection.execute("SELECT label FROM integrations ORDER BY 1").fetchall()
    assert rows == [("main",), ("main ",)]


def test_the_login_cannot_see_rows_as_they_were(fleet: Fleet, untidy: Tenant) -> None:
    fix(fleet, untidy)
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        fleet.session(untidy, "editor") as connection,
    ):
        connection.execute(
            sql.SQL("SELECT * FROM {}").format(sql.Identifier(untidy.stage_schema, "fix_image"))
        )


def test_stale_statistics_and_dead_rows_are_found_and_statistics_are_taken(
    fleet: Fleet, tenant: Tenant
) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("ALTER TABLE artists SET (autovacuum_enabled = false)")
        connection.execute(
            """
            INSERT INTO artists (artist_id, name, followers, created_at)
            SELECT gen_random_uuid(), 'Artist ' || n, n, now() FROM generate_series(1, 3000) n
            """
        )
        connection.execute("DELETE FROM artists WHERE followers > 1000")
        connection.execute("SELECT pg_stat_force_next_flush()")
    _, report = examine(fleet, tenant)
    found = {finding.key: finding.message for finding in report.findings}
    assert found == {
        "performance.autovacuum_off/artists": (
            "Autovacuum is switched off for artists: nobody frees its rows or keeps its statistics."
        ),
        "performance.dead_rows/artists": "artists holds 2,000 dead rows beside 1,000 live ones.",
        "performance.stale_statistics/artists": (
            "5,000 rows of artists changed since its statistics were taken."
        ),
    }
    (outcome,) = fix(fleet, tenant).outcomes
    assert (outcome.rule, outcome.done) == ("performance.stale_statistics", True)
    with fleet.session(tenant) as connection:
        row = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'artists'").fetchone()
    assert row == (1000,)
