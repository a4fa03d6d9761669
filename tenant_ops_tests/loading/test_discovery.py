"""Which files are taken for which dataset, and which are never opened."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tenant_ops.loading import Reading, SourceFile
from tenant_ops.loading.discovery import find_files
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import SHOP

BOTH = {"customers", "orders"}


def put(folder: Path, *names: str, content: str = "id\n") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def find(source: Path | str, wanted: set[str] = BOTH) -> dict[str, list[SourceFile]]:
    return find_files(SHOP, source, wanted, reading=Reading(), spool=Path("unused"))


def names(source: Path | str, wanted: set[str] = BOTH) -> dict[str, list[str]]:
    return {dataset: [file.name for file in files] for dataset, files in find(source, wanted).items()}


def test_files_are_named_after_datasets_or_lie_in_their_folders(tmp_path: Path) -> None:
    put(
        tmp_path,
        "customers.csv",
        "customers.2024-06.NDJSON.gz",
        "customers/part-1.tsv",
        "customers/b/2.csv.zst",
        "Orders.jsonl",
    )
    assert names(tmp_path) == {
        "customers": [
            "customers/b/2.csv.zst",
            "customers/part-1.tsv",
            "customers.2024-06.NDJSON.gz",
            "customers.csv",
        ],
        "orders": ["Orders.jsonl"],
    }


def test_formats_compressions_sizes_and_hashes_are_told(tmp_path: Path) -> None:
    put(tmp_path, "customers.jsonl.zst", content="{}")
    (file,) = find(tmp_path)["customers"]
    assert (file.format, file.compression, file.bytes) == ("ndjson", "zst", 2)
    assert file.sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_what_is_no_data_is_passed_over(tmp_path: Path) -> None:
    put(
        tmp_path,
        "customers.csv",
        "README.md",
        ".hidden.csv",
        ".git/orders.csv",
        "notes.txt",
        "customers.parquet.gz",
    )
    put(tmp_path, "manifest.json", content=json.dumps({"version": 1, "files": []}))
    assert names(tmp_path) == {"customers": ["customers.csv"], "orders": []}


def test_a_file_of_no_dataset_is_named(tmp_path: Path) -> None:
    put(tmp_path, "customers.csv", "custmers.csv")
    with pytest.raises(
        InputError, match=r"custmers\.csv: no dataset is called 'custmers'.*Orders, customers"
    ):
        names(tmp_path)


def test_a_json_object_and_a_database_hold_several_datasets(tmp_path: Path) -> None:
    put(tmp_path, "all.json", content=json.dumps({"Orders": [], "customers": [], "other": []}))
    with sqlite3.connect(tmp_path / "all.sqlite") as connection:
        connection.execute('CREATE TABLE "Orders" (x)')
    connection.close()
    assert names(tmp_path) == {
        "customers": ["all.json#customers"],
        "orders": ["all.json#Orders", "all.sqlite#Orders"],
    }


def test_a_single_file_may_have_any_name_when_one_dataset_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "export 17.csv")
    assert names(tmp_path / "export 17.csv", {"customers"}) == {"customers": ["export 17.csv"]}
    with pytest.raises(InputError, match="no dataset is called 'export 17'"):
        names(tmp_path / "export 17.csv")


def test_a_single_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "customers.xlsx")
    with pytest.raises(InputError, match="this is no kind of file that can be loaded"):
        names(tmp_path / "customers.xlsx")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "outside.csv", "in/real.csv")
    folder = tmp_path / "in"
    (folder / "real.csv").rename(folder / "Orders.csv")
    (folder / "customers.csv").symlink_to("../outside.csv")
    with pytest.raises(InputError, match=r"customers\.csv: the link leads out of the folder"):
        names(folder)
    (folder / "customers.csv").unlink()
    (folder / "customers.csv").symlink_to("Orders.csv")
    assert names(folder)["customers"] == ["customers.csv"]


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "customers.csv")
    with pytest.raises(InputError, match=r"customers\.csv: this is not a regular file"):
        names(tmp_path)


def test_a_name_of_any_bytes_is_shown_safely(tmp_path: Path) -> None:
    hostile = b"customers.\xff\n\x1b[31m;DROP TABLE.csv"
    (tmp_path / os.fsdecode(hostile)).write_text("id\n")
    (shown,) = names(tmp_path)["customers"]
    assert shown.isprintable()
    shown.encode()


def test_a_pattern_names_files_relative_to_its_fixed_part(tmp_path: Path) -> None:
    put(
        tmp_path,
        "in/june/customers.csv",
        "in/july/customers.1.csv",
        "in/july/deep/x.csv",
        "in/june/notes.txt",
    )
    put(tmp_path, "in/june/.customers.csv", "in/june/Orders.csv")
    assert names(f"{tmp_path}/in/*/customers*.csv", {"customers"}) == {
        "customers": ["july/customers.1.csv", "june/customers.csv"]
    }
    assert names(f"{tmp_path}/in/june/*", {"customers"}) == {"customers": ["customers.csv"]}
    assert names(f"{tmp_path}/in/**/x.c?v", {"customers"}) == {"customers": ["july/deep/x.csv"]}
    assert names(f"{tmp_path}/in/june/[NO]*.csv") == {"customers": [], "orders": ["Orders.csv"]}
    with pytest.raises(InputError, match=r"\*\.parquet: no file matches"):
        names(f"{tmp_path}/in/*.parquet")
    with pytest.raises(InputError, match="there are no data files"):
        names(f"{tmp_path}/in/june/*.txt")


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "what[1]*/customers.csv")
    assert names(f"{tmp_path}/what[1]*")["customers"] == ["customers.csv"]


def test_a_pattern_follows_no_link_out_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "secret/customers.csv", "in/Orders.csv")
    (tmp_path / "in" / "customers.csv").symlink_to(tmp_path / "secret" / "customers.csv")
    with pytest.raises(InputError, match="the link leads out of the folder"):
        names(f"{tmp_path}/in/*.csv")


def test_a_pattern_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "customers.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("~/cust*.csv")["customers"] == ["customers.csv"]
    assert names("~")["customers"] == ["customers.csv"]
