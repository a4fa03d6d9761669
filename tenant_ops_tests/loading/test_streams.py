"""Opening source files: compression, cut-off files, encodings."""

import gzip
import io
import random
import re
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_ops.loading.sources.encodings import INVALID
from tenant_ops.loading.sources.streams import TextStream, open_text
from tenant_ops.platform.errors import InputError

TEXT = b"".join(b"%d,some text\n" % number for number in range(50_000))


def compress(compression: str, data: bytes) -> bytes:
    match compression:
        case "gz":
            return gzip.compress(data, 1)
        case "zst":
            return zstandard.compress(data, 1)
        case _:
            return data


def contents(path: Path, compression: str) -> bytes:
    with open_text(path, compression, path.name) as stream:
        return b"".join(stream.blocks())


@pytest.mark.parametrize("compression", ["", "gz", "zst"])
def test_a_file_is_read_whole_whatever_it_is_compressed_with(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(compress(compression, TEXT))
    assert contents(path, compression) == TEXT
    path.write_bytes(compress(compression, TEXT[:100_000]) + compress(compression, TEXT[100_000:]))
    assert contents(path, compression) == TEXT, "files put one after the other are one file"
    path.write_bytes(compress(compression, b""))
    assert contents(path, compression) == b""


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_cut_off_or_damaged_file_is_never_taken_for_a_whole_one(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "file"
    whole = compress(compression, TEXT)
    for cut in (1, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="cut off or not what its name says"):
            contents(path, compression)
    path.write_bytes(TEXT)
    with pytest.raises(InputError, match="cut off or not what its name says"):
        contents(path, compression)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: the file cannot be read: No such file"):
        contents(tmp_path / "gone.csv", "")


class Dribble(io.RawIOBase):
    """Gives a few bytes at a time, as a slow source may."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._data = io.BytesIO(data)
        self._random = random.Random(seed)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(self._random.randint(1, 4))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), st.integers(0, 5))
def test_whatever_the_bytes_what_comes_out_is_utf8_and_nothing_is_lost(data: bytes, seed: int) -> None:
    data = b"\n" + data
    text = b"".join(TextStream(Dribble(data, seed), "file", encoding="utf-8").blocks()).decode()
    places = list(re.finditer(rf"{INVALID}<([0-9a-f]+) at byte (\d+)>", text))
    for place in places:
        broken, at = bytes.fromhex(place[1]), int(place[2])
        assert data[at : at + len(broken)] == broken
    if not places:
        assert text == data.decode()
        assert "\0" not in text


@settings(max_examples=50, deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0"), max_size=60).map(str.encode),
    st.integers(1, 7),
    st.integers(0, 5),
)
def test_reading_in_pieces_gives_the_same_bytes(data: bytes, size: int, seed: int) -> None:
    data = b"\n" + data
    stream = TextStream(Dribble(data, seed), "file", encoding="utf-8")
    pieces = list(iter(lambda: stream.read(size), b""))
    assert b"".join(pieces) == data
    assert stream.quotes == data.count(b'"')
