"""Sample data is sound for any catalog, lifelike for the shipped one, and the same for the same seed."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tenant_ops.datasets import (
    MUSIC,
    Between,
    Catalog,
    Column,
    Dataset,
    ForeignKey,
    Length,
    Matches,
    OneOf,
    Order,
    Volume,
    create_statements,
)
from tenant_ops.datasets.synthesis import generate, write_fixtures
from tenant_ops.datasets.synthesis.patterns import texts
from tenant_ops.datasets.synthesis.randomness import permuted
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.datasets.soundness import problems

Rows = dict[str, list[dict[str, Any]]]


def made(catalog: Catalog, rows: int = 40, seed: int = 1, **options: Any) -> Rows:
    """Generated rows by dataset."""
    found: Rows = {}
    for chunk in generate(catalog, rows=rows, seed=seed, **options):
        found.setdefault(chunk.dataset.name, []).extend(chunk.rows.to_pylist())
    return found


def catalog_of(*datasets: Dataset) -> Catalog:
    return Catalog("test", "1.0.0", datasets)


@pytest.fixture(scope="module")
def music() -> Rows:
    return made(MUSIC, rows=2_000)


# ---- the shipped catalog ----


@pytest.mark.parametrize("rows", [1, 2, 7, 120, 900])
@pytest.mark.parametrize("seed", [0, 1, -5, 2**70])
def test_the_shipped_datasets_are_sound_at_any_size(rows: int, seed: int):
    found = made(MUSIC, rows, seed)
    assert problems(MUSIC, found) == []
    assert max(map(len, found.values())) == len(found["listening_events"]) == rows


def test_rows_counts_the_biggest_dataset_and_the_others_follow(music: Rows):
    sizes = {name: len(rows) for name, rows in music.items()}
    assert sizes["listening_events"] == 2_000
    assert sizes["sessions"] == 300
    assert sizes["users"] == 40
    assert set(sizes) == set(MUSIC.names)


def test_a_tenant_always_has_an_active_admin():
    for seed in range(20):
        users = made(MUSIC, rows=1, seed=seed, datasets=["users"])["users"]
        assert any(user["role"] == "admin" and user["status"] == "active" for user in users)


def test_a_conversations_tokens_are_those_of_its_messages(music: Rows):
    spoken: Counter[str] = Counter()
    for message in music["ai_messages"]:
        spoken[message["ai_session_id"]] += message["tokens"]
    assert {s["ai_session_id"]: s["total_tokens"] for s in music["ai_sessions"]} == {
        s["ai_session_id"]: spoken[s["ai_session_id"]] for s in music["ai_sessions"]
    }


def test_nothing_is_played_longer_than_it_lasts_or_outside_its_session(music: Rows):
    lasts = {track["track_id"]: track["duration_ms"] for track in music["tracks"]}
    sessions = {session["session_id"]: session for session in music["sessions"]}
    for event in music["listening_events"]:
        assert event["played_ms"] <= lasts[event["track_id"]]
        assert event["completed"] == (event["played_ms"] == lasts[event["track_id"]])
        if event["session_id"]:
            session = sessions[event["session_id"]]
            assert event["user_id"] == session["user_id"]
            assert session["started_at"] <= event["played_at"] <= (session["ended_at"] or event["played_at"])


@pytest.mark.parametrize(
    ("dataset", "group", "place"),
    [("playlist_tracks", "playlist_id", "position"), ("ai_messages", "ai_session_id", "ordinal")],
)
def test_places_in_a_group_count_from_one_without_a_gap(music: Rows, dataset: str, group: str, place: str):
    groups: dict[str, list[int]] = {}
    for row in music[dataset]:
        groups.setdefault(row[group], []).append(row[place])
    assert all(places == list(range(1, len(places) + 1)) for places in groups.values())
    assert len({len(places) for places in groups.values()}) > 1, "groups differ in size"


def test_invited_people_have_done_nothing_yet(music: Rows):
    invited = {user["user_id"] for user in music["users"] if user["status"] == "invited"}
    assert invited
    assert all(user["last_seen_at"] is None for user in music["users"] if user["user_id"] in invited)
    assert not invited & {session["user_id"] for session in music["sessions"]}


def test_nobody_is_present_before_the_account_or_after_the_last_activity(music: Rows):
    users = {user["user_id"]: user for user in music["users"]}
    for session in music["sessions"]:
        user = users[session["user_id"]]
        assert user["created_at"] <= session["started_at"]
        assert (session["ended_at"] or session["started_at"]) <= user["last_seen_at"]


def test_daily_figures_are_those_of_the_other_datasets(music: Rows):
    figures = {(row["day"], row["metric"]): row["value"] for row in music["analytics_daily"]}
    plays = Counter(event["played_at"].date() for event in music["listening_events"])
    minutes: Counter[date] = Counter()
    for event in music["listening_events"]:
        minutes[event["played_at"].date()] += event["played_ms"]
    present = {(session["started_at"].date(), session["user_id"]) for session in music["sessions"]}
    active = Counter(day for day, _ in present)
    costs: Counter[date] = Counter()
    for session in music["ai_sessions"]:
        costs[session["started_at"].date()] += session["cost_usd"]
    for day in {day for day, _ in figures}:
        assert figures[day, "plays"] == plays[day]
        assert figures[day, "minutes"] == pytest.approx(minutes[day] / 60_000, abs=0.01)
        assert figures[day, "active_users"] == active[day]
        assert figures[day, "ai_cost_usd"] == pytest.approx(float(costs[day]), abs=0.01)
    assert sum(plays[day] for day, metric in figures if metric == "plays") == 2_000


def test_few_tracks_are_played_often_and_many_rarely(music: Rows):
    plays = sorted(Counter(e["track_id"] for e in music["listening_events"]).values(), reverse=True)
    top = sum(plays[: len(plays) // 10]) / sum(plays)
    assert 0.2 < top < 0.6


def test_no_value_can_belong_to_a_real_person(music: Rows):
    kept_for_documentation = ("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:")
    assert all(user["email"].endswith(".example") for user in music["users"])
    for row in (*music["sessions"], *music["api_requests"]):
        assert (row["ip_address"] or "192.0.2.").startswith(kept_for_documentation)


def test_texts_use_more_than_ascii(music: Rows):
    assert any(not user["display_name"].isascii() for user in music["users"])


def test_the_shipped_data_loads_into_its_own_tables(postgres_url: str, tmp_path: Path):
    report = write_fixtures(MUSIC, tmp_path, rows=3_000, seed=11)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA sample_data")
        connection.execute("SET LOCAL search_path = sample_data")
        for statement in create_statements(MUSIC):
            connection.execute(statement)  # pyright: ignore[reportArgumentType]
        for file in report.files:
            copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER match)").format(
                sql.Identifier(file.dataset)
            )
            with connection.cursor() as cursor:
                with cursor.copy(copy) as stream:
                    stream.write(file.path.read_bytes())
                assert cursor.rowcount == file.rows
        connection.rollback()


# ---- any catalog ----


PATTERNS = (
    r"[A-Z]{2}[0-9]{4}",
    r"[a-z]+",
    r"[^@\s]+@[^@\s]+\.[^@\s]+",
    r"(red|green|blue)-\d\d",
    r"x*y?",
    r"\w{3}(-\w{2})?",
    r"[\d.]{2,5}",
    r"(?:a|b)*c{2}",
    r"[^a-z0-9]",
    r"/[^\s?]*",
)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind = draw(
        st.sampled_from(
            [
                *("uuid", "text", "integer", "bigint", "numeric", "double"),
                *("boolean", "date", "timestamptz", "jsonb", "inet"),
            ]
        )
    )
    rules: tuple[Any, ...] = ()
    if kind == "text":
        rules = draw(
            st.sampled_from(
                [
                    (),
                    (Length(1, 5),),
                    (Length(30, 40),),
                    (Length(0, 0),),
                    (OneOf(("a", "b,c", 'say "d"', "é", "\\.")),),
                    (OneOf(("a", "bb", "ccc")), Length(2, 9)),
                    *[(Matches(pattern),) for pattern in PATTERNS],
                    (Matches(r"[a-z]+"), Length(2, 4)),
                    (Matches(r"[a-z]+"), Matches(r"a.*")),
                ]
            )
        )
    elif kind in {"integer", "bigint", "numeric", "double"}:
        bounds = [(0, None), (None, -5), (1, 3), (-10, 1_000_000), (-(2**31), 2**31 - 1)]
        low, high = draw(
            st.sampled_from(bounds if kind in {"integer", "bigint"} else [*bounds, (0.001, 0.5)])
        )
        bounds = [(low, None), (None, high)] if draw(st.booleans()) else [(low, high)]
        rules = tuple(Between(*each) for each in bounds if each != (None, None))
        if draw(st.integers(0, 9)) == 0:
            rules = (OneOf(("1", "2", "30")),)
    return Column(
        name,
        kind,
        nullable=draw(st.integers(0, 3)) == 0,
        unique=draw(st.integers(0, 5)) == 0,
        rules=rules,
        source=f"{name}_in_file" if draw(st.booleans()) else None,
    )


@st.composite
def datasets(draw: st.DrawFn, name: str, earlier: list[Dataset]) -> Dataset:
    own = [draw(columns(f"c{number}")) for number in range(draw(st.integers(1, 5)))]
    foreign: list[ForeignKey] = []
    for number in range(draw(st.integers(0, 2)) if earlier else 0):
        parent = draw(st.sampled_from(earlier))
        target = parent.key
        referring = []
        for place, column in enumerate(target):
            like = parent.by_name[column]
            nullable, unique = draw(st.booleans()), draw(st.integers(0, 5)) == 0 and len(target) == 1
            referring.append(Column(f"f{number}_{place}", like.type, nullable=nullable, unique=unique))
        own += referring
        foreign.append(ForeignKey(tuple(column.name for column in referring), parent.name, target))
    names = [column.name for column in own]
    key = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
    if len(key) == 1 and draw(st.booleans()):
        like = next(column for column in own if column.name == key[0])
        own.append(Column("parent", like.type, nullable=draw(st.booleans())))
        foreign.append(ForeignKey(("parent",), name, key))
    together = st.lists(st.sampled_from(names), min_size=min(2, len(names)), max_size=3, unique=True)
    unique = draw(st.lists(together, max_size=2))
    return Dataset(
        name,
        "Made up.",
        tuple(own),
        key=key,
        foreign_keys=tuple(foreign),
        unique=tuple(map(tuple, unique)),
        volume=Volume(draw(st.sampled_from([0.01, 0.3, 1.0])), draw(st.integers(1, 9))),
    )


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    found: list[Dataset] = []
    for number in range(draw(st.integers(1, 4))):
        found.append(draw(datasets(f"d{number}", found)))
    return catalog_of(*found)


def by_column_names(catalog: Catalog, rows: Rows) -> Rows:
    return {
        dataset.name: [
            {column.name: row[column.source_name] for column in dataset.columns} for row in rows[dataset.name]
        ]
        for dataset in catalog
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(catalogs(), st.integers(1, 60), st.integers())
def test_any_catalog_gets_sound_rows(catalog: Catalog, rows: int, seed: int):
    found = made(catalog, rows, seed)
    assert problems(catalog, by_column_names(catalog, found)) == []
    assert all(1 <= len(each) <= rows for each in found.values())


@st.composite
def ordered_datasets(draw: st.DrawFn) -> Dataset:
    """Numbers or times tied by orders that form no circle; some unique, some with ranges of their own."""
    numbers = draw(st.booleans())
    kinds = ["integer", "bigint", "numeric", "double"] if numbers else ["date", "timestamptz"]
    kinds = kinds if draw(st.booleans()) else kinds[:1]
    found = [Column("id", "uuid")]
    for place in range(draw(st.integers(2, 5))):
        bounds = draw(st.sampled_from([(), (Between(0, 50),), (Between(-20, 20),)])) if numbers else ()
        unique, nullable = draw(st.integers(0, 3)) == 0, draw(st.booleans())
        found.append(Column(f"c{place}", draw(st.sampled_from(kinds)), "", nullable, unique, bounds))
    pairs = [(a, b) for a in range(len(found) - 1) for b in range(a + 1, len(found) - 1)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4, unique=True))
    orders = tuple(Order(f"c{first}", f"c{then}") for first, then in chosen)
    return Dataset("ordered", "Made up.", tuple(found), key=("id",), orders=orders, volume=Volume(1))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ordered_datasets(), st.integers(1, 60))
def test_orders_hold_or_are_refused_with_the_columns_named(dataset: Dataset, rows: int):
    try:
        found = made(catalog_of(dataset), rows)
    except InputError as error:
        # Two unique columns of different types, tied by an order, need a recipe.
        assert len({dataset.by_name[o.first].type for o in dataset.orders} |
                   {dataset.by_name[o.then].type for o in dataset.orders}) > 1  # fmt: skip
        assert "ordered" in error.where
    else:
        assert problems(catalog_of(dataset), found) == []


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_text_of_a_pattern_matches_it(pattern: str):
    import re

    found = texts(pattern)
    step = max(1, found.count // 500)
    some = [found.at(number) for number in range(0, found.count, step)][:1_000]
    assert all(re.fullmatch(pattern, text) for text in some)
    assert all(found.shortest <= len(text) <= found.longest for text in some)
    if found.distinct:
        assert len(set(some)) == len(some)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 100, 1_000, 65_536])
def test_a_permutation_visits_every_number_once(size: int):
    import numpy as np

    assert sorted(permuted(1, "x", np.arange(size), size).tolist()) == list(range(size))


# ---- what cannot be made is refused ----


def one(*columns: Column, **options: Any) -> Catalog:
    return catalog_of(Dataset("things", "Made up.", columns, key=(columns[0].name,), **options))


@pytest.mark.parametrize(
    ("catalog", "told"),
    [
        (one(Column("a", "integer", rules=(Between(5), Between(None, 4)))), "leave no value"),
        (one(Column("a", "text", rules=(Length(5), Length(0, 4)))), "leave no text"),
        (one(Column("a", "text", rules=(Matches("[a-z]{9}"), Length(1, 3)))), "no sample value"),
        (one(Column("a", "text", rules=(Matches(r"(?=a)b"),))), "no sample text"),
        (one(Column("a", "uuid"), Column("b", "text", sample="nonsense 1")), "there is no recipe 'nonsense'"),
        (one(Column("a", "uuid"), Column("b", "text", sample="label nobody")), "unknown column 'nobody'"),
        (
            one(Column("a", "uuid"), Column("b", "integer", sample="choice one two")),
            "no values of type integer",
        ),
        (
            one(
                Column("a", "uuid"),
                Column("b", "integer", rules=(Between(10, 20),)),
                Column("c", "integer", rules=(Between(0, 5),)),
                orders=(Order("b", "c"),),
            ),
            "above every 'c'",
        ),
        (
            one(Column("a", "date"), Column("b", "date"), orders=(Order("a", "b"), Order("b", "a"))),
            "orders form a circle",
        ),
        (one(Column("a", "uuid"), Column("b", "text", sample="label")), "cannot be followed.*meant so"),
    ],
)
def test_a_definition_no_row_can_obey_is_refused_by_name(catalog: Catalog, told: str):
    with pytest.raises(InputError, match=told) as caught:
        made(catalog)
    assert "things" in caught.value.where


def test_no_rows_at_all_cannot_be_made():
    with pytest.raises(InputError, match="0 rows"):
        made(MUSIC, rows=0)


def test_an_unknown_dataset_is_refused():
    with pytest.raises(InputError, match="'songs'"):
        made(MUSIC, datasets=["songs"])


# ---- the same again ----


def digests(folder: Path, **options: Any) -> list[str]:
    return [file.sha256 for file in write_fixtures(MUSIC, folder, **options).files]


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path):
    first = digests(tmp_path / "a", rows=200, seed=7)
    assert digests(tmp_path / "b", rows=200, seed=7) == first
    assert not set(digests(tmp_path / "c", rows=200, seed=8)) & set(first)


def test_another_process_with_another_hash_seed_writes_the_same_bytes(tmp_path: Path):
    script = (
        "import sys; from pathlib import Path; from tenant_ops.datasets import MUSIC\n"
        "from tenant_ops.datasets.synthesis import write_fixtures\n"
        "print([f.sha256 for f in write_fixtures(MUSIC, Path(sys.argv[1]), rows=200, seed=7).files])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4242", "TZ": "Pacific/Auckland", "LC_ALL": "C"}
    command = [sys.executable, "-c", script, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(digests(tmp_path / "b", rows=200, seed=7))


def test_a_part_of_the_datasets_has_the_rows_the_whole_has(tmp_path: Path):
    whole = {f.dataset: f.sha256 for f in write_fixtures(MUSIC, tmp_path / "a", rows=300, seed=7).files}
    part = write_fixtures(MUSIC, tmp_path / "b", rows=300, seed=7, datasets=["ai_messages", "sessions"])
    assert {f.dataset: f.sha256 for f in part.files} == {n: whole[n] for n in ("ai_messages", "sessions")}


def test_the_size_of_chunks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = digests(tmp_path / "a", rows=1_000, seed=7)
    monkeypatch.setattr("tenant_ops.datasets.synthesis.files.CHUNK_ROWS", 77)
    assert digests(tmp_path / "b", rows=1_000, seed=7) == first


def test_the_time_covered_starts_when_asked():
    found = made(MUSIC, rows=300, started=date(2031, 5, 1))
    assert min(event["played_at"] for event in found["listening_events"]).date() >= date(2031, 5, 1)


# ---- files ----


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "json", "json.zst", "ndjson", "ndjson.gz", "parquet"])
def test_every_format_holds_the_same_rows(tmp_path: Path, suffix: str):
    expected = made(MUSIC, rows=150, seed=3)
    for file in write_fixtures(MUSIC, tmp_path, rows=150, seed=3, formats=suffix).files:
        assert file.path == tmp_path / f"{file.dataset}.{suffix}"
        assert file.bytes == file.path.stat().st_size
        assert file.rows == len(expected[file.dataset])
        dataset = MUSIC[file.dataset]
        assert [alike(dataset, row) for row in read(file.path)] == [
            alike(dataset, row) for row in expected[file.dataset]
        ]


def read(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    if ".csv" in path.suffixes:
        text = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(content.split(b"\n")[0].decode().split(","), "string"),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
        )
        return pyarrow.csv.read_csv(pyarrow.BufferReader(content), convert_options=text).to_pylist()
    if ".ndjson" in path.suffixes:
        return [json.loads(line) for line in content.decode().split("\n")[:-1]]
    if ".json" in path.suffixes:
        return json.loads(content)
    return pyarrow.parquet.read_table(path).to_pylist()


def alike(dataset: Dataset, row: dict[str, Any]) -> list[Any]:
    """A row's values as Python has them, whatever format they come from."""
    assert tuple(row) == dataset.column_names
    return [_alike(column.type, row[column.name]) for column in dataset.columns]


