"""Dagster's own commands in a checkout with nothing configured: what works, what is refused, and how."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_ops.platform.settings import PACKAGE_ROOT, Settings
from tenant_ops.tenants import Fleet, Tenant

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def dagster(settings: Settings) -> Callable[..., Done]:
    """Runs `dagster ...` from the checkout's root, on this test's database and home."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {
        **kept,
        "DATABASE_URL": settings.database_url or "",
        "TENANT_OPS_HOME": str(settings.home),
    }

    def run(*arguments: str) -> Done:
        command = [sys.executable, "-m", "dagster", *arguments]
        return subprocess.run(command, cwd=PACKAGE_ROOT, env=environment, capture_output=True, text=True)

    return run


def count(fleet: Fleet, tenant: Tenant, table: str) -> int:
    with fleet.session(tenant) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return row[0]


def test_the_definitions_are_valid(dagster: Callable[..., Done]) -> None:
    assert dagster("definitions", "validate").returncode == 0


def test_assets_below_a_prefix_are_materialised_for_a_tenant_no_sensor_has_seen(
    dagster: Callable[..., Done], fleet: Fleet, tenant: Tenant
) -> None:
    selection = ["-m", "tenant_ops.definitions", "--select", "datasets/*", "--partition", "acme"]
    done = dagster("asset", "materialize", *selection)
    assert done.returncode == 0, done.stderr[-3000:]
    assert count(fleet, tenant, "ai_messages") > 0
    assert "fixtures__users" not in done.stderr, "only what was selected runs"


def test_a_job_runs_with_a_file_of_configuration_and_fails_with_a_code(
    dagster: Callable[..., Done], fleet: Fleet, tenant: Tenant, tmp_path: Path
) -> None:
    job = ["job", "execute", "-m", "tenant_ops.definitions", "-j", "load_fixtures"]
    job += ["--tags", '{"dagster/partition": "acme"}']
    assert dagster(*job).returncode == 0
    assert count(fleet, tenant, "users") > 0

    config = tmp_path / "run.yaml"
    config.write_text("resources:\n  load_options:\n    config:\n      source_path: /no/such/folder\n")
    failed = dagster(*job, "-c", str(config))
    assert failed.returncode == 1
    assert "/no/such/folder" in failed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "asset",
            "materialize",
            "-m",
            "tenant_ops.definitions",
            "--select",
            "datasets/*",
            "--partition",
            "acne",
        ],
        [
            *["job", "execute", "-m", "tenant_ops.definitions", "-j", "load_fixtures"],
            *["--tags", '{"dagster/partition": "acne"}'],
        ],
    ],
    ids=["asset materialize", "job execute"],
)
def test_an_unknown_tenant_is_one_sentence(
    dagster: Callable[..., Done], tenant: Tenant, arguments: list[str]
) -> None:
    done = dagster(*arguments)
    assert done.returncode == 2
    assert "unknown tenant 'acne'" in done.stderr
    assert "tenant-ops init-tenant --tenant-id acne" in done.stderr
    assert "Traceback" not in done.stderr
