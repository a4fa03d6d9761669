"""A tenant's files come back as they were, below its own directory, whatever an archive claims."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import files as packing
from tenant_ops.backups.archive import ArchiveWriter
from tenant_ops.backups.containers import Directory
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.files import check_path, pack_files, unpack_files
from tenant_ops.backups.layout import FORMAT, VERSION, Header, Manifest
from tenant_ops.backups.reading import Archive, open_archive
from tenant_ops.platform.errors import OperationFailed
from tenant_ops_tests.backups.making import KEY, TENANT, has_key

HEADER = Header(FORMAT, VERSION, TENANT, "20261120T140300Z-00000001", "full", None, "2026", "zstd", None)
MANIFEST = Manifest(VERSION, TENANT, HEADER.backup_id, "", None, "", "", {}, {}, "", "", (), (), ())


def archived(tmp_path: Path, fill) -> Archive:
    """An archive that `fill` has written members to."""
    writer = ArchiveWriter(tmp_path / "store", HEADER, tenant_key=KEY, level=1)
    fill(writer)
    return open_archive(Directory(writer.publish(MANIFEST).path), has_key())


def pack(tmp_path: Path, source: Path):
    packed = []
    archive = archived(tmp_path, lambda writer: packed.append(pack_files(source, writer)))
    return archive, packed[0]


def tree(folder: Path) -> dict[str, tuple]:
    """Every path below a folder, with what must survive."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mode & 0o777,
            path.stat().st_mtime_ns if path.is_file() else None,
        )
        for path in folder.rglob("*")
    }


def test_content_modes_times_and_empty_directories_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PACK_BYTES", 1000)
    source = tmp_path / "files"
    (source / "a" / "b").mkdir(parents=True)
    (source / "empty" / "inner").mkdir(parents=True)
    for name, size in [
        ("a/1", 0),
        ("a/2", 1),
        ("a/b/3", 999),
        ("4", 5000),
        ("a/ü 日本 'x\"", 10),
        ("x" * 200, 3),
    ]:
        (source / name).write_bytes(os.urandom(size))
        (source / name).chmod(0o640)
        os.utime(source / name, ns=(1, 1_700_000_000_123_456_789))
    (source / "a").chmod(0o750)
    archive, packed = pack(tmp_path, source)
    assert (packed.files, packed.total_bytes) == (6, 6013)
    assert sum(member.kind == "files" for member in archive.manifest.members) > 1
    assert unpack_files(archive, tmp_path / "out") == 6
    assert tree(tmp_path / "out") == tree(source)


def test_a_name_that_is_not_utf8_comes_back(tmp_path: Path) -> None:
    source = tmp_path / "files"
    source.mkdir()
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9")).write_text("latin")
    archive, _ = pack(tmp_path, source)
    unpack_files(archive, tmp_path / "out")
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [b"caf\xe9"]


def test_a_tenant_without_files_has_none(tmp_path: Path) -> None:
    archive, packed = pack(tmp_path, tmp_path / "missing")
    assert packed.files == 0
    assert archive.manifest.members == ()
    assert unpack_files(archive, tmp_path / "out") == 0
    assert list((tmp_path / "out").iterdir()) == []


def test_links_and_devices_are_listed_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (tmp_path / "secret").write_text("of another tenant")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    (source / "back\\slash").write_text("x")
    archive, packed = pack(tmp_path, source)
    assert {item.name for item in packed.not_carried} == {
        "file link", "file folder", "file pipe", "file back\\slash",
    }  # fmt: skip
    assert packed.files == 0
    assert archive.manifest.members == ()


def test_a_file_that_grows_meanwhile_is_taken_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (source / "log").write_text("before")
    resize_when_opened(monkeypatch, source / "log", b"before and after")
    archive, _ = pack(tmp_path, source)
    unpack_files(archive, tmp_path / "out")
    assert (tmp_path / "out" / "log").read_text() == "before"


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (source / "log").write_text("before")
    resize_when_opened(monkeypatch, source / "log", b"x")
    with pytest.raises(OperationFailed, match="log: it shrank"):
        pack(tmp_path, source)


def resize_when_opened(monkeypatch: pytest.MonkeyPatch, path: Path, content: bytes) -> None:
    """Write other content into a file right after its size was taken."""
    fstat = os.fstat

    def change(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if status.st_ino == path.stat().st_ino:
            path.write_bytes(content)
        return status

    monkeypatch.setattr(packing.os, "fstat", change)


def forged(tmp_path: Path, header: tarfile.TarInfo, content: bytes = b"", **index) -> Archive:
    """An authenticated archive whose writer meant harm: a tar entry, and an index that agrees with it."""

    def fill(writer: ArchiveWriter) -> None:
        stream = io.BytesIO()
        header.size = len(content)
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(header, io.BytesIO(content))
        writer.add("files/0001.tar", "files", stream.getvalue())
        entry = {
            "path": header.name, "mode": 0o644, "mtime_ns": 0, "size": len(content), "sha256": "0" * 64,
            "pack": writer.members[-1].path,
        } | index  # fmt: skip
        writer.add("files/index.json", "files-index", json.dumps([entry]).encode())

    return archived(tmp_path, fill)


@pytest.mark.parametrize(
    "name", ["../out2", "/tmp/out2", "a/../../out2", "C:\\out2", "C:/out2", "a//b", "a\\b", ".", ""]
)
def test_a_path_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    header = tarfile.TarInfo("plain")
    with pytest.raises(DamagedBackup):
        unpack_files(forged(tmp_path, header, b"x", path=name), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"store", "out"}
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_an_entry_that_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("innocent")
    header.type, header.linkname = kind, "/etc/passwd"
    with pytest.raises(DamagedBackup, match="not in the index as it is here"):
        unpack_files(forged(tmp_path, header), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_entry_the_index_does_not_have_or_describes_otherwise_is_refused(tmp_path: Path) -> None:
    for name, changes in (("a", {"path": "other"}), ("b", {"size": 5}), ("c", {})):
        with pytest.raises(DamagedBackup):
            unpack_files(
                forged(tmp_path / name, tarfile.TarInfo("x"), b"xy", **changes), tmp_path / name / "out"
            )


@given(st.text(alphabet=st.sampled_from("ab./\\:\0 "), max_size=12))
def test_an_accepted_path_always_stays_below(path: str) -> None:
    try:
        check_path(path, "test")
    except DamagedBackup:
        return
    target = Path("/base") / path
    assert ".." not in target.parts
    assert target != Path("/base")
    assert target.is_relative_to("/base")
