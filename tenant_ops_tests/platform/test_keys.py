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
from tenant_ops.platform.keys import (
    MasterKey,
    _from_passphrase,
    ensure_master_key,
    find_master_key,
    find_master_key_named,
    find_previous_master_key,
    key_path,
    open_sealed,
)
from tenant_ops.platform.settings import Settings

SECRET = bytes(range(32))
KEY = MasterKey.from_bytes(SECRET, "a test")


def settings(home: Path, key: str | None = None, **more: str) -> Settings:
    given = {"BACKUP_ENCRYPTION_KEY": key} if key is not None else {}
    return Settings.load({"TENANT_OPS_HOME": str(home), **given, **more})


def key_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


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


@pytest.mark.parametrize("key", ["", "  ", "short", "elevenchars", base64.b64encode(b"x" * 6).decode()])
def test_a_key_too_weak_to_use_is_refused_without_showing_it(tmp_path: Path, key: str) -> None:
    for look in (find_master_key, ensure_master_key):
        with pytest.raises(InputError, match="BACKUP_ENCRYPTION_KEY") as refused:
            look(settings(tmp_path, key))
        assert not key.strip() or key not in str(refused.value)
    assert not key_path(settings(tmp_path)).exists(), (
        "no key of its own takes the place of one that was meant"
    )


@pytest.mark.parametrize(
    "key",
    [
        SECRET.hex(),
        SECRET.hex().upper(),
        base64.b64encode(SECRET).decode().rstrip("="),
        base64.urlsafe_b64encode(bytes([255, 254, 253, 1]) * 8).decode(),
    ],
    ids=["hex", "upper-case hex", "no padding", "url-safe"],
)
def test_a_key_in_another_encoding_is_not_taken_for_a_passphrase(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="Write it in plain base64") as refused:
        find_master_key(settings(tmp_path, key))
    assert key not in str(refused.value)


def test_a_passphrase_may_be_as_long_as_a_key(tmp_path: Path) -> None:
    phrase = "correct-horse-battery-staple-ox-and-a-donut"
    assert len(phrase) == 43
    assert find_master_key(settings(tmp_path, phrase)) is not None


def test_space_around_a_key_does_not_change_it(tmp_path: Path) -> None:
    """A key read with `$(cat file)` on one machine and as it is on another."""
    text = base64.b64encode(SECRET).decode()
    for spelled in (f"{text}\n", f" {text}", "correct horse battery\n"):
        found, plain = (find_master_key(settings(tmp_path, key)) for key in (spelled, spelled.strip()))
        assert found == plain


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"x" * 31), b"\xff\xfe"])
def test_a_damaged_key_file_is_refused_and_never_overwritten(tmp_path: Path, content: bytes) -> None:
    path = key_file(key_path(settings(tmp_path)), content)
    with pytest.raises(InputError, match=r"does not hold base64 of 32 bytes|is not text"):
        ensure_master_key(settings(tmp_path))
    assert path.read_bytes() == content


