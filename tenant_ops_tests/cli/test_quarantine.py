"""`tenant-ops quarantine` and `load-fixtures --replay-quarantine`, as an operator uses them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.loading import execute_load, list_quarantine, plan_load
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cli.conftest import BAD_INPUT, DONE, FINDINGS, Outcome

Run = Callable[..., Outcome]
GOOD = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def artists(fleet: Fleet, tenant: Tenant, tmp_path: Path) -> list[int]:
    """Two rows of artists that were left out."""
    folder = tmp_path / "to load"
    folder.mkdir()
    (folder / "artists.csv").write_text(
        "artist_id,name,country,followers,created_at\n"
        "nobody,Nina,US,5,2024-05-06\n"
        f"{GOOD},Bob,Germany,7,2024-05-06\n"
    )
    execute_load(fleet, plan_load(fleet, tenant, source=folder, datasets=["artists"]))
    return [entry.id for entry in list_quarantine(fleet, tenant).entries]


def test_rows_are_listed_and_shown(tenant_ops: Run, artists: list[int]) -> None:
    listed = tenant_ops("quarantine", "list", "--tenant-id", "acme")
    assert listed.code == DONE, listed.err
    assert "acme: 2 rows in quarantine" in listed.out
    assert "not a UUID" in listed.out
    document = tenant_ops("quarantine", "list", "--tenant-id", "acme", "--limit", "1", "--json").json
    assert (document["rows"], len(document["entries"])) == (2, 1)
    shown = tenant_ops("quarantine", "show", "--tenant-id", "acme", str(artists[1]), "--json").json
    assert (shown["line"], shown["values"]["country"]) == (3, "Germany")
    assert (
        "artists.csv, line 3" in tenant_ops("quarantine", "show", "--tenant-id", "acme", str(artists[1])).out
    )


def test_rows_are_exported_repaired_in_the_file_and_replayed(
    tenant_ops: Run, artists: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "repaired.csv"
    export = ["quarantine", "export", "--tenant-id", "acme", "--data-type", "artists"]
    exported = tenant_ops(*export, "--output-path", str(path))
    assert exported.code == DONE, exported.err
    assert "--replay-quarantine --source-path" in exported.err
    assert tenant_ops(*export, "--output-path", str(path)).code == BAD_INPUT
    path.write_text(path.read_text().replace("Germany", "DE"))
    replay = ["load-fixtures", "--tenant-id", "acme", "--replay-quarantine", "--source-path", str(path)]
    planned = tenant_ops(*replay, "--dry-run", "--json").json["plans"][0]
    assert [part["dataset"] for part in planned["datasets"] if part["files"]] == ["artists"]
    # Every dataset has an asset of its own in the run, and all of them are given the one file.
    replayed = tenant_ops(*replay, "--json")
    assert replayed.code == FINDINGS, replayed.err
    merged = [report["body"] for report in replayed.json["reports"] if report["operation"] == "merge"]
    assert {body["dataset"]: body["inserted"] for body in merged if body["read"]} == {"artists": 1}
    assert tenant_ops("quarantine", "list", "--tenant-id", "acme", "--json").json["rows"] == 1


def test_single_values_are_repaired_and_replayed(tenant_ops: Run, artists: list[int]) -> None:
    repair = ["quarantine", "repair", "--tenant-id", "acme", str(artists[1])]
    assert tenant_ops(*repair, "--null", "country").code == DONE
    changed = tenant_ops(*repair, "--set", "name=Bob = Bobby", "--json")
    assert changed.json["columns"] == ["name"]
    for wrong in (["--set", "name"], ["--set", "name=x", "--null", "name"], []):
        assert tenant_ops(*repair, *wrong).code == BAD_INPUT
    replayed = tenant_ops(
        "load-fixtures", "--tenant-id", "acme", "--data-types", "artists", "--replay-quarantine"
    )
    assert replayed.code == FINDINGS, replayed.err
    left = tenant_ops("quarantine", "list", "--tenant-id", "acme", "--json").json
    assert [entry["line"] for entry in left["entries"]] == [2]


def test_rows_are_dropped_when_it_is_meant_and_put_back(tenant_ops: Run, artists: list[int]) -> None:
    drop = ["quarantine", "drop", "--tenant-id", "acme"]
    planned = tenant_ops(*drop, "--ids", f"{artists[0]},{artists[1]}", "--json")
    assert planned.json["plans"][0]["rows"] == 2
    assert tenant_ops(*drop).code == BAD_INPUT
    assert tenant_ops(*drop, "--ids", "1;2").code == BAD_INPUT
    dropped = tenant_ops(*drop, "--data-type", "artists", "--execute", "--json").json
    assert dropped["rows"] == 2
    assert tenant_ops("quarantine", "list", "--tenant-id", "acme", "--json").json["rows"] == 0
    assert tenant_ops(*drop, "--undo", dropped["path"]).code == DONE
    assert tenant_ops("quarantine", "list", "--tenant-id", "acme", "--json").json["rows"] == 2


def test_a_load_says_why_rows_were_left_out_and_where_to_look(
    tenant_ops: Run, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "artists.csv").write_text(
        f"artist_id,name,country,followers,created_at\nnobody,Nina,US,5,2024-05-06\n{GOOD},Bob,DE,7,2024-05-06\n"
    )
    loaded = tenant_ops(
        *["load-fixtures", "--tenant-id", "acme", "--data-types", "artists"],
        *["--source-path", str(tmp_path)],
    )
    assert loaded.code == FINDINGS
    assert "acme: 1 rows of artists were left out: not a UUID (1)." in loaded.out
    assert "tenant-ops quarantine list --tenant-id acme --data-type artists" in loaded.out
