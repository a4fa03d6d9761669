"""The code location: what it holds, and that it stays as lean as it was meant to be."""

import ast
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

import tenant_ops
from tenant_ops.definitions import defs
from tenant_ops.orchestration import schedules, sensors

PACKAGE = Path(tenant_ops.__file__).parent
MOST_ASSET_LINES = 25
MOST_MODULE_LINES = 400


def test_the_asset_graph_is_the_one_reviewed(snapshot: SnapshotAssertion) -> None:
    graph = defs.resolve_asset_graph()
    story = {
        node.key.to_user_string(): {
            "after": sorted(key.to_user_string() for key in node.parent_keys),
            "checks": sorted(key.name for key in node.check_keys),
            "group": node.group_name,
            "per tenant": node.partitions_def is not None,
        }
        for node in graph.asset_nodes
    }
    assert dict(sorted(story.items())) == snapshot


def test_every_asset_is_described_owned_and_of_a_kind() -> None:
    for node in defs.resolve_asset_graph().asset_nodes:
        assert node.description, node.key
        assert node.owners, node.key
        assert node.kinds, node.key


def test_every_dataset_shows_its_columns_and_privacy_in_the_catalog() -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey(["datasets", "users"]))
    schema = node.metadata["dagster/column_schema"]
    email = next(column for column in schema.columns if column.name == "email")
    assert email.constraints.unique
    assert not email.constraints.nullable
    assert email.tags == {"privacy": "email"}


def test_the_jobs_are_named_like_the_commands() -> None:
    names = {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert names == {
        "init_tenant",
        "load_fixtures",
        "validate_data",
        "validation_overview",
        "backup",
        "backup_incremental",
        "backup_alarms",
        "drill",
        "restore",
        "retention",
        "reconcile",
        "migrate",
        "cleanup",
        "monitor",
        "change_tenant",
        "tenant_pipeline",
    }


def test_nothing_acts_by_itself_before_an_operator_says_so() -> None:
    assert all(s.default_status is dg.DefaultScheduleStatus.STOPPED for s in schedules.SCHEDULES)
    running = [s.name for s in sensors.SENSORS if s.default_status is dg.DefaultSensorStatus.RUNNING]
    assert running == ["tenant_discovery", "fixture_inbox"], (
        "the first registers partitions and requests no runs, the second only for files put into the inbox"
    )


def test_loading_the_location_connects_to_nothing() -> None:
    program = (
        "import socket, psycopg\n"
        "def refuse(*a, **k): raise SystemExit('connected at import')\n"
        "psycopg.connect = refuse; socket.socket.connect = refuse\n"
        "import tenant_ops.definitions\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "orchestration" / "assets").glob("*.py")), ids=lambda p: p.name
)
def test_assets_stay_thin(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and any("asset" in ast.unparse(d) for d in node.decorator_list):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_ASSET_LINES, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_say_what_they_are_and_stay_readable(path: Path) -> None:
    text = path.read_text()
    if path.parent.name != "shipped":  # goes into backups as one file
        assert len(text.splitlines()) <= MOST_MODULE_LINES
    assert ast.get_docstring(ast.parse(text)), "a module opens with what belongs in it"


def test_a_location_can_be_made_for_any_catalog() -> None:
    from tenant_ops.datasets import Catalog, Column, Dataset
    from tenant_ops.orchestration.location import build_defs

    songs = Dataset("songs", "Songs.", (Column("id", "integer"), Column("title", "text")), ("id",))
    graph = build_defs(Catalog("mine", "1.0.0", (songs,))).resolve_asset_graph()
    assert dg.AssetKey(["datasets", "songs"]) in graph.get_all_asset_keys()
    assert dg.AssetKey(["datasets", "users"]) not in graph.get_all_asset_keys()
