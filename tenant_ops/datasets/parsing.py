"""Text to typed values, a column at a time: which spellings of each column type are accepted.

Here: the grammar of every column type, and its vectorised reading. Not here: rules about values
(`frames.py`), where text comes from (`loading/`).

What is accepted here, Postgres accepts too and reads as the same value, so a `COPY` of checked text never
stops half way. The reverse is not promised: spellings that mean different things under different settings
(`1/2/2024`), or that have no value to check (`infinity`, `NaN`, years before 1), are refused with a reason.

A column that declares formats is brought from them into ISO spelling first, so what Postgres gets is always
that; one that declares a zone has its times moved from there to UTC.

Each type has a fast reading for its usual spelling (a regular expression and a cast, over the whole column in
Arrow: about 0.1 s for a million values) and a slow one, a value at a time, for the odd spellings.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf, nextafter
from typing import Any

import orjson
import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.datasets.definition import Between, Column, ColumnType
from tenant_ops.datasets.formats import rewrite, spell_utc

ARROW_TYPES: dict[ColumnType, arrow.DataType] = {
    "uuid": arrow.string(),
    "text": arrow.string(),
    "integer": arrow.int64(),
    "bigint": arrow.int64(),
    "numeric": arrow.float64(),
    "double": arrow.float64(),
    "boolean": arrow.bool_(),
    "date": arrow.date32(),
    "timestamptz": arrow.timestamp("us", tz="UTC"),
    "jsonb": arrow.string(),
    "inet": arrow.string(),
}

_TRUE, _FALSE = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_NUMBER = r"[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,3})?"
# Every day there is from year 1 to 9999, leap years included, so that the casts below cannot fail.
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    rf"|02-(?:0[1-9]|1\d|2[0-8]))|{_LEAP}-02-29)"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
_ZONE = r"(?:Z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)"
_BEYOND_MICROSECONDS = r"(\.\d{6})\d+"
_FIRST_MOMENT, _LAST_MOMENT = (
    arrow.scalar(moment, ARROW_TYPES["timestamptz"])
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC))
)
_BIG_EXPONENT = re.compile(r"[eE][+-]?\d{4,}")


@dataclass(frozen=True)
class Parsed:
    """A column that was read.

    Attributes:
        text: What to give Postgres; differs from the input where digits beyond microseconds were cut, and
            where a column declares formats or a zone.
        typed: The values, for checks; null where the input was empty or could not be read.
        faults: Why the values of these rows could not be read.
    """

    text: arrow.Array
    typed: arrow.Array
    faults: dict[int, str]


def parse(column: Column, text: arrow.Array) -> Parsed:
    """Read a column's text; an empty (null) value stays empty.

    `numeric` is checked as a double that lies on the true side of every bound of the column's rules, so a
    rule decides as Postgres' exact arithmetic would.
    """
    return _parse_declared(column, text) if column.formats or column.zone else _parse_usual(column, text)


def _parse_usual(column: Column, text: arrow.Array) -> Parsed:
    match column.type:
        case "text":
            return _parse_text(text)
        case "uuid":
            return _unchanged(text, rf"^{_UUID}$", _uuid)
        case "inet":
            return _unchanged(text, rf"^{_OCTET}(?:\.{_OCTET}){{3}}(?:/(?:[12]?\d|3[0-2]))?$", _inet)
        case "jsonb":
            return _unchanged(text, None, _json)
        case "boolean":
            return _parse_boolean(text)
        case "integer":
            return _cast(text, r"^-?\d{1,9}$", arrow.int64(), _integer(32))
        case "bigint":
            return _cast(text, r"^-?\d{1,18}$", arrow.int64(), _integer(64))
        case "date":
            return _cast(text, rf"^{_DAY}$", arrow.date32(), _date)
        case "timestamptz":
            return _parse_timestamp(text)
        case "double":
            return _parse_double(text)
        case "numeric":
            return _parse_numeric(text, column)


def _parse_text(text: arrow.Array) -> Parsed:
    bad = compute.greater_equal(compute.find_substring(text, "\x00"), 0)
    return _refuse(Parsed(text, text, {}), bad, "contains a NUL character")


def _parse_boolean(text: arrow.Array) -> Parsed:
    lower = compute.utf8_lower(text)
    true = compute.is_in(lower, arrow.array(_TRUE))
    known = compute.or_(true, compute.is_in(lower, arrow.array(_FALSE)))
    typed = compute.if_else(known, true, arrow.scalar(None, arrow.bool_()))
    return _refuse(Parsed(text, typed, {}), compute.invert(known), "not true or false")


def _parse_timestamp(text: arrow.Array) -> Parsed:
    if compute.any(compute.match_substring_regex(text, _BEYOND_MICROSECONDS)).as_py():
        text = compute.replace_substring_regex(text, _BEYOND_MICROSECONDS, r"\1")
    zoned = rf"^{_DAY}[T ]{_TIME}{_ZONE}$"
    return _cast(text, zoned, ARROW_TYPES["timestamptz"], _timestamp, also=rf"^{_DAY}(?:[T ]{_TIME})?$")


def _parse_declared(column: Column, text: arrow.Array) -> Parsed:
    """Dates and times in the formats of their column, the first that fits; times without a zone in its."""
    formats = column.formats or ("iso",)
    fitting = arrow.nulls(len(text), arrow.string())
    typed = arrow.nulls(len(text), ARROW_TYPES[column.type])
    faults: dict[int, str] = {}
    for format_ in formats:
        spelled = text if format_ == "iso" else rewrite(text, format_, time=column.type == "timestamptz")
        parsed = _parse_usual(column, spelled)
        fitting = compute.coalesce(
            fitting, compute.if_else(compute.is_valid(parsed.typed), parsed.text, None)
        )
        typed = compute.coalesce(typed, parsed.typed)
        faults = parsed.faults
    bad = compute.and_(compute.is_valid(text), compute.is_null(typed))
    kind = "date" if column.type == "date" else "timestamp"
    parsed = Parsed(
        compute.coalesce(fitting, text),
        typed,
        faults if formats == ("iso",) else {},
    )
    parsed = _refuse(parsed, bad, f"not a {kind} written as {' or '.join(formats)}")
    return _move_zone(parsed, column.zone) if column.zone else parsed


def _move_zone(parsed: Parsed, zone: str) -> Parsed:
    """Take times that were read without a zone for times on the clocks of `zone`."""
    unzoned = compute.match_substring_regex(parsed.text, rf"^{_DAY}(?:[T ]{_TIME})?$")
    clock = compute.cast(compute.if_else(unzoned, parsed.typed, None), arrow.timestamp("us"))
    first, last = (
        compute.assume_timezone(clock, zone, ambiguous=which, nonexistent=which)
        for which in ("earliest", "latest")
    )
    two = compute.not_equal(first, last)
    never = compute.and_(two, compute.not_equal(compute.local_timestamp(last), clock))
    utc = compute.cast(first, ARROW_TYPES["timestamptz"])
    outside = compute.or_(compute.less(utc, _FIRST_MOMENT), compute.greater(utc, _LAST_MOMENT))
    text = compute.if_else(compute.is_valid(utc), spell_utc(utc), parsed.text)
    moved = Parsed(text, compute.coalesce(utc, parsed.typed), parsed.faults)
    moved = _refuse(moved, never, f"no such time in {zone}, where clocks were put forward")
    moved = _refuse(moved, two, f"two such times in {zone}, where clocks were put back")
    return _refuse(moved, outside, f"out of range for a timestamp in {zone}")


def _parse_double(text: arrow.Array) -> Parsed:
    parsed = _cast(text, rf"^{_NUMBER}$", arrow.float64(), _not_a_number)
    infinite = compute.is_inf(parsed.typed)
    vanished = compute.and_(
        compute.equal(parsed.typed, 0.0), compute.match_substring_regex(text, r"^[^eE]*[1-9]")
    )
    return _refuse(parsed, compute.or_(infinite, vanished), "out of range for a double")


def _parse_numeric(text: arrow.Array, column: Column) -> Parsed:
    parsed = _cast(text, rf"^{_NUMBER}$", arrow.float64(), _not_a_number)
    parsed = _refuse(parsed, compute.is_inf(parsed.typed), "too large a number to be checked")
    typed = parsed.typed
    for rule in column.rules:
        if isinstance(rule, Between):
            for bound in (rule.low, rule.high):
                typed = typed if bound is None else _on_true_side(typed, text, bound)
    return Parsed(parsed.text, typed, parsed.faults)


def _on_true_side(typed: arrow.Array, text: arrow.Array, bound: float) -> arrow.Array:
    """Move doubles that were rounded onto the bound one step to where the exact number lies.

    Up to 15 digits survive the way to a double, so only longer spellings can have been rounded onto it.
    """
    odd = compute.match_substring_regex(text, r"^.{16}|[eE]")
    doubtful = compute.fill_null(compute.and_(compute.equal(typed, float(bound)), odd), False)
    if not compute.any(doubtful).as_py():
        return typed
    exact = Decimal(repr(bound))
    moved = [
        nextafter(bound, inf if Decimal(value) > exact else -inf) if Decimal(value) != exact else float(bound)
        for value in text.filter(doubtful).to_pylist()
    ]
    return compute.replace_with_mask(typed, doubtful, arrow.array(moved, arrow.float64()))


def _cast(
    text: arrow.Array,
    usual: str,
    kind: arrow.DataType,
    slow: Callable[[str], Any],
    *,
    also: str | None = None,
) -> Parsed:
    """Cast what is spelled the usual way, ask `slow` about the rest.

    `also` matches timestamps without a zone, which are cast on their own and taken as UTC.
    """
    matched = compute.match_substring_regex(text, usual)
    typed = compute.cast(compute.if_else(matched, text, None), kind)
    if also and compute.any(compute.invert(matched)).as_py():
        second = compute.and_not(compute.match_substring_regex(text, also), matched)
        naive = compute.cast(compute.if_else(second, text, None), arrow.timestamp("us"))
        typed = compute.coalesce(typed, compute.assume_timezone(naive, "UTC"))
        matched = compute.or_(matched, second)
    odd = compute.fill_null(compute.invert(matched), False)
    values, faults = _ask(text, odd, slow)
    if values:
        typed = compute.replace_with_mask(typed, odd, arrow.array(values, kind))
    return Parsed(text, typed, faults)


def _unchanged(text: arrow.Array, usual: str | None, slow: Callable[[str], Any]) -> Parsed:
    """Check a type whose text is also what rules look at."""
    if usual is None:
        odd = compute.is_valid(text)
    else:
        odd = compute.fill_null(compute.invert(compute.match_substring_regex(text, usual)), False)
    _, faults = _ask(text, odd, slow)
    return _refuse(Parsed(text, text, faults), None, "")


def _ask(text: arrow.Array, odd: arrow.Array, slow: Callable[[str], Any]) -> tuple[list[Any], dict[int, str]]:
    values: list[Any] = []
    faults: dict[int, str] = {}
    if not compute.any(odd).as_py():
        return values, faults
    rows = compute.indices_nonzero(odd)
    for row, value in zip(rows.to_pylist(), text.filter(odd).to_pylist(), strict=True):
        try:
            values.append(slow(value))
        except ValueError as error:
            values.append(None)
            faults[row] = str(error)
    return values, faults


def _refuse(parsed: Parsed, bad: arrow.Array | None, reason: str) -> Parsed:
    """Add a fault to the rows of `bad`, and empty the typed value of every faulty row."""
    faults = dict(parsed.faults)
    if bad is not None:
        bad = compute.and_(compute.fill_null(bad, False), compute.is_valid(parsed.text))
        faults.update((row, reason) for row in compute.indices_nonzero(bad).to_pylist() if row not in faults)
    if not faults:
        return parsed
    refused = compute.is_in(
        arrow.array(range(len(parsed.text)), arrow.int64()), arrow.array(list(faults), arrow.int64())
    )
    typed = compute.if_else(refused, arrow.scalar(None, parsed.typed.type), parsed.typed)
    return Parsed(parsed.text, typed, faults)


def _integer(bits: int) -> Callable[[str], int]:
    limit = 1 << (bits - 1)

    def read(value: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,300}", value):
            raise ValueError("not a whole number")
        number = int(value)
        if not -limit <= number < limit:
            raise ValueError(f"out of range for a {bits}-bit whole number")
        return number

    return read


def _not_a_number(value: str) -> float:
    if value.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        raise ValueError("not a finite number")
    raise ValueError("not a number")


def _uuid(value: str) -> None:
    if not re.fullmatch(rf"\{{{_UUID}\}}|[0-9a-fA-F]{{32}}", value):
        raise ValueError("not a UUID")


def _inet(value: str) -> None:
    address, slash, prefix = value.partition("/")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError("not an IP address") from None
    if "%" in address or (slash and not re.fullmatch(r"[0-9]{1,3}", prefix)) or int(prefix or 0) > 128:
        raise ValueError("not an IP address")


def _json(value: str) -> None:
    try:
        document = orjson.loads(value)
        if _BIG_EXPONENT.search(value):
            json.loads(value, parse_float=_modest)
    except orjson.JSONDecodeError:
        raise ValueError("not valid JSON") from None
    if "\\u0000" in value and _holds_nul(document):
        raise ValueError("contains a NUL character")


def _holds_nul(document: Any) -> bool:
    match document:
        case str():
            return "\x00" in document
        case list():
            return any(map(_holds_nul, document))
        case dict():
            return any(map(_holds_nul, (*document, *document.values())))
        case _:
            return False


def _modest(number: str) -> None:
    if _BIG_EXPONENT.search(number):
        raise ValueError("holds a number that is out of range")


def _date(value: str) -> date:
    if not re.fullmatch(rf"{_DAY}[T ]00:00(?::00(?:\.0+)?)?", value, re.ASCII):
        raise ValueError("not a date (YYYY-MM-DD)")
    return date.fromisoformat(value[:10])


def _timestamp(value: str) -> datetime:
    """Postgres' and Java's way to put a blank before the zone."""
    refusal = "not a timestamp (YYYY-MM-DD HH:MM:SS, with a zone or in UTC)"
    if not re.fullmatch(rf"{_DAY}[T ]{_TIME} {_ZONE}", value, re.ASCII):
        raise ValueError(refusal)
    try:
        return datetime.fromisoformat(value.replace(" ", "T", 1).replace(" ", "")).astimezone(UTC)
    except OverflowError:
        raise ValueError(refusal) from None
