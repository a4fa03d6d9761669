"""Dates and times as sources write them: declared formats, brought into the one spelling `parsing.py` reads.

Here: formats as regular expressions, and rewriting a column by them. Not here: which day there is, which time
there is in a zone (`parsing.py`).

A format is a pattern of `strptime` (https://docs.python.org/3/library/datetime.html#format-codes) with the
directives below, or one of the names in `NAMED`. Month and weekday names are English, in any case, whatever
the locale; a weekday is read over.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

import re
from functools import cache

import pyarrow as arrow
import pyarrow.compute as compute

from tenant_ops.platform.errors import InputError

NAMED = ("iso", "epoch_s", "epoch_ms", "excel")
"""What a column without formats accepts, seconds or milliseconds since 1970, a day number of Excel."""

# fmt: off
_MONTHS = [
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
]
# fmt: on
_DAYS = ["mon", "tues", "wednes", "thurs", "fri", "satur", "sun"]
_PARTS = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "b": rf"(?P<b>(?i:{'|'.join(month[:3] for month in _MONTHS)}))",
    "B": rf"(?P<b>(?i:{'|'.join(_MONTHS)}))",
    "d": r"(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "p": r"(?P<p>[AaPp])[Mm]",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,6})",
    "z": r"(?P<z>[Zz]|[+-]\d{2}:?\d{2})",
    "a": rf"(?i:{'|'.join(day[:3] for day in _DAYS)})",
    "A": rf"(?i:{'|'.join(f'{day}day' for day in _DAYS)})",
    "%": "%",
}
# The number of the day before 1 March 1900, which Excel takes for 29 February: there was none.
_EXCEL_GHOST = 60


@cache
def pattern_of(format_: str) -> str:
    """The regular expression of a format, with a group for each directive, in the syntax of RE2.

    Raises:
        InputError: it has a directive that is unknown or there twice, or does not say which day it is.
    """
    used: list[str] = []
    pieces: list[str] = []
    for directive, blank, text in re.findall(r"%(.?)|(\s+)|([^%\s]+)", format_):
        if text or blank:
            pieces.append(re.escape(text) if text else r"\s+")
            continue
        if directive not in _PARTS or (directive in used and directive != "%"):
            raise InputError(
                f"the format {format_!r} has %{directive}, which is unknown or there twice.",
                fix=f"Use each at most once of {', '.join(f'%{each}' for each in _PARTS)}.",
            )
        used.append(directive)
        pieces.append(_PARTS[directive])
    kinds = [sum(each in used for each in kind) for kind in ("Yy", "mbB", "d", "HI")]
    if kinds[:3] != [1, 1, 1] or kinds[3] > 1 or ("I" in used) != ("p" in used):
        raise InputError(
            f"the format {format_!r} does not say which day it is, or says the hour in two ways.",
            fix="Give the year, the month and the day once each; the hour as %H, or as %I and %p.",
        )
    return rf"^{''.join(pieces)}$"


def has_zone(format_: str) -> bool:
    """Whether what is read by this format says its zone."""
    return "%z" in format_.replace("%%", "")


def rewrite(text: arrow.Array, format_: str, *, time: bool) -> arrow.Array:
    """The column in ISO spelling, not checked yet; null where it does not have this format.

    Args:
        text: What the source has.
        format_: A pattern, `epoch_s`, `epoch_ms` or `excel`.
        time: Whether there is to be a time of day; else only a midnight may be there, and is left out.
    """
    match format_:
        case "epoch_s":
            return _moment(_decimal(text, r"^-?\d{1,12}(?:\.\d{1,6})?$", 1_000_000))
        case "epoch_ms":
            return _moment(_decimal(text, r"^-?\d{1,15}(?:\.\d{1,3})?$", 1_000))
        case "excel":
            return _excel(text, time=time)
        case _:
            return _by_pattern(text, format_, time=time)


def spell_utc(moments: arrow.Array) -> arrow.Array:
    """Moments in UTC as text; Arrow's own way to write a zone takes 50 times as long."""
    clock = compute.cast(compute.cast(moments, arrow.timestamp(moments.type.unit)), arrow.string())
    return compute.binary_join_element_wise(clock, "Z", "")


