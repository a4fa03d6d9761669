"""Reviewed fixes: done only when named, by policy, with what refers to the rows, and undone byte for byte."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tenant_ops.loading import list_quarantine
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import Policies, execute_fixes, plan_fixes, plan_validation, undo_fixes
from tenant_ops.validation.rules import Duplicates, Strays
from tenant_ops_tests.validation.conftest import fill, fleet_of_its_own
from tenant_ops_tests.validation.fixing import contents, fixed, keys, planned, plant

UNIQUE = "data.users.unique.email"
ORPHANS = "data.tracks.artist_id.orphans"
OTHER = "00000000-0000-4000-8000-000000000001"
TWIN = [
    "ALTER TABLE users DROP CONSTRAINT users_email_key",
    f"""INSERT INTO users SELECT '{OTHER}', email, display_name, role, status, country, birth_year,
        preferences, created_at + interval '1 minute', NULL
        FROM users WHERE role <> 'admin' AND birth_year IS NOT NULL AND last_seen_at IS NOT NULL
        ORDER BY user_id LIMIT 1""",
    f"""UPDATE playlists SET owner_id = '{OTHER}'
        WHERE playlist_id = (SELECT min(playlist_id::text) FROM playlists)::uuid""",
]
STRAY = [
    "SET session_replication_role = replica",
    f"""INSERT INTO tracks SELECT '{OTHER}', gen_random_uuid(), 'Stray', NULL, duration_ms, explicit, price,
        released_on, features FROM tracks LIMIT 1""",
    "SET session_replication_role = origin",
]


@pytest.fixture
def loaded(postgres_url: str, tmp_path: Path) -> Iterator[tuple[Fleet, Tenant]]:
    """A loaded tenant of this test's own."""
    with fleet_of_its_own(postgres_url, tmp_path) as fleet:
        provision(fleet, "acme", tier_name="enterprise")
        tenant = fleet.registry.get("acme")
        fill(fleet, tenant, tmp_path / "rows")
        yield fleet, tenant


def owners(fleet: Fleet, tenant: Tenant) -> set[str]:
    with fleet.session(tenant) as connection:
        return {str(row[0]) for row in connection.execute("SELECT owner_id FROM playlists")}


def test_reviewed_fixes_wait_to_be_named(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *TWIN)
    before = contents(fleet, tenant)
    assert planned(fleet, tenant).steps == ()
    assert fixed(fleet, tenant).outcomes == ()
    (step,) = planned(fleet, tenant, UNIQUE, policies=Policies(duplicates="keep-last")).steps
    assert (step.trust, step.rows, step.touches, step.undoable) == ("reviewed", 1, (("playlists", 1),), True)
    assert step.sample == (f"user_id={OTHER} goes",)
    assert contents(fleet, tenant) == before


def test_a_step_nobody_asked_for_is_not_applied(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *TWIN)
    before = contents(fleet, tenant)
    smuggled = replace(planned(fleet, tenant, UNIQUE), asked=())
    plan = plan_validation(fleet, tenant, types=["data"])
    (outcome,) = execute_fixes(fleet, plan, smuggled).outcomes
    assert (outcome.done, outcome.reason) == (False, "It is applied only when its rule is named.")
    assert contents(fleet, tenant) == before


@pytest.mark.parametrize(
    ("policy", "stays"),
    [("keep-first", True), ("keep-last", False), ("keep-newest", True), ("keep-complete", False)],
)
def test_duplicates_go_by_policy_and_what_refers_to_them_follows(
    loaded: tuple[Fleet, Tenant], policy: Duplicates, stays: bool
) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *TWIN)
    before, found = contents(fleet, tenant), keys(fleet, tenant, "data")
    assert f"{UNIQUE}/users.email" in found
    report = fixed(fleet, tenant, UNIQUE, policies=Policies(duplicates=policy))
    assert [(one.done, one.reason, one.rows) for one in report.outcomes] == [(True, "", 1)]
    assert f"{UNIQUE}/users.email" not in keys(fleet, tenant, "data")
    with fleet.session(tenant) as connection:
        row = connection.execute("SELECT count(*) FROM users WHERE user_id = %s", (OTHER,)).fetchone()
    assert row == (1 if stays else 0,)
    assert (OTHER in owners(fleet, tenant)) == stays
    assert report.fix_id is not None
    assert undo_fixes(fleet, tenant, report.fix_id).changed_since == 0
    assert contents(fleet, tenant) == before


