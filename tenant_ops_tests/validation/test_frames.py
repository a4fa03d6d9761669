"""Rules that are functions on frames: what they are given, what they may answer, pandera schemas as such."""

import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation import Frame, Rule, execute_validation, plan_validation
from tenant_ops.validation.examination import Examined, examine
from tenant_ops.validation.testing import SampleTenant, assert_finds, assert_finds_nothing, found, planted

PRICED = "UPDATE tracks SET price = 12.5 WHERE track_id IN (SELECT track_id FROM tracks ORDER BY 1 LIMIT 3)"


@pytest.fixture
def acme(sound: tuple[Fleet, Tenant]) -> SampleTenant:
    return SampleTenant(*sound)


@pytest.fixture
def first_tracks(acme: SampleTenant) -> list[str]:
    with acme.fleet.session(acme.tenant) as connection:
        rows = connection.execute("SELECT track_id FROM tracks ORDER BY 1 LIMIT 3").fetchall()
    return [str(row[0]) for row in rows]


def of(find: Frame, dataset: str = "tracks") -> Rule:
    return Rule("data.framed", "data", "error", "It holds.", "Mend it.", find, dataset, origin="mine.framed")


def dear(frame: pd.DataFrame) -> pd.Series:
    return frame["price"] > 10


def dear_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[dear(frame).fillna(False)]


@pytest.mark.parametrize("function", [dear, dear_rows])
@pytest.mark.parametrize("chunk_rows", [1, 7, 50_000])
def test_bad_rows_are_told_by_a_boolean_each_or_by_themselves(
    acme: SampleTenant, first_tracks: list[str], function: Callable[..., Any], chunk_rows: int
) -> None:
    framed = of(Frame(("price",), function, chunk_rows))
    assert_finds(framed, acme, [PRICED], keys=first_tracks)
    assert_finds_nothing(framed, acme)


def test_it_comes_in_parts_with_the_key_and_the_types_rows_are_loaded_with(acme: SampleTenant) -> None:
    parts: list[pd.DataFrame] = []

    def keep(frame: pd.DataFrame) -> pd.Series:
        parts.append(frame)
        return frame["played_ms"] < 0

    columns = ("played_ms", "completed", "played_at", "session_id")
    assert_finds_nothing(of(Frame(columns, keep, 25), "listening_events"), acme)
    assert [len(part) for part in parts] == [25, 25, 10]
    assert [list(part.index) for part in parts[1:]] == [list(range(25)), list(range(10))]
    assert parts[0].dtypes.astype(str).to_dict() == {
        "event_id": "string[pyarrow]",
        "played_ms": "int64[pyarrow]",
        "completed": "bool[pyarrow]",
        "played_at": "timestamp[us, tz=UTC][pyarrow]",
        "session_id": "string[pyarrow]",
    }
    assert pd.concat(parts)["event_id"].nunique() == 60
    assert pd.concat(parts)["session_id"].isna().any()


def test_every_type_of_column_is_read(acme: SampleTenant) -> None:
    for dataset in acme.fleet.catalog:
        assert_finds_nothing(
            of(Frame(dataset.column_names, lambda frame: frame.iloc[:0], 50), dataset.name), acme
        )


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (lambda frame: frame["cost"], "mine.framed raised KeyError (test_frames.py, line "),
    "numbers": (lambda frame: frame["price"], "answered with 30 values of type double[pyarrow]; a boolean"),
    "too few": (lambda frame: dear(frame).head(2), "answered with 2 values of type bool"),
    "nothing": (lambda frame: None, "answered with NoneType"),
    "other rows": (lambda frame: pd.DataFrame({"a": [1]}, index=[999]), "rows that were not in the frame"),
}


@pytest.mark.parametrize(("function", "said"), WRONG.values(), ids=WRONG)
def test_what_names_no_rows_leaves_the_rule_unchecked_and_the_others_alone(
    acme: SampleTenant, function: Callable[..., Any], said: str
) -> None:
    rules = [
        of(Frame(("price",), function)),
        Rule("data.next", "data", "info", "So.", "Do.", Frame((), cheap), "tracks"),
    ]
    report = execute_validation(
        acme.fleet, plan_validation(acme.fleet, acme.tenant, types=["data"], rules=rules)
    )
    (unchecked,) = [one for one in report.unchecked if not one.rule.endswith("_as_usual")]
    assert unchecked.rule == "data.framed"
    assert said in unchecked.reason
    assert [(one.rule, one.count) for one in report.findings] == [("data.next", 30)]


def cheap(frame: pd.DataFrame) -> pd.Series:
    return frame["track_id"] != ""


def test_an_empty_table_is_no_evidence(acme: SampleTenant) -> None:
    into = Examined()
    with planted(acme, "DELETE FROM tracks") as evidence:
        examine(evidence, [of(Frame(("price",), dear))], samples=5, into=into)
    assert [one.reason for one in into.unchecked] == ["The table has no rows."]


