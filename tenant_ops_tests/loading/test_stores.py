"""Object stores: fetched once, whoever needs it, whole or not at all. Against a real S3 server."""

import http.server
import os
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from tenant_ops.loading import Reading, SourceFile
from tenant_ops.loading.discovery import find_files
from tenant_ops.loading.sources import stores
from tenant_ops.loading.spool import KEPT_S, Spool
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed
from tenant_ops_tests.loading.shop import SHOP, Shop
from tenant_ops_tests.loading.test_archives import pack

ROWS = b"id,name\n1,Ada\n2,Ben\n"
Put = Callable[..., None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def put(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Put]:
    """Puts objects into an empty bucket `exports` of the S3 server the environment names."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="exports")

    def put(content: bytes, *keys: str) -> None:
        for key in keys:
            client.put_object(Bucket="exports", Key=key, Body=content)

    yield put
    for entry in client.list_objects_v2(Bucket="exports").get("Contents", []):
        client.delete_object(Bucket="exports", Key=entry["Key"])
    client.delete_bucket(Bucket="exports")


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., list[SourceFile]]:
    """The customers' files of a source."""

    def find(source: str, *wanted: str) -> list[SourceFile]:
        names = set(wanted or ("customers", "orders"))
        found = find_files(SHOP, source, names, reading=Reading(), spool=tmp_path / "spool")
        return found["customers"]

    return find


def spooled(tmp_path: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in (tmp_path / "spool").glob("*-*"))


def test_a_folder_of_a_bucket_is_like_a_folder(put: Put, find: Callable, tmp_path: Path) -> None:
    put(ROWS, "june/customers.csv", "june/customers/a b%20c?.csv", "june/.hidden/customers.csv", "july/x.csv")
    put(b"none", "june/README.md")
    put(b"Customer,No.\n", "june/Orders.csv")
    files = find("s3://exports/june", "customers")
    assert [file.name for file in files] == ["customers/a b%20c?.csv", "customers.csv"]
    assert {(Path(file.path).read_bytes(), file.bytes) for file in files} == {(ROWS, len(ROWS))}
    assert spooled(tmp_path) == ["a.b.20c..csv", "customers.csv"], "of wanted datasets only"


def test_a_pattern_and_a_single_object_may_be_named_anything(put: Put, find: Callable) -> None:
    put(ROWS, "june/part-1.csv", "june/part-2.csv.gz", "june/more/part-3.csv")
    put(b"none", "june/part-1.txt")
    assert [file.name for file in find("s3://exports/june/part-*", "customers")] == [
        "part-1.csv",
        "part-2.csv.gz",
    ]
    assert [file.name for file in find("s3://exports/june/**/*.csv", "customers")] == [
        "more/part-3.csv",
        "part-1.csv",
    ]
    assert [file.name for file in find("s3://exports/june/part-1.csv", "customers")] == ["part-1.csv"]
    with pytest.raises(InputError, match=r"the URL cannot be used: Invalid pattern"):
        find("s3://exports/june/**.csv")
    with pytest.raises(InputError, match="this is no kind of file that can be loaded"):
        find("s3://exports/june/part-1.txt")


def test_an_object_is_fetched_once_for_everybody_and_again_when_it_changed(
    put: Put, find: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    s3 = fsspec.get_filesystem_class("s3")
    get_file = s3.get_file

    def counted(self: object, name: str, *rest: object) -> None:
        fetched.append(name)
        get_file(self, name, *rest)

    monkeypatch.setattr(s3, "get_file", counted)
    put(ROWS, "customers.csv")
    (first,) = find("s3://exports")
    assert find("s3://exports") == [first]
    assert find("s3://exports/customers.csv") == [first]
    assert fetched == ["exports/customers.csv"]
    assert stat.S_IMODE(Path(first.path).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(first.path).parent.stat().st_mode) == 0o700
    put(ROWS + b"3,Cem\n", "customers.csv")
    (second,) = find("s3://exports")
    assert second.sha256 != first.sha256
    assert Path(first.path).read_bytes() == ROWS, "who still reads the old one is not disturbed"


def test_an_archive_in_a_bucket_is_a_folder_too(put: Put, find: Callable, tmp_path: Path) -> None:
    put(pack(tmp_path / "x.zip", {"customers.csv": ROWS}).read_bytes(), "export.zip")
    assert [file.name for file in find("s3://exports")] == ["export.zip/customers.csv"]


def test_what_is_not_there_or_not_allowed_is_told(
    put: Put, find: Callable, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="s3://exports/gone: there is nothing there"):
        find("s3://exports/gone")
    with pytest.raises(InputError, match="s3://no-such-bucket: there is nothing there"):
        find("s3://no-such-bucket")
    put(b"none", "README.md")
    with pytest.raises(InputError, match="s3://exports: there are no data files"):
        find("s3://exports")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OperationFailed, match="s3://exports: the store does not answer"):
        find("s3://exports")


def test_a_fetch_that_fails_is_tried_again_and_never_leaves_half_a_file(
    find: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/flaky/customers.csv", ROWS)
    tries: list[int] = []

    def get_file(self: object, name: str, place: str, **options: object) -> None:
        tries.append(1)
        Path(place).write_bytes(ROWS if len(tries) == 2 else ROWS[:9])
        if len(tries) == 1:
            raise ConnectionResetError("gone")

    monkeypatch.setattr(type(memory), "get_file", get_file)
    monkeypatch.setattr(stores, "FIRST_WAIT_S", 0)
    (file,) = find("memory://flaky")
    assert (len(tries), Path(file.path).read_bytes()) == (2, ROWS)
    memory.pipe("/flaky/customers.csv", ROWS + ROWS)
    with pytest.raises(OperationFailed, match=r"memory://flaky, customers\.csv: .* 9 of 40 bytes arrived"):
        find("memory://flaky")
    assert len(tries) == 2 + stores.ATTEMPTS
    assert [path.name for path in (tmp_path / "spool").glob("*.partial")] == []
    assert len(spooled(tmp_path)) == 1


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of a folder, and its address."""
    folder = tmp_path / "web" / "june"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_bytes(ROWS)
    (folder / "customers.1 2.csv").write_bytes(ROWS)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server_gives_files_and_folders(
    web: str, find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [file.name for file in find(f"{web}/june/customers.csv?download=1")] == ["customers.csv"]
    assert [file.name for file in find(f"{web}/june/")] == ["customers.1 2.csv", "customers.csv"]
    assert [file.bytes for file in find(f"{web}/june/customers.1%202.csv")] == [len(ROWS)]
    with pytest.raises(InputError, match="there is nothing there"):
        find(f"{web}/june/gone.csv")
    monkeypatch.setenv("EXPORT", f"{web}/june/customers.csv?token=s3cret")
    (file,) = find("env:EXPORT")
    assert file.name == "customers.csv"
    monkeypatch.setenv("EXPORT", f"{web}/june/gone.csv?token=s3cret")
    with pytest.raises(InputError, match="env:EXPORT") as caught:
        find("env:EXPORT")
    assert "s3cret" not in str(caught.value)


def test_a_store_without_its_driver_names_what_to_install(find: Callable) -> None:
    with pytest.raises(NotAvailable, match=r"gs:// needs a package that is not installed: .*gcsfs"):
        find("gs://exports/june")


def test_a_file_url_is_a_file_of_this_machine(find: Callable, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_bytes(ROWS)
    (file,) = find(f"file://{tmp_path}/customers.csv")
    assert (file.name, file.bytes) == ("customers.csv", len(ROWS))


def test_a_spool_forgets_what_nobody_asked_for_in_a_day(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    old, used = (spool.keep(name, f"{name}.csv", lambda path: _write(path, "x")) for name in ("old", "used"))
    long_ago = old.stat().st_mtime - KEPT_S - 1
    for path in (tmp_path / "spool").iterdir():
        os.utime(path, (long_ago, long_ago))
    assert spool.keep("used", "used.csv", lambda path: _write(path, "y")).read_text() == "y"
    assert spooled(tmp_path) == ["used.csv"]
    assert not old.exists()
    assert used.exists()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def test_several_who_ask_at_once_wait_for_one_fetch(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    fetches: list[Path] = []
    may_finish = threading.Event()

    def fetch(path: Path) -> None:
        fetches.append(path)
        may_finish.wait(10)
        path.write_bytes(ROWS)

    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(spool.keep("one", "x.csv", fetch).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    may_finish.set()
    for thread in threads:
        thread.join()
    assert (len(fetches), found) == (1, [ROWS] * 4)


def test_a_tenant_loads_from_a_bucket_once(put: Put, shop: Shop) -> None:
    put(ROWS, "june/customers.csv")
    assert shop.load(source="s3://exports/june").inserted == 2
    assert shop.load(source="s3://exports/june").read == 0
