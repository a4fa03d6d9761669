"""An archive is visible whole or not at all, and every change to any of its files is refused by name."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import records
from tenant_ops.backups.archive import ArchiveWriter, TenantKey
from tenant_ops.backups.containers import Directory
from tenant_ops.backups.crypto import DamagedBackup, WrongKey
from tenant_ops.backups.layout import FORMAT, VERSION, Completion, Header, Manifest, Member
from tenant_ops.backups.reading import open_archive, read_header
from tenant_ops.backups.stores import LocalFolder
from tenant_ops.platform.errors import InputError, NotAvailable, TenantOpsError
from tenant_ops_tests.backups.making import (
    KEY,
    OTHER_KEY,
    OTHER_TENANT,
    ROWS,
    TENANT,
    has_key,
    make_archive,
)

HEADER = Header(FORMAT, VERSION, TENANT, "20261120T140300Z-00000001", "full", None, "2026", "zstd", None)


def check_all(path: Path, key: TenantKey = KEY) -> bytes:
    """Read everything a restore would read; the rows."""
    archive = open_archive(Directory(path), has_key(key))
    for member in archive.manifest.members:
        archive.check(member)
    return b"".join(archive.read(archive.manifest.member(part)) for part in archive.manifest.tables[0].parts)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("key", [KEY, None], ids=["sealed", "plain"])
def test_what_was_written_is_what_is_read(tmp_path: Path, codec, key) -> None:
    published = make_archive(tmp_path, codec=codec, key=key)
    assert check_all(published.path) == ROWS
    assert open_archive(Directory(published.path), has_key()).unexpected() == []


def test_a_sealed_archive_shows_neither_rows_nor_names(tmp_path: Path) -> None:
    published = make_archive(tmp_path, codec="none", rows=b"1\tAda Lovelace\n" * 100)
    stored = b"".join(file.read_bytes() for file in published.path.rglob("*") if file.is_file())
    for secret in (b"Lovelace", b"acme", KEY.secret, KEY.secret.hex().encode()):
        assert secret not in stored
    assert {file.stat().st_mode & 0o077 for file in published.path.rglob("*")} == {0}


def test_a_plain_archive_opens_with_stock_gzip(tmp_path: Path) -> None:
    published = make_archive(tmp_path, codec="gzip", key=None)
    assert os.popen(f"gzip -dc '{published.path}/data/0001-plays.copy.gz'").read().encode() == ROWS


@pytest.mark.parametrize("key", [KEY, None], ids=["sealed", "plain"])
def test_a_flipped_bit_in_any_file_is_refused(tmp_path: Path, key: TenantKey | None) -> None:
    published = make_archive(tmp_path, key=key)
    for file in sorted(path for path in published.path.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for at in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            for bit in (1, 0x20):
                changed = bytearray(content)
                changed[at] ^= bit
                file.write_bytes(changed)
                if file.name == "key.json" and still_the_same_key(content, bytes(changed)):
                    continue
                with pytest.raises(TenantOpsError) as refusal:
                    check_all(published.path)
                assert refusal.type in (DamagedBackup, WrongKey, NotAvailable), file
        file.write_bytes(content)
    assert check_all(published.path) == ROWS


def still_the_same_key(before: bytes, after: bytes) -> bool:
    """Whether a change of key.json left every value the reader uses as it was."""
    try:
        changed = json.loads(after)
    except ValueError:
        return False
    used = ("tenant_key_id", "tenant_key_check", "wrapped_key", "key_check", "version", "backup_id")
    return all(changed.get(name) == value for name, value in json.loads(before).items() if name in used)


@pytest.mark.parametrize("key", [KEY, None], ids=["sealed", "plain"])
def test_a_file_cut_short_or_grown_or_gone_is_refused(tmp_path: Path, key: TenantKey | None) -> None:
    published = make_archive(tmp_path, key=key)
    for file in sorted(path for path in published.path.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for changed in (
            b"",
            content[: len(content) // 2],
            content[:-1],
            content + b"\0",
            content + content,
            None,
        ):
            file.unlink()
            if changed is not None:
                file.write_bytes(changed)
            with pytest.raises(TenantOpsError):
                check_all(published.path)
            file.write_bytes(content)
    assert check_all(published.path) == ROWS


def test_members_swapped_between_backups_of_one_tenant_are_refused(tmp_path: Path) -> None:
    first, second = make_archive(tmp_path), make_archive(tmp_path)
    for name in ("data/0001-plays.copy.zst.enc", "manifest.json.enc", "backup.json", "COMPLETE", "key.json"):
        kept = (first.path / name).read_bytes()
        shutil.copy(second.path / name, first.path / name)
        with pytest.raises(TenantOpsError):
            check_all(first.path)
        (first.path / name).write_bytes(kept)


def test_manifest_and_completion_of_another_backup_are_refused_together(tmp_path: Path) -> None:
    first, second = make_archive(tmp_path), make_archive(tmp_path)
    for names in [("manifest.json.enc", "COMPLETE"), ("manifest.json.enc", "COMPLETE", "backup.json")]:
        target = shutil.copytree(first.path, tmp_path / "forged" / str(len(names)))
        for name in names:
            shutil.copy(second.path / name, target / name)
        with pytest.raises(TenantOpsError):
            check_all(target)


def test_a_plain_archive_dressed_as_a_sealed_backup_is_not_taken_for_it(tmp_path: Path) -> None:
    """Whoever can write to the store can replace a backup whole; the catalog's hash tells."""
    sealed = make_archive(tmp_path)
    forged = make_archive(tmp_path / "forged", key=None, backup_id=sealed.path.name, rows=b"9\tevil\n")
    assert open_archive(Directory(forged.path), has_key()).manifest_sha256 != sealed.manifest_sha256


