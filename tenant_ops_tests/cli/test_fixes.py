"""`tenant-ops fixes` and `validate-data --dry-run --auto-fix`, as an operator uses them."""

from collections.abc import Callable

import pytest

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FAILED, Outcome

Run = Callable[..., Outcome]
ACME = ("--tenant-id", "acme")


@pytest.fixture
def untidy(fleet: Fleet, tenant: Tenant) -> Tenant:
    """A tenant with a label that carries blanks and two users of one address."""
    with fleet.session(tenant) as connection:
        connection.execute(
            "INSERT INTO artists VALUES (gen_random_uuid(), ' Ada Secret ', 'jazz', 'DE', 1, now())"
        )
        connection.execute("ALTER TABLE users DROP CONSTRAINT users_email_key")
        for role, age in (("admin", "1 hour"), ("viewer", "1 day")):
            connection.execute(
                """
                INSERT INTO users (user_id, email, display_name, role, status, created_at)
                VALUES (gen_random_uuid(), 'ada@songs.example', 'Ada', %s, 'active', now() - %s::interval)
                """,
                (role, age),
            )
    return tenant


def names(fleet: Fleet, tenant: Tenant) -> list[str]:
    with fleet.session(tenant) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM artists")]


def test_fixes_are_planned_applied_listed_and_undone(tenant_ops: Run, fleet: Fleet, untidy: Tenant) -> None:
    planned = tenant_ops("fixes", "plan", *ACME)
    assert planned.code == DONE, planned.err
    assert "Secret" not in planned.out + planned.err
    assert "data.artists.name.trimmed" in planned.out and "reviewed" in planned.out
    assert names(fleet, untidy) == [" Ada Secret "]
    dry = tenant_ops("fixes", "apply", *ACME, "--dry-run", "--json").json["plan"]["steps"]
    assert [(step["rule"], step["rows"]) for step in dry] == [("data.artists.name.trimmed", 1)]
    assert dry[0]["sample"][0].endswith(": _Aaa_Aaaaaa_ (12) -> Aaa_Aaaaaa (10)")
    applied = tenant_ops("fixes", "apply", *ACME, "--json")
    assert (applied.code, applied.json["outcomes"][0]["done"]) == (DONE, True), applied.err
    assert names(fleet, untidy) == ["Ada Secret"]
    listed = tenant_ops("fixes", "list", *ACME, "--json").json
    assert [(one["fix_id"], one["rows_kept"]) for one in listed] == [(applied.json["fix_id"], 1)]
    undone = tenant_ops("fixes", "undo", *ACME, applied.json["fix_id"], "--json").json
    assert (undone["restored"], undone["changed_since"]) == (1, 0)
    assert names(fleet, untidy) == [" Ada Secret "]
    assert tenant_ops("fixes", "undo", *ACME, applied.json["fix_id"]).code == BAD_INPUT


def test_a_reviewed_fix_is_applied_when_named(tenant_ops: Run, fleet: Fleet, untidy: Tenant) -> None:
    rule = "data.users.unique.email"
    applied = tenant_ops("fixes", "apply", *ACME, "--rules", rule, "--policy", "keep-newest", "--json")
    assert [(one["rule"], one["rows"], one["done"]) for one in applied.json["outcomes"]] == [(rule, 1, True)]
    with fleet.session(untidy) as connection:
        assert connection.execute("SELECT role FROM users").fetchall() == [("admin",)]
    assert tenant_ops("fixes", "apply", *ACME, "--policy", "keep-any").code == BAD_INPUT
    assert tenant_ops("fixes", "apply", *ACME, "--rules", "schema.extra_column").code == BAD_INPUT


def test_a_policy_that_would_leave_no_administrator_is_refused(
    tenant_ops: Run, fleet: Fleet, untidy: Tenant
) -> None:
    with fleet.session(untidy) as connection:
        connection.execute("UPDATE users SET created_at = now() - interval '2 days' WHERE role = 'admin'")
    refused = tenant_ops(
        *("fixes", "apply", *ACME, "--rules", "data.users.unique.email"), "--policy", "keep-newest", "--json"
    )
    assert refused.code == FAILED
    assert refused.json["outcomes"][0]["reason"].startswith("It would break business.")
    with fleet.session(untidy) as connection:
        assert len(connection.execute("SELECT role FROM users").fetchall()) == 2


def test_validating_with_a_dry_run_of_fixes_shows_them(tenant_ops: Run, fleet: Fleet, untidy: Tenant) -> None:
    shown = tenant_ops("validate-data", *ACME, "--auto-fix", "--dry-run", "--json")
    assert shown.code == DONE, shown.err
    assert [step["rule"] for step in shown.json["plans"][0]["fixes"]] == ["data.artists.name.trimmed"]
    assert names(fleet, untidy) == [" Ada Secret "]
