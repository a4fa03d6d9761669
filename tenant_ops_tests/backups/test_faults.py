"""What goes wrong leaves the old state: no half backup is listed, no half restore live, nothing is plain."""

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import (
    BackupRecord,
    DamagedBackup,
    execute_backup,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_restore,
    rebuild,
    shred,
    verify_backup,
)
from tenant_ops.backups.layout import COMPLETE
from tenant_ops.platform.errors import InputError, OperationFailed, TenantBusy, TenantOpsError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import songs
from tenant_ops_tests.backups.making import MASTER_TEXT

Take = Callable[..., BackupRecord]
FORK = multiprocessing.get_context("fork")


class Killed:
    """Kills the process before the chosen one of the calls that are counted."""

    def __init__(self, at: int, *, armed: bool = True) -> None:
        self.left = at
        self.armed = armed

    def before(self, call: Callable, *, arm: str = "") -> Callable:
        """The call, counted; with `arm`, counting begins with the first argument that mentions it."""

        def counted(*arguments, **options):
            self.armed = self.armed or any(arm in repr(argument) for argument in arguments)
            if self.armed and self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= self.armed
            return call(*arguments, **options)

        return counted


def back_up_until_killed(settings: Settings, slug: str, at: int) -> None:
    killed = Killed(at)
    fleet = Fleet.open(settings)
    plan = plan_backup(fleet, fleet.registry.get(slug))
    os.open = killed.before(os.open)
    os.fsync = killed.before(os.fsync)
    Path.rename = killed.before(Path.rename)
    psycopg.Cursor.execute = killed.before(psycopg.Cursor.execute)
    execute_backup(fleet, plan)


def restore_until_killed(settings: Settings, path: str, slug: str, at: int) -> None:
    killed = Killed(at, armed=False)
    fleet = Fleet.open(settings)
    plan = plan_restore(fleet, find_backup(fleet, path), slug)
    psycopg.Cursor.execute = killed.before(psycopg.Cursor.execute, arm="CREATE SCHEMA")
    Path.rename = killed.before(Path.rename, arm="files__new")
    execute_restore(fleet, plan)


