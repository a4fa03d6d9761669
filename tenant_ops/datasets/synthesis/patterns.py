"""Texts that match a regular expression, by number.

Here: the n-th text of a pattern, counted as a mixed-radix number over its parts.
Not here: which numbers are drawn (`domains.py`).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from re import _parser  # pyright: ignore[reportAttributeAccessIssue]  # there is no public syntax tree
from typing import Any

from tenant_ops.platform.errors import InputError

_PREFERRED = string.ascii_lowercase + string.digits
_PRINTABLE = "".join(chr(code) for code in range(32, 127))
_CATEGORIES = {
    "CATEGORY_DIGIT": re.compile(r"[0-9]"),
    "CATEGORY_NOT_DIGIT": re.compile(r"[^0-9]"),
    "CATEGORY_SPACE": re.compile(r"[ ]"),
    "CATEGORY_NOT_SPACE": re.compile(r"[^ ]"),
    "CATEGORY_WORD": re.compile(r"[A-Za-z0-9_]"),
    "CATEGORY_NOT_WORD": re.compile(r"[^A-Za-z0-9_]"),
}


@dataclass(frozen=True)
class Texts:
    """The texts of a pattern.

    Attributes:
        count: How many numbers there are.
        at: The text of a number below `count`.
        shortest: Fewest characters.
        longest: Most characters.
        distinct: Whether two numbers never give the same text.
    """

    count: int
    at: Callable[[int], str]
    shortest: int
    longest: int
    distinct: bool


def texts(pattern: str, fewest: int = 0, most: int = 7) -> Texts:
    """The texts that match the whole of `pattern`.

    Args:
        pattern: The regular expression.
        fewest: Least turns an open repetition (`+`, `*`) makes beyond those it must.
        most: Most turns beyond those it must; without a bound there would be no last text.

    Raises:
        InputError: the pattern uses look-around, back-references or another part that cannot be counted.
    """
    try:
        return _sequence(_parser.parse(pattern), (fewest, most))
    except (_Uncountable, re.error) as error:
        raise InputError(
            f"no sample text can be made for the pattern {pattern!r}: {error}.",
            fix="Give the column a `sample` recipe.",
        ) from error


class _Uncountable(Exception):
    """A part of the syntax whose texts have no number."""


def _node(name: str, argument: Any, turns: tuple[int, int]) -> Texts:
    match name:
        case "LITERAL":
            return _listed([chr(argument)])
        case "NOT_LITERAL":
            return _characters(lambda character: ord(character) != argument)
        case "ANY":
            return _listed(_PREFERRED)
        case "IN":
            return _characters(_membership(argument))
        case "SUBPATTERN":
            return _sequence(argument[-1], turns)
        case "BRANCH":
            return _sum([_sequence(branch, turns) for branch in argument[1]])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, body = argument
            if most == _parser.MAXREPEAT:
                least, most = least + turns[0], least + turns[1]
            return _repeat(_sequence(body, turns), least, most)
        case "ATOMIC_GROUP":
            return _sequence(argument, turns)
        case "AT":
            return _listed([""])
        case _:
            raise _Uncountable(f"{name.lower()} has no sample")


def _sequence(nodes: Iterable[tuple[Any, Any]], turns: tuple[int, int]) -> Texts:
    return _product([_node(str(name), argument, turns) for name, argument in nodes])


def _product(parts: list[Texts]) -> Texts:
    def at(number: int) -> str:
        pieces: list[str] = []
        for part in reversed(parts):
            number, digit = divmod(number, part.count)
            pieces.append(part.at(digit))
        return "".join(reversed(pieces))

    return Texts(
        prod(part.count for part in parts),
        at,
        sum(part.shortest for part in parts),
        sum(part.longest for part in parts),
        # With at most one part of varying length the cuts between the parts are known.
        all(part.distinct for part in parts) and sum(part.shortest != part.longest for part in parts) <= 1,
    )


def _sum(parts: list[Texts]) -> Texts:
    def at(number: int) -> str:
        for part in parts:
            if number < part.count:
                return part.at(number)
            number -= part.count
        raise IndexError(number)

    lengths = [(part.shortest, part.longest) for part in parts]
    apart = all(high < low for (_, high), (low, _) in zip(sorted(lengths), sorted(lengths)[1:], strict=False))
    return Texts(
        sum(part.count for part in parts),
        at,
        min(part.shortest for part in parts),
        max(part.longest for part in parts),
        all(part.distinct for part in parts) and apart,
    )


def _repeat(body: Texts, least: int, most: int) -> Texts:
    return _sum([_product([body] * times) for times in range(least, most + 1)])


def _listed(values: Iterable[str]) -> Texts:
    known = list(values)
    return Texts(
        len(known),
        known.__getitem__,
        min(map(len, known)),
        max(map(len, known)),
        len(set(known)) == len(known),
    )


def _characters(allowed: Callable[[str], bool]) -> Texts:
    for alphabet in (_PREFERRED, _PRINTABLE):
        found = [character for character in alphabet if allowed(character)]
        if found:
            return _listed(found)
    raise _Uncountable("a character class holds no printable ASCII character")


def _membership(items: list[tuple[Any, Any]]) -> Callable[[str], bool]:
    negated = str(items[0][0]) == "NEGATE"
    members = items[1:] if negated else items

    def contains(character: str) -> bool:
        code = ord(character)
        for kind, argument in members:
            match str(kind):
                case "LITERAL":
                    hit = code == argument
                case "RANGE":
                    hit = argument[0] <= code <= argument[1]
                case _:
                    hit = bool(_CATEGORIES[str(argument)].match(character))
            if hit:
                return True
        return False

    return lambda character: contains(character) != negated
