"""The program inside every backup reads it with nothing of this project installed."""

import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import sql

from tenant_ops.backups import BackupRecord, execute_rotation, find_backup, plan_rotation
from tenant_ops.backups.catalog import open_backup
from tenant_ops.backups.containers import pack
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.content import SESSION_FORMAT, copy_out
from tenant_ops.platform.embedded import programs
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.making import KEY, MASTER_TEXT, OTHER_KEY, make_archive

Take = Callable[..., BackupRecord]


def run(folder: Path, *arguments: str, key: str | None = MASTER_TEXT) -> subprocess.CompletedProcess[str]:
    """Run the program that lies in the backup, in an empty environment, isolated from installed projects."""
    script = Path(folder) / "restore.py"
    if not script.exists():
        script = Path(__file__).parents[2] / "tenant_ops" / "backups" / "shipped" / "restore.py"
    return subprocess.run(
        [sys.executable, "-I", str(script), *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"} | ({"BACKUP_ENCRYPTION_KEY": key} if key else {}),
        check=False,
    )


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("key", [KEY, None], ids=["sealed", "plain"])
def test_it_verifies_every_kind_of_archive(tmp_path: Path, codec, key) -> None:
    published = make_archive(tmp_path, codec=codec, key=key)
    done = run(published.path, "verify", str(published.path))
    assert done.stdout == "sound: 3 members, 1 tables, 2 rows\n", done.stderr


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_it_reads_a_packed_backup_without_unpacking_it(tmp_path: Path, kind: Format) -> None:
    published = make_archive(tmp_path)
    file = published.path.with_name(f"{published.path.name}.{kind}")
    pack(published.path, file, kind, published.path.name)
    done = run(published.path, "verify", str(file))
    assert done.stdout == "sound: 3 members, 1 tables, 2 rows\n", done.stderr
    file.write_bytes(file.read_bytes()[:-2000])
    assert run(published.path, "verify", str(file)).stderr.startswith("refused: ")


def test_it_takes_the_master_key_from_a_file_and_from_a_passphrase(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    (tmp_path / "key").write_text(MASTER_TEXT + "\n")
    done = run(published.path, "verify", str(published.path), "--key-file", str(tmp_path / "key"), key=None)
    assert done.returncode == 0, done.stderr


def test_it_takes_an_exported_key_instead(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps({"key": b64encode(KEY.secret).decode()}))
    shutil.rmtree(published.path.parent / "keys")
    done = run(published.path, "verify", str(published.path), "--exported-key", str(exported), key=None)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "member", ["backup.json", "manifest.json.enc", "data/0001-plays.copy.zst.enc", "key.json"]
)
def test_it_refuses_a_changed_archive(tmp_path: Path, member: str) -> None:
    published = make_archive(tmp_path)
    path = published.path / member
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    done = run(published.path, "verify", str(published.path))
    assert done.returncode == 1
    assert done.stderr.startswith("refused: ")


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (None, "set BACKUP_ENCRYPTION_KEY"),
        (b64encode(bytes(32)).decode(), "master key at hand is not the one"),
        ("a passphrase nobody used", "master key at hand is not the one"),
    ],
)
def test_it_names_a_missing_or_wrong_key(tmp_path: Path, key: str | None, complaint: str) -> None:
    published = make_archive(tmp_path)
    done = run(published.path, "verify", str(published.path), key=key)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_it_refuses_the_key_of_another_tenant(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    other = make_archive(tmp_path / "other", key=OTHER_KEY)
    key_file = next((other.path.parent / "keys").iterdir())
    done = run(published.path, "verify", str(published.path), "--tenant-key", str(key_file))
    assert "the tenant key at hand is not the one" in done.stderr


def test_it_opens_a_packed_backup_whose_key_was_rotated(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    """In a copy of the tenant's folder, the newer key block and the tenant's key lie beside it."""
    backup = take(small_tenant, archive_format="zip")
    execute_rotation(fleet, plan_rotation(fleet, small_tenant))
    folder = shutil.copytree(Path(backup.path).parent, tmp_path / "copy") / backup.id
    shutil.unpack_archive(backup.path, folder.parent)
    key = (fleet.settings.home / "keys" / "master.key").read_text().strip()
    done = run(folder, "verify", str(folder), key=key)
    assert done.returncode == 0, done.stderr


def test_a_backup_is_restored_by_hand_with_nothing_but_psql(
    fleet: Fleet, full_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    """The steps of the RESTORE.md inside the backup, word for word but for the names."""
    backup = find_backup(fleet, take(full_tenant).id)
    key = (fleet.settings.home / "keys" / "master.key").read_text().strip()
    out, schema = tmp_path / "unpacked", f"hand_{full_tenant.key}"
    done = run(Path(backup.path), "unpack", backup.path, "--to", str(out), "--schema", schema, key=key)
    assert done.returncode == 0, done.stderr
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for script in (
        "schema/1-before-data.sql",
        "data/load.sql",
        "schema/2-after-data.sql",
        "schema/3-rights.sql",
    ):
        psql = [
            str(programs() / "psql"),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            script,
            fleet.control.url,
        ]
        loaded = subprocess.run(psql, cwd=out, capture_output=True, text=True, env=os.environ, check=False)
        assert loaded.returncode == 0, (script, loaded.stderr)
    manifest = open_backup(fleet, backup).manifest
    with fleet.control.transaction() as connection:
        for setting in SESSION_FORMAT:
            connection.execute(setting)  # type: ignore[arg-type]
        for table in manifest.tables:
            found = copy_out(connection, sql.Identifier(schema, table.name), table.columns)
            assert (found.rows, found.content_hash) == (table.rows, table.content_hash), table.name
    assert (out / "files" / "notes.txt").read_text() == "hello"
    assert full_tenant.slug in (out / "config" / "config.json").read_text()


def test_unpacking_into_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    done = run(published.path, "unpack", str(published.path), "--to", str(tmp_path))
    assert "not empty" in done.stderr