def _by_pattern(text: arrow.Array, format_: str, *, time: bool) -> arrow.Array:
    found = compute.extract_regex(text, pattern_of(format_))
    parts = {found.type.field(n).name: found.field(n) for n in range(found.type.num_fields)}
    # A struct's fields do not know where the struct is null.
    parts = {name: compute.if_else(compute.is_valid(found), part, None) for name, part in parts.items()}
    day = _join("-", _year(parts), _month(parts), _padded(parts["d"]))
    if not time:
        return day
    hour = _padded(parts["H"]) if "H" in parts else _hour_of_half_day(parts)
    clock = _join(":", _or_zero(hour, day), *(_or_zero(_padded(parts.get(name)), day) for name in "MS"))
    if "f" in parts:
        clock = _join(".", clock, compute.utf8_rpad(parts["f"], 6, "0"))
    zone = compute.utf8_upper(parts["z"]) if "z" in parts else ""
    return compute.binary_join_element_wise(day, "T", clock, zone, "")


def _year(parts: dict[str, arrow.Array]) -> arrow.Array:
    if "Y" in parts:
        return parts["Y"]
    # As strptime does: 69 to 99 are the last century's.
    century = compute.if_else(compute.greater_equal(parts["y"], "69"), "19", "20")
    return _join("", century, parts["y"])


def _month(parts: dict[str, arrow.Array]) -> arrow.Array:
    if "m" in parts:
        return _padded(parts["m"])
    short = compute.utf8_slice_codeunits(compute.utf8_lower(parts["b"]), 0, 3)
    numbers = arrow.array([f"{number:02}" for number in range(1, 13)])
    return numbers.take(compute.index_in(short, arrow.array([month[:3] for month in _MONTHS])))


def _hour_of_half_day(parts: dict[str, arrow.Array]) -> arrow.Array | None:
    if "I" not in parts:
        return None
    after_noon = compute.if_else(compute.equal(compute.utf8_lower(parts["p"]), "p"), "p", "a")
    key = _join("", _padded(parts["I"]), after_noon)
    hours = {f"{hour % 12 or 12:02}{'p' if hour > 11 else 'a'}": f"{hour:02}" for hour in range(24)}
    return arrow.array(list(hours.values())).take(compute.index_in(key, arrow.array(list(hours))))


def _excel(text: arrow.Array, *, time: bool) -> arrow.Array:
    """Days since 1899-12-30; times are rounded to milliseconds, which is as exact as they are there."""
    usual = r"^\d{1,7}(?:\.\d{1,20})?$" if time else r"^\d{1,7}(?:\.0{1,20})?$"
    days = _cast_matching(text, usual, arrow.float64())
    days = compute.if_else(compute.greater(days, _EXCEL_GHOST), days, None)
    milliseconds = compute.cast(compute.round(compute.multiply(days, 86_400_000.0)), arrow.int64())
    shift = 25_569 * 86_400_000
    moment = compute.cast(compute.subtract(milliseconds, shift), arrow.timestamp("ms"))
    spelled = compute.strftime(moment, format="%Y-%m-%dT%H:%M:%S")
    return spelled if time else compute.utf8_slice_codeunits(spelled, 0, 10)


def _decimal(text: arrow.Array, usual: str, scale: int) -> arrow.Array:
    """Numbers with a fraction, times `scale`, as exact whole numbers."""
    exact = _cast_matching(text, usual, arrow.decimal128(24, 6))
    whole = compute.multiply(exact, arrow.scalar(scale, arrow.decimal128(9, 0)))
    return compute.cast(whole, arrow.int64())


def _moment(microseconds: arrow.Array) -> arrow.Array:
    return spell_utc(compute.cast(microseconds, arrow.timestamp("us", tz="UTC")))


def _cast_matching(text: arrow.Array, usual: str, kind: arrow.DataType) -> arrow.Array:
    return compute.cast(compute.if_else(compute.match_substring_regex(text, usual), text, None), kind)


def _padded(part: arrow.Array | None) -> arrow.Array | None:
    return None if part is None else compute.utf8_lpad(part, 2, "0")


def _or_zero(part: arrow.Array | None, like: arrow.Array) -> arrow.Array:
    return compute.if_else(compute.is_valid(like), "00", None) if part is None else part


def _join(separator: str, *parts: arrow.Array | None) -> arrow.Array:
    return compute.binary_join_element_wise(*parts, separator)
