"""Safe fixes beyond texts, rules of other datasets, and backups: each with a tenant of its own."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tenant_ops.backups import execute_backup, execute_restore, find_backup, plan_backup, plan_restore
from tenant_ops.datasets import Catalog, Column, Dataset
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import (
    Rows,
    execute_fixes,
    find_fixes,
    list_fixes,
    plan_validation,
    rule,
    undo_fixes,
)
from tenant_ops.validation.fixing.changes import shape
from tenant_ops_tests.validation.fixing import contents, fixed

NOTES = Catalog(
    "notes",
    "1.0.0",
    (
        Dataset(
            name="notes",
            description="What somebody wrote.",
            columns=(
                Column("note_id", "integer"),
                Column("state", "text", default="'100% new'"),
                Column("weight", "double", nullable=True),
            ),
            key=("note_id",),
        ),
    ),
)


@rule(level="business", severity="error", dataset="playlists", needs=("artists",), remediation="None.")
def artists_keep_their_blanks() -> Rows:
    """Playlists need an artist with a blank."""
    return Rows(
        "SELECT playlist_id FROM playlists WHERE NOT EXISTS (SELECT FROM artists WHERE name LIKE ' %%')"
    )


def untidy_artist(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("INSERT INTO artists VALUES (gen_random_uuid(), ' Solo', 'jazz', 'DE', 1, now())")


def artist(fleet: Fleet, tenant: Tenant) -> str:
    with fleet.session(tenant) as connection:
        row = connection.execute("SELECT name FROM artists").fetchone()
    assert row is not None
    return row[0]


def test_what_is_empty_gets_the_default_of_its_definition(settings: Settings) -> None:
    fleet = Fleet.open(settings, catalog=NOTES)
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    with fleet.session(tenant) as connection:
        connection.execute("ALTER TABLE notes ALTER COLUMN state DROP NOT NULL")
        connection.execute("INSERT INTO notes VALUES (1, NULL, 0.1::float8 + 0.2::float8), (2, 'old', 'NaN')")
    before = contents(fleet, tenant)
    filled, put_back = fixed(fleet, tenant, "data.notes.state.filled", "schema.nullability").outcomes
    assert (filled.done, filled.rows, put_back.done) == (True, 1, True)
    with fleet.session(tenant) as connection:
        rows = connection.execute("SELECT state FROM notes ORDER BY note_id").fetchall()
    assert rows == [("100% new",), ("old",)]
    fix_id = list_fixes(fleet, tenant)[0].fix_id
    assert undo_fixes(fleet, tenant, fix_id).restored == 1
    assert contents(fleet, tenant) == before
    fleet.close()


def test_a_sequence_moves_past_its_column(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE tickets (number serial PRIMARY KEY, what text)")
        connection.execute("INSERT INTO tickets VALUES (41, 'loaded'), (1, 'first')")
    plan = plan_validation(fleet, tenant, types=["performance"])
    fixes = find_fixes(fleet, plan)
    assert [(step.rule, step.undoable) for step in fixes.steps] == [("performance.sequence_behind", False)]
    report = execute_fixes(fleet, plan, fixes)
    assert (report.outcomes[0].done, report.fix_id) == (True, None)
    with fleet.session(tenant) as connection:
        row = connection.execute("INSERT INTO tickets (what) VALUES ('next') RETURNING number").fetchone()
    assert row == (42,)
    assert find_fixes(fleet, plan).steps == ()


def test_a_fix_that_breaks_a_rule_of_another_dataset_is_rolled_back(fleet: Fleet, tenant: Tenant) -> None:
    untidy_artist(fleet, tenant)
    with fleet.session(tenant) as connection:
        connection.execute(
            """
            INSERT INTO users (user_id, email, display_name, role, status, created_at)
            VALUES (gen_random_uuid(), 'a@b.example', 'Ada', 'admin', 'active', now());
            INSERT INTO playlists SELECT gen_random_uuid(), user_id, 'Mine', 'private', false, now(), now()
            FROM users
            """
        )
    plan = plan_validation(fleet, tenant, types=["data"])
    plan = replace(plan, rules=(*plan.rules, artists_keep_their_blanks))
    (outcome,) = execute_fixes(fleet, plan, find_fixes(fleet, plan)).outcomes
    assert outcome.reason == "It would break business.artists_keep_their_blanks/playlists."
    assert artist(fleet, tenant) == " Solo"


def test_incremental_backups_go_on_after_a_fix_and_its_undoing(fleet: Fleet, tenant: Tenant) -> None:
    untidy_artist(fleet, tenant)
    base = execute_backup(fleet, plan_backup(fleet, tenant, backup_type="incremental"))
    assert base.type == "full"  # the first of a chain
    report = fixed(fleet, tenant, types=["data"])
    mended = execute_backup(fleet, plan_backup(fleet, tenant, backup_type="incremental"))
    assert report.fix_id is not None
    undo_fixes(fleet, tenant, report.fix_id)
    undone = execute_backup(fleet, plan_backup(fleet, tenant, backup_type="incremental"))
    assert (mended.type, undone.type) == ("incremental", "incremental")
    for backup, name in ((mended, "Solo"), (undone, " Solo")):
        target = f"copy_{backup.backup_id[-8:].lower()}"
        execute_restore(fleet, plan_restore(fleet, find_backup(fleet, backup.backup_id), target))
        assert artist(fleet, fleet.registry.get(target)) == name


def test_what_was_kept_is_let_go_after_a_month(fleet: Fleet, tenant: Tenant) -> None:
    untidy_artist(fleet, tenant)
    first = fixed(fleet, tenant, types=["data"])
    later = replace(fleet, clock=lambda: fleet.clock() + timedelta(days=31))
    with fleet.session(tenant) as connection:
        connection.execute("UPDATE artists SET name = 'Duo '")
    second = fixed(later, tenant, types=["data"])
    assert [one.fix_id for one in list_fixes(fleet, tenant)] == [second.fix_id]
    assert first.fix_id is not None
    with pytest.raises(Exception, match="there is no fix"):
        undo_fixes(fleet, tenant, first.fix_id)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        (" Ada L.\t", "_Aaa_A.\\t (8)"),
        ("日本\u200b", "xx<200B> (3)"),
        ("Cafe\u0301 42", "Aaaa<0301>_99 (8)"),
        ("x" * 50, f"{'a' * 40}... (50)"),
        (None, "nothing"),
    ],
)
def test_a_sample_shows_the_shape_of_a_text_and_none_of_it(text: str | None, drawn: str) -> None:
    assert shape(text) == drawn
