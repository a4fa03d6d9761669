"""The command line: what it prints, what it refuses, and the exit code that says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.cli.commands import app
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FAILED, FINDINGS, Outcome


def names(group: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command there is, `backup restore` as two words."""
    found = [(*prefix, command.name) for command in group.registered_commands if command.name]
    for inner in group.registered_groups:
        own = isinstance(inner.name, str)  # one without a name adds its commands to the group it is in
        path = (*prefix, inner.name) if own else prefix
        found += [*([path] if own else []), *names(inner.typer_instance, path)]
    return found


@pytest.mark.parametrize("command", names(app), ids=" ".join)
def test_every_command_explains_itself(tenant_ops: Callable[..., Outcome], command: tuple[str, ...]) -> None:
    outcome = tenant_ops(*command, "--help")
    assert outcome.code == DONE
    assert "Usage: tenant-ops " + " ".join(command) in outcome.out


def test_a_new_tenant_with_data_is_told_in_a_few_lines(tenant_ops: Callable[..., Outcome]) -> None:
    made = tenant_ops("init-tenant", "--tenant-id", "acme", "--initialize-data")
    assert made.code == DONE, made.err
    assert "inserted" in made.out
    assert len(made.out.splitlines()) < 20


def test_a_tenants_whole_flow_from_the_command_line(tenant_ops: Callable[..., Outcome], fleet: Fleet) -> None:
    made = tenant_ops("init-tenant", "--tenant-id", "acme", "--tier", "enterprise", "--json")
    assert (made.code, made.json["reports"][0]["body"]["created"]) == (DONE, True)

    loaded = tenant_ops("load-fixtures", "--tenant-id", "acme")
    assert loaded.code == DONE, loaded.err
    assert "inserted" in loaded.out

    checked = tenant_ops("validate-data", "--tenant-id", "acme", "--json")
    assert checked.code == DONE, checked.out
    assert checked.json["reports"][0]["body"]["score"] == 100

    saved = tenant_ops("backup", "--tenant-id", "acme", "--json")
    assert saved.code == DONE, saved.err
    backup = saved.json["reports"][0]["body"]
    assert backup["encrypted"]

    restored = tenant_ops("backup", "restore", "--tenant-id", "acme_copy", "--backup-id", backup["backup_id"])
    assert restored.code == DONE, restored.err
    compared = tenant_ops("backup", "compare", "acme", "acme_copy", "--json")
    assert (compared.code, compared.json["equal"]) == (DONE, True)

    with fleet.session(fleet.registry.get("acme_copy")) as connection:
        connection.execute("DELETE FROM ai_messages WHERE ordinal = 1")
    assert tenant_ops("backup", "compare", "acme", "acme_copy").code == FINDINGS
    over = tenant_ops("backup", "restore", "--tenant-id", "acme_copy", "--backup-id", backup["backup_id"])
    assert over.code == DONE, over.err
    assert tenant_ops("backup", "compare", "acme", "acme_copy").code == DONE
    assert tenant_ops("backup", "undo", "--tenant-id", "acme_copy").code == DONE
    assert tenant_ops("backup", "compare", "acme", "acme_copy").code == FINDINGS
    assert tenant_ops("backup", "verify", backup["backup_id"]).code == DONE
    assert backup["backup_id"] in tenant_ops("backup", "list", "--json").out
    assert tenant_ops("backup", "pin", backup["backup_id"]).code == DONE
    kept = tenant_ops("backup", "retention", "--tenant-id", "acme", "--json").json["decisions"]
    assert [decision["keep"] for decision in kept] == [True] * len(kept)
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup")
    assert tenant_ops("backup", "rebuild").code == DONE
    assert backup["backup_id"] in tenant_ops("backup", "list", "--json").out
    assert tenant_ops("report", "--tenant-id", "acme").code == DONE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["load-fixtures", "--tenant-id", "acmee"], "Did you mean acme?"),
        (["load-fixtures", "--tenant-id", "nobody"], "init-tenant --tenant-id nobody"),
        (["load-fixtures", "--tenant-id", ""], "names no tenant"),
        (["load-fixtures", "--tenant-id", "acme", "--data-types", "userz"], "no dataset 'userz'"),
        (["load-fixtures", "--tenant-id", "acme", "--source-path", "/no/such/folder"], "/no/such/folder"),
        (["load-fixtures", "--tenant-id", "acme", "--conflict", "maybe"], "maybe"),
        (["load-fixtures", "--tenant-id", "acme", "--batch-size", "0"], "--batch-size"),
        (["load-fixtures", "--tenant-id", "acme", "--max-bad-rows", "-1"], "--max-bad-rows"),
        (["init-tenant", "--tenant-id", "Bad Name"], "cannot name a tenant"),
        (["init-tenant", "--tenant-id", "fine", "--tier", "gold"], "no tier 'gold'"),
        (["init-tenant", "--tenant-id", "fine", "--admin-email", "me"], "e-mail"),
        (["validate-data", "--tenant-id", "acme", "--validation-types", "mood"], "mood"),
        (["cleanup", "--tenant-id", "acme", "--cleanup-types", "everything"], "everything"),
        (["cleanup", "--tenant-id", "acme", "--retention-days", "-1"], "--retention-days"),
        (["backup", "--tenant-id", "acme", "--compression", "rar"], "rar"),
        (["backup", "--tenant-id", "acme", "--backup-type", "sideways"], "sideways"),
        (["backup"], "--tenant-id"),
        (["backup", "restore", "--tenant-id", "acme", "--backup-id", "nothing"], "nothing"),
        (["backup", "restore", "--tenant-id", "acme", "--backup-path", "/no/such"], "/no/such"),
        (["backup", "restore", "--tenant-id", "acme"], "no backup"),
        (["migrate", "--tenant-id", "acme", "--to-version", "9.9.9"], "9.9.9"),
        (["migrate", "--tenant-id", "acme", "--to-version", "newest"], "newest"),
        (["monitor", "--mode", "sometimes"], "sometimes"),
        (["monitor", "--output-format", "song"], "song"),
        (["backup", "undo", "--tenant-id", "acme"], "no restore"),
        (["cleanup", "--tenant-id", "acme", "--undo", "nothing"], "nothing"),
        (["validate-data", "--tenant-id", "acme", "--undo", "nothing"], "nothing"),
        (["tenant", "suspend", "--tenant-id", "nobody", "--reason", "x"], "nobody"),
        (["tenant", "change-tier", "--tenant-id", "acme", "--tier", "gold"], "gold"),
        (["tenant", "offboard", "--tenant-id", "nobody"], "nobody"),
        (["demo", "--scenario", "surprise"], "surprise"),
        (["fixtures", "generate", "--rows", "0"], "--rows"),
        (["no-such-command"], "no-such-command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_a_sentence_and_exit_code_2(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, arguments: list[str], said: str
) -> None:
    outcome = tenant_ops(*arguments)
    assert outcome.code == BAD_INPUT, outcome.out + outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["init-tenant", "--tenant-id", "new_one"],
        ["load-fixtures", "--tenant-id", "acme"],
        ["validate-data", "--tenant-id", "acme"],
        ["cleanup", "--tenant-id", "acme"],
        ["backup", "--tenant-id", "acme"],
        ["migrate", "--tenant-id", "acme"],
    ],
    ids=" ".join,
)
def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, fleet: Fleet, arguments: list[str]
) -> None:
    def state() -> tuple[Any, ...]:
        with fleet.control.transaction() as connection:
            return (
                connection.execute("SELECT slug, state, updated_at FROM tenant_ops.tenant").fetchall(),
                connection.execute("SELECT count(*) FROM tenant_ops.report").fetchone(),
                connection.execute("SELECT count(*) FROM tenant_ops.backup").fetchone(),
                connection.execute("SELECT count(*) FROM tenant_ops.audit_event").fetchone(),
            )

    before = state()
    outcome = tenant_ops(*arguments, "--dry-run", "--json")
    assert outcome.code == DONE, outcome.err
    assert outcome.json["dry_run"] is True
    assert len(outcome.json["plans"]) == 1
    assert tenant_ops(*arguments, "--dry-run").code == DONE
    assert state() == before


