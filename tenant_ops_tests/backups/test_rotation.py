"""A tenant gets another key: headers are wrapped anew, and at every moment every backup opens."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tenant_ops.audit import history, verify_chain
from tenant_ops.backups import (
    BackupRecord,
    RotationReport,
    execute_restore,
    execute_rotation,
    find_backup,
    plan_restore,
    plan_rotation,
    verify_backup,
)
from tenant_ops.backups.catalog import open_backup
from tenant_ops.backups.keys import key_finder
from tenant_ops.backups.reading import open_archive
from tenant_ops.platform.errors import InputError, TenantBusy, TenantOpsError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import live_keys
from tenant_ops_tests.backups.conftest import songs
from tenant_ops_tests.backups.test_faults import Killed, run_killed

Take = Callable[..., BackupRecord]


def rotate(fleet: Fleet, tenant: Tenant) -> RotationReport:
    return execute_rotation(fleet, plan_rotation(fleet, tenant))


def keys_of(fleet: Fleet, tenant: Tenant) -> tuple[str, list[str]]:
    """The current key and those that retire."""
    with fleet.control.transaction() as connection:
        live = live_keys(connection, tenant.id)
    (current,) = (str(key.id) for key in live if not key.retiring)
    return current, [str(key.id) for key in live if key.retiring]


def header_keys(backups: Sequence[BackupRecord]) -> list[str]:
    """Which key each backup's header is wrapped by."""
    return [json.loads((Path(each.path) / "key.json").read_bytes())["tenant_key_id"] for each in backups]


def key_files(backup: BackupRecord) -> list[str]:
    return sorted(path.stem for path in (Path(backup.path).parent / "keys").iterdir())


def open_all(fleet: Fleet, backups: Sequence[BackupRecord]) -> None:
    for backup in backups:
        open_backup(fleet, backup)


def content(backup: BackupRecord) -> dict[str, str]:
    """The hash of every file of a backup but its header."""
    root = Path(backup.path)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != "key.json"
    }


