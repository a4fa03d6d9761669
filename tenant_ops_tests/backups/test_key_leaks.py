"""No key gets out: not onto a command line, into output, logs, files of the home, or the control plane.

The commands run as child processes, as an operator runs them, and everything they leave is searched for every
key there is, raw, in hex and in base64. Where a key belongs is named below, and nowhere else may it be.
"""

import os
import subprocess
import sys
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenant_ops.platform.embedded import programs
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet

MASTER, NEXT_MASTER = bytes(range(100, 132)), bytes(range(150, 182))


def spellings(key: bytes) -> list[bytes]:
    """A key as it might be written, whole or without what padding changes."""
    return [
        key,
        key.hex().encode(),
        key.hex().upper().encode(),
        b64encode(key)[:40],
        urlsafe_b64encode(key)[:40],
    ]


def leaks(text: bytes, keys: dict[str, bytes]) -> list[str]:
    return [name for name, key in keys.items() if any(spelled in text for spelled in spellings(key))]


@contextmanager
def watched_command_lines() -> Iterator[set[bytes]]:
    """Every command line of every process of this machine that is seen meanwhile."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for entry in os.scandir("/proc"):
                if entry.name.isdecimal():
                    try:
                        seen.add(Path(entry.path, "cmdline").read_bytes())
                    except OSError:
                        continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "DAGSTER_"))}
    return kept | {
        "DATABASE_URL": settings.database_url or "",
        "TENANT_OPS_HOME": str(settings.home),
        "BACKUP_ENCRYPTION_KEY": b64encode(MASTER).decode(),
        "TMPDIR": str(settings.home / "tmp"),
    }


@pytest.fixture
def fleet(environment: dict[str, str]) -> Iterator[Fleet]:
    fleet = Fleet.open(Settings.load(environment))
    (fleet.settings.home / "tmp").mkdir(parents=True)
    yield fleet
    fleet.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="command lines are read from /proc")
def test_no_key_is_left_anywhere(fleet: Fleet, environment: dict[str, str], tmp_path: Path) -> None:
    said: list[bytes] = []
    keys = {"the master key": MASTER, "the next master key": NEXT_MASTER}

    def tenant_ops(*arguments: str, succeeds: bool = True, given: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tenant_ops", *arguments],
            capture_output=True,
            env=environment | (given or {}),
            cwd=tmp_path,
            check=False,
        )
        said.append(done.stdout + done.stderr)
        assert (done.returncode == 0) == succeeds, done.stderr.decode()

    next_master = b64encode(NEXT_MASTER).decode()
    out = tmp_path / "exported.json"
    with watched_command_lines() as command_lines:
        tenant_ops("init-tenant", "--tenant-id", "acme")
        tenant = fleet.registry.get("acme")
        keys["the first key"] = fleet.tenant_key(tenant)[1]
        tenant_ops("backup", "--tenant-id", "acme")
        tenant_ops("backup", "rotate-keys", "--tenant-id", "acme")
        keys["the second key"] = fleet.tenant_key(tenant)[1]
        keys["what columns are hashed under"] = fleet.column_key(tenant)
        tenant_ops("backup", "export-key", "--tenant-id", "acme", "--out", str(out))
        tenant_ops("backup", "export-key", "--tenant-id", "acme", "--out", str(out), succeeds=False)
        # A wrong key, a key in the wrong encoding, and the right way to replace it.
        tenant_ops(
            "backup", "--tenant-id", "acme", succeeds=False, given={"BACKUP_ENCRYPTION_KEY": next_master}
        )
        tenant_ops(
            "backup",
            "--tenant-id",
            "acme",
            succeeds=False,
            given={"BACKUP_ENCRYPTION_KEY": NEXT_MASTER.hex()},
        )
        replaced = {
            "BACKUP_ENCRYPTION_KEY": next_master,
            "BACKUP_ENCRYPTION_KEY_PREVIOUS": environment["BACKUP_ENCRYPTION_KEY"],
        }
        tenant_ops("backup", "rotate-keys", "--master", given=replaced)
        tenant_ops("backup", "list", given={"BACKUP_ENCRYPTION_KEY": next_master})
    assert leaks(out.read_bytes(), keys) == ["the second key"], "the search finds what is there"
    assert any(b"rotate-keys" in line for line in command_lines), "the watch saw the commands"
    assert leaks(b"\n".join(command_lines), keys) == []
    assert leaks(b"\n".join(said), keys) == []
    for path in (path for path in (*fleet.settings.home.rglob("*"), *tmp_path.rglob("*")) if path != out):
        if path.is_file():
            assert leaks(path.read_bytes(), keys) == [], path
    assert leaks(dumped(fleet), keys) == []


def dumped(fleet: Fleet) -> bytes:
    """The whole database, runs and their logs included, as text; bytes are in hex."""
    done = subprocess.run([programs() / "pg_dump", fleet.control.url], capture_output=True, check=True)
    assert b"tenant_ops.tenant_key" in done.stdout
    assert b"event_logs" in done.stdout
    return done.stdout
