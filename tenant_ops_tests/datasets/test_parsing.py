"""What text is accepted for each column type, held against what Postgres makes of the same text.

Two promises, for values somebody would write and for values nobody should:
what is accepted here Postgres accepts, and both read the same value.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pyarrow as arrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Between, Column
from tenant_ops.datasets.definition import ColumnType
from tenant_ops.datasets.parsing import Parsed, parse

quick = settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SQL_NAMES = {"double": "double precision"}
DIGITS = st.text("0123456789", min_size=1, max_size=25)
SIGNS = st.sampled_from(["", "-", "+"])
HEX = "0123456789abcdefABCDEF"
ODD = st.text(" 0123456789abcdefxX+-.:/TZeE{}[]\"'\\,_\n\t\x00", max_size=40) | st.text(max_size=12)


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def read(kind: ColumnType, *values: str | None, rules: tuple[Between, ...] = ()) -> Parsed:
    return parse(Column("value", kind, rules=rules), arrow.array(values, arrow.string()))


def as_postgres_reads(server: psycopg.Connection, kind: ColumnType, text: str) -> str:
    """The value in Postgres' own spelling; an error is the proof that something was wrongly accepted."""
    row = server.execute(f"SELECT (%s::text::{SQL_NAMES.get(kind, kind)})::text", (text,)).fetchone()
    assert row is not None
    return row[0]


def accepted(kind: ColumnType, text: str) -> Parsed | None:
    parsed = read(kind, text)
    assert (parsed.typed.null_count == 1) == bool(parsed.faults), "a value is read or refused, never both"
    return None if parsed.faults else parsed


@quick
@given(st.builds("{}{}".format, SIGNS, DIGITS) | ODD)
@example("9223372036854775807")
@example("9223372036854775808")
@example("-9223372036854775808")
@example("0x1F")
@example("1_000")
@example("٣")
@pytest.mark.parametrize("kind", ["integer", "bigint"])
def test_whole_numbers(server: psycopg.Connection, kind: ColumnType, text: str) -> None:
    if parsed := accepted(kind, text):
        assert parsed.typed[0].as_py() == int(as_postgres_reads(server, kind, parsed.text[0].as_py()))


@quick
@given(
    st.builds(
        "{}{}{}{}".format,
        SIGNS,
        DIGITS | st.just(""),
        st.builds(".{}".format, DIGITS | st.just("")) | st.just(""),
        st.builds("e{}{}".format, SIGNS, st.integers(0, 1200)) | st.just(""),
    )
    | ODD
)
@example("1e-400")
@example("4.9e-324")
@example("1e-310")
@example("1e308")
@example("1.8e308")
@example("0e-999")
@example("NaN")
@example("Infinity")
@pytest.mark.parametrize("kind", ["numeric", "double"])
def test_numbers(server: psycopg.Connection, kind: ColumnType, text: str) -> None:
    if parsed := accepted(kind, text):
        stored = as_postgres_reads(server, kind, text)
        assert parsed.typed[0].as_py() == float(stored)


@quick
@given(
    st.decimals(min_value=-2, max_value=12, places=25)
    | st.sampled_from([Decimal(0), Decimal("0.1"), Decimal(10)]),
    st.sampled_from([(0, 10), (0.1, 10), (0, 0.1), (1, None)]),
)
@example(Decimal("10.0000000000000000000000001"), (0, 10))
@example(Decimal("-1e-900"), (0, 10))
@example(Decimal("0.0999999999999999999999999"), (0.1, 10))
@example(Decimal("0.1000000000000000055511151"), (0, 0.1))
def test_a_rounded_number_stays_on_its_side_of_a_bound(
    number: Decimal, bounds: tuple[float, float | None]
) -> None:
    low, high = bounds
    typed = read("numeric", str(number), rules=(Between(low, high),)).typed[0].as_py()
    exact = number >= Decimal(repr(low)) and (high is None or number <= Decimal(repr(high)))
    assert (typed >= low and (high is None or typed <= high)) == exact


