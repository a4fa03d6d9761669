"""Archives of every format version there was, made once and never again: today's readers read them.

`golden/version-1` holds two backups of a tenant, one packed with zstd and one with gzip, and
the tenant's key, wrapped by the master key that `PASSPHRASE` makes. They were written with
`making.make_archive` of the release that brought the format.
"""

import hashlib
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from tenant_ops.backups import records
from tenant_ops.backups.archive import TenantKey
from tenant_ops.backups.containers import Directory
from tenant_ops.backups.layout import TenantKeyFile
from tenant_ops.backups.reading import open_archive
from tenant_ops.platform.keys import find_master_key
from tenant_ops.platform.settings import Settings

GOLDEN = Path(__file__).parent / "golden" / "version-1" / "00000000-0000-0000-0000-000000000001"
PASSPHRASE = "golden archives are for ever"
SHIPPED = Path(__file__).parents[2] / "tenant_ops" / "backups" / "shipped" / "restore.py"
ROWS = b"1\tone\n2\ttwo\n"
BACKUPS = sorted(path for path in GOLDEN.iterdir() if path.name != "keys")


def key_of_store() -> TenantKey:
    """The tenant's key out of the file beside the backups, with the passphrase."""
    settings = Settings.load({"TENANT_OPS_HOME": "/nowhere", "BACKUP_ENCRYPTION_KEY": PASSPHRASE})
    master = find_master_key(settings)
    (path,) = (GOLDEN / "keys").iterdir()
    record = records.decode(TenantKeyFile, path.read_bytes(), path.name)
    assert master is not None
    assert record.master_key_id == master.id
    return TenantKey(record.tenant_key_id, master.open(b64decode(record.wrapped), record.context))


def test_there_is_one_of_each_codec() -> None:
    assert len(BACKUPS) == 2


@pytest.mark.parametrize("path", BACKUPS, ids=lambda path: path.name)
def test_todays_reader_reads_them(path: Path) -> None:
    archive = open_archive(Directory(path), lambda *_: key_of_store())
    for member in archive.manifest.members:
        archive.check(member)
    (table,) = archive.manifest.tables
    assert (table.name, table.rows, archive.manifest.rows) == ("plays", 2, 2)
    with archive.content(archive.manifest.member(table.parts[0])) as content:
        assert content.read() == ROWS


@pytest.mark.parametrize("path", BACKUPS, ids=lambda path: path.name)
def test_todays_restore_program_reads_them(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(SHIPPED), "unpack", str(path), "--to", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "BACKUP_ENCRYPTION_KEY": PASSPHRASE},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "data" / "0001-plays.copy").read_bytes() == ROWS


def test_nobody_changed_them() -> None:
    """The bytes themselves: a reader that is changed together with its samples proves nothing."""
    files = sorted(path for path in GOLDEN.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(str(p.relative_to(GOLDEN)).encode() + p.read_bytes() for p in files))
    assert digest.hexdigest() == "2bd44d67df3606a6b4f3fb8c64dc67b6303f04c8e4b26e3a72a97c64e34afa23"