def _alike(kind: str, value: Any) -> Any:
    match kind:
        case _ if value is None:
            return None
        case "integer" | "bigint" | "numeric" | "double":
            return Decimal(str(value))
        case "boolean":
            return value if isinstance(value, bool) else {"true": True, "false": False}[value]
        case "jsonb":
            return json.loads(value) if isinstance(value, str) else value
        case "date":
            return value if isinstance(value, date) else date.fromisoformat(value)
        case "timestamptz":
            return value if isinstance(value, datetime) else datetime.fromisoformat(value)
        case _:
            return value


def test_awkward_text_survives_csv_and_json(tmp_path: Path):
    awkward = (
        "a,b",
        'say "hi"',
        "",
        "\\.",
        "é\u2028ü",
        " padded ",
        "tab\there",
        "line\nbreak",
        "back\\slash",
    )
    catalog = catalog_of(
        Dataset(
            "texts",
            "Made up.",
            (Column("a", "text", unique=True, rules=(OneOf(awkward),)),),
            key=("a",),
            volume=Volume(1),
        )
    )
    for suffix in ("csv", "ndjson", "json"):
        folder = tmp_path / suffix
        write_fixtures(catalog, folder, rows=9, seed=1, formats=suffix)
        if suffix == "csv":
            options = pyarrow.csv.ParseOptions(newlines_in_values=True)
            rows = pyarrow.csv.read_csv(folder / "texts.csv", parse_options=options).to_pylist()
        else:
            rows = read(folder / f"texts.{suffix}")
        assert sorted(row["a"] for row in rows) == sorted(awkward)


