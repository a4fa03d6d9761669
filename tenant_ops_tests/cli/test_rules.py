"""`tenant-ops rules`: what is listed and shown, and how a rule that cannot be checked is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FINDINGS, Outcome

Run = Callable[..., Outcome]

MODULE = '''
from tenant_ops.validation import Where, rule


@rule(level="business", severity="warning", dataset="tracks", remediation="Lower it.")
def cheap_track():
    """No track costs anything."""
    return Where("{condition}")
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lists a module with one rule that has this condition."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(condition: str) -> None:
        name = f"own_rules_{abs(hash((str(tmp_path), condition))):x}"
        (tmp_path / f"{name}.py").write_text(MODULE.format(condition=condition))
        monkeypatch.setenv("TENANT_OPS_RULES", name)

    return write


def test_rules_are_listed_with_where_they_come_from(tenant_ops: Run, own: Callable[[str], None]) -> None:
    own("price > 0")
    listed = tenant_ops("rules", "list", "--level", "business", "--dataset", "tracks", "--json")
    assert (listed.code, [row["id"] for row in listed.json]) == (DONE, ["business.cheap_track"])
    assert listed.json[0]["comes_from"].endswith(".cheap_track (TENANT_OPS_RULES)")
    every = {row["id"]: row for row in tenant_ops("rules", "list", "--json").json}
    assert every["business.played_within_track"]["comes_from"] == "levels.business.listening"
    assert every["data.tracks.title.trimmed"]["comes_from"] == "the definition of tracks"
    assert every["data.tracks.title.trimmed"]["fix"] == "rewrite"
    assert "cheap_track" in tenant_ops("rules", "list", "--own").out


def test_one_rule_is_shown_with_what_it_looks_for(tenant_ops: Run) -> None:
    shown = tenant_ops("rules", "show", "business.played_within_track", "--json")
    assert shown.json["condition"] == "listening_events.played_ms > tracks.duration_ms"
    unknown = tenant_ops("rules", "show", "business.played_within")
    assert unknown.code == BAD_INPUT
    assert "Perhaps business.played_within_track" in unknown.err


def test_own_rules_are_checked_without_a_tenant(tenant_ops: Run, own: Callable[[str], None]) -> None:
    own("price > 0")
    assert (tenant_ops("rules", "check").code, tenant_ops("rules", "check", "--all").code) == (DONE, DONE)
    own("cost > 0")
    checked = tenant_ops("rules", "check", "--json")
    assert checked.code == BAD_INPUT
    assert checked.json[0]["problem"] == 'Postgres says: column "cost" does not exist.'


def test_without_own_rules_or_with_a_bad_module_it_says_what_to_do(
    tenant_ops: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANT_OPS_RULES", raising=False)
    assert "List modules in TENANT_OPS_RULES" in tenant_ops("rules", "check").err
    monkeypatch.setenv("TENANT_OPS_RULES", "nowhere.rules")
    for command in (("rules", "list"), ("validate-data", "--tenant-id", "all", "--dry-run")):
        outcome = tenant_ops(*command)
        assert outcome.code == BAD_INPUT
    assert "there is no module 'nowhere'" in tenant_ops("rules", "list").err
    assert "is no catalog" in tenant_ops("rules", "list", "--catalog", "tenant_ops.datasets:Dataset").err


@pytest.mark.slow
def test_own_rules_run_in_validate_data(tenant_ops: Run, own: Callable[[str], None]) -> None:
    own("price > 0")
    tenant_ops("init-tenant", "--tenant-id", "acme", "--initialize-data")
    outcome = tenant_ops("validate-data", "--tenant-id", "acme", "--validation-types", "business", "--json")
    assert outcome.code == FINDINGS
    (finding,) = outcome.json["reports"][0]["body"]["findings"]
    assert finding["key"] == "business.cheap_track/tracks"
