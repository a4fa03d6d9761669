"""A chain is restored with the program inside it and psql alone (fault matrix, row 26)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import sql

from tenant_ops.backups import BackupReport
from tenant_ops.backups.content import SESSION_FORMAT, copy_out
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.embedded import programs
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.chains.conftest import Contents, Report, live, run

SHIPPED = Path(__file__).parents[3] / "tenant_ops" / "backups" / "shipped" / "restore.py"
WITHOUT_PACKAGE = (
    "import runpy, sys; sys.modules['zstandard'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
MORE = """
    CREATE TABLE animal (name text);
    CREATE TABLE dog (bark text) INHERITS (animal);
    CREATE UNLOGGED TABLE cache (k text, v text);
    INSERT INTO animal VALUES ('cat');
    INSERT INTO dog VALUES ('rex', 'wuff');
    INSERT INTO cache VALUES ('a', 'b');
"""
CHANGES = (
    """
    UPDATE sale SET amount = amount * 2, customer = NULL WHERE id % 7 = 0;
    INSERT INTO word VALUES ('two'), ('new'), (NULL), ('tab\\t and "quotes", (a) \\\\');
    DELETE FROM word WHERE text = 'one';
    UPDATE reading SET at = at + 150 WHERE at < 10 AND at + 150 NOT IN (SELECT at FROM reading);
    DELETE FROM reading WHERE at BETWEEN 20 AND 160;
    UPDATE reading SET at = 120 WHERE at = 5;
    UPDATE dog SET bark = 'woof';
    """,
    """
    TRUNCATE reading_low;
    INSERT INTO reading VALUES (3, 3), (4, 'Infinity');
    DELETE FROM customer WHERE id = 4;
    INSERT INTO customer (name) VALUES ('later');
    UPDATE cache SET v = 'c';
    TRUNCATE word; INSERT INTO word VALUES ('two'), ('two'), ('after');
    """,
    "DELETE FROM word WHERE ctid = (SELECT min(ctid) FROM word); DELETE FROM sale WHERE id > 45",
)


@pytest.fixture
def chain(fleet: Fleet, shop: Tenant) -> Tenant:
    """A tenant with tables of every way to be followed."""
    run(fleet, shop, MORE)
    return shop


def unpack(
    fleet: Fleet, folder: Path, out: Path, schema: str, *how: str, path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    """Run the program of this version in an empty environment."""
    key = (fleet.settings.home / "keys" / "master.key").read_text().strip()
    command = [sys.executable, "-I", *how, str(SHIPPED), "unpack", str(folder), "--to", str(out)]
    return subprocess.run(
        [*command, "--schema", schema],
        capture_output=True,
        text=True,
        env={"PATH": path, "BACKUP_ENCRYPTION_KEY": key},
        check=False,
    )


def load(
    fleet: Fleet, out: Path, schema: str, like: Contents, shapes: dict[str, tuple[str, ...]]
) -> Contents:
    """Run the steps of RESTORE.md with psql, and read what came of them."""
    with fleet.control.transaction() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for script in (
        "schema/1-before-data.sql",
        "data/load.sql",
        "journal/1-load.sql",
        "journal/2-apply.sql",
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
    with fleet.control.transaction() as connection:
        for setting in SESSION_FORMAT:
            connection.execute(setting)  # type: ignore[arg-type]
        return {name: copy_out(connection, sql.Identifier(schema, name), shapes[name]) for name in like}


def grow(fleet: Fleet, tenant: Tenant, report: Report, **options) -> tuple[BackupReport, Contents]:
    """A full backup and one after each of the changes."""
    tip = report(tenant, **options)
    for number, change in enumerate(CHANGES):
        run(fleet, tenant, change)
        (fleet.files(tenant) / f"new {number}.txt").write_text(str(number))
        tip = report(tenant, **options)
        assert tip.type == "incremental"
    return tip, live(fleet, tenant)


def columns(fleet: Fleet, tenant: Tenant) -> dict[str, tuple[str, ...]]:
    """The columns of each table, as backups list them."""
    with hold_snapshot(fleet, tenant) as snapshot:
        return {table.name: table.columns for table in snapshot.definition.tables}


@pytest.mark.parametrize(
    "compression", ["zstd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gzip", "none"))]
)
def test_a_chain_is_restored_by_hand(
    fleet: Fleet, chain: Tenant, report: Report, tmp_path: Path, compression: str
) -> None:
    tip, seen = grow(fleet, chain, report, compression=compression)
    schema = f"hand_{chain.key}_{compression}"
    done = unpack(fleet, Path(tip.path), tmp_path / "out", schema)
    assert done.returncode == 0, done.stderr
    found = load(fleet, tmp_path / "out", schema, seen, columns(fleet, chain))
    assert found == seen
    files = {path.name: path.read_text() for path in (tmp_path / "out" / "files").iterdir()}
    assert files == {
        "one.txt": "one", "two.txt": "two", "new 0.txt": "0", "new 1.txt": "1", "new 2.txt": "2",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd program is not installed")
def test_the_zstd_program_stands_in_for_the_package(
    fleet: Fleet, chain: Tenant, report: Report, tmp_path: Path
) -> None:
    tip, seen = grow(fleet, chain, report)
    schema = f"stock_{chain.key}"
    done = unpack(fleet, Path(tip.path), tmp_path / "out", schema, "-c", WITHOUT_PACKAGE)
    assert done.returncode == 0, done.stderr
    assert load(fleet, tmp_path / "out", schema, seen, columns(fleet, chain)) == seen


def test_what_is_missing_is_said(fleet: Fleet, chain: Tenant, report: Report, tmp_path: Path) -> None:
    base = report(chain)
    tip = report(chain)
    neither = unpack(fleet, Path(tip.path), tmp_path / "out", "x", "-c", WITHOUT_PACKAGE, path=str(tmp_path))
    assert neither.returncode == 1
    assert "install the package zstandard or the program zstd" in neither.stderr
    Path(base.path).rename(tmp_path / "away")
    done = unpack(fleet, Path(tip.path), tmp_path / "out2", "x")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: ")
    assert base.backup_id in done.stderr and "builds on" in done.stderr


def test_a_parent_that_was_exchanged_is_refused(
    fleet: Fleet, chain: Tenant, report: Report, tmp_path: Path
) -> None:
    base = report(chain)
    tip = report(chain)
    other = report(chain, "full")
    Path(base.path).rename(tmp_path / "away")
    Path(other.path).rename(base.path)
    done = unpack(fleet, Path(tip.path), tmp_path / "out", "x")
    assert done.returncode == 1
    assert "not the backup that" in done.stderr
