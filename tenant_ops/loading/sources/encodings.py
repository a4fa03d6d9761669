"""What a text file is written in, and its bytes as UTF-8 with the places marked that are not text.

Here: finding the encoding, and converting block by block. Not here: opening files, lines and rows.

A file's mark (BOM) decides, then where the NULs of its beginning are, and otherwise it is UTF-8. Bytes that
are no text in the file's encoding would stop a reader at the first one, and Postgres stores no NUL: both turn
into `INVALID`, followed by the bytes and where they stand, so that only the cell that holds them is refused.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

import charset_normalizer

from tenant_ops.platform.errors import InputError

AUTO, DETECT = "auto", "detect"

INVALID = "\ufdd0"
"""Marks what is no text: a code point Unicode sets aside as never being a character."""

MARKED_NUL = f"{INVALID}<00"
"""How the mark of NUL bytes begins."""

ON_ERROR = "tenant_ops.mark_invalid"
"""How to encode text, or decode bytes, with `INVALID` marks for what cannot be (`str.encode(errors=...)`)."""

LOOKED_AT = {AUTO: 4 << 10, DETECT: 1 << 20}
"""Bytes from the beginning that are looked at to find an encoding."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SHOWN_BYTES = 16
_STRANGE = re.compile("[\udc80-\udcff]+|\0+")
_PLACED = re.compile(rf"({INVALID}<[0-9a-f]+\.*) \+(\d+)>")


def find_encoding(start: bytes, wanted: str, name: str) -> tuple[str, int]:
    """What a file is written in, and how many bytes its mark takes.

    Args:
        start: Its first bytes, as many as `LOOKED_AT` says.
        wanted: `auto`, `detect` (guessed by charset-normalizer where `auto` would fall back to UTF-8), or
            the name of an encoding Python knows.
        name: What to call the file in errors.

    Raises:
        InputError: there is no such encoding, or none that fits was found.
    """
    mark, marked = next(((mark, name) for mark, name in _MARKS.items() if start.startswith(mark)), (b"", ""))
    if wanted not in LOOKED_AT:
        encoding = _known(wanted, name)
        if encoding in {"utf-16", "utf-32"}:
            encoding = marked if marked.startswith(encoding) else f"{encoding}-le"
        return encoding, len(mark) if encoding == marked else 0
    if marked:
        return marked, len(mark)
    if wide := _without_mark(start):
        return wide, 0
    if wanted == DETECT and _utf8_until(start, last=False) is None:
        guess = charset_normalizer.from_bytes(start).best()
        if guess is None:
            raise InputError(
                "what the text is written in was not recognised.",
                where=name,
                fix="Name the encoding, for instance cp1252.",
            )
        return _known(guess.encoding, name), 0
    return "utf-8", 0


def as_utf8(blocks: Iterable[bytes], encoding: str, skip: int) -> Iterator[bytes]:
    """The text of a file as UTF-8, in pieces that never split a character.

    Args:
        blocks: Its bytes, without the mark.
        encoding: What they are written in.
        skip: How many bytes the mark took: positions count from the beginning of the file.
    """
    pieces = _checked(blocks, skip) if encoding == "utf-8" else _converted(blocks, encoding, skip)
    return (piece for piece in pieces if piece)


def show_bytes(data: bytes, place: str = "") -> str:
    """Bytes that are no text, as the mark that stands for them."""
    dots = "..." if len(data) > _SHOWN_BYTES else ""
    return f"{INVALID}<{data[:_SHOWN_BYTES].hex()}{dots}{place}>"


def _checked(blocks: Iterable[bytes], at: int) -> Iterator[bytes]:
    rest = b""
    for block in chain(blocks, [b""]):
        data, last = rest + block, not block
        if b"\0" not in data and (used := _utf8_until(data, last=last)) is not None:
            piece = data[:used]
        else:
            text, used = codecs.utf_8_decode(data, "surrogateescape", last)
            piece = _marked(text, at)
        yield piece
        rest = data[used:]
        at += used


def _marked(text: str, at: int) -> bytes:
    """Text with its escaped bytes and NULs marked; `at` is where it begins in the file."""
    pieces: list[bytes] = []
    done = 0
    for strange in _STRANGE.finditer(text):
        clean = text[done : strange.start()].encode()
        broken = strange.group().encode(errors="surrogateescape")
        at += len(clean)
        pieces += [clean, show_bytes(broken, f" at byte {at}").encode()]
        at += len(broken)
        done = strange.end()
    return b"".join([*pieces, text[done:].encode()])


def _converted(blocks: Iterable[bytes], encoding: str, at: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(ON_ERROR)
    for block in chain(blocks, [b""]):
        # An error tells its place in what the decoder kept from before and this block together.
        start = at - len(decoder.getstate()[0])
        text = decoder.decode(block, not block)
        at += len(block)
        text = _PLACED.sub(partial(_place, start), text) if INVALID in text else text
        if "\0" in text:
            # How many bytes the text before it took is not known here, so neither is its place.
            text = text.replace("\0", show_bytes(b"\0"))
        yield text.encode(errors=ON_ERROR)


def _place(start: int, mark: re.Match[str]) -> str:
    return f"{mark[1]} at byte {start + int(mark[2])}>"


def _known(wanted: str, name: str) -> str:
    """The usual name of an encoding of text that has the ASCII characters.

    Raises:
        InputError: Python knows none.
    """
    try:
        found = codecs.lookup(wanted).name
        # codecs that turn bytes into bytes, or cannot go on after a fault, are none
        decoder = codecs.getincrementaldecoder(found)(ON_ERROR)
        if decoder.decode("a,b\n0".encode(found), True) == "a,b\n0":
            return "utf-8" if found in {"utf-8-sig", "ascii"} else found
    except (LookupError, UnicodeError, ValueError):
        pass
    raise InputError(
        f"there is no encoding {wanted!r}.",
        where=name,
        fix="Use auto, detect, or a name as Python knows it: utf-8, utf-16, cp1252, latin-1, shift_jis.",
    )


def _without_mark(start: bytes) -> str | None:
    """UTF-16 by its NULs: every other byte of ASCII text is one, from the first pair on, and few between."""
    pairs = len(start) // 2
    even, odd = start[: 2 * pairs : 2].count(0), start[1 : 2 * pairs : 2].count(0)
    enough = max(1, pairs // 10)
    if start[0:1] != b"\0" == start[1:2] and odd > enough and odd > 8 * even:
        return "utf-16-le"
    if start[0:1] == b"\0" != start[1:2] and even > enough and even > 8 * odd:
        return "utf-16-be"
    return None


def _utf8_until(data: bytes, *, last: bool) -> int | None:
    """How far it is whole UTF-8 characters; None when something in it is none."""
    try:
        return codecs.utf_8_decode(data, "strict", last)[1]
    except UnicodeDecodeError:
        return None


def _mark_invalid(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return show_bytes(error.object[error.start : error.end], f" +{error.start}"), error.end
    assert isinstance(error, UnicodeEncodeError)
    lone = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return show_bytes(lone).encode(), error.end


codecs.register_error(ON_ERROR, _mark_invalid)