def test_samples_are_few_masked_and_the_first_by_key(acme: SampleTenant) -> None:
    rules = [of(Frame((), lambda frame: frame["track_id"] != "", 7))]
    plan = plan_validation(acme.fleet, acme.tenant, types=["data"], rules=rules)
    (finding,) = execute_validation(acme.fleet, plan).findings
    with acme.fleet.session(acme.tenant) as connection:
        rows = connection.execute("SELECT track_id FROM tracks ORDER BY 1 LIMIT 5").fetchall()
    assert (finding.count, finding.sample) == (30, tuple(f"track_id={row[0]}" for row in rows))


class Priced(pa.DataFrameModel):
    """Prices as this tenant sets them."""

    price: float = pa.Field(le=10, nullable=True)
    title: str = pa.Field(str_length={"min_value": 1})


SCHEMAS: dict[str, Any] = {
    "a model": Priced,
    "a schema": pa.DataFrameSchema({"price": pa.Column(float, pa.Check.le(10), nullable=True)}),
    "without types": pa.DataFrameSchema({"price": pa.Column(checks=pa.Check.le(10), nullable=True)}),
    "coerced": pa.DataFrameSchema(
        {"price": pa.Column("Float64", pa.Check.le(10), nullable=True, coerce=True)}
    ),
    "strict": pa.DataFrameSchema({"price": pa.Column(float, pa.Check.le(10), nullable=True)}, strict=True),
    "a check of whole rows": pa.DataFrameSchema(
        {"price": pa.Column(float, nullable=True), "explicit": pa.Column(bool)},
        checks=pa.Check(lambda frame: ~(frame["price"] > 10).fillna(False)),
    ),
    "few failure cases": pa.DataFrameSchema(
        {"price": pa.Column(float, pa.Check.le(10, n_failure_cases=1), nullable=True)}
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("chunk_rows", [4, 50_000])
def test_a_pandera_schema_calls_bad_what_it_refuses(
    acme: SampleTenant, first_tracks: list[str], schema: Any, chunk_rows: int
) -> None:
    framed = of(Frame.of_schema(schema, chunk_rows=chunk_rows))
    assert_finds(framed, acme, [PRICED], keys=first_tracks)
    assert_finds_nothing(framed, acme)


def test_a_row_refused_twice_counts_once_and_an_empty_one_too(
    acme: SampleTenant, first_tracks: list[str]
) -> None:
    schema = pa.DataFrameSchema({"price": pa.Column(float, [pa.Check.le(10), pa.Check.le(11)])})
    with acme.fleet.session(acme.tenant) as connection:
        rows = connection.execute("SELECT track_id FROM tracks WHERE price IS NULL").fetchall()
    assert rows
    expected = {*first_tracks, *(str(row[0]) for row in rows)}
    assert found(of(Frame.of_schema(schema)), acme, [PRICED]) == sorted((key,) for key in expected)


REFUSED: dict[str, tuple[Any, str]] = {
    "unique column": (pa.DataFrameSchema({"isrc": pa.Column(unique=True)}), "unique values .isrc.*Rows"),
    "unique together": (
        pa.DataFrameSchema({"isrc": pa.Column(), "title": pa.Column()}, unique=["isrc", "title"]),
        "unique values .isrc, title",
    ),
    "dropping": (pa.DataFrameSchema({"isrc": pa.Column()}, drop_invalid_rows=True), "drops rows itself"),
    "patterns": (pa.DataFrameSchema({"is.*": pa.Column(regex=True)}), "columns by pattern"),
    "no schema": ({"isrc": str}, "dict is no pandera schema"),
}


@pytest.mark.parametrize(("schema", "said"), REFUSED.values(), ids=REFUSED)
def test_a_schema_that_no_part_of_the_rows_can_decide_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Frame.of_schema(schema)


def test_a_schema_that_does_not_fit_the_types_says_so(acme: SampleTenant) -> None:
    schema = pa.DataFrameSchema({"title": pa.Column(int, pa.Check.gt(3))})
    rules = [of(Frame.of_schema(schema))]
    plan = plan_validation(acme.fleet, acme.tenant, types=["data"], rules=rules)
    report = execute_validation(acme.fleet, plan)
    (unchecked,) = [one for one in report.unchecked if one.rule == "data.framed"]
    assert "does not fit the columns as they are read: title" in unchecked.reason


@pytest.mark.slow
def test_memory_is_bounded_by_a_part_of_the_rows(acme: SampleTenant) -> None:
    statement = (
        "INSERT INTO analytics_daily SELECT date '1000-01-01' + n, 'plays', n, now() "
        "FROM generate_series(1, 300000) n"
    )

    def peak(chunk_rows: int) -> int:
        tracemalloc.start()
        framed = of(Frame(("value",), lambda frame: frame["value"] < 0, chunk_rows), "analytics_daily")
        assert_finds_nothing(framed, acme, [statement])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(5_000) < 10_000_000
    assert peak(5_000) * 5 < peak(300_000)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """pandera warns of what a test means to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