def test_findings_have_an_exit_code_of_their_own(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "artists.csv").write_text(
        "artist_id,name,genre,country,followers,created_at\nnot-a-uuid,Bob,,SE,1,2026-01-01T00:00:00Z\n"
    )
    arguments = [
        "load-fixtures",
        "--tenant-id",
        "acme",
        "--data-types",
        "artists",
        "--source-path",
        str(tmp_path),
    ]
    outcome = tenant_ops(*arguments)
    assert outcome.code == FINDINGS, outcome.err
    refused = tenant_ops(*arguments, "--max-bad-rows", "0", "--force")
    assert refused.code == FAILED
    assert "--tenant-id acme" in refused.err, "the command that retries is said"


def test_a_validation_report_is_written_for_people(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "my reports"
    tenant_ops("validate-data", "--tenant-id", "acme", "--generate-report", "--output-path", str(folder))
    page = (folder / "validation-acme.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "acme" in page


def test_offboarding_needs_to_be_meant(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, fleet: Fleet
) -> None:
    planned = tenant_ops("tenant", "offboard", "--tenant-id", "acme", "--json")
    assert planned.json["plans"][0]["tenant"] == "acme"
    assert fleet.registry.find(["acme"])
    assert tenant_ops("tenant", "offboard", "--tenant-id", "acme", "--execute").code == DONE
    assert not fleet.registry.find(["acme"])


def test_a_tenant_is_suspended_resumed_and_moved(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, fleet: Fleet
) -> None:
    assert tenant_ops("tenant", "suspend", "--tenant-id", "acme", "--reason", "unpaid").code == DONE
    assert "unpaid" in tenant_ops("tenant", "list").out
    assert tenant_ops("tenant", "resume", "--tenant-id", "acme").code == DONE
    assert tenant_ops("tenant", "change-tier", "--tenant-id", "acme", "--tier", "enterprise").code == DONE
    assert fleet.registry.get("acme").tier_name == "enterprise"


def test_a_broken_audit_chain_is_said(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, fleet: Fleet
) -> None:
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.audit_event SET actor = 'nobody'")
    outcome = tenant_ops("report", "--tenant-id", "acme")
    assert outcome.code == FINDINGS
    assert "BROKEN" in outcome.out


def test_fixtures_are_generated_equal_for_equal_seeds(
    tenant_ops: Callable[..., Outcome], tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        arguments = ["--rows", "50", "--seed", "7", "--output-path", str(tmp_path / folder)]
        assert tenant_ops("fixtures", "generate", *arguments).code == DONE
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert first
    assert first == second


def test_an_unreachable_database_is_a_sentence(
    tenant_ops: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    outcome = tenant_ops("tenant", "list")
    assert outcome.code == FAILED
    assert "DATABASE_URL" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_file_that_cannot_be_used_is_bad_input_with_a_command_to_repeat_it_mended(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, tmp_path: Path
) -> None:
    source = tmp_path / "my files" / "users.csv"
    source.parent.mkdir()
    source.write_text("user_id,nick\n1,2\n")
    load = ["load-fixtures", "--data-types", "users", "--source-path", str(source), "--max-bad-pct", "2"]
    outcome = tenant_ops(*load, "--tenant-id", "acme", "--force")
    assert outcome.code == BAD_INPUT
    assert "users.csv, line 1, column 2: users has no column 'nick'." in outcome.err
    again = f"  tenant-ops load-fixtures --data-types users --source-path '{source}'"
    assert again in outcome.err
    assert "--max-bad-pct 2.0 --force --tenant-id acme" in outcome.err


def test_the_plan_of_a_load_names_each_file_and_what_becomes_of_it(
    tenant_ops: Callable[..., Outcome], tenant: Tenant
) -> None:
    tenant_ops("load-fixtures", "--tenant-id", "acme", "--data-types", "users")
    planned = tenant_ops("load-fixtures", "--tenant-id", "acme", "--data-types", "users,artists", "--dry-run")
    assert planned.code == DONE
    (users,) = (line for line in planned.out.splitlines() if "users.csv" in line)
    (artists,) = (line for line in planned.out.splitlines() if "artists.csv" in line)
    assert "loaded before" in users
    assert "to load" in artists


def test_a_column_nobody_knows_is_told_with_the_migration_proposed_for_it(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "artists.csv").write_text(
        "artist_id,name,country,followers,created_at,mood\n"
        "00000000-0000-0000-0000-000000000001,Ada,SE,1,2026-01-01,calm\n"
    )
    load = ["load-fixtures", "--tenant-id", "acme", "--data-types", "artists", "--source-path", str(tmp_path)]
    outcome = tenant_ops(*load, "--drift", "evolve")
    assert outcome.code == FINDINGS
    assert "acme: artists.csv, column mood: " in outcome.out
    assert "acme: a migration is proposed in " in outcome.out


def test_a_load_with_rows_that_were_none_has_findings(
    tenant_ops: Callable[..., Outcome], tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "artists.ndjson").write_text("no object\n")
    load = ["load-fixtures", "--tenant-id", "acme", "--data-types", "artists", "--source-path", str(tmp_path)]
    assert tenant_ops(*load).code == FINDINGS
