"""The values a column may have, by number.

Here: for each column a domain (how many values, and the n-th), worked out from its type and rules.
Not here: which numbers are drawn (`rows.py`), lifelike values (`recipes.py`).

Numbers are whole numbers of 10^-scale, dates days, timestamps milliseconds since 1970: integers only, so
that no platform rounds differently. Texts, UUIDs, addresses and documents are Arrow strings.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from tenant_ops.datasets.definition import Between, Column, Length, Matches, OneOf, Rule
from tenant_ops.datasets.synthesis import patterns, randomness
from tenant_ops.datasets.synthesis.randomness import Index
from tenant_ops.platform.errors import InputError

pc: Any = pyarrow.compute  # its functions are made when it is imported, out of the type checker's sight
Values = npt.NDArray | pa.StringArray
DAY_MS = 86_400_000
POOL = 1_000
_WIDTH = 1_000_000  # values in a range that has an open side
_LIMITS = {"integer": 2**31 - 1, "bigint": 2**53, "numeric": 2**53, "double": 2**53}
_HEX = np.frombuffer("".join(f"{number:02x}" for number in range(256)).encode(), np.uint8).reshape(256, 2)
_UUID_DIGITS = [place for place in range(36) if place not in {8, 13, 18, 23}]


@dataclass(frozen=True)
class Calendar:
    """The time a set covers: `days` whole UTC days from `first`."""

    first: date
    days: int

    @property
    def start(self) -> int:
        """Its first millisecond."""
        return (self.first - date(1970, 1, 1)).days * DAY_MS

    @property
    def end(self) -> int:
        """The millisecond after its last."""
        return self.start + self.days * DAY_MS


@dataclass(frozen=True)
class Domain:
    """The values of a column.

    Attributes:
        size: How many there are.
        at: The values of an array of numbers below `size`.
        low: The smallest, where `at` is `low + number * step`; None where values have no such order.
        step: See `low`.
    """

    size: int
    at: Callable[[Index], Values]
    low: int | None = None
    step: int = 1

    @property
    def high(self) -> int | None:
        """The largest value, where values have an order."""
        return None if self.low is None else self.low + (self.size - 1) * self.step

    def clipped(self, low: int | None, high: int | None) -> "Domain":
        """The part between two bounds; all of it where values have no order or nothing would be left."""
        if self.low is None:
            return self
        first = max(0, -((self.low - low) // self.step)) if low is not None else 0
        last = min(self.size - 1, (high - self.low) // self.step) if high is not None else self.size - 1
        return span(self.low + first * self.step, last - first + 1, self.step) if first <= last else self

    def thinned(self, step: int) -> "Domain":
        """The multiples of `step` in a range; all of it where there is none, or values have no order."""
        if self.low is None or self.high is None or step <= self.step:
            return self
        first, last = -(-self.low // step), self.high // step
        return span(first * step, last - first + 1, step) if first <= last else self


def span(low: int, size: int, step: int = 1) -> Domain:
    """`size` numbers from `low`, `step` apart."""
    return Domain(size, lambda number: low + number * step, low, step)


def listed(column: Column, values: Sequence[str]) -> Domain:
    """The given values, written as text, in the given order.

    Raises:
        InputError: a value is not of the column's type.
    """
    try:
        parsed = [parse(column, value) for value in values]
    except ValueError as error:
        raise InputError(f"{values} are no values of type {column.type}.", where=column.name) from error
    if isinstance(parsed[0], str):
        strings = pa.array(parsed, pa.string())
        return Domain(len(values), lambda number: strings.take(pa.array(number)))
    numbers = np.array(parsed)
    return Domain(len(values), lambda number: numbers[number])


def scale(column: Column) -> int:
    """How many decimals a column's values have."""
    if column.type not in {"numeric", "double"}:
        return 0
    asked = re.search(r"\bscale=(\d)\b", column.sample or "")
    if asked:
        return int(asked[1])
    written = [-_exponent(bound) for bound in _bounds(column) if bound is not None]
    return min(9, max(2, *written)) if written else 2


