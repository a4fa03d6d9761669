"""A Dagster instance on Postgres, as the project's own `dagster.yaml` describes it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tenant_ops.platform.settings import PACKAGE_ROOT


@pytest.fixture
def open_instance(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], dg.DagsterInstance]]:
    """Opens the instance of this test's database, each time as another process would."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("TENANT_OPS_HOME", str(tmp_path / "a home"))
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    settings = yaml.safe_load((PACKAGE_ROOT / "dagster.yaml").read_text())
    with ExitStack() as opened:
        yield lambda: opened.enter_context(dg.DagsterInstance.local_temp(str(tmp_path), overrides=settings))


@pytest.fixture
def instance(open_instance: Callable[[], dg.DagsterInstance]) -> dg.DagsterInstance:
    """The instance of this test's database."""
    return open_instance()