@pytest.mark.parametrize("suffix", ["xlsx", "csv.bz2", "parquet.gz", "", "csv."])
def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path, suffix: str):
    with pytest.raises(InputError, match="no fixture format"):
        write_fixtures(MUSIC, tmp_path / "new", rows=10, seed=1, formats=suffix)
    assert not (tmp_path / "new").exists()


def test_a_second_file_for_a_dataset_is_refused(tmp_path: Path):
    write_fixtures(MUSIC, tmp_path, rows=10, seed=1)
    write_fixtures(MUSIC, tmp_path, rows=10, seed=2)
    with pytest.raises(InputError, match=r"already holds users\.csv"):
        write_fixtures(MUSIC, tmp_path, rows=10, seed=1, formats={"users": "json"})


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path):
    class Interrupted(Exception):
        pass

    class Interrupting:
        def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None: ...

        def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002
            raise Interrupted

        def finish(self, task: str) -> None: ...

    with pytest.raises(Interrupted):
        write_fixtures(MUSIC, tmp_path, rows=10, seed=1, progress=Interrupting())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_million_rows_take_little_memory(tmp_path: Path):
    script = (
        "import re, sys; from pathlib import Path; from tenant_ops.datasets import MUSIC\n"
        "from tenant_ops.datasets.synthesis import write_fixtures\n"
        "write_fixtures(MUSIC, Path(sys.argv[1]), rows=1_000_000, seed=1)\n"
        # Not `ru_maxrss`: a process inherits that of the one that started it.
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 600_000, "kilobytes"