def test_an_archive_of_another_tenant_does_not_open_with_this_tenants_key(tmp_path: Path) -> None:
    other = make_archive(tmp_path, tenant_id=OTHER_TENANT, key=OTHER_KEY)
    with pytest.raises(WrongKey) as refusal:
        open_archive(Directory(other.path), has_key(KEY))
    assert OTHER_KEY.id in str(refusal.value)
    assert KEY.secret.hex() not in str(refusal.value)


def test_the_wrong_key_of_the_right_tenant_is_named_before_anything_is_read(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    (published.path / "manifest.json.enc").unlink()
    with pytest.raises(WrongKey, match="the key at hand is another"):
        open_archive(Directory(published.path), has_key(OTHER_KEY))


def test_files_the_manifest_does_not_name_are_reported(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    (published.path / "data" / "extra").write_text("x")
    (published.path / "link").symlink_to("/etc/passwd")
    assert open_archive(Directory(published.path), has_key()).unexpected() == ["data/extra", "link"]


def test_a_member_that_is_a_link_is_refused(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    member = published.path / "data" / "0001-plays.copy.zst.enc"
    member.rename(tmp_path / "elsewhere")
    member.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedBackup, match="0001-plays"):
        check_all(published.path)


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "data/../../x", "data//x", "..", "C:\\x", "data/x\0", "a/b/c", ""],
)
def test_a_manifest_that_points_outside_the_archive_is_refused(tmp_path: Path, path: str) -> None:
    published = make_archive(tmp_path, key=None)
    forge_member(published.path, path=path)
    with pytest.raises(DamagedBackup, match=r"no path of a member|need"):
        open_archive(Directory(published.path), has_key())


def test_members_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    published = make_archive(tmp_path, key=None)
    forge_member(published.path, at=0, path="data/0001-PLAYS.copy.zst")
    with pytest.raises(DamagedBackup, match="same path"):
        open_archive(Directory(published.path), has_key())