class TestKeyFiles:
    """`BACKUP_ENCRYPTION_KEY_FILE` names a file with what `BACKUP_ENCRYPTION_KEY` would hold."""

    def find(self, home: Path, path: Path, key: str | None = None) -> MasterKey | None:
        return find_master_key(settings(home, key, BACKUP_ENCRYPTION_KEY_FILE=str(path)))

    def test_it_holds_a_key_or_a_passphrase(self, tmp_path: Path) -> None:
        in_file = self.find(tmp_path, key_file(tmp_path / "key", base64.b64encode(SECRET) + b"\n"))
        assert in_file is not None
        assert (in_file.id, in_file.origin) == (KEY.id, "BACKUP_ENCRYPTION_KEY_FILE")
        by_phrase = self.find(tmp_path, key_file(tmp_path / "phrase", b"correct horse battery\n"))
        given = find_master_key(settings(tmp_path, "correct horse battery"))
        assert by_phrase is not None and given is not None
        assert by_phrase.id == given.id

    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o666, 0o601])
    def test_one_that_others_may_read_or_change_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = key_file(tmp_path / "key", base64.b64encode(SECRET), mode)
        with pytest.raises(InputError, match=f"mode {mode:04o}.*chmod 600"):
            self.find(tmp_path, path)

    def test_one_that_an_orchestrator_hands_to_a_group_is_taken(self, tmp_path: Path) -> None:
        assert self.find(tmp_path, key_file(tmp_path / "key", base64.b64encode(SECRET), 0o440)) is not None

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (None, "cannot be read: No such file"),
            (b"", "set, but empty"),
            (bytes(range(224, 256)), "is not text"),
            (b"short", "neither base64 of 32 bytes nor a passphrase"),
            (SECRET.hex().encode(), "Write it in plain base64"),
        ],
        ids=["missing", "empty", "raw bytes", "short", "hex"],
    )
    def test_one_that_holds_no_key_is_named_and_no_other_key_is_made(
        self, tmp_path: Path, content: bytes | None, complaint: str
    ) -> None:
        path = tmp_path / "key" if content is None else key_file(tmp_path / "key", content)
        with pytest.raises(InputError, match=complaint) as refused:
            ensure_master_key(settings(tmp_path, BACKUP_ENCRYPTION_KEY_FILE=str(path)))
        assert str(path) in str(refused.value)
        assert not key_path(settings(tmp_path)).exists()

    def test_two_keys_at_once_are_refused(self, tmp_path: Path) -> None:
        path = key_file(tmp_path / "key", base64.b64encode(SECRET))
        with pytest.raises(InputError, match="are both set"):
            self.find(tmp_path, path, key="correct horse battery")


class TestThePreviousKey:
    """While a master key is replaced, what the one before it sealed opens too."""

    def test_it_opens_what_it_sealed_and_the_present_one_seals(self, tmp_path: Path) -> None:
        before = settings(tmp_path, "the passphrase before")
        after = settings(
            tmp_path, "the passphrase now", BACKUP_ENCRYPTION_KEY_PREVIOUS="the passphrase before"
        )
        old, new = ensure_master_key(before), ensure_master_key(after)
        assert open_sealed(after, old.seal(b"x", "here"), "here") == b"x"
        assert open_sealed(after, new.seal(b"x", "here"), "here") == b"x"
        assert find_master_key_named(after, old.id) == find_previous_master_key(after)
        assert find_master_key_named(after, new.id) == new
        assert find_master_key_named(before, new.id) is None
        with pytest.raises(InputError, match=f"the master key {new.id}"):
            open_sealed(after, old.seal(b"x", "here"), "there")

    def test_the_key_this_home_made_counts_only_when_it_is_named(self, tmp_path: Path) -> None:
        made = ensure_master_key(settings(tmp_path))
        assert find_previous_master_key(settings(tmp_path, "another passphrase")) is None
        named = str(key_path(settings(tmp_path)))
        told = settings(tmp_path, "another passphrase", BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE=named)
        found = find_previous_master_key(told)
        assert found is not None
        assert found.id == made.id

    def test_the_same_key_twice_is_no_previous_one(self, tmp_path: Path) -> None:
        same = settings(tmp_path, "one passphrase", BACKUP_ENCRYPTION_KEY_PREVIOUS="one passphrase")
        assert find_previous_master_key(same) is None

    def test_one_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        broken = settings(tmp_path, "one passphrase", BACKUP_ENCRYPTION_KEY_PREVIOUS="short")
        with pytest.raises(InputError, match="BACKUP_ENCRYPTION_KEY_PREVIOUS"):
            find_previous_master_key(broken)


def test_the_cost_of_a_passphrase_is_paid_once(tmp_path: Path) -> None:
    phrase = settings(tmp_path, f"a passphrase of {tmp_path.name}")
    misses = _from_passphrase.cache_info().misses
    for _ in range(5):
        find_master_key(phrase)
    assert _from_passphrase.cache_info().misses == misses + 1
