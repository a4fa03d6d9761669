"""The pandera schema of a dataset, held against the SQL checks made from the same rules."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pyarrow as arrow
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tenant_ops.datasets import MUSIC, Between, Column, Dataset, Length, Matches, OneOf, Order
from tenant_ops.datasets.definition import ColumnType, Rule
from tenant_ops.datasets.frames import REQUIRED, Fault, find_faults, frame_schema, typed_frame
from tenant_ops.datasets.parsing import ARROW_TYPES, parse
from tenant_ops.datasets.tables import condition

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PEOPLE = Dataset(
    name="people",
    description="People, for these tests.",
    columns=(
        Column("id", "integer"),
        Column("name", "text", rules=(Length(1, 5), Matches("[a-z]+"))),
        Column("role", "text", nullable=True, rules=(OneOf(("admin", "guest")),)),
        Column("born", "date", nullable=True),
        Column("left", "date", nullable=True),
    ),
    key=("id",),
    orders=(Order("born", "left"),),
)


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def frame_of(dataset: Dataset, **columns: list[str | None]) -> Any:
    typed = {
        column.name: parse(column, arrow.array(columns[column.name], arrow.string())).typed
        for column in dataset.columns
    }
    return typed_frame(typed)


def passes(kind: ColumnType, rule: Rule, value: str | None) -> bool:
    dataset = Dataset(
        "one", "", (Column("id", "integer"), Column("v", kind, nullable=True, rules=(rule,))), ("id",)
    )
    return not find_faults(dataset, frame_of(dataset, id=["1"], v=[value]))


def passes_in_postgres(server: psycopg.Connection, kind: str, check: str, value: str | None) -> bool:
    """A CHECK lets a row pass unless the condition is false: an unknown one passes."""
    query = sql.SQL("SELECT ({check}) IS NOT FALSE FROM (SELECT %s::text::{kind} AS v) AS one").format(
        check=sql.SQL(check),  # pyright: ignore[reportArgumentType]
        kind=sql.SQL(kind),  # pyright: ignore[reportArgumentType]
    )
    row = server.execute(query, (value,)).fetchone()
    assert row is not None
    return row[0]


def sql_twin(rule: Rule) -> str:
    if isinstance(rule, Matches):
        return f"v COLLATE \"C\" ~ '^(?:{rule.pattern})$'".replace("%", "%%")
    twin = condition("v", rule)
    assert twin is not None
    return twin.replace("%", "%%")


BOUNDS = st.none() | st.integers(-5, 5) | st.sampled_from([0.1, -0.5, 1000])


NUMBERS = st.tuples(st.just("integer"), st.none() | st.integers(-7, 7).map(str)) | st.tuples(
    st.sampled_from(["numeric", "double"]), st.decimals(-6, 6, places=20).map(str)
)


@quick
@given(NUMBERS, BOUNDS, BOUNDS)
@example(("numeric", "5.00000000000000000001"), 0, 5)
@example(("numeric", "0.1"), 0, 0.1)
@example(("double", "0.1"), 0, 0.1)
@example(("integer", None), 1, None)
def test_between_decides_as_the_check_does(
    server: psycopg.Connection, number: tuple[Any, str | None], low: float | None, high: float | None
) -> None:
    assume((low is not None or high is not None) and (low is None or high is None or low <= high))
    kind, value = number
    rule = Between(low, high)
    sql_kind = {"double": "double precision"}.get(kind, kind)
    assert passes(kind, rule, value) == passes_in_postgres(server, sql_kind, sql_twin(rule), value)


@quick
@given(
    st.sampled_from([Length(1, 3), Length(0, 2), Length(2), OneOf(("a", "b'c", "%s")), OneOf(("",))]),
    st.none()
    | st.text(max_size=5)
    | st.sampled_from(["a", "b'c", "%s", "", "é", "e\u0301", "\U0001f3b5\U0001f3b5"]),
)
def test_lengths_and_sets_decide_as_the_check_does(
    server: psycopg.Connection, rule: Rule, value: str | None
) -> None:
    assume("\x00" not in (value or ""))
    assert passes("text", rule, value) == passes_in_postgres(server, "text", sql_twin(rule), value)


PATTERNS = [
    rule.pattern
    for dataset in MUSIC
    for column in dataset.columns
    for rule in column.rules
    if isinstance(rule, Matches)
]
TRICKY = ["a|b", "a.c", "[^@]+@x", r"\d{2,3}", r"(ab)?c*", r"\w+", "(?!x).+", "a$|b", "^a"]
SPACES = [
    r"\s",
    r"\S",
    r"[^\s]+",
    r"[\sa]+",
    r"[^\sa]",
    r"[]\s]",
    r"[^]\s]",
    r"\\s",
    r"[\]\s]",
    r"a\s[^\s]\s",
]


@quick
@given(
    st.sampled_from(PATTERNS + TRICKY + SPACES),
    st.data(),
)
def test_patterns_decide_as_postgres_does(
    server: psycopg.Connection, pattern: str, data: st.DataObject
) -> None:
    matching = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    near = st.text("abcxXZ09@./- \n\u00a0\u00e9\u0663", max_size=6)
    value = data.draw(matching | near | matching.map(lambda text: text + "\n"))
    assume("\x00" not in value)
    rule = Matches(pattern)
    assert passes("text", rule, value) == passes_in_postgres(server, "text", sql_twin(rule), value)


@pytest.mark.parametrize("pattern", SPACES)
@pytest.mark.parametrize(
    "character", [" ", "\t", "\n", "\x0b", "\x0c", "\r", "\x1c", "\x85", "\u00a0", "s", "]", "a"]
)
def test_a_space_is_the_same_to_loading_python_and_postgres(
    server: psycopg.Connection, pattern: str, character: str
) -> None:
    rule = Matches(pattern)
    for value in (character, f"a{character}b{character}", f"\\{character}"):
        decided = passes("text", rule, value)
        assert decided == passes_in_postgres(server, "text", sql_twin(rule), value)
        assert decided == (re.fullmatch(pattern, value, re.ASCII) is not None)


def test_every_fault_is_found_with_its_row_and_column() -> None:
    frame = frame_of(
        PEOPLE,
        id=["1", "2", None, "4", "5"],
        name=["ada", "", "bob", "TOOLONG", "eve"],
        role=["admin", None, "guest", "owner", None],
        born=["2000-01-01", None, "2000-01-01", "2000-01-01", "2001-01-01"],
        left=["2000-01-01", "1999-01-01", None, "1990-01-01", "2002-01-01"],
    )
    assert set(find_faults(PEOPLE, frame)) == {
        Fault(1, "name", "not 1 to 5 characters long"),
        Fault(1, "name", "does not match [a-z]+"),
        Fault(2, "id", REQUIRED),
        Fault(3, "name", "not 1 to 5 characters long"),
        Fault(3, "name", "does not match [a-z]+"),
        Fault(3, "role", "not one of admin, guest"),
        Fault(3, "born, left", "born is after left"),
    }


def test_every_failing_row_is_named_however_many_there_are() -> None:
    count = 5_000
    frame = frame_of(
        PEOPLE,
        id=[str(number) for number in range(count)],
        name=["Q"] * count,
        role=[None] * count,
        born=[None] * count,
        left=[None] * count,
    )
    assert {fault.row for fault in find_faults(PEOPLE, frame)} == set(range(count))


def test_threads_that_check_frames_at_once_find_each_its_own_faults() -> None:
    def find(bad: int) -> list[int]:
        names = ["Q" if row % 50 == bad else "ada" for row in range(200)]
        empty: list[str | None] = [None] * 200
        ids = [str(row) for row in range(200)]
        frame = frame_of(PEOPLE, id=ids, name=names, role=empty, born=empty, left=empty)
        return [fault.row % 50 for fault in find_faults(PEOPLE, frame)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(find, range(40)))
    assert found == [[bad] * 4 for bad in range(40)]


def test_a_clean_frame_and_an_empty_one_have_no_faults() -> None:
    clean = {"id": ["1"], "name": ["ada"], "role": ["guest"], "born": [None], "left": ["2000-01-01"]}
    assert find_faults(PEOPLE, frame_of(PEOPLE, **clean)) == []
    assert find_faults(PEOPLE, frame_of(PEOPLE, **{name: [] for name in clean})) == []


@pytest.mark.parametrize("dataset", MUSIC, ids=lambda dataset: dataset.name)
def test_every_shipped_dataset_has_a_schema_that_names_each_column_and_its_privacy(dataset: Dataset) -> None:
    schema = frame_schema(dataset)
    assert tuple(schema.columns) == dataset.column_names
    for column in dataset.columns:
        described = schema.columns[column.name]
        assert described.nullable == column.nullable
        assert described.metadata == {"type": column.type, "privacy": column.privacy}
        assert described.dtype.type.pyarrow_dtype == ARROW_TYPES[column.type]