def parse(column: Column, text: str) -> int | bool | str:
    """One value written as text, as this package counts it.

    Raises:
        ValueError: it is not of the column's type.
    """
    match column.type:
        case "integer" | "bigint" | "numeric" | "double":
            try:
                return int(Decimal(text).scaleb(scale(column)))
            except ArithmeticError as error:
                raise ValueError(f"{text!r} is no number") from error
        case "date":
            return (date.fromisoformat(text) - date(1970, 1, 1)).days
        case "timestamptz":
            moment = datetime.fromisoformat(text)
            return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
        case "boolean":
            return text == "true"
        case _:
            return text


def domain(column: Column, calendar: Calendar, distinct: int | None = None) -> Domain:
    """What the column's type and rules allow.

    Args:
        column: The column; its `sample` is not looked at.
        calendar: The time dates and timestamps fall in.
        distinct: How many different values are wanted at most; None when values may repeat.

    Raises:
        InputError: no value obeys the rules, or none can be made from them.
    """
    choices = [rule.values for rule in column.rules if isinstance(rule, OneOf)]
    if choices:
        return listed(column, _obeying(column, [v for v in choices[0] if all(v in c for c in choices)]))
    match column.type:
        case "integer" | "bigint" | "numeric" | "double":
            return _range(column)
        case "boolean":
            return Domain(2, lambda number: number == 1)
        case "date":
            return span(calendar.start // DAY_MS, calendar.days)
        case "timestamptz":
            return span(calendar.start, calendar.days * DAY_MS)
        case "uuid":
            return Domain(2**31 - 1, _uuid_by_number)
        case "inet":
            return Domain(2**31 - 1, _address_by_number)
        case "jsonb":
            return Domain(2**31 - 1, lambda number: join('{"value":', number, "}"))
        case _:
            return _text(column, distinct)


def broken_rules(column: Column, text: str) -> list[Rule]:
    """The rules of the column that a value, written as text, does not obey."""
    return [rule for rule in column.rules if not _obeys(column, rule, text)]


def arrow(values: Values) -> pa.Array:
    """The values as an Arrow array."""
    return values if isinstance(values, pa.Array) else pa.array(values)


def join(*parts: Values | str) -> pa.StringArray:
    """The parts of each row put together; numbers are written in decimal."""
    strings = [
        pa.scalar(part) if isinstance(part, str) else pc.cast(arrow(part), pa.string()) for part in parts
    ]
    return pc.binary_join_element_wise(*strings, pa.scalar(""))


def uuids(high: randomness.Bits, low: randomness.Bits) -> pa.StringArray:
    """Random UUIDs (version 4, RFC 9562) from 128 random bits per row."""
    octets = np.empty((len(high), 16), np.uint8)
    octets[:, :8] = high.astype(">u8").view(np.uint8).reshape(-1, 8)
    octets[:, 8:] = low.astype(">u8").view(np.uint8).reshape(-1, 8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    written = np.full((len(high), 36), ord("-"), np.uint8)
    written[:, _UUID_DIGITS] = _HEX[octets].reshape(-1, 32)
    offsets = np.arange(len(high) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(len(high), pa.py_buffer(offsets), pa.py_buffer(written))


def _uuid_by_number(number: Index) -> pa.StringArray:
    return uuids(randomness.bits(0, "uuid/high", number), randomness.bits(0, "uuid/low", number))


def _address_by_number(number: Index) -> pa.StringArray:
    """Addresses of 2001:db8::/32, which RFC 3849 keeps for documentation."""
    groups = [pa.array([f"{value >> 16:x}:{value & 0xFFFF:x}" for value in number.tolist()], pa.string())]
    return join("2001:db8:", *groups, "::1")


def _range(column: Column) -> Domain:
    unit = Decimal(10) ** scale(column)
    limit = _LIMITS[column.type]
    lows = [Decimal(repr(r.low)) * unit for r in column.rules if isinstance(r, Between) and r.low is not None]
    highs = [
        Decimal(repr(r.high)) * unit for r in column.rules if isinstance(r, Between) and r.high is not None
    ]
    low = max(map(ceil, lows), default=None)
    high = min(map(floor, highs), default=None)
    if low is None:
        low = 0 if high is None or high >= 0 else high - _WIDTH
    if high is None:
        high = low + _WIDTH
    low, high = max(low, -limit - 1), min(high, limit)
    if low > high:
        raise InputError("its rules leave no value.", where=column.name)
    return span(low, high - low + 1)


def _text(column: Column, distinct: int | None) -> Domain:
    low, high = text_length(column)
    if low > high:
        raise InputError("its rules leave no text.", where=column.name)
    matches = [rule.pattern for rule in column.rules if isinstance(rule, Matches)]
    if not matches:
        return _plain_text(low, high)
    tried = [patterns.texts(matches[0], *turns) for turns in _turns(low, high)]
    for found in tried:
        within = low <= found.shortest and found.longest <= high
        if len(matches) == 1 and within and (found.distinct or distinct is None):
            return _numbered(found)
    pools = (_pool(column, found, distinct or POOL) for found in tried)
    return listed(replace(column, rules=()), _obeying(column, max(pools, key=len)))


def _turns(low: int, high: int) -> list[tuple[int, int]]:
    """How often open repetitions may turn for a text of `low` to `high` characters, likeliest first."""
    longest = min(high, low + 8)
    return list(
        dict.fromkeys([(0, 7), (0, 2), (0, 0), (max(0, low - 1), max(0, longest - 1)), (low, longest)])
    )


def _numbered(found: patterns.Texts) -> Domain:
    step = max(1, found.count // (2**31 - 1))  # a pattern may have more texts than are ever asked for
    size = min(found.count, 2**31 - 1)
    return Domain(size, lambda number: pa.array([found.at(value * step) for value in number.tolist()]))


def _pool(column: Column, found: patterns.Texts, wanted: int) -> list[str]:
    """Different texts of the pattern that also obey the other rules, found by trying."""
    step = max(1, found.count // (10 * wanted + 1_000))
    some = (found.at(number) for number in range(0, found.count, step))
    return list(dict.fromkeys(text for text in some if not broken_rules(column, text)))[:wanted]


def _obeying(column: Column, values: Sequence[str]) -> list[str]:
    kept = [value for value in values if not broken_rules(column, value)]
    if not kept:
        raise InputError(
            "no sample value was found that obeys its rules.",
            where=column.name,
            fix="Give the column a `sample` recipe, or loosen the rules.",
        )
    return kept


def _obeys(column: Column, rule: Rule, text: str) -> bool:
    match rule:
        case OneOf(values):
            return text in values
        case Matches(pattern):
            return re.fullmatch(pattern, text) is not None
        case Length(low, high):
            return low <= len(text) and (high is None or len(text) <= high)
        case Between(low, high) if column.type in _LIMITS:
            number = Decimal(text)
            above = low is None or number >= Decimal(repr(low))
            return above and (high is None or number <= Decimal(repr(high)))
        case _:
            return True


def _plain_text(low: int, high: int) -> Domain:
    """Letters that count: `baab...`, as long as the rules want and at most 10 otherwise."""
    length = min(high, max(low, 10))
    digits = min(length, 6)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)

    def at(number: Index) -> pa.StringArray:
        written = np.full((len(number), length), ord("a"), np.uint8)
        for place in range(digits):
            written[:, place] = letters[number // 26**place % 26]
        offsets = np.arange(len(number) + 1, dtype=np.int32) * length
        return pa.StringArray.from_buffers(len(number), pa.py_buffer(offsets), pa.py_buffer(written))

    return Domain(26**digits, at)


def text_length(column: Column) -> tuple[int, int]:
    """The fewest and most characters the column's rules allow."""
    lengths = [rule for rule in column.rules if isinstance(rule, Length)]
    highs = [rule.high for rule in lengths if rule.high is not None]
    return max((rule.low for rule in lengths), default=0), min(highs, default=10_000)


def _bounds(column: Column) -> list[float | None]:
    return [bound for rule in column.rules if isinstance(rule, Between) for bound in (rule.low, rule.high)]


def _exponent(bound: float) -> int:
    exponent = Decimal(repr(bound)).normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
