"""The root `fixtures` folder is what the generator makes, sound but for the faults it lists."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.datasets import MUSIC, Column, Dataset
from tenant_ops.datasets.synthesis import corrupt, write_fixtures, write_shipped
from tenant_ops.datasets.synthesis.spoilers import KINDS
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import fixtures_root
from tenant_ops_tests.datasets.soundness import problems, value_problem

SHIPPED = fixtures_root() / MUSIC.version
SOUND = ("starter", "professional", "enterprise")


def content(path: Path) -> bytes:
    """A file's bytes without compression, which depends on the zlib at hand."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def records(dataset: Dataset, path: Path) -> list[dict[str, Any] | None]:
    """Every record as column name and text or JSON value; None for one that is no record at all."""
    text = content(path).decode()
    if ".csv" in path.suffixes:
        lines = csv.reader(io.StringIO(text))
        assert next(lines) == [column.source_name for column in dataset.columns]
        whole = len(dataset.columns)
        return [
            {c.name: value or None for c, value in zip(dataset.columns, line, strict=True)}
            if len(line) == whole
            else None
            for line in lines
        ]
    if ".ndjson" in path.suffixes:
        return [_one(dataset, line) for line in text.split("\n")[:-1]]
    return [_one(dataset, json.dumps(each)) for each in json.loads(text)]


