"""JSON files: arrays of objects, one object of such arrays, and NDJSON.

Here: reading them piece by piece, in constant memory, with exact numbers. Not here: what values mean.

A member that an object leaves out is null, as one that is null.

The standard library's decoder is used for its position of each value and because it can keep every digit of
a number; a streaming parser that replaces what it cannot read (ijson turns a lone surrogate into `?`) would
change data without a word.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tenant_ops.loading.sources.batch import Batch, Number, Reject, batch_of_rows, spell
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.streams import LONGEST_ROW, TextStream, too_long
from tenant_ops.platform.errors import InputError

NOT_JSON, NOT_OBJECT = "not valid JSON", "not a JSON object"
REPEATED = "an object has a member twice"

_BLANKS = " \t\r\n"
_BLANK = re.compile(f"[{_BLANKS}]*")


class _Decoder:
    """JSON with every digit of its numbers.

    Attributes:
        repeated: Whether an object in the last value had a member twice; which one is meant nobody can tell.
    """

    def __init__(self) -> None:
        self.repeated = False
        pairs = {"object_pairs_hook": self._object, "parse_constant": _no_constant}
        self._usual = json.JSONDecoder(parse_float=Decimal, **pairs)
        self._verbatim = json.JSONDecoder(parse_float=Number, parse_int=Number, **pairs)

    def decode(self, text: str) -> Any:
        """The one value a text holds."""
        text = text.strip(_BLANKS)
        value, end = self.decode_at(text, 0)
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return value

    def decode_at(self, text: str, at: int) -> tuple[Any, int]:
        """The value that begins here, and where it ends."""
        self.repeated = False
        try:
            return self._usual.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except (ArithmeticError, ValueError):
            # An exponent beyond what Decimal holds, or more digits than int reads at once.
            return self._verbatim.raw_decode(text, at)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            self.repeated = True
        return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_ndjson(stream: TextStream, columns: Columns, *, batch_rows: int) -> Iterator[Batch]:
    """One object a line; a line that is none is rejected, blank lines are passed over."""
    return _batches(columns, _lines(stream), batch_rows)


def read_json(
    stream: TextStream, columns: Columns, *, member: str | None, batch_rows: int
) -> Iterator[Batch]:
    """The objects of an array, which is the whole file or one of its members.

    Raises:
        InputError: the file is not JSON, or neither an array nor an object of arrays.
    """
    return _batches(columns, _elements(_Text(stream), member), batch_rows)


def members(stream: TextStream) -> tuple[str, ...] | None:
    """The names of the arrays in an object, or None when the file is one array.

    Raises:
        InputError: it is neither.
    """
    text = _Text(stream)
    if text.peek() != "{":
        text.expect("[", "a JSON array, or an object of arrays")
        return None
    return tuple(name for name, _ in _arrays(text))


def _batches(columns: Columns, values: Iterator[tuple[int, Any]], batch_rows: int) -> Iterator[Batch]:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    rejects: list[Reject] = []

    for position, value in values:
        if isinstance(value, Reject):
            rejects.append(value)
        elif not isinstance(value, dict):
            rejects.append(Reject(position, NOT_OBJECT, str(spell([value], as_json=True)[0])))
        else:
            columns.see(value, position)
            rows.append(value)
            lines.append(position)
        if len(rows) + len(rejects) >= batch_rows:
            yield batch_of_rows(columns.dataset, columns.dataset.reads, rows, lines, rejects)
            rows, lines, rejects = [], [], []
    columns.end()
    if rows or rejects:
        yield batch_of_rows(columns.dataset, columns.dataset.reads, rows, lines, rejects)


def _lines(stream: TextStream) -> Iterator[tuple[int, Any]]:
    number, decoder = 0, _Decoder()
    for block in stream.blocks():
        for line in block.decode().removesuffix("\n").split("\n"):
            number += 1
            if not line.strip():
                continue
            try:
                value = decoder.decode(line)
                yield number, Reject(number, REPEATED, line) if decoder.repeated else value
            except (ValueError, RecursionError):
                yield number, Reject(number, NOT_JSON, line)


def _elements(text: "_Text", member: str | None) -> Iterator[tuple[int, Any]]:
    if member is None:
        yield from _items(text)
        text.expect_end()
        return
    for name, items in _arrays(text):
        if name == member:
            yield from items


def _arrays(text: "_Text") -> Iterator[tuple[str, Iterator[tuple[int, Any]]]]:
    """The arrays in an object, each with its items; other members, and items left over, are passed over."""
    text.expect("{", "an object of arrays")
    more = text.peek() != "}"
    while more:
        name = text.value()
        if not isinstance(name, str):
            raise text.wrong("a member name")
        text.expect(":", "a colon")
        if text.peek() == "[":
            items = _items(text)
            yield name, items
            for _ in items:
                pass
        else:
            text.value()
        more = text.comma()
    text.expect("}", "a comma or the end of the object")
    text.expect_end()


def _items(text: "_Text") -> Iterator[tuple[int, Any]]:
    """The values of an array, each with the line it begins on."""
    text.expect("[", "a JSON array")
    more = text.peek() != "]"
    while more:
        line = text.line
        yield line, text.value()
        more = text.comma()
    text.expect("]", "a comma or the end of the array")


class _Text:
    """The part of a JSON file that is being read: a window that moves on."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self._pieces = stream.pieces()
        self._decoder = _Decoder()
        self._window = ""
        self._at = 0
        self._line = 1
        self._counted = 0

    @property
    def line(self) -> int:
        """The line of the place that was reached."""
        self._line += self._window.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            self._at = _BLANK.match(self._window, self._at).end()  # pyright: ignore[reportOptionalMemberAccess]
            if self._at < len(self._window) or not self._more():
                return self._window[self._at : self._at + 1]

    def expect(self, character: str, what: str) -> None:
        """Step over this character.

        Raises:
            InputError: something else stands there.
        """
        if self.peek() != character:
            raise self.wrong(what)
        self._at += 1

    def comma(self) -> bool:
        """Step over a comma, if one stands here, up to what follows it."""
        if self.peek() != ",":
            return False
        self._at += 1
        self.peek()
        return True

    def expect_end(self) -> None:
        """Nothing may follow.

        Raises:
            InputError: something does.
        """
        if self.peek():
            raise self.wrong("the end of the file")

    def value(self) -> Any:
        """The value that stands here, whole; a rejected row when one of its objects has a member twice.

        Raises:
            InputError: it is not JSON, or longer than a row can be.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.decode_at(self._window, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self.wrong("a JSON value", error) from error
                continue
            # A number may go on in the next block.
            if end == len(self._window) and self._more():
                continue
            if self._decoder.repeated:
                value = Reject(self.line, REPEATED, self._window[self._at : end])
            self._at = end
            return value

    def wrong(self, expected: str, error: Exception | None = None) -> InputError:
        """The error for what stands here instead."""
        place = self._at
        reason = f"not valid JSON: {_plain(error)}" if error else f"expected {expected}"
        if isinstance(error, json.JSONDecodeError):
            place = error.pos
        found = self._window[place : place + 20]
        line = self.line + self._window.count("\n", self._at, place)
        return InputError(
            f"{reason}{f', found {found!r}' if found else ', found the end of the file'}.",
            where=f"{self._stream.name}, line {line}",
            fix="The file must be a JSON array of objects, or an object whose members are such arrays.",
        )

    def _more(self) -> bool:
        if len(self._window) - self._at > LONGEST_ROW:
            raise too_long(self._stream.name, line=self.line)
        block = next(self._pieces, b"")
        if not block:
            return False
        self._line = self.line
        self._window = self._window[self._at :] + block.decode()
        self._at = self._counted = 0
        return True


def _plain(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
