"""A packed backup somebody tampered with is refused with the entry named, and nothing of it is written."""

import contextlib
import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.backups import records
from tenant_ops.backups.containers import PACKED, LocalFiles, Packed, listing, pack
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.containers.tars import tar_entries
from tenant_ops.backups.containers.zips import zip_entries
from tenant_ops.backups.crypto import DamagedBackup, WrongKey
from tenant_ops.backups.layout import Manifest
from tenant_ops.backups.reading import open_archive
from tenant_ops.platform.errors import InputError, NotAvailable
from tenant_ops_tests.backups.making import ROWS, TENANT, has_key, make_archive

ID = "20261120T140300Z-00000001"
REFUSALS = (DamagedBackup, InputError, WrongKey, NotAvailable)
"""All a reader may raise; what the file system says of a file that is gone aside."""


def file_in(tar: bytes, folder: Path, kind: Format = "tar") -> Packed:
    (folder / f"{ID}.{kind}").write_bytes(tar)
    return Packed(LocalFiles(folder), f"{ID}.{kind}", kind)


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in entries:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return out.getvalue()


def linked(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo("data/evil")
    info.type, info.linkname = kind, target
    return info


BAD_NAMES = [
    "../evil", "/etc/passwd", "data/../../evil", "C:\\evil", "data\\evil", "C:evil", "data/a/b", "data//evil",
    "data/.hidden", "data/evil ", "data/evil\n", "dätä/x", "data/" + "x" * 300, "./../evil", f"{ID}/../evil",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [zip_of, tar_of], ids=["zip", "tar"])
def test_a_name_that_is_no_members_is_refused(tmp_path: Path, name: str, make: Callable) -> None:
    entry = name if make is zip_of else tarfile.TarInfo(name)
    backup = file_in(make((entry, b"x")), tmp_path, "zip" if make is zip_of else "tar")
    with pytest.raises(DamagedBackup, match=r"no path of a member|another folder") as refusal:
        list(backup.names())
    assert repr(name.rpartition("/")[2][:5])[1:-1].strip() in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [backup.file]


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    plain = zip_of(("data/evilXx", b"x"))
    with pytest.raises(DamagedBackup, match="no path of a member"):
        list(file_in(plain.replace(b"evilX", b"evil\0"), tmp_path, "zip").names())
    long = tarfile.TarInfo("data/x")
    long.pax_headers = {"path": "data/evil\0x"}
    with pytest.raises(DamagedBackup, match="no path of a member"):
        list(file_in(tar_of((long, b"x"), form=tarfile.PAX_FORMAT), tmp_path).names())


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: bytes, what: str) -> None:
    with pytest.raises(DamagedBackup, match=f"data/evil.*it is {what}"):
        list(file_in(tar_of((linked(kind, "/etc/passwd"), b"")), tmp_path).names())


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140666])
def test_a_link_or_device_in_a_zip_is_refused(tmp_path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("data/evil")
    info.create_system, info.external_attr = 3, mode << 16
    with pytest.raises(DamagedBackup, match=r"data/evil.*a link, a device"):
        list(file_in(zip_of((info, b"/etc/passwd")), tmp_path, "zip").names())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_is_there_twice_is_refused_whatever_its_case(tmp_path: Path, kind: Format) -> None:
    names = ("data/Plays.copy", "data/plays.copy")
    made = (
        zip_of(*((name, b"x") for name in names))
        if kind == "zip"
        else tar_of(*((tarfile.TarInfo(name), b"x") for name in names))
    )
    with pytest.raises(DamagedBackup, match=r"plays\.copy.*there twice"):
        list(file_in(made, tmp_path, kind).names())


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_more_entries_than_any_backup_has_are_refused(
    tmp_path: Path, kind: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_ENTRIES", 50)
    monkeypatch.setattr("tenant_ops.backups.containers.zips.MOST_ENTRIES", 50)
    if kind == "zip":
        made = zip_of(*((f"data/{number}", b"") for number in range(51)))
    else:
        made = tar_of(*((tarfile.TarInfo(f"data/{number}"), b"") for number in range(51)))
        made = gzip.compress(made) if kind == "tar.gz" else made
    with pytest.raises(DamagedBackup, match="more than 50"):
        list(file_in(made, tmp_path, kind).names())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_million_entries_are_refused_without_holding_them(tmp_path: Path, kind: Format) -> None:
    file = tmp_path / f"{ID}.{kind}"
    if kind == "tar":
        block = bytearray(tarfile.TarInfo("data/0000000").tobuf())
        with file.open("wb") as out:
            out.writelines(
                tarfile.TarInfo(f"data/{number}").tobuf() if number < 100_002 else bytes(block)
                for number in range(1_000_000)
            )
    else:
        with zipfile.ZipFile(file, "w") as archive:
            for number in range(1_000_000):
                archive.writestr(zipfile.ZipInfo(f"data/{number}"), b"")
    tracemalloc.start()
    with pytest.raises(DamagedBackup, match="100,000"):
        list(Packed(LocalFiles(tmp_path), file.name, kind).names())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120_000_000


def test_a_zip_member_that_unpacks_to_more_than_it_says_gives_what_it_says(tmp_path: Path) -> None:
    """And that is not what its hash is of: a bomb costs no memory and is refused."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/bomb", bytes(50_000_000))
    lying = out.getvalue().replace(struct.pack("<L", 50_000_000), struct.pack("<L", 1000))
    backup = file_in(lying, tmp_path, "zip")
    tracemalloc.start()
    assert backup.open("data/bomb").read() == bytes(1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_a_zip_member_that_unpacks_to_less_than_it_says_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/short", bytes(50_000))
    lying = out.getvalue().replace(struct.pack("<L", 50_000), struct.pack("<L", 60_000))
    with pytest.raises(DamagedBackup, match="does not decompress to the 60000 bytes"):
        file_in(lying, tmp_path, "zip").open("data/short").read()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_a_bomb_of_a_compressed_tar_is_refused(
    tmp_path: Path, kind: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant_ops.backups.containers.streams.GREATEST_RATIO", 100)
    bomb = tar_of((tarfile.TarInfo("data/bomb"), bytes(50_000_000)))
    packed = gzip.compress(bomb) if kind == "tar.gz" else zstandard.compress(bomb)
    tracemalloc.start()
    with pytest.raises(DamagedBackup, match="more than 100 times its size"):
        list(file_in(packed, tmp_path, kind).names())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_overlapping_zip_members_are_refused(tmp_path: Path) -> None:
    """As in a bomb whose members all unpack the same bytes (D. Fifield, "A better zip bomb", 2019)."""
    content = bytearray(zip_of(("data/one", b"x" * 100), ("data/two", b"x" * 100)))
    second = content.rfind(b"PK\1\2")
    content[second + 42 : second + 46] = struct.pack("<L", 0)  # where the second says it lies
    with pytest.raises(DamagedBackup, match=r"overlaps|name it differently"):
        list(file_in(bytes(content), tmp_path, "zip").names())


@pytest.mark.parametrize("more", ["in front", "behind", "between"])
def test_anything_beside_the_members_of_a_zip_is_refused(tmp_path: Path, more: str) -> None:
    content = zip_of(("data/one", b"x" * 100))
    start = content.rfind(b"PK\1\2")
    changed = {
        "in front": b"#!/bin/sh\n" + content,
        "behind": content + b"junk",
        "between": content[:start] + b"junk" + content[start:],
    }[more]
    with pytest.raises(DamagedBackup):
        list(file_in(changed, tmp_path, "zip").names())


def test_a_member_more_after_the_end_of_a_tar_is_refused(tmp_path: Path) -> None:
    one, two = tar_of((tarfile.TarInfo("data/one"), b"x")), tar_of((tarfile.TarInfo("data/two"), b"x"))
    with pytest.raises(DamagedBackup, match="does not end where its last member does"):
        list(file_in(one + two, tmp_path).names())


@pytest.mark.parametrize("kind", PACKED)
def test_a_file_that_is_in_no_manifest_is_refused_when_the_backup_is_opened(
    tmp_path: Path, kind: Format
) -> None:
    published = make_archive(tmp_path)
    (published.path / "data" / "more.copy").write_bytes(b"1\n")
    file = published.path.parent / f"{published.path.name}.{kind}"
    pack(published.path, file, kind, published.path.name)
    with pytest.raises(DamagedBackup, match=r"data/more\.copy: it is in no manifest"):
        open_archive(Packed(LocalFiles(file.parent), file.name, kind), has_key())


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_backup_cut_anywhere_is_refused(tmp_path: Path, kind: Format) -> None:
    file = packed_file(tmp_path, kind)
    content = file.read_bytes()
    cuts = {*range(0, len(content), max(1, len(content) // 97)), *range(len(content) - 30, len(content))}
    for at in sorted(cuts):
        file.write_bytes(content[:at])
        with pytest.raises(REFUSALS):
            read_all(Packed(LocalFiles(file.parent), file.name, kind))


def packed_file(root: Path, kind: Format) -> Path:
    published = make_archive(root)
    file = published.path.parent / f"{published.path.name}.{kind}"
    pack(published.path, file, kind, published.path.name)
    return file


def read_all(backup: Packed) -> bytes:
    archive = open_archive(backup, has_key())
    for member in archive.manifest.members:
        archive.check(member)
    return b"".join(archive.read(archive.manifest.member(part)) for part in archive.manifest.tables[0].parts)


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", PACKED)
@QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=4)), min_size=1, max_size=6))
def test_a_packed_backup_with_any_bytes_changed_is_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: Format, changes: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    file = packed_file(folder, kind)
    content = bytearray(file.read_bytes())
    for at, piece in changes:  # sizes differ from run to run, so a place is a share of the file
        where = at * (len(content) - 1) >> 16
        content[where : where + 1] = piece
    file.write_bytes(content)
    before = sorted(folder.rglob("*"))
    with contextlib.suppress(*REFUSALS):
        assert read_all(Packed(LocalFiles(file.parent), file.name, kind)) == ROWS
    assert sorted(folder.rglob("*")) == before


@QUICK
@given(st.binary(max_size=3000))
def test_any_bytes_are_no_crash(content: bytes) -> None:
    for read in (zip_entries, tar_entries):
        with pytest.raises(DamagedBackup):
            read(io.BytesIO(content), "fuzz")


NAME_PIECES = ["data", "..", "/", "\\", "C:", "\0", ID, ".", "x.copy", "ü", " ", "\n", "backup.json"]


@QUICK
@given(st.lists(st.sampled_from(NAME_PIECES), min_size=1, max_size=5).map("".join))
def test_only_names_below_one_folder_come_out_of_a_listing(name: str) -> None:
    taken = listing.Listing("fuzz")
    try:
        taken.add(name, listing.Entry(0, 0, 0))
    except DamagedBackup:
        return
    (path,) = taken.entries()
    root = Path("/store/backup")
    assert Path(os.path.normpath(root / path)).is_relative_to(root)
    assert not {"\0", "\\", "\n", ":"} & set(path)
    assert path.count("/") <= 1


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.sampled_from(["version", "tenant_id", "members", "tables", "path", "x"]), c)
        ),
    )
)
def test_json_that_is_no_manifest_is_refused(value: object) -> None:
    with pytest.raises(DamagedBackup):
        records.decode(Manifest, json.dumps(value).encode(), f"fuzz of {TENANT}")
