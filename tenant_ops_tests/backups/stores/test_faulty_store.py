"""Whatever network and store do: a backup is stored whole or an error says so; nothing is read wrongly."""

import threading
import time
from pathlib import Path

import pytest

from tenant_ops.backups.containers import FORMATS
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.stores import StoreFailed
from tenant_ops_tests.backups.making import ROWS, TENANT
from tenant_ops_tests.backups.stores import faulty
from tenant_ops_tests.backups.stores.conftest import HASTY, Objects
from tenant_ops_tests.backups.stores.faulty import Fault, Network, Request, Times
from tenant_ops_tests.backups.stores.test_object_store import folder_in_s3, partial_in, publish
from tenant_ops_tests.backups.test_formats import rows_of


def is_put(request: Request) -> bool:
    return request.method == "PUT" and "/keys/" not in request.path


def is_get(request: Request) -> bool:
    return request.method == "GET" and not request.is_listing


PASSING: dict[str, Fault] = {
    "a connection that is cut": Times(2, faulty.always, faulty.cut),
    "an answer that is cut": Times(2, faulty.always, faulty.cut_after),
    "a store that is busy": Times(2, faulty.always, faulty.busy),
    "a store with an error": Times(2, faulty.always, faulty.broken),
    "a put that is stored twice": Times(2, is_put, faulty.cut_after),
    "a put that is not seen at once": Times(
        2, lambda r: r.method == "HEAD" and "data/" in r.path, faulty.gone
    ),
    "a put that is lost": Times(2, is_put, faulty.swallow),
    "a put of which half is kept": Times(2, is_put, faulty.halve),
    "everything slow": lambda request: time.sleep(0.02),
}


@pytest.mark.parametrize("kind", ["dir", pytest.param("zip", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(
    net: Network, objects: Objects, tmp_path: Path, fault: str, kind: Format
) -> None:
    folder = folder_in_s3(tmp_path)
    partial, backup_id = partial_in(folder, tmp_path)
    happens = PASSING[fault]
    if isinstance(happens, Times):
        happens.left = 2
    net.fault = happens
    backup = folder.publish(partial, backup_id, kind)
    net.fault = None
    assert rows_of(backup) == ROWS
    assert folder.backups() == (backup.name,)


LASTING: dict[str, tuple[Fault, str]] = {
    "a network that is down": (faulty.cut, "could not"),
    "a store that stays busy": (faulty.busy, "could not"),
    "a store that refuses": (faulty.refused, "refuses access"),
    "a store that loses what it was given": (
        lambda r: faulty.swallow(r) if is_put(r) else None,
        "could not|nothing",
    ),
    "a store that keeps half": (lambda r: faulty.halve(r) if is_put(r) else None, "bytes of"),
    "a store that may only be read": (
        lambda r: faulty.refused(r) if r.method in ("PUT", "POST", "DELETE") else None,
        "refuses access",
    ),
}


@pytest.mark.parametrize("kind", ["dir", pytest.param("tar", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_is_an_error_that_names_store_and_tenant_and_no_backup(
    net: Network, objects: Objects, tmp_path: Path, fault: str, kind: Format
) -> None:
    folder = folder_in_s3(tmp_path)
    partial, backup_id = partial_in(folder, tmp_path)
    net.fault, said = LASTING[fault]
    with pytest.raises(StoreFailed, match=said) as failure:
        folder.publish(partial, backup_id, kind)
    assert "s3://backups/all" in str(failure.value)
    assert TENANT in str(failure.value)
    assert "s3cret" not in str(failure.value)
    assert partial.is_dir(), "the fallback may still take it"
    net.fault = None
    assert folder.backups() == ()
    folder.sweep()
    assert [key for key in objects() if "/keys/" not in key] == []


def test_attempts_are_bounded(net: Network, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    net.fault = faulty.busy
    net.seen.clear()
    with pytest.raises(StoreFailed):
        folder.size("keys/x.json")
    assert len(net.seen) <= HASTY.attempts * 2


def test_an_upload_that_fails_halfway_takes_back_what_it_stored(
    net: Network, objects: Objects, tmp_path: Path
) -> None:
    folder = folder_in_s3(tmp_path)
    partial, backup_id = partial_in(folder, tmp_path)
    net.fault = lambda request: (
        faulty.refused(request) if is_put(request) and "data/" in request.path else None
    )
    with pytest.raises(StoreFailed):
        folder.publish(partial, backup_id, "dir")
    assert [key for key in objects() if backup_id in key] == []


def test_a_listing_that_leaves_something_out_makes_nothing_a_backup_or_none(
    net: Network, tmp_path: Path
) -> None:
    """What is asked for by name is found without a listing."""
    folder = folder_in_s3(tmp_path)
    backup = publish(folder, tmp_path)
    net.fault = lambda request: faulty.list_less(request) if request.is_listing else None
    assert folder.container(backup.name).size("COMPLETE") is not None
    assert rows_of_named(folder, backup.name) == ROWS
    folder.remove(backup.name)  # what a listing left out may stay, but is no backup
    net.fault = None
    assert folder.backups() == ()


def rows_of_named(folder, backup_id: str) -> bytes:
    from tenant_ops.backups.reading import open_archive
    from tenant_ops_tests.backups.making import has_key

    archive = open_archive(folder.container(backup_id), has_key())
    return archive.read(archive.manifest.member(archive.manifest.tables[0].parts[0]))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "tar" else pytest.mark.slow) for kind in FORMATS]
)
@pytest.mark.parametrize(
    "fault",
    [
        faulty.shorten,
        faulty.cut_after,
        pytest.param(faulty.cut, marks=pytest.mark.slow),
        pytest.param(faulty.busy, marks=pytest.mark.slow),
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_read_that_fails_is_tried_again_and_then_an_error(
    net: Network, tmp_path: Path, kind: Format, fault: Fault
) -> None:
    folder = folder_in_s3(tmp_path)
    backup = publish(folder, tmp_path, kind)
    net.fault = Times(2, is_get, fault)
    assert rows_of(folder.container(backup.name)) == ROWS
    net.fault = Times(10_000, is_get, fault)
    with pytest.raises(StoreFailed, match=f"s3://backups/all, .*{TENANT}"):
        rows_of(folder.container(backup.name))


def test_two_uploads_at_once_do_not_mix(net: Network, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    partials = [partial_in(folder, tmp_path / str(number)) for number in range(4)]
    threads = [
        threading.Thread(target=folder.publish, args=(partial, backup_id, "dir"))
        for partial, backup_id in partials
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.backups() == tuple(sorted(backup_id for _, backup_id in partials))
    assert {rows_of(folder.container(backup_id)) for _, backup_id in partials} == {ROWS}
