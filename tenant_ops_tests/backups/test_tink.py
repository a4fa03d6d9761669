"""The segments are Tink's, so Tink opens what is sealed here, and what Tink sealed opens here.

Tink is an independent implementation by other people. Skipped where it is not installed.
"""

import io
from collections.abc import Callable

import pytest

from tenant_ops.backups.crypto import (
    SEGMENT_BYTES,
    DamagedBackup,
    OpeningReader,
    SealingWriter,
    member_context,
)

tink = pytest.importorskip("tink")
streaming_aead = pytest.importorskip("tink.streaming_aead")
cleartext_keyset_handle = pytest.importorskip("tink.cleartext_keyset_handle")
aes_gcm_hkdf_streaming_pb2 = pytest.importorskip("tink.proto.aes_gcm_hkdf_streaming_pb2")
common_pb2 = pytest.importorskip("tink.proto.common_pb2")
tink_pb2 = pytest.importorskip("tink.proto.tink_pb2")

KEY = bytes(range(32))
CONTEXT = member_context("tenant", "backup", "data/0001-users.copy.zst.enc", "data")
FIRST, LATER = SEGMENT_BYTES - 40 - 16, SEGMENT_BYTES - 16
SIZES = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + LATER, FIRST + LATER + 1, 3 * SEGMENT_BYTES + 17]

Content = Callable[[int], bytes]


@pytest.fixture(scope="module")
def primitive():
    """Tink's streaming AEAD with our key, of the type the format names."""
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=KEY,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=SEGMENT_BYTES, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
    )
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    value=key.SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=1,
                output_prefix_type=tink_pb2.RAW,
            )
        ],
    )
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


@pytest.fixture(scope="module")
def content() -> Content:
    whole = bytes(range(251)) * (4 * SEGMENT_BYTES // 251)
    return lambda size: whole[:size]


@pytest.mark.parametrize("size", SIZES)
def test_tink_opens_what_is_sealed_here(primitive, content: Content, size: int) -> None:
    sealed = io.BytesIO()
    writer = SealingWriter(sealed, KEY, CONTEXT)
    writer.write(content(size))
    writer.finish()
    sealed.seek(0)
    with primitive.new_decrypting_stream(sealed, CONTEXT) as opened:
        assert opened.read() == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_what_tink_sealed_opens_here(primitive, content: Content, size: int) -> None:
    sealed = io.BytesIO()
    stream = primitive.new_encrypting_stream(sealed, CONTEXT)
    sealed.close = lambda: None  # type: ignore[method-assign]  # tink closes what it wrote to
    with stream as out:
        out.write(content(size))
    sealed.seek(0)
    assert OpeningReader(sealed, KEY, CONTEXT, name="a member of tink's").read() == content(size)


def test_both_refuse_what_belongs_elsewhere_or_was_cut(primitive, content: Content) -> None:
    sealed = io.BytesIO()
    writer = SealingWriter(sealed, KEY, CONTEXT)
    writer.write(content(FIRST + LATER + 5))
    writer.finish()
    whole = sealed.getvalue()
    elsewhere = member_context("another", "backup", "data/0001-users.copy.zst.enc", "data")
    for stored, context in (
        (whole, elsewhere),
        (whole[: 2 * SEGMENT_BYTES], CONTEXT),
        (whole + b"x", CONTEXT),
    ):
        with pytest.raises(DamagedBackup):
            OpeningReader(io.BytesIO(stored), KEY, context, name="a member").read()
        with pytest.raises(Exception, match=r".") as refused:
            primitive.new_decrypting_stream(io.BytesIO(stored), context).read()
        assert not isinstance(refused.value, AssertionError)