def test_duplicates_and_their_key_go_together_and_undoing_takes_the_key_away_first(
    loaded: tuple[Fleet, Tenant],
) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *TWIN)
    before = contents(fleet, tenant)
    report = fixed(fleet, tenant, "schema.unique", UNIQUE)
    assert [(one.rule, one.done, one.reason) for one in report.outcomes] == [
        (UNIQUE, True, ""),
        ("schema.unique", True, ""),
    ]
    assert keys(fleet, tenant, "schema", "data") == {}
    assert report.fix_id is not None
    undo_fixes(fleet, tenant, report.fix_id)
    assert contents(fleet, tenant) == before
    assert "schema.unique/users.users_email_key" in keys(fleet, tenant, "schema")


def test_undoing_is_refused_by_the_constraint_that_was_put_back_since(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *TWIN)
    report = fixed(fleet, tenant, UNIQUE)
    plant(fleet, tenant, "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email)")
    before = contents(fleet, tenant)
    assert report.fix_id is not None
    with pytest.raises(OperationFailed, match="the constraint users_email_key does not allow it"):
        undo_fixes(fleet, tenant, report.fix_id)
    assert contents(fleet, tenant) == before
    plant(fleet, tenant, "ALTER TABLE users DROP CONSTRAINT users_email_key")
    assert undo_fixes(fleet, tenant, report.fix_id).changed_since == 0


def test_a_row_twice_under_one_primary_key(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(
        fleet,
        tenant,
        "ALTER TABLE analytics_daily DROP CONSTRAINT analytics_daily_pkey",
        "INSERT INTO analytics_daily SELECT * FROM analytics_daily ORDER BY day, metric LIMIT 1",
    )
    before = contents(fleet, tenant)
    report = fixed(fleet, tenant, "data.analytics_daily.primary_key", "schema.primary_key")
    assert [one.reason for one in report.outcomes if not one.done] == []
    assert keys(fleet, tenant, "schema", "data") == {}
    assert report.fix_id is not None
    undo_fixes(fleet, tenant, report.fix_id)
    assert contents(fleet, tenant) == before


@pytest.mark.parametrize("policy", ["delete", "quarantine"])
def test_orphans_go_by_policy_and_come_back_when_the_foreign_key_lets_them(
    loaded: tuple[Fleet, Tenant], policy: Strays
) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *STRAY)
    before = contents(fleet, tenant)
    report = fixed(fleet, tenant, ORPHANS, policies=Policies(orphans=policy))
    assert [(one.done, one.reason, one.rows) for one in report.outcomes] == [(True, "", 1)]
    assert keys(fleet, tenant, "data") == {}
    assert quarantined(fleet, tenant) == (1 if policy == "quarantine" else 0)
    assert report.fix_id is not None
    with pytest.raises(OperationFailed, match="the constraint tracks_artist_id_fkey does not allow it"):
        undo_fixes(fleet, tenant, report.fix_id)
    plant(fleet, tenant, "ALTER TABLE tracks DROP CONSTRAINT tracks_artist_id_fkey")
    assert undo_fixes(fleet, tenant, report.fix_id).changed_since == 0
    assert contents(fleet, tenant) == before
    assert quarantined(fleet, tenant) == 0


def quarantined(fleet: Fleet, tenant: Tenant) -> int:
    listed = list_quarantine(fleet, tenant, dataset="tracks")
    assert not listed.entries or listed.entries[0].reason == "no row of artists has this artist_id"
    return listed.rows


