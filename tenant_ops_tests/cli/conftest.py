"""The command line, run in this process against a test's own database and home."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tenant_ops import cli
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet

DONE, FAILED, BAD_INPUT, FINDINGS = 0, 1, 2, 3


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tenant_ops(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fleet: Fleet
) -> Callable[..., Outcome]:
    """Runs the command in this process, against this test's database and home."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("TENANT_OPS_HOME", str(settings.home))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("BACKUP_ENCRYPTION_KEY", raising=False)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["tenant-ops", *arguments])
        capfd.readouterr()
        try:
            cli.main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        captured = capfd.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    return run
