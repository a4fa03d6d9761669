"""Constraints the server enforces are believed as long as they are sound, and only then."""

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import execute_validation, plan_validation
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops_tests.validation.conftest import examined

Sound = tuple[Fleet, Tenant]
EMAIL = "data.users.unique.email"

# A row that got past a check of which the catalog says that every row was held to it.
FORGED = (
    "ALTER TABLE users DROP CONSTRAINT users_role_check",
    "UPDATE users SET role = 'owner' WHERE role = 'viewer'",
    "ALTER TABLE users ADD CONSTRAINT users_role_check "
    "CHECK (role IN ('admin', 'editor', 'viewer')) NOT VALID",
    "UPDATE pg_constraint SET convalidated = true WHERE conrelid = 'users'::regclass "
    "AND conname = 'users_role_check'",
)


def test_rows_a_sound_constraint_vouches_for_are_read_only_when_asked(sound: Sound) -> None:
    assert examined(*sound, *FORGED).findings == []
    doubted = examined(*sound, *FORGED, trust_constraints=False)
    assert [finding.rule for finding in doubted.findings] == ["data.users.role.set"]


def test_doubt_finds_nothing_in_a_sound_tenant_and_vouches_for_nothing(sound: Sound) -> None:
    trusting, doubting = examined(*sound), examined(*sound, trust_constraints=False)
    assert doubting.findings == trusting.findings == []
    assert doubting.vouched == [] and EMAIL in trusting.vouched
    assert trusting.rows == doubting.rows


def test_foreign_keys_are_never_believed(sound: Sound) -> None:
    assert not [rule for rule in examined(*sound).vouched if "orphans" in rule]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE users DROP CONSTRAINT users_email_key",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_email_key'::regclass",
        "UPDATE pg_database SET datcollversion = 'of old' WHERE datname = current_database()",
        "ALTER TABLE users DROP CONSTRAINT users_email_key; "
        "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email, user_id)",
        "ALTER TABLE users DROP CONSTRAINT users_email_key; "
        "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email) DEFERRABLE",
    ],
    ids=["gone", "index not valid", "sorted by another collation", "on more columns", "checked late"],
)
def test_a_unique_key_that_is_not_sound_is_not_believed(sound: Sound, statement: str) -> None:
    found = examined(*sound, *statement.split("; "))
    assert EMAIL not in found.vouched
    assert EMAIL not in {one.rule for one in found.unchecked}


def test_not_null_is_believed_until_it_is_dropped(sound: Sound) -> None:
    rule = "data.users.display_name.filled"
    assert rule in examined(*sound).vouched
    assert rule not in examined(*sound, "ALTER TABLE users ALTER display_name DROP NOT NULL").vouched


def test_not_null_nobody_checked_is_not_believed(sound: Sound) -> None:
    fleet, tenant = sound
    with fleet.session(tenant) as connection:
        if connection.info.server_version < 180000:
            pytest.skip("before Postgres 18 NOT NULL is always checked")
    found = examined(
        *sound,
        "ALTER TABLE users ALTER display_name DROP NOT NULL",
        "UPDATE users SET display_name = NULL WHERE role = 'admin'",
        "ALTER TABLE users ADD CONSTRAINT users_display_name_not_null NOT NULL display_name NOT VALID",
    )
    assert "data.users.display_name.filled" in {one.rule for one in found.findings}


def test_a_constraint_says_nothing_of_an_empty_table(sound: Sound) -> None:
    found = examined(*sound, "DELETE FROM users")
    assert EMAIL not in found.vouched
    assert EMAIL in {one.rule for one in found.unchecked}


def test_the_report_counts_what_the_server_vouches_for(sound: Sound) -> None:
    trusting = execute_validation(sound[0], plan_validation(*sound, types=["data"]))
    doubting = execute_validation(sound[0], plan_validation(*sound, types=["data"], trust_constraints=False))
    (level,), (read,) = trusting.levels, doubting.levels
    assert 0 < level.vouched < level.checked == level.rules - len(HISTORY_RULES)
    assert read.vouched == 0 and read.score == level.score == 100
    assert sum(one.vouched for one in trusting.datasets) == level.vouched
