"""Whatever stands in the documents of a backup, it is used or refused in a sentence; nothing else happens.

A sealed backup is authenticated before anything is read of it. These are plain ones, whose hashes are put
right after each change, as somebody could who may write to the store: what stands behind the hashes is
looked at here, one changed field after the other.
"""

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.backups import BackupRecord, execute_restore, find_backup, plan_restore, verify_backup
from tenant_ops.backups.chains import note_of
from tenant_ops.backups.containers import Directory
from tenant_ops.backups.files import read_index
from tenant_ops.backups.layout import COMPLETE, HEADER, MANIFEST
from tenant_ops.backups.reading import open_archive
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.making import has_key, make_archive

Take = Callable[..., BackupRecord]
REMOVED = object()
# One of each kind JSON has, and what has broken readers: too large, outside, no number, half a character.
VALUES = [
    REMOVED,
    None,
    True,
    -1,
    10**30,
    float("nan"),
    "",
    "../../outside",
    "\ud800\0",
    [],
    [[]],
    {},
    {"": None},
]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a document; of long lists the first and the last."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for at in sorted({0, len(value) - 1} if value else ()):
            yield from places(value[at], (*path, at))


def changed(document: Any, path: tuple, value: Any) -> Any:
    """The document with something else in one place."""
    if not path:
        return [] if value is REMOVED else value
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


def put(folder: Path, name: str, document: Any) -> None:
    """Write a document into a plain backup and make all hashes of it right again."""
    content = json.dumps(document).encode()
    (folder / name).write_bytes(content)
    sound = json.loads((folder / COMPLETE).read_bytes()) if name != COMPLETE else None
    if name not in (HEADER, MANIFEST, COMPLETE):
        manifest = json.loads((folder / MANIFEST).read_bytes())
        member = next(member for member in manifest["members"] if member["path"] == name)
        member |= {"raw_bytes": len(content), "stored_bytes": len(content), "stored_sha256": sha256(content)}
        (folder / MANIFEST).write_bytes(json.dumps(manifest).encode())
    if name == HEADER:
        manifest = json.loads((folder / MANIFEST).read_bytes()) | {"header_sha256": sha256(content)}
        (folder / MANIFEST).write_bytes(json.dumps(manifest).encode())
    if sound is not None:
        sound["header_sha256"] = sha256((folder / HEADER).read_bytes())
        sound["manifest_sha256"] = sha256((folder / MANIFEST).read_bytes())
        (folder / COMPLETE).write_bytes(json.dumps(sound).encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def everything_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def variants(folder: Path, names: list[str], values: list[Any]) -> Iterator[tuple[str, tuple, Any]]:
    """The backup in `folder`, again and again with another single thing changed."""
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    for name in names:
        document = json.loads((whole / name).read_bytes())
        for path in places(document):
            for value in values:
                shutil.copytree(whole, folder, dirs_exist_ok=True)
                put(folder, name, changed(document, path, value))
                yield name, path, value


@pytest.mark.parametrize("name", [HEADER, COMPLETE, pytest.param(MANIFEST, marks=pytest.mark.slow)])
def test_any_field_of_a_record_may_be_anything(tmp_path: Path, name: str) -> None:
    folder = make_archive(tmp_path / "store", key=None, codec="none").path
    read = refused = 0
    for _, path, value in variants(folder, [name], VALUES):
        before = everything_below(tmp_path)
        try:
            archive = open_archive(Directory(folder), has_key())
            note_of(archive.manifest)
            for member in archive.manifest.members:
                archive.check(member)
            read += 1
        except TenantOpsError as error:
            assert str(error)
            refused += 1
        except Exception as error:
            pytest.fail(f"{name} {path} = {value!r}: {type(error).__name__}: {error}")
        assert everything_below(tmp_path) == before
    assert min(read, refused) > 0


@pytest.mark.slow
def test_any_field_of_a_real_backup_may_be_anything_to_a_plan(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    folder = plain_copy(fleet, take, small_tenant, tmp_path)
    values = [REMOVED, -1, "../../outside", [], {}]
    for name, path, value in variants(folder, [HEADER, COMPLETE, MANIFEST], values):
        try:
            backup = find_backup(fleet, str(folder))
            plan_restore(fleet, backup, f"{small_tenant.slug}_copy")
            verify_backup(fleet, backup)
        except TenantOpsError as error:
            assert str(error)
        except Exception as error:
            pytest.fail(f"{name} {path} = {value!r}: {type(error).__name__}: {error}")


@pytest.mark.slow
def test_any_field_of_a_member_may_be_anything_to_a_restore(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    """Nothing is left of a restore that was refused, and nothing outside the tenant is touched."""
    folder = plain_copy(fleet, take, small_tenant, tmp_path)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    kinds = ("schema", "config", "files-index")
    names = [member["path"] for member in manifest["members"] if member["kind"] in kinds]
    assert len(names) == len(kinds)
    tenants = fleet.settings.home / "tenants"
    before = everything_below(tenants)
    target = f"{small_tenant.slug}_copy"
    for name, path, value in variants(folder, names, [REMOVED, -1, "../../outside", {}]):
        try:
            plan = plan_restore(fleet, find_backup(fleet, str(folder)), target)
            read_index(open_archive(Directory(folder), has_key()))
            if name != names[0] or len(path) < 2:  # of the many statements of a schema, the plan is enough
                execute_restore(fleet, plan)
        except TenantOpsError as error:
            assert str(error)
            assert fleet.registry.find([target]) == ()
        except Exception as error:
            pytest.fail(f"{name} {path} = {value!r}: {type(error).__name__}: {error}")
        else:
            if fleet.registry.find([target]):
                target += "_"
        assert {path: size for path, size in everything_below(tenants).items() if path in before} == before
        assert not (tmp_path / "outside").exists()


def plain_copy(fleet: Fleet, take: Take, tenant: Tenant, tmp_path: Path) -> Path:
    """A backup from elsewhere: the catalog, which would know that it is another one, has never seen it."""
    backup = take(tenant, encryption=False, compression="none")
    folder = tmp_path / "store" / backup.tenant_id / backup.id
    shutil.copytree(backup.path, folder)
    with fleet.control.transaction() as connection:
        connection.execute("DELETE FROM tenant_ops.backup WHERE id = %s", (backup.id,))
    return folder