def run_killed(target: Callable, *arguments) -> bool:
    """Run in a child; whether it was killed (False: it finished before its time came)."""
    child = FORK.Process(target=target, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


@pytest.mark.parametrize("at", [0, 10, 40, 60, 75])
def test_a_backup_killed_anywhere_is_not_listed_and_the_next_one_works(
    fleet: Fleet, small_tenant: Tenant, at: int
) -> None:
    if not run_killed(back_up_until_killed, fleet.settings, small_tenant.slug, at):
        pytest.fail(f"the backup ended before step {at}")
    check_after_kill(fleet, small_tenant)


@pytest.mark.slow
def test_a_backup_killed_at_every_single_step(fleet: Fleet, small_tenant: Tenant) -> None:
    at = 0
    while run_killed(back_up_until_killed, fleet.settings, small_tenant.slug, at):
        check_after_kill(fleet, small_tenant)
        at += 1
    assert at > 70


def check_after_kill(fleet: Fleet, tenant: Tenant) -> None:
    """Whatever is visible is sound; a rerun works and clears what was left."""
    rebuild(fleet)
    for record in list_backups(fleet, tenant):
        assert verify_backup(fleet, record).sound
    report = execute_backup(fleet, plan_backup(fleet, tenant))
    assert verify_backup(fleet, find_backup(fleet, report.backup_id)).sound
    assert list(Path(report.path).parent.glob("*.partial")) == []


@pytest.mark.parametrize("at", [0, 1, 70, 140])
def test_a_restore_killed_while_loading_leaves_the_live_content(
    fleet: Fleet, small_tenant: Tenant, take: Take, at: int
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    assert run_killed(restore_until_killed, fleet.settings, backup.path, small_tenant.slug, at)
    assert content(fleet, small_tenant) == (10, "changed")
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    assert content(fleet, small_tenant) == (100, "one")


@pytest.mark.slow
def test_a_restore_killed_at_every_single_step_is_whole_after_the_next_operation(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    at, seen = 0, set()
    while True:
        change(fleet, small_tenant)
        if not run_killed(restore_until_killed, fleet.settings, backup.path, small_tenant.slug, at):
            break
        take(small_tenant)  # finishes what was interrupted, before it looks
        seen.add(content(fleet, small_tenant))
        at += 1
    assert seen == {(10, "changed"), (100, "one")}


def change(fleet: Fleet, tenant: Tenant) -> None:
    """Make rows and files differ from the backup."""
    with fleet.session(tenant) as connection:
        connection.execute("DELETE FROM plays WHERE id > 10")
    (fleet.files(tenant) / "one.txt").write_text("changed")


def content(fleet: Fleet, tenant: Tenant) -> tuple[int, str]:
    return songs(fleet, tenant), (fleet.files(tenant) / "one.txt").read_text()


def test_a_full_disk_is_said_with_what_is_free_and_nothing_is_kept(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    before = take(small_tenant)
    (fleet.files(small_tenant) / "large.bin").write_bytes(os.urandom(200_000))
    plan = plan_backup(fleet, small_tenant)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OperationFailed, match=r"bytes are free.*nothing of it was kept"):
            execute_backup(fleet, plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [record.id for record in list_backups(fleet, small_tenant)] == [before.id]
    assert sorted(path.name for path in Path(plan.folder).iterdir()) == [before.id, "keys"]


def test_a_damaged_backup_is_refused_with_the_member_named_before_anything_changes(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    member = next(Path(backup.path).glob("data/*plays*"))
    content = bytearray(member.read_bytes())
    content[-1] ^= 1
    member.write_bytes(content)
    report = verify_backup(fleet, backup)
    assert not report.sound
    assert "plays" in report.problems[0]
    plan = plan_restore(fleet, backup, f"{small_tenant.slug}_copy")
    with pytest.raises(DamagedBackup, match="plays"):
        execute_restore(fleet, plan)
    assert fleet.registry.find([plan.target]) == ()


def test_a_backup_replaced_whole_in_the_store_is_not_the_recorded_one(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    """As somebody could who can write to the store and makes a plain backup of the same id."""
    backup = take(small_tenant)
    forged = take(small_tenant, encryption=False)
    for file in Path(backup.path).rglob("*"):
        if file.is_file():
            file.unlink()
    for file in Path(forged.path).rglob("*"):
        if file.is_file():
            target = Path(backup.path) / file.relative_to(forged.path)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes().replace(forged.id.encode(), backup.id.encode()))
    with pytest.raises(TenantOpsError):
        plan_restore(fleet, backup, f"{small_tenant.slug}_copy")


def test_a_restore_that_fails_removes_the_tenant_it_made(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = take(small_tenant)
    plan = plan_restore(fleet, backup, f"{small_tenant.slug}_copy")

    def fails(*_: object) -> None:
        raise OperationFailed("rows differ")

    monkeypatch.setattr("tenant_ops.backups.restoring.loading._Load._compare", fails)
    with pytest.raises(OperationFailed, match="rows differ"):
        execute_restore(fleet, plan)
    assert fleet.registry.find([plan.target]) == ()
    monkeypatch.undo()
    assert execute_restore(fleet, plan).equal


def test_rows_that_do_not_match_the_manifest_are_never_swapped_in(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = take(small_tenant)
    with fleet.session(small_tenant) as connection:
        connection.execute("DELETE FROM plays WHERE id > 10")
    plan = plan_restore(fleet, backup, small_tenant.slug)
    from tenant_ops.backups.restoring import loading

    def loses_a_row(connection: psycopg.Connection, name: sql.Identifier, *others: Any) -> None:
        copy_in(connection, name, *others)
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = 50").format(name))

    copy_in = loading.copy_in
    monkeypatch.setattr(loading, "copy_in", loses_a_row)
    with pytest.raises(OperationFailed, match="table plays has 99 rows"):
        execute_restore(fleet, plan)
    assert songs(fleet, small_tenant) == 10


def test_readers_and_writers_of_the_live_tenant_see_no_error_during_a_restore(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    with fleet.session(small_tenant) as connection:
        connection.execute("INSERT INTO plays (song) SELECT 'more' FROM generate_series(1, 50)")
    stop = threading.Event()
    seen: set[int] = set()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                seen.add(songs(fleet, small_tenant))
                with fleet.session(small_tenant, "editor") as connection:
                    connection.execute("UPDATE plays SET song = song WHERE id = 1")
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    finally:
        stop.set()
        reader.join()
    assert failures == []
    assert seen <= {100, 150}
    assert songs(fleet, small_tenant) == 100


def test_two_operations_on_one_tenant_are_kept_apart(
    fleet: Fleet, small_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Fleet.lock.__wrapped__.__kwdefaults__, "wait_s", 0.2)  # type: ignore[attr-defined]
    plan = plan_backup(fleet, small_tenant)
    outcome: list[BaseException] = []

    def back_up() -> None:
        try:
            execute_backup(fleet, plan)
        except BaseException as error:
            outcome.append(error)

    with fleet.lock(small_tenant, "migrate"):
        other = threading.Thread(target=back_up)
        other.start()
        other.join()
    assert [type(error) for error in outcome] == [TenantBusy]
    assert list_backups(fleet, small_tenant) == ()


class TestKeys:
    """Without its key a backup is neither written in the clear nor read."""

    def test_another_master_key_is_named_and_nothing_is_written(
        self, fleet: Fleet, small_tenant: Tenant, take: Take
    ) -> None:
        backup = take(small_tenant)
        stranger = replace(fleet, settings=replace(fleet.settings, backup_key=MASTER_TEXT))
        for attempt in (
            lambda: plan_backup(stranger, small_tenant),
            lambda: plan_backup(stranger, small_tenant, encryption=True),
            lambda: plan_restore(stranger, backup, f"{small_tenant.slug}_copy"),
        ):
            with pytest.raises(InputError, match="master key") as refusal:
                attempt()
            assert MASTER_TEXT not in str(refusal.value)
        assert not verify_backup(stranger, backup).sound

    def test_a_missing_master_key_never_means_a_plain_backup(
        self, fleet: Fleet, small_tenant: Tenant
    ) -> None:
        key_file = fleet.settings.home / "keys" / "master.key"
        hidden = key_file.rename(key_file.with_name("hidden"))
        try:
            for encryption in (None, True):
                with pytest.raises(InputError, match="master key"):
                    plan_backup(fleet, small_tenant, encryption=encryption)
            assert not plan_backup(fleet, small_tenant, encryption=False).encrypted
        finally:
            hidden.rename(key_file)

    def test_destroying_the_tenants_key_makes_its_backups_unreadable(
        self, fleet: Fleet, small_tenant: Tenant, take: Take
    ) -> None:
        from tenant_ops.tenants.keys import destroy_tenant_key

        backup = take(small_tenant)
        with fleet.control.transaction() as connection:
            destroy_tenant_key(connection, small_tenant.id, fleet.clock())
        assert verify_backup(fleet, backup).sound, "the wrapped key beside the backup still opens it"
        assert shred(fleet, small_tenant).key_files == 1
        with pytest.raises(InputError, match="cannot be read again"):
            plan_restore(fleet, backup, f"{small_tenant.slug}_copy")

    def test_a_plain_backup_is_taken_only_when_asked_for_and_the_plan_warns(
        self, fleet: Fleet, small_tenant: Tenant, take: Take
    ) -> None:
        backup = take(small_tenant, encryption=False, compression="gzip")
        assert not (Path(backup.path) / "key.json").exists()
        assert (Path(backup.path) / COMPLETE).exists()
        plan = plan_restore(fleet, backup, f"{small_tenant.slug}_copy")
        assert any("not encrypted" in warning for warning in plan.warnings)
        assert execute_restore(fleet, plan).equal