def test_a_reference_that_may_not_be_empty_is_not_emptied(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(fleet, tenant, *STRAY)
    (step,) = planned(fleet, tenant, ORPHANS, policies=Policies(orphans="set-null")).steps
    assert step.refusal == "tracks.artist_id may not be empty."


def test_a_reference_that_leads_to_nothing_is_emptied(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(
        fleet,
        tenant,
        "SET session_replication_role = replica",
        f"UPDATE content SET track_id = '{OTHER}' "
        "WHERE content_id IN (SELECT content_id FROM content LIMIT 1)",
        "SET session_replication_role = origin",
    )
    before = contents(fleet, tenant)
    report = fixed(fleet, tenant, "data.content.track_id.orphans", policies=Policies(orphans="set-null"))
    assert [(one.done, one.reason) for one in report.outcomes] == [(True, "")]
    assert report.fix_id is not None
    with pytest.raises(OperationFailed, match="content_track_id_fkey"):
        undo_fixes(fleet, tenant, report.fix_id)
    plant(fleet, tenant, "ALTER TABLE content DROP CONSTRAINT content_track_id_fkey")
    assert undo_fixes(fleet, tenant, report.fix_id).restored == 1
    assert contents(fleet, tenant) == before


def test_orphans_others_refer_to_stay(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(
        fleet,
        tenant,
        *STRAY,
        f"UPDATE playlist_tracks SET track_id = '{OTHER}' WHERE position = 1",
    )
    (step,) = planned(fleet, tenant, ORPHANS, policies=Policies(orphans="delete")).steps
    assert step.refusal.endswith(" rows of playlist_tracks refer to them: see to those first.")
    (outcome,) = fixed(fleet, tenant, ORPHANS, policies=Policies(orphans="delete")).outcomes
    assert (outcome.done, outcome.reason) == (False, step.refusal)


STRUCTURE = {
    "a default": ("default", "ALTER TABLE tracks ALTER COLUMN explicit SET DEFAULT false"),
    "NOT NULL": ("nullability", "ALTER TABLE tracks ALTER COLUMN title DROP NOT NULL"),
    "a check": ("check", "ALTER TABLE users DROP CONSTRAINT users_role_check"),
    "a weaker check": (
        "check",
        "ALTER TABLE users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check "
        "CHECK (role IN ('admin', 'editor', 'viewer', 'root'))",
    ),
    "a foreign key": ("foreign_key", "ALTER TABLE tracks DROP CONSTRAINT tracks_artist_id_fkey"),
    "a unique key": ("unique", "ALTER TABLE users DROP CONSTRAINT users_email_key"),
    "an index": ("index", "DROP INDEX tracks_artist_id_idx"),
}


@pytest.mark.slow
def test_what_a_definition_has_is_put_back_and_taken_away_again(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    for kind, statement in STRUCTURE.values():
        plant(fleet, tenant, statement)
        broken = keys(fleet, tenant, "schema")
        (step,) = planned(fleet, tenant, f"schema.{kind}", types=["schema"]).steps
        assert step.ends_chain and step.undoable
        report = fixed(fleet, tenant, f"schema.{kind}", types=["schema"])
        assert [(one.done, one.reason) for one in report.outcomes] == [(True, "")]
        assert keys(fleet, tenant, "schema") == {}
        assert report.fix_id is not None
        undo_fixes(fleet, tenant, report.fix_id)
        assert keys(fleet, tenant, "schema") == broken
        fixed(fleet, tenant, f"schema.{kind}", types=["schema"])


def test_a_check_that_rows_break_is_not_put_back(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plant(
        fleet,
        tenant,
        "ALTER TABLE users DROP CONSTRAINT users_role_check",
        "UPDATE users SET role = 'owner' WHERE user_id = (SELECT user_id FROM users LIMIT 1)",
    )
    (outcome,) = fixed(fleet, tenant, "schema.check", types=["schema"]).outcomes
    assert (outcome.done, outcome.reason) == (False, "Postgres refused it (users_role_check).")


def test_rights_are_what_provisioning_gives_again(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    assert keys(fleet, tenant, "security") == {}
    plant(
        fleet,
        tenant,
        "GRANT SELECT ON users TO PUBLIC",
        "GRANT SELECT (email) ON users TO PUBLIC",
        "GRANT INSERT ON tracks TO $vwr WITH GRANT OPTION",
        "REVOKE ALL ON artists FROM $edt",
        "ALTER TABLE playlists OWNER TO CURRENT_USER",
        "ALTER ROLE $app BYPASSRLS CONNECTION LIMIT -1",
        "ALTER ROLE $adm LOGIN",
        "GRANT pg_monitor TO $app",  # not what reaches other tenants: their tests run on the same server
    )
    broken = set(keys(fleet, tenant, "security"))
    assert len({key.split("/")[0] for key in broken}) >= 5
    report = fixed(fleet, tenant, "security.foreign_grants", types=["security"])
    assert [one.reason for one in report.outcomes if not one.done] == []
    assert keys(fleet, tenant, "security") == {}
    assert report.fix_id is not None
    undo_fixes(fleet, tenant, report.fix_id)
    assert set(keys(fleet, tenant, "security")) == broken


def test_a_rule_without_a_fix_says_what_people_must_do(loaded: tuple[Fleet, Tenant]) -> None:
    fleet, tenant = loaded
    plan = plan_validation(fleet, tenant)
    with pytest.raises(InputError, match=r"the rule schema.extra_column has no fix: Put it into"):
        plan_fixes(fleet, plan, (), rules=["schema.extra_column"])
    with pytest.raises(InputError, match="there is no rule 'nothing'"):
        plan_fixes(fleet, plan, (), rules=["nothing"])