def _one(dataset: Dataset, line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return {column.name: found[column.source_name] for column in dataset.columns}


def typed(column: Column, value: Any) -> Any:
    """A file's value as Arrow would hold it; the value itself when it is not of its type."""
    if value is None:
        return None
    try:
        match column.type:
            case "integer" | "bigint":
                return int(value)
            case "numeric":
                return Decimal(str(value))
            case "double":
                return float(value)
            case "boolean":
                return {"true": True, "false": False, True: True, False: False}[value]
            case "date":
                return date.fromisoformat(value)
            case "timestamptz":
                return datetime.fromisoformat(value)
            case "jsonb":
                return value if isinstance(value, str) else json.dumps(value)
            case _:
                return value
    except (ValueError, KeyError, InvalidOperation):
        return value


def rows_of(folder: Path) -> dict[str, list[dict[str, Any] | None]]:
    found: dict[str, list[dict[str, Any] | None]] = {}
    for dataset in MUSIC:
        (path,) = folder.glob(f"{dataset.source_name}.*")
        found[dataset.name] = [
            row and {column.name: typed(column, row[column.name]) for column in dataset.columns}
            for row in records(dataset, path)
        ]
    return found


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder made once more from the seeds in the code."""
    root = tmp_path_factory.mktemp("fixtures")
    write_shipped(MUSIC, root)
    return root / MUSIC.version


def test_the_folder_is_what_the_generator_makes(again: Path):
    made = {path.relative_to(again): content(path) for path in again.rglob("*") if path.is_file()}
    kept = {path.relative_to(SHIPPED): content(path) for path in SHIPPED.rglob("*") if path.is_file()}
    differing = sorted(str(name) for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
    assert differing == [], "write the folder again: see fixtures/README.md"


def test_the_folder_stays_small():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("name", SOUND)
def test_a_set_has_every_dataset_once_and_is_sound(name: str):
    rows = rows_of(SHIPPED / name)
    assert all(None not in each for each in rows.values())
    assert problems(MUSIC, rows) == []  # pyright: ignore[reportArgumentType]


def test_sets_grow_with_the_tier():
    sizes = [sum(map(len, rows_of(SHIPPED / name).values())) for name in SOUND]
    assert sizes == sorted(sizes)
    assert 300 < sizes[0] < 600
    assert 2_500 < sizes[2] < 4_000


def test_sets_are_in_mixed_formats():
    endings = {"".join(path.suffixes) for path in (SHIPPED / "starter").iterdir()}
    assert endings == {".csv", ".csv.gz", ".json", ".ndjson"}


def test_the_tiers_share_no_key():
    keys = [{row["user_id"] for row in rows_of(SHIPPED / name)["users"] if row} for name in SOUND]
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]


# ---- the faulty set ----


@pytest.fixture(scope="module")
def faults() -> list[dict[str, Any]]:
    return json.loads((SHIPPED / "faulty" / "faults.json").read_text())["faults"]


@pytest.fixture(scope="module")
def faulty() -> dict[str, list[dict[str, Any] | None]]:
    return rows_of(SHIPPED / "faulty")


def places(faults: list[dict[str, Any]], dataset: str) -> set[int]:
    return {fault["row"] - 1 for fault in faults if fault["dataset"] == dataset}


def test_every_kind_of_fault_is_there(faults: list[dict[str, Any]]):
    assert {fault["kind"] for fault in faults} == set(KINDS)


def test_without_the_listed_rows_the_set_is_sound(faults: list[dict[str, Any]], faulty: dict[str, Any]):
    rest = {
        name: [row for number, row in enumerate(rows) if number not in places(faults, name)]
        for name, rows in faulty.items()
    }
    assert problems(MUSIC, rest) == []
    assert sum(map(len, rest.values())) == sum(map(len, faulty.values())) - len(faults)


def test_every_listed_row_is_wrong_in_its_column_and_in_no_other(
    faults: list[dict[str, Any]], faulty: dict[str, Any]
):
    sound = {
        name: [row for number, row in enumerate(rows) if number not in places(faults, name)]
        for name, rows in faulty.items()
    }
    for fault in faults:
        row = faulty[fault["dataset"]][fault["row"] - 1]
        if fault["column"] is None:
            assert row is None, fault
            continue
        dataset = MUSIC[fault["dataset"]]
        wrong = {c.name for c in dataset.columns if value_problem(c, row[c.name])}
        if wrong:
            assert wrong == {fault["column"]}, fault
        else:  # what is wrong shows only beside other rows or columns
            added = {**sound, dataset.name: [*sound[dataset.name], row]}
            told = problems(MUSIC, added)
            assert len(told) == 1, (fault, told)
            assert all(name in told[0] for name in fault["column"].split(",")), (fault, told)


def test_the_listed_line_is_the_line_the_row_stands_on(faults: list[dict[str, Any]], faulty: dict[str, Any]):
    for fault in faults:
        line = (SHIPPED / "faulty" / fault["file"]).read_text().split("\n")[fault["line"] - 1]
        dataset = MUSIC[fault["dataset"]]
        row = faulty[dataset.name][fault["row"] - 1]
        if row is None:
            sound_length = len(dataset.columns)
            assert not line.endswith("}")
            assert fault["file"].endswith("json") or len(next(csv.reader([line]))) != sound_length
        else:
            key = row[dataset.key[0]]
            assert str(key) in line or fault["kind"] in {"bad_date", "bad_uuid"}


def test_people_and_machines_are_told_the_same(faults: list[dict[str, Any]]):
    table = (SHIPPED / "faulty" / "FAULTS.md").read_text().splitlines()
    lines = [line for line in table if line.startswith("| ") and "| line |" not in line]
    assert len(lines) == len(faults)
    for fault, line in zip(faults, lines, strict=True):
        assert line.startswith(f"| {fault['file']} | {fault['line']} | ")
        assert f"| {fault['kind']} |" in line


# ---- spoiling a set of one's own ----


def test_equal_sets_are_spoilt_alike(tmp_path: Path):
    write_fixtures(MUSIC, tmp_path / "sound", rows=60, seed=9)
    first = corrupt(MUSIC, tmp_path / "sound", tmp_path / "a")
    second = corrupt(MUSIC, tmp_path / "sound", tmp_path / "b")
    assert [asdict(fault) for fault in first] == [asdict(fault) for fault in second]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_sound_rows_keep_their_bytes_and_order(tmp_path: Path):
    write_fixtures(MUSIC, tmp_path / "sound", rows=60, seed=9)
    faults = corrupt(MUSIC, tmp_path / "sound", tmp_path / "spoilt")
    for path in (tmp_path / "sound").iterdir():
        planted = {fault.line for fault in faults if fault.file == path.name}
        lines = (tmp_path / "spoilt" / path.name).read_text().split("\n")
        kept = [line for number, line in enumerate(lines, start=1) if number not in planted]
        assert "\n".join(kept) == path.read_text()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_smallest_sets_can_be_spoilt(tmp_path: Path, rows: int):
    write_fixtures(MUSIC, tmp_path / "sound", rows=rows, seed=9)
    faults = corrupt(MUSIC, tmp_path / "sound", tmp_path / "spoilt")
    assert len({(fault.file, fault.line) for fault in faults}) == len(faults)
    assert Counter(fault.dataset for fault in faults).keys() == set(MUSIC.names)


def unreadable() -> Iterator[tuple[str, bytes]]:
    yield "users.csv.gz", gzip.compress(b"user_id\n", mtime=0)
    yield "users.parquet", b"PAR1"
    header = ",".join(MUSIC["users"].column_names).encode()
    yield "users.csv", header + b'\n1,"two\nlines",3,4,5,6,7,8,9,10\n'
    yield "users.ndjson", b'{"user_id":\n1}\n'


@pytest.mark.parametrize(("name", "data"), list(unreadable()), ids=lambda value: str(value)[:24])
def test_a_file_that_cannot_be_read_by_line_is_refused(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=name):
        corrupt(MUSIC, tmp_path, tmp_path / "spoilt")
