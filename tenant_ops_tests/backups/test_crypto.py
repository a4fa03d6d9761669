"""A sealed stream gives back exactly what was written, or refuses; there is nothing in between."""

import io
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.backups import crypto
from tenant_ops.backups.crypto import (
    HEADER_BYTES,
    TAG_BYTES,
    DamagedBackup,
    OpeningReader,
    SealingWriter,
    WrongKey,
    key_check,
    member_context,
    unwrap_key,
    wrap_key,
)

KEY = bytes(range(32))
CONTEXT = member_context("tenant", "backup", "data/0001-users.copy.zst.enc", "data")
TINK_STREAM = (
    "28ab8dfed707687f31bd060abce76cc0c1e38abd8b94e8898a83891a889a6857c517e187adcb5d2baef9b3503b7e5452"
    "0700249ae8f1928e26e3dd4afa53e1edff9d33f62f2ace6a"
)
SMALL_SEGMENT = 128
FIRST_ROOM = SMALL_SEGMENT - HEADER_BYTES - TAG_BYTES
ROOM = SMALL_SEGMENT - TAG_BYTES


def sealed(content: bytes, *, context: bytes = CONTEXT, pieces: int = 1) -> bytes:
    file = io.BytesIO()
    writer = SealingWriter(file, KEY, context)
    step = max(1, -(-len(content) // pieces))
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
    writer.finish()
    assert writer.stored_bytes == len(file.getvalue())
    return file.getvalue()


def opened(data: bytes, *, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    return OpeningReader(io.BytesIO(data), key, context, name="member").read()


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "SEGMENT_BYTES", SMALL_SEGMENT)


def segments(data: bytes) -> list[bytes]:
    """The pieces of a small-segment stream: header, then each ciphertext segment."""
    first = data[HEADER_BYTES:SMALL_SEGMENT]
    rest = data[SMALL_SEGMENT:]
    return [
        data[:HEADER_BYTES],
        first,
        *(rest[at : at + SMALL_SEGMENT] for at in range(0, len(rest), SMALL_SEGMENT)),
    ]


BOUNDARIES = [
    0,
    1,
    FIRST_ROOM - 1,
    FIRST_ROOM,
    FIRST_ROOM + 1,
    FIRST_ROOM + ROOM,
    FIRST_ROOM + ROOM + 1,
    1000,
]


@pytest.mark.usefixtures("small_segments")
class TestSmallSegments:
    @pytest.mark.parametrize("size", BOUNDARIES)
    @pytest.mark.parametrize("pieces", [1, 7])
    def test_what_was_written_comes_back_at_every_segment_boundary(self, size: int, pieces: int) -> None:
        content = secrets.token_bytes(size)
        assert opened(sealed(content, pieces=pieces)) == content

    @given(content=st.binary(max_size=600), reads=st.integers(1, 400))
    def test_reads_of_any_size_add_up_to_the_content(self, content: bytes, reads: int) -> None:
        reader = OpeningReader(io.BytesIO(sealed(content)), KEY, CONTEXT, name="member")
        assert b"".join(iter(lambda: reader.read(reads), b"")) == content

    @given(content=st.binary(min_size=1, max_size=600), data=st.data())
    def test_any_flipped_bit_is_refused(self, content: bytes, data: st.DataObject) -> None:
        stream = bytearray(sealed(content))
        bit = data.draw(st.integers(0, len(stream) * 8 - 1))
        stream[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedBackup, match="member"):
            opened(bytes(stream))

    @pytest.mark.parametrize("size", BOUNDARIES)
    def test_cut_anywhere_is_refused(self, size: int) -> None:
        stream = sealed(bytes(size))
        for length in range(len(stream)):
            with pytest.raises(DamagedBackup):
                opened(stream[:length])

    @pytest.mark.parametrize("tail", [b"\0", b"\0" * TAG_BYTES, b"x" * SMALL_SEGMENT])
    def test_anything_after_the_end_is_refused(self, tail: bytes) -> None:
        for size in BOUNDARIES:
            with pytest.raises(DamagedBackup):
                opened(sealed(bytes(size)) + tail)

    def test_segments_reordered_repeated_dropped_or_replaced_are_refused(self) -> None:
        header, a, b, c, d = segments(sealed(secrets.token_bytes(FIRST_ROOM + 3 * ROOM)))
        other = segments(sealed(secrets.token_bytes(FIRST_ROOM + 3 * ROOM)))
        forged = [
            [header, a, c, b, d],
            [header, a, b, b, c, d],
            [header, a, b, d],
            [header, a, b, c],
            [header, a, b, c, d, d],
            [header, a, b, other[3], d],
            [other[0], a, b, c, d],
        ]
        for pieces in forged:
            with pytest.raises(DamagedBackup):
                opened(b"".join(pieces))

    def test_no_byte_of_a_damaged_segment_is_handed_out(self) -> None:
        stream = bytearray(sealed(b"a" * 500))
        stream[SMALL_SEGMENT + 5] ^= 1
        reader = OpeningReader(io.BytesIO(bytes(stream)), KEY, CONTEXT, name="member")
        assert reader.read(FIRST_ROOM) == b"a" * FIRST_ROOM
        with pytest.raises(DamagedBackup, match="segment 2"):
            reader.read(1)


@pytest.mark.parametrize(
    "moved",
    [
        member_context("other", "backup", "data/0001-users.copy.zst.enc", "data"),
        member_context("tenant", "other", "data/0001-users.copy.zst.enc", "data"),
        member_context("tenant", "backup", "data/0002-users.copy.zst.enc", "data"),
        member_context("tenant", "backup", "data/0001-users.copy.zst.enc", "config"),
    ],
)
def test_a_member_of_another_tenant_backup_path_or_kind_does_not_open(moved: bytes) -> None:
    with pytest.raises(DamagedBackup):
        opened(sealed(b"rows"), context=moved)


def test_the_wrong_key_opens_nothing() -> None:
    with pytest.raises(DamagedBackup):
        opened(sealed(b"rows"), key=bytes(32))


def test_contexts_cannot_be_shifted_into_each_other() -> None:
    with pytest.raises(ValueError, match="bar"):
        member_context("tenant|backup", "x", "path", "data")


def test_a_stream_made_by_tink_opens() -> None:
    """Made with Tink 1.16 (AES256_GCM_HKDF_1MB, RAW, key 00..1f, associated data `ctx`)."""
    golden = bytes.fromhex(TINK_STREAM)
    assert OpeningReader(io.BytesIO(golden), KEY, b"ctx", name="golden").read() == b"a tenant's rows\n"


def test_a_real_sized_segment_is_one_mebibyte_of_file() -> None:
    content = bytes((2 << 20) + 5)
    stream = sealed(content)
    assert len(stream) == len(content) + HEADER_BYTES + 3 * TAG_BYTES
    assert opened(stream) == content


def test_a_wrapped_key_opens_only_with_its_key_and_in_its_place() -> None:
    wrapped = wrap_key(b"k" * 32, KEY, "here")
    assert unwrap_key(wrapped, KEY, "here") == b"k" * 32
    for key, context, data in [
        (bytes(32), "here", wrapped),
        (KEY, "there", wrapped),
        (KEY, "here", wrapped[:-1]),
    ]:
        with pytest.raises(WrongKey) as refusal:
            unwrap_key(data, key, context)
        assert key.hex() not in str(refusal.value)


def test_the_check_value_tells_keys_apart_and_is_not_the_key() -> None:
    assert key_check(KEY) == key_check(bytes(KEY)) != key_check(bytes(32))
    assert len(key_check(KEY)) == 32