DAYS = st.builds("{:04d}-{:02d}-{:02d}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32))
TIMES = st.builds(
    "{:02d}:{:02d}{}".format,
    st.integers(0, 25),
    st.integers(0, 60),
    st.builds(":{:02d}{}".format, st.integers(0, 60), st.builds(".{}".format, DIGITS) | st.just(""))
    | st.just(""),
)
ZONES = st.sampled_from(
    ["", "Z", "+00", "+05:30", "-0800", " +02", " -03:00", "+15:59", "+16", "+14:60", " UTC", "z"]
)


@quick
@given(
    st.builds("{}{}{}{}".format, DAYS | st.dates().map(str), st.sampled_from(["T", " "]), TIMES, ZONES)
    | st.datetimes().map(str)
    | DAYS
    | ODD
)
@example("2023-02-29")
@example("2024-02-29 10:00Z")
@example("1900-02-29")
@example("2000-02-29T23:59:59.999999999+15:59")
@example("0001-01-01 00:00:00+10")
@example("0001-01-01 00:00:00 +10")
@example("9999-12-31 23:59:59.999999-15")
@example("infinity")
@example("44-03-15 BC")
@example("2020-01-01\n")
def test_timestamps(server: psycopg.Connection, text: str) -> None:
    if parsed := accepted("timestamptz", text):
        stored = as_postgres_reads(server, "timestamptz", parsed.text[0].as_py())
        microseconds = server.execute(
            "SELECT (extract(epoch FROM %s::timestamptz) * 1000000)::bigint", (stored,)
        ).fetchone()
        assert microseconds == (parsed.typed.cast(arrow.int64())[0].as_py(),)


def test_digits_beyond_microseconds_are_cut_and_not_rounded_into_the_next_second() -> None:
    parsed = read("timestamptz", "2024-12-31T23:59:59.999999999Z")
    assert parsed.text[0].as_py() == "2024-12-31T23:59:59.999999Z"
    assert parsed.typed[0].as_py() == datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_a_timestamp_without_a_zone_is_in_utc() -> None:
    assert read("timestamptz", "2024-05-06 07:08").typed[0].as_py() == datetime(2024, 5, 6, 7, 8, tzinfo=UTC)


@quick
@given(
    DAYS
    | st.dates().map(str)
    | st.builds("{}{}".format, DAYS, st.sampled_from([" 00:00", "T00:00:00.000", " 10:00"]))
    | ODD
)
@example("0000-01-01")
@example("infinity")
@example("0044-03-15 BC")
@example("2024-02-30")
def test_dates(server: psycopg.Connection, text: str) -> None:
    if parsed := accepted("date", text):
        assert parsed.typed[0].as_py() == date.fromisoformat(as_postgres_reads(server, "date", text))


def test_a_time_of_day_is_never_lost_from_a_date() -> None:
    assert read("date", "2024-01-01T00:00:00").faults == {}
    assert read("date", "2024-01-01T10:30:00").faults == {0: "not a date (YYYY-MM-DD)"}


@quick
@given(
    st.sampled_from(
        ["true", "T", "Yes", "y", "ON", "1", "false", "f", "no", "N", "off", "0", "2", "tr", "o", ""]
    )
    | ODD
)
def test_booleans(server: psycopg.Connection, text: str) -> None:
    if parsed := accepted("boolean", text):
        assert parsed.typed[0].as_py() == (as_postgres_reads(server, "boolean", text) == "true")


@quick
@given(
    st.uuids().map(str)
    | st.uuids().map(lambda value: value.hex.upper())
    | st.uuids().map("{{{}}}".format)
    | st.text(HEX + "-{}", min_size=30, max_size=40)
    | ODD
)
def test_uuids(server: psycopg.Connection, text: str) -> None:
    if accepted("uuid", text):
        assert (
            as_postgres_reads(server, "uuid", text).replace("-", "")
            == text.strip("{}").replace("-", "").lower()
        )


@quick
@given(
    st.ip_addresses().map(str)
    | st.builds("{}/{}".format, st.ip_addresses(), st.integers(0, 140))
    | st.text("0123456789abcdef.:/%", max_size=24)
    | ODD
)
@example("010.1.1.1")
@example("::ffff:1.2.3.4")
@example("fe80::1%eth0")
@example("1.2.3.4/255.255.0.0")
@example("::1/")
@example("::1/0000128")
def test_addresses(server: psycopg.Connection, text: str) -> None:
    if accepted("inet", text):
        as_postgres_reads(server, "inet", text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@quick
@given(JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value, ensure_ascii=False)) | ODD)
@example('"\\u0000"')
@example('"\\\\u0000"')
@example('{"a\\u0000": 1}')
@example('"\\ud800"')
@example('{"x": "e1234567"}')
@example('{"x": 1e-99999}')
@example("1e-999")
@example("[" * 1000 + "]" * 1000)
@example('{"a": 1, "a": 2}')
@example("NaN")
def test_json(server: psycopg.Connection, text: str) -> None:
    if accepted("jsonb", text):
        as_postgres_reads(server, "jsonb", text)


def test_json_keeps_a_backslash_that_only_looks_like_a_nul() -> None:
    assert read("jsonb", '"\\\\u0000"', '{"code": "e1234567"}').faults == {}


@quick
@given(st.text(max_size=30))
@example("\x00")
@example("a\x00b")
def test_text(server: psycopg.Connection, text: str) -> None:
    if accepted("text", text):
        assert as_postgres_reads(server, "text", text) == text
    else:
        assert "\x00" in text


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", ["0", "-1", "+7", "007", "2147483647", "-2147483648"]),
        ("bigint", ["9223372036854775807", "000000000000000000000001"]),
        ("numeric", ["0.10", ".5", "5.", "-1e-7", "12345678901234567890.123456789"]),
        ("double", ["1e308", "-0.0", "3"]),
        ("boolean", ["TRUE", "f", "Yes", "off", "1"]),
        ("date", ["2024-02-29", "0001-01-01", "1962-02-18T00:00:00"]),
        (
            "timestamptz",
            ["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+00", "2024-01-01", "2024-01-01 10:00 +02:00"],
        ),
        ("uuid", ["C0FFEE00-0000-4000-8000-000000000001", "c0ffee00000040008000000000000001"]),
        ("inet", ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"]),
        ("jsonb", ["{}", "[]", "null", " 1 ", '"x"', "-0"]),
        ("text", ["", " ", "NULL", "\u00e9"]),
    ],
)
def test_spellings_people_use_are_accepted(kind: ColumnType, values: list[str]) -> None:
    assert read(kind, *values).faults == {}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("integer", "2147483648", "out of range for a 32-bit whole number"),
        ("integer", "1.0", "not a whole number"),
        ("numeric", "NaN", "not a finite number"),
        ("double", "1e309", "out of range for a double"),
        ("boolean", "maybe", "not true or false"),
        ("date", "31.12.2024", "not a date (YYYY-MM-DD)"),
        ("timestamptz", "yesterday", "not a timestamp (YYYY-MM-DD HH:MM:SS, with a zone or in UTC)"),
        ("uuid", "42", "not a UUID"),
        ("inet", "example.org", "not an IP address"),
        ("jsonb", "{'a': 1}", "not valid JSON"),
        ("text", "a\x00", "contains a NUL character"),
    ],
)
def test_a_refusal_says_why(kind: ColumnType, value: str, reason: str) -> None:
    parsed = read(kind, None, value, None)
    assert parsed.faults == {1: reason}
    assert parsed.typed.null_count == 3
