"""A backup may be one file: stock programs open it, it is read in place, and it is the same backup."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tenant_ops.backups.containers import PACKED, Container, Directory, LocalFiles, Packed, container_in, pack
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.layout import COMPLETE
from tenant_ops.backups.reading import open_archive
from tenant_ops_tests.backups.making import KEY, ROWS, has_key, make_archive

FIRST = ["backup.json", "key.json", "manifest.json.enc"]


def packed(folder: Path, kind: Format) -> Packed:
    """The backup of a folder as a file beside it, instead of the folder."""
    pack(folder, folder.with_name(f"{folder.name}.{kind}"), kind, folder.name)
    shutil.rmtree(folder)
    return Packed(LocalFiles(folder.parent), f"{folder.name}.{kind}", kind)


def rows_of(container: Container) -> bytes:
    """Everything a restore would read; the rows."""
    archive = open_archive(container, has_key())
    for member in archive.manifest.members:
        archive.check(member)
    assert archive.unexpected() == []
    return b"".join(archive.read(archive.manifest.member(part)) for part in archive.manifest.tables[0].parts)


def members(container: Container) -> dict[str, bytes]:
    return {name: container.open(name).read() for name in container.names()}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("key", [KEY, None], ids=["sealed", "plain"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_packed_backup_is_read_in_place(tmp_path: Path, kind: Format, key, codec) -> None:
    rows = ROWS * 200_000 + os.urandom(3_000_000).hex().encode() + b"\n"
    published = make_archive(tmp_path, key=key, codec=codec, rows=rows)
    loose = members(Directory(published.path))
    backup = packed(published.path, kind)
    assert rows_of(backup) == rows
    assert members(backup) == loose
    assert list(backup.names())[-1] == COMPLETE
    assert {name: backup.size(name) for name in loose} == {name: len(file) for name, file in loose.items()}
    assert backup.size("data/none") is None
    left = [path.name for path in published.path.parent.iterdir() if path.name != "keys"]
    assert left == [backup.file], "nothing is unpacked to read it"


UNPACKERS = {
    "zip": ["unzip", "-q"],
    "tar": ["tar", "-xf"],
    "tar.gz": ["tar", "-xzf"],
    "tar.zst": ["tar", "--zstd", "-xf"],
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_stock_program_makes_the_folder_of_it(tmp_path: Path, kind: Format) -> None:
    published = make_archive(tmp_path)
    loose = members(Directory(published.path))
    backup = packed(published.path, kind)
    assert list(backup.names())[:3] == FIRST
    done = subprocess.run([*UNPACKERS[kind], backup.file], cwd=published.path.parent, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert members(Directory(published.path)) == loose


PACKERS = {
    "zip": "zip -qr - {0} > {0}.zip",
    "tar": "tar -cf {0}.tar {0}",
    "tar.gz": "tar -cz {0} > {0}.tar.gz",
    "tar.zst": "tar -c {0} | zstd -q > {0}.tar.zst",
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("top", ["folder", "dot"])
def test_what_a_stock_program_packed_is_read_too(tmp_path: Path, kind: Format, top: str) -> None:
    if kind == "zip" and shutil.which("zip") is None:
        pytest.skip("there is no zip program here")
    published = make_archive(tmp_path)
    command = PACKERS[kind].format(published.path.name)
    if top == "dot" and kind != "zip":
        command = command.replace(f" {published.path.name}", f" -C {published.path.name} .", 1)
        if kind == "tar":
            command = f"tar -cf {published.path.name}.tar -C {published.path.name} ."
    subprocess.run(command, shell=True, cwd=published.path.parent, check=True)
    shutil.rmtree(published.path)
    assert rows_of(container_in(LocalFiles(published.path.parent), published.path.name)) == ROWS


def test_a_backup_is_found_whatever_its_format(tmp_path: Path) -> None:
    first, second = make_archive(tmp_path), make_archive(tmp_path)
    one, two = Directory(first.path), packed(second.path, "tar.zst")
    assert one.sibling(two.name) == two
    assert two.sibling(one.name).where == str(first.path)
    assert two.sibling("20261120T140300Z-00000000").size(COMPLETE) is None
    assert two.beside(f"keys/{KEY.id}.json") is not None


def test_a_key_beside_a_packed_backup_wins_over_the_one_inside(tmp_path: Path) -> None:
    backup = packed(make_archive(tmp_path).path, "zip")
    inside = backup.open("key.json").read()
    (Path(backup.where).with_suffix(".key.json")).write_bytes(inside + b" ")
    assert backup.open("key.json").read() == inside + b" "
    assert backup.size("key.json") == len(inside) + 1
    assert rows_of(backup) == ROWS
