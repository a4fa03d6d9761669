"""The master key: found, made once, and what it seals opens only where it belongs."""

import base64
import multiprocessing
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.keys import MasterKey, ensure_master_key, find_master_key, key_path
from tenant_ops.platform.settings import Settings

KEY = MasterKey.from_bytes(bytes(range(32)), "a test")


def settings(home: Path, key: str = "") -> Settings:
    return Settings.load({"TENANT_OPS_HOME": str(home), "BACKUP_ENCRYPTION_KEY": key})


def make_key(home: Path) -> tuple[str, bytes]:
    key = ensure_master_key(settings(home))
    return key.id, key.seal(b"made by one process", "here")


@given(secret=st.binary(max_size=200), context=st.text(max_size=50))
def test_what_is_sealed_opens_again_and_never_looks_the_same(secret: bytes, context: str) -> None:
    sealed = KEY.seal(secret, context)
    assert KEY.open(sealed, context) == secret
    assert sealed != KEY.seal(secret, context)
    assert not secret or len(secret) < 4 or secret not in sealed


@given(secret=st.binary(max_size=50), context=st.text(max_size=20), other=st.text(max_size=20))
def test_a_sealed_value_does_not_open_elsewhere(secret: bytes, context: str, other: str) -> None:
    if other != context:
        with pytest.raises(InputError, match="does not open it"):
            KEY.open(KEY.seal(secret, context), other)


@given(secret=st.binary(max_size=50), data=st.data())
def test_a_changed_or_cut_value_does_not_open(secret: bytes, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(secret, "here"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        sealed[place] ^= data.draw(st.integers(1, 255))
    else:
        del sealed[place:]
    with pytest.raises(InputError):
        KEY.open(bytes(sealed), "here")


def test_another_key_does_not_open_and_says_what_to_do() -> None:
    other = MasterKey.from_bytes(bytes(32), "another")
    with pytest.raises(InputError, match="BACKUP_ENCRYPTION_KEY") as refused:
        other.open(KEY.seal(b"hunter2", "tenant/1"), "tenant/1")
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith("tenant/1: the master key ")


def test_a_key_shows_its_name_but_not_itself() -> None:
    assert str(bytes(range(32))) not in repr(KEY)
    assert bytes(range(32)).hex() not in repr(KEY)
    assert KEY.id in repr(KEY)


def test_without_a_key_there_is_none_until_one_is_made(tmp_path: Path) -> None:
    assert find_master_key(settings(tmp_path)) is None
    made = ensure_master_key(settings(tmp_path))
    assert find_master_key(settings(tmp_path)) == made == ensure_master_key(settings(tmp_path))


def test_the_key_file_is_for_its_owner_only_and_leaves_no_draft(tmp_path: Path) -> None:
    ensure_master_key(settings(tmp_path))
    path = key_path(settings(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_arrive_together_make_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as pool:
        made = list(pool.map(make_key, [tmp_path] * 12))
    key = find_master_key(settings(tmp_path))
    assert key is not None
    assert {name for name, _ in made} == {key.id}
    assert {key.open(sealed, "here") for _, sealed in made} == {b"made by one process"}


def test_a_key_from_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    in_file = ensure_master_key(settings(tmp_path))
    given_key = base64.b64encode(bytes(range(32))).decode()
    found = ensure_master_key(settings(tmp_path, given_key))
    assert found.id == KEY.id != in_file.id
    assert found.origin == "BACKUP_ENCRYPTION_KEY"


def test_a_passphrase_gives_the_same_key_every_time_and_another_gives_another(tmp_path: Path) -> None:
    first, again, other = (
        ensure_master_key(settings(tmp_path, phrase))
        for phrase in ("correct horse battery", "correct horse battery", "correct horse batterz")
    )
    assert first.id == again.id != other.id
    assert again.open(first.seal(b"x", "here"), "here") == b"x"
    assert not key_path(settings(tmp_path)).exists(), "no file is made when a key is given"


@pytest.mark.parametrize("key", ["short", "elevenchars", base64.b64encode(b"x" * 6).decode()])
def test_a_key_too_weak_to_use_is_refused_without_showing_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="BACKUP_ENCRYPTION_KEY") as refused:
        find_master_key(settings(tmp_path, key))
    assert key not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"x" * 31), b"\xff\xfe"])
def test_a_damaged_key_file_is_refused_and_never_overwritten(tmp_path: Path, content: bytes) -> None:
    path = key_path(settings(tmp_path))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not hold base64 of 32 bytes"):
        ensure_master_key(settings(tmp_path))
    assert path.read_bytes() == content
