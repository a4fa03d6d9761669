"""Zip archives: folders in a file, and those that are not to be trusted."""

import gzip
import io
import json
import stat
import zipfile
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import zstandard

from tenant_ops.loading import Reading, SourceFile
from tenant_ops.loading.discovery import content_hash, find_files
from tenant_ops.loading.sources import open_source
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import SHOP, Shop

ROWS = "id,name\n1,Ada\n2,Ben\n"


def pack(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def find(source: Path, *wanted: str) -> dict[str, list[SourceFile]]:
    spool = source.parent / "spool"
    return find_files(SHOP, source, set(wanted or ("customers", "orders")), reading=Reading(), spool=spool)


def rows(file: SourceFile) -> int:
    reading = Reading()
    with open_source(file, SHOP["customers"], batch_rows=10, drift="strict", reading=reading) as source:
        return sum(batch.rows for batch in source.batches)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_members_are_files_of_the_datasets_they_are_named_after(tmp_path: Path, method: int) -> None:
    pack(
        tmp_path / "export.zip",
        {
            "customers.csv": ROWS,
            "more/customers.1.csv.gz": gzip.compress(ROWS.encode()),
            "customers/part 2.tsv.zst": zstandard.compress(ROWS.replace(",", "\t").encode()),
            "all.json": json.dumps({"customers": [{"id": 1, "name": "x"}], "Orders": []}),
            "README.md": "none",
            "__MACOSX/._customers.csv": "none",
            ".hidden/customers.csv": "none",
            "customers/": "",
        },
        method,
    )
    found = find(tmp_path)
    assert [(file.name, file.member, file.compression) for file in found["customers"]] == [
        ("export.zip/all.json#customers", "all.json", ""),
        ("export.zip/customers/part 2.tsv.zst", "customers/part 2.tsv.zst", "zst"),
        ("export.zip/customers.csv", "customers.csv", ""),
        ("export.zip/more/customers.1.csv.gz", "more/customers.1.csv.gz", "gz"),
    ]
    assert [rows(file) for file in found["customers"]] == [1, 2, 2, 2]
    assert [file.part for file in found["orders"]] == ["Orders"]
    assert len({file.sha256 for file in found["customers"]}) == 4
    assert [content_hash(file) for file in found["customers"]] == [f.sha256 for f in found["customers"]]


def test_members_may_go_by_the_name_of_their_archive_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "Orders").mkdir()
    pack(tmp_path / "customers.zip", {"part-1.csv": ROWS, "x/part-2.csv": ROWS, "Orders.csv": ROWS})
    pack(tmp_path / "Orders" / "june.zip", {"1.csv": ROWS})
    found = find(tmp_path)
    assert [file.name for file in found["customers"]] == [
        "customers.zip/part-1.csv",
        "customers.zip/x/part-2.csv",
    ]
    assert [file.name for file in found["orders"]] == ["Orders/june.zip/1.csv", "customers.zip/Orders.csv"]
    pack(tmp_path / "other.zip", {"part-1.csv": ROWS})
    with pytest.raises(InputError, match=r"other\.zip/part-1\.csv: no dataset is called 'part-1'"):
        find(tmp_path)
    (only,) = find(tmp_path / "other.zip", "customers")["customers"]
    assert rows(only) == 2, "the one member of an archive that was asked for by name"


def test_a_member_is_known_by_its_content(tmp_path: Path) -> None:
    members = {"customers.csv": ROWS, "Orders.csv": "none"}
    (first,) = find(pack(tmp_path / "a.zip", members))["customers"]
    (second,) = find(pack(tmp_path / "b.zip", {**members, "Orders.csv": "other"}))["customers"]
    (third,) = find(pack(tmp_path / "c.zip", {**members, "customers.csv": ROWS + "3,Cem\n"}))["customers"]
    assert first.sha256 == second.sha256 != third.sha256


def test_what_cannot_be_read_in_order_is_taken_out_first(tmp_path: Path) -> None:
    sink = io.BytesIO()
    parquet.write_table(arrow.table({"id": ["1", "2"], "name": ["a", "b"]}), sink)
    pack(tmp_path / "export.zip", {"customers.parquet": sink.getvalue()})
    (file,) = find(tmp_path)["customers"]
    assert (file.name, file.member, rows(file)) == ("export.zip/customers.parquet", None, 2)
    assert Path(file.path).parent == tmp_path.parent / "spool"
    assert stat.S_IMODE(Path(file.path).stat().st_mode) == 0o600
    assert find(tmp_path)["customers"] == [file]


@pytest.mark.parametrize(
    "name", ["../customers.csv", "a/../../customers.csv", "/customers.csv", "a\\customers.csv"]
)
def test_an_archive_with_names_that_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "export.zip", {"customers.csv": ROWS, name: ROWS})
    with pytest.raises(InputError, match=r"export\.zip: the member .* leads out of the archive"):
        find(tmp_path)


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("customers.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="the member is a link"):
        find(tmp_path)


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "export.zip", "w") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("customers.csv", ROWS)
        archive.writestr("customers.csv", ROWS)
    with pytest.raises(InputError, match=r"'customers\.csv' is there twice"):
        find(tmp_path)


def test_a_member_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "export.zip", {"customers.csv": b"id,name\n" + b"0" * (32 << 20)})
    with pytest.raises(InputError, match=r"customers\.csv: the member says it unpacks from \d+ to \d+ bytes"):
        find(tmp_path)


def damaged(path: Path, at: int, value: bytes, place: str) -> None:
    """Change bytes of a header: the local one (first) or the central one (last)."""
    data = bytearray(path.read_bytes())
    header = data.index(b"PK\x03\x04") if place == "local" else data.index(b"PK\x01\x02")
    data[header + at : header + at + len(value)] = value
    path.write_bytes(data)


def test_a_member_that_is_longer_or_other_than_it_says_is_never_taken_for_whole(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"customers.csv": ROWS})
    damaged(path, 24, (len(ROWS) - 5).to_bytes(4, "little"), "central")
    (file,) = find(path)["customers"]
    with pytest.raises(InputError, match=r"a\.zip/customers\.csv: .*Bad CRC-32"):
        rows(file)
    path = pack(tmp_path / "b.zip", {"customers.csv": ROWS}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"Ada", b"Adb"))
    (file,) = find(path)["customers"]
    with pytest.raises(InputError, match="Bad CRC-32"):
        rows(file)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"customers.csv": ROWS})
    damaged(path, 8, b"\x01\x00", "central")
    with pytest.raises(InputError, match=r"a\.zip/customers\.csv: the member is encrypted"):
        find(path)


def test_a_way_of_packing_nobody_knows_is_told(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"customers.csv": ROWS})
    damaged(path, 10, b"\x62\x00", "central")
    (file,) = find(path)["customers"]
    with pytest.raises(InputError, match="the zip archive is cut off or damaged: That compression method"):
        rows(file)


def test_an_archive_that_is_cut_off_is_told(tmp_path: Path) -> None:
    whole = pack(tmp_path / "whole.zip", {"customers.csv": ROWS}).read_bytes()
    (tmp_path / "whole.zip").unlink()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cut\.zip: the zip archive is cut off or damaged"):
            find(tmp_path)


def test_a_tenant_loads_from_an_archive_once(shop: Shop) -> None:
    path = pack(
        shop.folder / "export.zip",
        {"customers.csv": ROWS, "Orders.csv": "Customer,No.,Total amount\n1,1,5\n"},
    )
    assert shop.load(source=str(path)).inserted == 3
    assert shop.load(source=str(path)).read == 0