def test_a_decompression_bomb_stops_at_the_declared_size(tmp_path: Path) -> None:
    published = make_archive(tmp_path, key=None, rows=b"\0" * (64 << 20))
    forge_member(published.path, raw_bytes=1000)
    archive = open_archive(Directory(published.path), has_key())
    with pytest.raises(DamagedBackup, match="1000 bytes"):
        archive.read(archive.manifest.members[1])


def test_a_full_backup_whose_members_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    published = make_archive(tmp_path, key=None)
    forge_member(published.path, origin="20261120T140300Z-00000001")
    with pytest.raises(DamagedBackup, match="builds on none"):
        open_archive(Directory(published.path), has_key())


def forge_member(folder: Path, at: int = 1, **changes) -> None:
    """Change a member in a plain manifest and repair the hash, as somebody with write access could."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["members"][at] |= changes
    (folder / "manifest.json").write_bytes(json.dumps(manifest).encode())
    completion = json.loads((folder / "COMPLETE").read_bytes())
    completion["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "COMPLETE").write_text(json.dumps(completion))


def test_nothing_is_visible_before_it_is_complete(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path, HEADER, tenant_key=KEY, level=1)
    writer.add("data/0001-x.copy", "data", ROWS)
    assert [path.name for path in tmp_path.iterdir()] == [f"{HEADER.backup_id}.partial"]
    with pytest.raises(InputError, match="not a complete backup"):
        read_header(Directory(tmp_path / f"{HEADER.backup_id}.partial"))
    assert LocalFolder(tmp_path).sweep() == [f"{HEADER.backup_id}.partial"]
    assert list(tmp_path.iterdir()) == []


def test_a_member_that_failed_half_way_is_not_in_the_archive(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path, HEADER, tenant_key=KEY, level=1)
    with pytest.raises(RuntimeError), writer.member("data/0001-x.copy", "data") as member:
        member.write(b"half")
        raise RuntimeError
    assert writer.members == []
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused_with_advice(tmp_path: Path) -> None:
    published = make_archive(tmp_path)
    header = json.loads((published.path / "backup.json").read_bytes()) | {"version": 2}
    (published.path / "backup.json").write_text(json.dumps(header))
    with pytest.raises(NotAvailable, match="Upgrade"):
        read_header(Directory(published.path))


class TestRecords:
    """The JSON documents of an archive are read strictly: a wrong field is named, never guessed."""

    def test_what_is_encoded_decodes_to_the_same(self) -> None:
        assert records.decode(Header, records.encode(HEADER), "h") == HEADER

    def test_names_with_broken_utf8_survive(self) -> None:
        odd = Completion("caf\udce9", "a", "b")
        assert records.decode(Completion, records.encode(odd), "c") == odd

    def test_fields_of_a_newer_writer_are_ignored(self) -> None:
        document = json.dumps({"backup_id": "a", "header_sha256": "b", "manifest_sha256": "c", "new": 1})
        assert records.decode(Completion, document.encode(), "c").backup_id == "a"

    @pytest.mark.parametrize(
        ("document", "field"),
        [
            (b"", "m"),
            (b"[" * 100_000, "m"),
            (b"[]", "m"),
            (b"{}", "m.path"),
            (b'{"path": 1}', "m.path"),
            (b'{"path": "a", "kind": "other"}', "m.kind"),
            (b'{"path": "a", "kind": "data", "codec": "none", "sealed": 1}', "m.sealed"),
            (
                b'{"path": "a", "kind": "data", "codec": "none", "sealed": true, "raw_bytes": true}',
                "m.raw_bytes",
            ),
        ],
    )
    def test_a_wrong_field_is_named(self, document: bytes, field: str) -> None:
        with pytest.raises(DamagedBackup) as refusal:
            records.decode(Member, document, "m")
        assert refusal.value.where == field

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=10,
        )
    )
    def test_any_json_is_a_record_or_refused(self, value: object) -> None:
        document = json.dumps(value).encode()
        for kind in (Header, Manifest, Member, Completion):
            with pytest.raises(DamagedBackup):
                records.decode(kind, document, "m")
