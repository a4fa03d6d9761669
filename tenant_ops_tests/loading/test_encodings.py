"""What text is written in: found, converted a block at a time, and what is no text told by its place."""

import codecs
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.loading.sources.encodings import INVALID, LOOKED_AT, as_utf8, find_encoding
from tenant_ops.loading.sources.streams import TextStream
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.test_streams import Dribble

GERMAN = "Straße, Größe und Übermut; natürlich können wir auch über Käse reden.\n" * 20
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю.\n" * 20


def decode(data: bytes, encoding: str = "auto", seed: int | None = None) -> tuple[str, str]:
    """The text, and what it was read as."""
    source = Dribble(data, 0 if seed is None else seed)
    stream = TextStream(source, "file", encoding=encoding)
    return b"".join(stream.pieces()).decode(), stream.encoding


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "detect", "same", "family"])
def test_a_mark_decides_and_is_no_part_of_the_text(mark: bytes, encoding: str, wanted: str) -> None:
    family = encoding.removesuffix("-le").removesuffix("-be")
    chosen = {"same": encoding, "family": family}.get(wanted, wanted)
    assert decode(mark + GERMAN.encode(encoding), chosen) == (GERMAN, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["id,name\n1,Größe\n", '[{"a": "日本語日本語日本語日本語"}]', GERMAN])
def test_utf16_without_a_mark_is_known_by_its_nuls(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"a\0",
        b"id,name\n1,a\0b\n",
        b"id,name\n1,a\0b\n" * 9,
        b"\0" * 99,
        "日本語\n".encode() * 500,
    ],
)
def test_other_text_is_utf8_however_many_nuls_are_in_it(data: bytes) -> None:
    assert find_encoding(data, "auto", "file") == ("utf-8", 0)


@pytest.mark.parametrize(
    ("text", "encoding"), [(GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (GERMAN, "utf-8"), ("id,name\n", "ascii")]
)
def test_an_encoding_can_be_guessed(text: str, encoding: str) -> None:
    found, told = decode(text.encode(encoding), "detect")
    assert found == text
    assert told.startswith("utf-8" if encoding in {"utf-8", "ascii"} else "")


def test_what_is_no_text_in_any_encoding_is_not_guessed() -> None:
    with pytest.raises(InputError, match="file: what the text is written in was not recognised"):
        decode(b"\x00\xff\x01\x90\x8f" * 1000, "detect")


@pytest.mark.parametrize("name", ["utf-9", "base64", "rot13", "idna", "undefined", ""])
def test_an_encoding_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"file: there is no encoding '{name}'"):
        decode(b"a", name)


def test_what_is_no_text_is_marked_with_its_place() -> None:
    assert decode(b"\xef\xbb\xbfcaf\xe9 \xff\xfe\0\0x\xe2\x82", "auto")[0] == (
        f"caf{INVALID}<e9 at byte 6> {INVALID}<fffe at byte 8>{INVALID}<0000 at byte 10>"
        f"x{INVALID}<e282 at byte 13>"
    )
    assert decode(b"a" * 5000 + b"\xff" * 99, "auto", 3)[0].count(INVALID) >= 1
    assert decode("a\0b".encode("utf-16"))[0] == f"a{INVALID}<00>b", "its place is not known"
    assert decode("ab".encode("utf-16") + b"\x00\xd8c\0")[0] == f"ab{INVALID}<00d8 at byte 6>c"
    assert decode(b"caf\x81", "cp1252")[0] == f"caf{INVALID}<81 at byte 3>"
    assert decode(b"a+2AA-b", "utf-7")[0] == f"a{INVALID}<d800>b"


ENCODINGS = (
    *("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-7"),
    *("cp1252", "cp037", "shift_jis", "gb18030", "euc_kr"),
)
ODD_BYTES = st.sampled_from([b"a", b"\n", b"\0", b"\xff", b"\xe3", b"\x81\x82", b"\xd8\x00"])
PLAIN = st.characters(codec="utf-8", exclude_characters=f"\0{INVALID}")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ODD_BYTES | st.binary(max_size=3), max_size=12).map(b"".join),
    st.sampled_from(ENCODINGS),
    st.lists(st.integers(1, 5), min_size=40, max_size=40),
)
def test_whatever_the_bytes_and_the_blocks_marks_tell_what_stands_where(
    data: bytes, encoding: str, sizes: list[int]
) -> None:
    blocks, at = [], 0
    for size in sizes:
        blocks.append(data[at : at + size])
        at += size
    pieces = list(as_utf8([block for block in blocks if block], encoding, 0))
    text = b"".join(pieces).decode()
    assert "\0" not in text
    assert all(piece.decode() for piece in pieces), "no piece splits a character"
    for mark in re.finditer(rf"{INVALID}<([0-9a-f]+)\.* at byte (\d+)>", text):
        broken, place = bytes.fromhex(mark[1]), int(mark[2])
        assert data[place : place + len(broken)] == broken


@settings(max_examples=100, deadline=None)
@given(st.text(PLAIN, max_size=40), st.integers(0, 9))
def test_text_in_any_encoding_that_has_it_is_read_as_it_is(text: str, seed: int) -> None:
    for encoding in ENCODINGS:
        try:
            data = text.encode(encoding)
            fits = data.decode(encoding) == text
        except UnicodeError:
            continue
        if fits and not text.startswith("\ufeff"):
            assert decode(data, encoding, seed)[0] == text


def test_only_so_much_is_looked_at() -> None:
    late = b"a,b\n" * (LOOKED_AT["detect"] // 4) + b"caf\xe9\n"
    assert TextStream(io.BytesIO(late), "file", encoding="detect").encoding == "utf-8"