def test_only_headers_are_written_and_the_old_key_is_destroyed(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backups = [take(small_tenant) for _ in range(3)]
    old, _ = keys_of(fleet, small_tenant)
    before = [content(backup) for backup in backups]
    report = rotate(fleet, small_tenant)
    assert (report.backups, report.rewrapped, report.destroyed, report.problems) == (3, 3, True, ())
    assert report.old_keys == (old,)
    assert keys_of(fleet, small_tenant) == (report.new_key, [])
    assert header_keys(backups) == [report.new_key] * 3
    assert [content(backup) for backup in backups] == before
    assert key_files(backups[0]) == [report.new_key]
    assert [find_backup(fleet, backup.id).key_id for backup in backups] == [report.new_key] * 3
    assert all(verify_backup(fleet, backup).sound for backup in backups)
    execute_restore(fleet, plan_restore(fleet, backups[0], f"{small_tenant.slug}_copy"))
    assert songs(fleet, fleet.registry.get(f"{small_tenant.slug}_copy")) == 100
    with fleet.control.transaction() as connection:
        row = connection.execute(
            "SELECT wrapped, column_key, destroyed_at IS NOT NULL FROM tenant_ops.tenant_key WHERE id = %s",
            (old,),
        ).fetchone()
        assert row == (None, None, True)
        actions = [event.action for event in history(connection, str(small_tenant.id))]
        assert actions[:2] == ["key.rotated", "key.rotation_begun"]
        assert verify_chain(connection, str(small_tenant.id)).intact


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.zst"])
def test_a_packed_backup_is_not_written_to_its_new_header_lies_beside_it(
    fleet: Fleet, small_tenant: Tenant, take: Take, kind: str
) -> None:
    backup = take(small_tenant, archive_format=kind)
    before = Path(backup.path).read_bytes()
    for _ in range(2):
        report = rotate(fleet, small_tenant)
        assert (report.rewrapped, report.destroyed) == (1, True)
        beside = Path(backup.path).with_name(f"{backup.id}.key.json")
        assert json.loads(beside.read_bytes())["tenant_key_id"] == report.new_key
        assert Path(backup.path).read_bytes() == before
        assert verify_backup(fleet, backup).sound


def test_every_backup_of_a_chain_is_wrapped_anew(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    chain = [take(small_tenant, backup_type="incremental")]
    for number in range(3):
        with fleet.session(small_tenant) as connection:
            connection.execute("INSERT INTO plays (song) VALUES (%s)", (f"another {number}",))
        chain.append(take(small_tenant, backup_type="incremental"))
        if number == 1:
            rotate(fleet, small_tenant)
    assert [backup.type for backup in chain] == ["full", *["incremental"] * 3]
    report = rotate(fleet, small_tenant)
    assert (report.rewrapped, report.destroyed) == (4, True)
    execute_restore(fleet, plan_restore(fleet, chain[-1], f"{small_tenant.slug}_copy"))
    assert songs(fleet, fleet.registry.get(f"{small_tenant.slug}_copy")) == 103


def test_a_plan_counts_and_changes_nothing(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    sealed, plain = take(small_tenant), take(small_tenant, encryption=False)
    current, _ = keys_of(fleet, small_tenant)
    plan = plan_rotation(fleet, small_tenant)
    assert (plan.current_key, plan.retiring_keys, plan.backups, plan.to_rewrap) == (current, (), 1, 1)
    assert plan.problems == ()
    assert keys_of(fleet, small_tenant) == (current, [])
    assert header_keys([sealed]) == [current]
    assert rotate(fleet, small_tenant).rewrapped == 1
    assert verify_backup(fleet, plain).sound


def test_the_next_backup_is_sealed_with_the_new_key(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    first = take(small_tenant)
    report = rotate(fleet, small_tenant)
    second = take(small_tenant)
    assert header_keys([first, second]) == [report.new_key] * 2
    again = rotate(fleet, small_tenant)
    assert again.old_keys == (report.new_key,)
    open_all(fleet, [first, second])


def test_hashed_columns_keep_their_hashes(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    """Rows loaded before and after must still join."""
    take(small_tenant)
    before, (_, secret) = fleet.column_key(small_tenant), fleet.tenant_key(small_tenant)
    for _ in range(2):
        rotate(fleet, small_tenant)
        assert fleet.column_key(small_tenant) == before
    assert fleet.tenant_key(small_tenant)[1] != secret


def rotate_until_killed(settings: Settings, slug: str, at: int, renames_only: bool) -> None:
    killed = Killed(at, armed=True)
    fleet = Fleet.open(settings)
    plan = plan_rotation(fleet, fleet.registry.get(slug))
    killed.left = at
    Path.replace = killed.before(Path.replace)
    Path.unlink = killed.before(Path.unlink)
    if not renames_only:
        os.open = killed.before(os.open)
        os.fsync = killed.before(os.fsync)
        psycopg.Cursor.execute = killed.before(psycopg.Cursor.execute)
    execute_rotation(fleet, plan)


@pytest.mark.parametrize("renames_only", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_at_any_point_every_backup_opens_and_another_run_finishes(
    fleet: Fleet, small_tenant: Tenant, take: Take, renames_only: bool
) -> None:
    backups = [take(small_tenant) for _ in range(3)]
    at, mixed = 0, False
    while run_killed(rotate_until_killed, fleet.settings, small_tenant.slug, at, renames_only):
        open_all(fleet, backups)
        mixed = mixed or len(set(header_keys(backups))) == 2
        begun, retiring = keys_of(fleet, small_tenant)
        report = rotate(fleet, small_tenant)
        assert report.destroyed
        assert not retiring or report.new_key == begun, "what was begun is finished, not begun anew"
        assert keys_of(fleet, small_tenant) == (report.new_key, [])
        assert set(header_keys(backups)) == {report.new_key}
        assert key_files(backups[0]) == [report.new_key]
        open_all(fleet, backups)
        at += 1
    assert mixed, "it was killed between two headers at least once"
    assert at >= (5 if renames_only else 30)


def test_a_restore_in_the_middle_of_a_rotation_works(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    backups = [take(small_tenant) for _ in range(2)]
    # The new key beside the backups and the first header are renamed into place; the second is not.
    assert run_killed(rotate_until_killed, fleet.settings, small_tenant.slug, 2, True)
    assert len(set(header_keys(backups))) == 2
    for number, backup in enumerate(backups):
        target = f"{small_tenant.slug}_{number}"
        execute_restore(fleet, plan_restore(fleet, backup, target))
        assert songs(fleet, fleet.registry.get(target)) == 100
    after = take(small_tenant)
    assert rotate(fleet, small_tenant).rewrapped == 1
    open_all(fleet, [*backups, after])


def test_a_reader_that_is_overtaken_by_a_rotation_looks_again(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    """It has read the old header; when it looks for the key, that is destroyed already."""
    backup = take(small_tenant)
    find, rotated = key_finder(fleet), []

    def find_late(container, header, block):
        if not rotated:
            rotated.append(rotate(fleet, small_tenant))
        return find(container, header, block)

    archive = open_archive(open_backup(fleet, backup).container, find_late)
    assert archive.manifest.rows == 100
    assert rotated[0].destroyed


def test_two_rotations_at_once_make_one(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    backups = [take(small_tenant) for _ in range(3)]
    plan = plan_rotation(fleet, small_tenant)
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(execute_rotation(fleet, plan))
        except TenantOpsError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (report,) = (each for each in outcomes if isinstance(each, RotationReport))
    (refusal,) = (each for each in outcomes if isinstance(each, InputError))
    assert "its keys changed since the plan" in str(refusal)
    assert keys_of(fleet, small_tenant) == (report.new_key, [])
    open_all(fleet, backups)


@pytest.mark.slow  # it waits for the lock as long as anything does
def test_a_busy_tenant_is_not_rotated(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    take(small_tenant)
    current = keys_of(fleet, small_tenant)
    plan = plan_rotation(fleet, small_tenant)
    refused: list[TenantBusy] = []

    def run() -> None:
        try:
            execute_rotation(fleet, plan)
        except TenantBusy as error:
            refused.append(error)

    with fleet.lock(small_tenant, "backup"):
        other = threading.Thread(target=run)
        other.start()
        other.join()
    assert len(refused) == 1
    assert keys_of(fleet, small_tenant) == current


def test_backups_taken_while_keys_rotate_all_open(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    backups, problems = [take(small_tenant)], []

    def back_up() -> None:
        for _ in range(4):
            try:
                backups.append(take(small_tenant))
            except TenantOpsError as error:
                problems.append(error)

    other = threading.Thread(target=back_up)
    other.start()
    reports = [rotate(fleet, small_tenant) for _ in range(4)]
    other.join()
    assert problems == []
    assert len(backups) == 5
    assert all(report.destroyed for report in reports)
    open_all(fleet, backups)
    last = rotate(fleet, small_tenant)
    assert header_keys(backups) == [last.new_key] * 5


def test_while_a_store_is_away_the_old_key_is_kept(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    here, there = take(small_tenant), take(small_tenant, output_path=str(tmp_path / "disk"))
    old, _ = keys_of(fleet, small_tenant)
    away = (tmp_path / "disk").rename(tmp_path / "unplugged")
    report = rotate(fleet, small_tenant)
    assert (report.rewrapped, report.destroyed) == (1, False)
    assert any("store is not there" in problem.problem for problem in report.problems)
    assert any(there.id in problem.problem for problem in report.problems)
    assert keys_of(fleet, small_tenant) == (report.new_key, [old])
    away.rename(tmp_path / "disk")
    open_all(fleet, [here, there])
    plan = plan_rotation(fleet, small_tenant)
    assert (plan.retiring_keys, plan.to_rewrap) == ((old,), 1)
    finished = execute_rotation(fleet, plan)
    assert (finished.new_key, finished.rewrapped, finished.destroyed) == (report.new_key, 1, True)
    open_all(fleet, [here, there])


@pytest.mark.parametrize("file", ["key.json", "backup.json"])
def test_what_cannot_be_wrapped_anew_is_named_and_the_old_key_kept(
    fleet: Fleet, small_tenant: Tenant, take: Take, file: str
) -> None:
    good, bad = take(small_tenant), take(small_tenant)
    old, _ = keys_of(fleet, small_tenant)
    path = Path(bad.path) / file
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"version":1', b'"version":"1"'))
    report = rotate(fleet, small_tenant)
    assert (report.rewrapped, report.destroyed) == (1, False)
    assert any(bad.id in problem.where for problem in report.problems)
    assert keys_of(fleet, small_tenant)[1] == [old]
    path.write_bytes(whole)
    assert rotate(fleet, small_tenant).destroyed
    open_all(fleet, [good, bad])


def test_a_tenant_without_a_key_at_hand_is_refused_before_anything_changes(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    stranger = replace(
        fleet, settings=replace(fleet.settings, backup_key="some other passphrase", home=Path("/nowhere"))
    )
    with pytest.raises(InputError, match="wrapped by master key"):
        plan_rotation(stranger, small_tenant)
    nobody = replace(small_tenant, id=UUID(int=7))
    with pytest.raises(InputError, match="it has no encryption key"):
        plan_rotation(fleet, nobody)
    open_all(fleet, [backup])


def test_other_tenants_keep_their_keys(fleet: Fleet, small_tenant: Tenant, take: Take, new_tenant) -> None:
    other = new_tenant(f"{small_tenant.slug}_b")
    mine, theirs = take(small_tenant), take(other)
    before = (keys_of(fleet, other), header_keys([theirs]))
    rotate(fleet, small_tenant)
    assert (keys_of(fleet, other), header_keys([theirs])) == before
    open_all(fleet, [mine, theirs])
