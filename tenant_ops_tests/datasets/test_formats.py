"""Dates and times in the formats and zones a column declares, held against Python's own `strptime`."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as arrow
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tenant_ops.datasets import Column
from tenant_ops.datasets.definition import ColumnType
from tenant_ops.datasets.formats import pattern_of
from tenant_ops.datasets.parsing import parse
from tenant_ops.platform.errors import InputError

quick = settings(max_examples=100, deadline=None)
BERLIN = "Europe/Berlin"


def read(kind: ColumnType, value: str | None, *formats: str, zone: str | None = None) -> Any:
    """The value, or the reason it has none; what Postgres gets must be the same value in ISO spelling."""
    parsed = parse(Column("at", kind, formats=formats, zone=zone), arrow.array([value], arrow.string()))
    if parsed.faults:
        assert not parsed.typed[0].is_valid
        return parsed.faults[0]
    plain = parse(Column("at", kind), parsed.text)
    assert plain.typed.equals(parsed.typed)
    assert not plain.faults
    return parsed.typed[0].as_py()


DAY_FORMATS = ["%d.%m.%Y", "%m/%d/%y", "%Y%m%d", "%d %b %Y", "%A, %B %d, %Y", "on %d-%b-%Y!", "%Y (%d%%%m)"]


@quick
@given(st.dates(dt.date(1000, 1, 1)), st.sampled_from(DAY_FORMATS))
@example(dt.date(9999, 12, 31), "%d.%m.%Y")
def test_a_day_that_strftime_writes_is_read_back(day: dt.date, format_: str) -> None:
    assume("%y" not in format_ or 1969 <= day.year <= 2068)
    assert read("date", day.strftime(format_), format_) == day


TIME_FORMATS = [
    "%d.%m.%Y %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%b %d %Y %I:%M:%S.%f %p",
    "%d/%m/%Y %H:%M",
    "%d %B %Y, %H.%M.%S",
]


@quick
@given(st.datetimes(dt.datetime(1000, 1, 2), dt.datetime(9999, 12, 30)), st.sampled_from(TIME_FORMATS))
def test_a_time_that_strftime_writes_is_read_back(moment: dt.datetime, format_: str) -> None:
    utc = moment.replace(tzinfo=dt.UTC)
    if "%f" not in format_:
        utc = utc.replace(microsecond=0)
    if "%S" not in format_:
        utc = utc.replace(second=0)
    assert read("timestamptz", utc.strftime(format_), format_) == utc


@quick
@given(
    st.sampled_from(["%d.%m.%Y", "%m/%d/%y", "%d %b %Y", "%Y%m%d"]),
    st.from_regex(r"[0-9]{1,2}[./ ]([0-9]{1,2}|feb|Dec)[./ ][0-9]{2,4}", fullmatch=True)
    | st.from_regex(r"[12][09][0-9]{6}", fullmatch=True),
)
@example("%d.%m.%Y", "30.02.2024")
@example("%d.%m.%Y", "29.02.2023")
@example("%d.%m.%Y", "1.1.0000")
def test_what_strptime_refuses_is_refused_and_what_it_reads_is_the_same_day(format_: str, text: str) -> None:
    try:
        expected: Any = dt.datetime.strptime(text, format_).date()
    except ValueError:
        expected = f"not a date written as {format_}"
    assert read("date", text, format_) == expected


def test_formats_are_tried_in_order_and_only_they_are() -> None:
    american_first = ("%m/%d/%Y", "%d/%m/%Y")
    assert read("date", "04/05/2024", *american_first) == dt.date(2024, 4, 5)
    assert read("date", "25/12/2024", *american_first) == dt.date(2024, 12, 25)
    assert read("date", "2024-12-25", *american_first) == "not a date written as %m/%d/%Y or %d/%m/%Y"
    assert read("date", "2024-12-25", *american_first, "iso") == dt.date(2024, 12, 25)
    assert read("date", None, *american_first) is None


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ("0", "epoch_s", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("1714979289.123456", "epoch_s", dt.datetime(2024, 5, 6, 7, 8, 9, 123456, dt.UTC)),
        ("-0.5", "epoch_s", dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, dt.UTC)),
        ("1714979289123", "epoch_ms", dt.datetime(2024, 5, 6, 7, 8, 9, 123_000, dt.UTC)),
        ("253402300799", "epoch_s", dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        ("253402300800", "epoch_s", "not a timestamp written as epoch_s"),
        ("-62135596801", "epoch_s", "not a timestamp written as epoch_s"),
        ("999999999999", "epoch_s", "not a timestamp written as epoch_s"),
        ("99999999999999999999", "epoch_ms", "not a timestamp written as epoch_ms"),
        ("1e9", "epoch_s", "not a timestamp written as epoch_s"),
        ("45418.25", "excel", dt.datetime(2024, 5, 6, 6, tzinfo=dt.UTC)),
        ("61", "excel", dt.datetime(1900, 3, 1, tzinfo=dt.UTC)),
        ("60", "excel", "not a timestamp written as excel"),
        ("9999999", "excel", "not a timestamp written as excel"),
        ("5.6.10000 1:00", "%d.%m.%Y %H:%M", "not a timestamp written as %d.%m.%Y %H:%M"),
        ("5.6.2024 24:00", "%d.%m.%Y %H:%M", "not a timestamp written as %d.%m.%Y %H:%M"),
        ("5.6.2024 13:00 PM", "%d.%m.%Y %I:%M %p", "not a timestamp written as %d.%m.%Y %I:%M %p"),
        ("10000-01-01 00:00", "iso", "not a timestamp (YYYY-MM-DD HH:MM:SS, with a zone or in UTC)"),
        ("5.6.2024 0:00\x00", "%d.%m.%Y %H:%M", "not a timestamp written as %d.%m.%Y %H:%M"),
    ],
)
def test_moments_counted_from_a_day_and_odd_ones(value: str, format_: str, expected: Any) -> None:
    assert read("timestamptz", value, format_) == expected


def test_a_day_of_excel_has_no_time() -> None:
    assert read("date", "45418", "excel") == dt.date(2024, 5, 6)
    assert read("date", "45418.0", "excel") == dt.date(2024, 5, 6)
    assert read("date", "45418.5", "excel") == "not a date written as excel"


@quick
@given(st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2037, 1, 1)))
def test_a_time_without_a_zone_is_that_of_the_clocks_there(clock: dt.datetime) -> None:
    clock = clock.replace(microsecond=0)
    early, late = (clock.replace(tzinfo=ZoneInfo(BERLIN), fold=fold) for fold in (0, 1))
    same = early.utcoffset() == late.utcoffset()
    if same:
        assert read("timestamptz", clock.isoformat(), zone=BERLIN) == early.astimezone(dt.UTC)
    else:
        assert "such time in Europe/Berlin" in read("timestamptz", clock.isoformat(), zone=BERLIN)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-31T01:59:59", dt.datetime(2024, 3, 31, 0, 59, 59, tzinfo=dt.UTC)),
        ("2024-03-31T02:00:00", "no such time in Europe/Berlin, where clocks were put forward"),
        ("2024-03-31T02:59:59", "no such time in Europe/Berlin, where clocks were put forward"),
        ("2024-03-31T03:00:00", dt.datetime(2024, 3, 31, 1, tzinfo=dt.UTC)),
        ("2024-10-27T01:59:59", dt.datetime(2024, 10, 26, 23, 59, 59, tzinfo=dt.UTC)),
        ("2024-10-27T02:00:00", "two such times in Europe/Berlin, where clocks were put back"),
        ("2024-10-27T02:59:59", "two such times in Europe/Berlin, where clocks were put back"),
        ("2024-10-27T03:00:00", dt.datetime(2024, 10, 27, 2, tzinfo=dt.UTC)),
        ("2024-10-27T02:30:00+01:00", dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC)),
        ("2024-03-31 02:30:00 Z", dt.datetime(2024, 3, 31, 2, 30, tzinfo=dt.UTC)),
        ("2024-07-01", dt.datetime(2024, 6, 30, 22, tzinfo=dt.UTC)),
        ("0001-01-01T00:00:00", "out of range for a timestamp in Europe/Berlin"),
        ("nonsense", "not a timestamp (YYYY-MM-DD HH:MM:SS, with a zone or in UTC)"),
        (None, None),
    ],
)
def test_times_that_are_not_there_or_there_twice_are_refused(value: str | None, expected: Any) -> None:
    assert read("timestamptz", value, zone=BERLIN) == expected


@pytest.mark.parametrize(
    ("format_", "problem"),
    [
        ("%d.%m", "does not say which day it is"),
        ("%Y-%j", "has %j, which is unknown"),
        ("%Y-%m-%d %Y", "has %Y, which is unknown or there twice"),
        ("%Y-%m-%d %b", "does not say which day it is"),
        ("%Y-%m-%d %I:%M", "says the hour in two ways"),
        ("%Y-%m-%d %", "has %,"),
        ("", "does not say which day it is"),
    ],
)
def test_a_format_that_does_not_say_when_is_refused(format_: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        pattern_of(format_)
