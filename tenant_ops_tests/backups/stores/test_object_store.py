"""Backups in an object store, against a real S3 server over HTTP."""

import os
from pathlib import Path

import pytest

from tenant_ops.backups.containers import FORMATS, Container, pack
from tenant_ops.backups.containers.container import Format
from tenant_ops.backups.stores import ObjectFolder, container_at, open_store
from tenant_ops.backups.stores import requests as store_requests
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed
from tenant_ops_tests.backups.making import KEY, ROWS, TENANT, make_archive
from tenant_ops_tests.backups.stores.conftest import Objects
from tenant_ops_tests.backups.stores.faulty import Network
from tenant_ops_tests.backups.test_formats import rows_of


def folder_in_s3(tmp_path: Path, url: str = "s3://backups/all") -> ObjectFolder:
    folder = open_store(url, tmp_path / "spool").folder(TENANT)
    assert isinstance(folder, ObjectFolder)
    return folder


def partial_in(folder: ObjectFolder, root: Path, rows: bytes = ROWS) -> tuple[Path, str]:
    """A complete backup in the workshop, about to be published, and its id."""
    published = make_archive(root, rows=rows)
    partial = folder.workshop / f"{published.path.name}.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    published.path.rename(partial)
    key = f"keys/{KEY.id}.json"
    folder.put(key, (published.path.parent / key).read_bytes())
    return partial, published.path.name


def publish(folder: ObjectFolder, root: Path, kind: Format = "dir", rows: bytes = ROWS) -> Container:
    partial, backup_id = partial_in(folder, root, rows)
    return folder.publish(partial, backup_id, kind)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ("dir", "zip") else pytest.mark.slow) for kind in FORMATS]
)
def test_a_backup_of_any_format_is_stored_and_read_by_ranges(
    net: Network, objects: Objects, tmp_path: Path, kind: Format
) -> None:
    folder = folder_in_s3(tmp_path)
    rows = os.urandom(1_500_000).hex().encode() + b"\n"
    backup = publish(folder, tmp_path, kind, rows)
    assert rows_of(backup) == rows
    assert rows_of(container_at(backup.where)) == rows
    assert folder.backups() == (backup.name,)
    assert folder.container(backup.name).where == backup.where
    assert open_store("s3://backups/all", tmp_path).tenants() == (TENANT,)
    assert list(folder.spool.iterdir()) == []
    folder.remove(backup.name)
    assert list(objects()) == [f"all/{TENANT}/keys/{KEY.id}.json"]
    assert folder.backups() == ()


def test_complete_is_put_last_and_only_sealed_bytes_are_stored(
    net: Network, objects: Objects, tmp_path: Path
) -> None:
    publish(folder_in_s3(tmp_path), tmp_path, rows=b"1\tAda Lovelace\n" * 100)
    assert net.puts()[-1].endswith("/COMPLETE")
    stored = b"".join(objects.read(key) for key in objects())
    assert b"Lovelace" not in stored
    assert KEY.secret not in stored


def test_a_large_member_goes_up_in_parts(
    net: Network, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_requests, "_PART_BYTES", 5 << 20)
    rows = os.urandom(12 << 20).hex().encode() + b"\n"
    backup = publish(folder_in_s3(tmp_path), tmp_path, "tar", rows)
    assert sum("partNumber=" in path for _, path in net.seen) > 1
    assert objects.uploads() == []
    assert rows_of(backup) == rows


def test_a_prefix_without_complete_is_no_backup(net: Network, objects: Objects, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    backup = publish(folder, tmp_path)
    objects.delete(f"all/{TENANT}/{backup.name}/COMPLETE")
    assert folder.backups() == ()
    with pytest.raises(InputError, match="not a complete backup"):
        rows_of(folder.container(backup.name))


def test_what_a_killed_upload_left_is_swept_and_nothing_else(
    net: Network, objects: Objects, tmp_path: Path
) -> None:
    folder = folder_in_s3(tmp_path)
    good = publish(folder, tmp_path)
    _, killed = partial_in(folder, tmp_path)
    objects.put(f"all/{TENANT}/{killed}/backup.json", b"x")
    other = "20260101T000000Z-00000000"  # of another control plane that uses the same bucket
    objects.put(f"all/{TENANT}/{other}/backup.json", b"x")
    assert folder.sweep() == [f"{killed}.partial"]
    assert not any(killed in key for key in objects())
    assert any(other in key for key in objects())
    assert folder.backups() == (good.name,)
    assert list(folder.spool.iterdir()) == []


def test_half_a_packed_upload_is_swept(net: Network, objects: Objects, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    partial, backup_id = partial_in(folder, tmp_path)
    pack(partial, tmp_path / "whole", "tar", backup_id)
    objects.put(f"all/{TENANT}/{backup_id}.tar", (tmp_path / "whole").read_bytes()[:4000])
    assert folder.sweep() == [f"{backup_id}.partial"]
    assert folder.backups() == ()


def test_an_upload_that_was_killed_after_its_last_object_is_a_backup(
    net: Network, objects: Objects, tmp_path: Path
) -> None:
    folder = folder_in_s3(tmp_path)
    partial, backup_id = partial_in(folder, tmp_path)
    for path in partial.rglob("*"):
        if path.is_file():
            objects.put(f"all/{TENANT}/{backup_id}/{path.relative_to(partial)}", path.read_bytes())
    assert folder.sweep() == [f"{backup_id}.partial"]
    assert rows_of(folder.container(backup_id)) == ROWS


def test_an_id_is_never_used_twice(net: Network, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    backup = publish(folder, tmp_path)
    partial, _ = partial_in(folder, tmp_path / "again")
    with pytest.raises(OperationFailed, match="there is a backup of that id already"):
        folder.publish(partial, backup.name, "zip")
    assert rows_of(backup) == ROWS


def test_small_files_beside_backups_are_replaced_whole(net: Network, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path)
    folder.put("keys/a.json", b"one")
    folder.put("keys/a.json", b"two")
    assert folder.open("keys/a.json").read() == b"two"
    assert list(folder.names("keys")) == ["a.json"]
    assert (folder.delete("keys/a.json"), folder.delete("keys/a.json")) == (True, False)
    assert folder.size("keys/a.json") is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:s3cret@backups/all",
        "s3://backups/all?token=s3cret",
        "s3://backups?aws_secret_access_key=s3cret",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a password") as refusal:
        open_store(url, tmp_path)
    assert "s3cret" not in str(refusal.value)


def test_a_store_nobody_can_reach_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match=r"gs:// needs a package that is not installed: .*gcsfs"):
        open_store("gs://backups", tmp_path)
    with pytest.raises(InputError, match="no store is reached by nonsense://"):
        open_store("nonsense://backups", tmp_path)


def test_a_bucket_that_is_not_there_is_said_with_the_stores_name(net: Network, tmp_path: Path) -> None:
    folder = folder_in_s3(tmp_path, "s3://nowhere/all")
    with pytest.raises(OperationFailed, match=f"store s3://nowhere/all, .*{TENANT}"):
        folder.put("keys/a.json", b"one")
