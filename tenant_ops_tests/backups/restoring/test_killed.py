"""A restore that is killed leaves the old content or the new one, and the next operation cleans up."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tenant_ops.audit import history
from tenant_ops.backups import (
    BackupRecord,
    execute_backup,
    execute_restore,
    find_backup,
    plan_backup,
    plan_restore,
    undo_restore,
)
from tenant_ops.backups.restoring import executing, loading, merged_files, merging, swapping, undoing
from tenant_ops.platform.errors import OperationFailed, TenantBusy
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, State, Tenant
from tenant_ops.tenants.registry import Registry
from tenant_ops_tests.backups.conftest import run_sql, songs

Take = Callable[..., BackupRecord]
FORK = multiprocessing.get_context("fork")

# Where a restore can be killed: before this is called.
BEFORE = {
    "loading": (executing, "load"),
    "the first rows": (loading, "copy_in"),
    "the comparison": (loading, "copy_out"),
    "the exchange": (swapping, "exchange"),
    "the end of the exchange": (Registry, "put_back"),
    "its commit": (executing, "note_restore"),
}
AFTER = {
    "the exchange of files": (swapping, "swap_files"),
    "the journal": (executing, "_journal"),
}


def kill_before(owner: Any, name: str) -> None:
    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, kill)


def restore_until_killed(
    settings: Settings, backup: str, slug: str, owner: Any, name: str, mode: str
) -> None:
    fleet = Fleet.open(settings)
    plan = plan_restore(fleet, find_backup(fleet, backup), slug, mode=mode)
    kill_before(owner, name)
    execute_restore(fleet, plan)


def undo_until_killed(settings: Settings, slug: str, owner: Any, name: str) -> None:
    fleet = Fleet.open(settings)
    kill_before(owner, name)
    undo_restore(fleet, fleet.registry.get(slug))


def run_killed(target: Callable, *arguments: object) -> None:
    child = FORK.Process(target=target, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def left_behind(fleet: Fleet, tenant: Tenant) -> list[str]:
    """Schemas, logins and directories that are neither live nor set aside."""
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) AND nspname ~ '__new_' "
            "UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)",
            (tenant.schema_name, f"t_{tenant.key}_rst"),
        )
        found = [row[0] for row in rows]
    return found + [path.name for path in fleet.files(tenant).parent.glob("files__new_*")]


def content(fleet: Fleet, tenant: Tenant) -> tuple[int, str]:
    return songs(fleet, tenant), (fleet.files(tenant) / "one.txt").read_text()


def change(fleet: Fleet, tenant: Tenant) -> None:
    run_sql(fleet, tenant, "DELETE FROM plays WHERE id > 10")
    (fleet.files(tenant) / "one.txt").write_text("changed")


def quick(only: str, points: Iterable[str]) -> list[Any]:
    """One of the points in every run of the tests, the others in the long one."""
    return [pytest.param(point, marks=[] if point == only else pytest.mark.slow) for point in points]


@pytest.mark.parametrize("where", quick("the comparison", BEFORE))
def test_killed_before_the_exchange_everything_stays_and_the_next_operation_cleans_up(
    fleet: Fleet, small_tenant: Tenant, take: Take, where: str
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    run_killed(restore_until_killed, fleet.settings, backup.id, small_tenant.slug, *BEFORE[where], "replace")
    assert content(fleet, small_tenant) == (10, "changed")
    assert left_behind(fleet, small_tenant) != []
    execute_backup(fleet, plan_backup(fleet, small_tenant))
    assert left_behind(fleet, small_tenant) == []
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    assert content(fleet, small_tenant) == (100, "one")


@pytest.mark.parametrize("where", quick("the exchange of files", AFTER))
def test_killed_after_the_exchange_the_next_operation_finishes_it(
    fleet: Fleet, small_tenant: Tenant, take: Take, where: str
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    run_killed(restore_until_killed, fleet.settings, backup.id, small_tenant.slug, *AFTER[where], "replace")
    assert songs(fleet, small_tenant) == 100
    execute_backup(fleet, plan_backup(fleet, small_tenant))
    assert content(fleet, small_tenant) == (100, "one")
    assert left_behind(fleet, small_tenant) == []
    undo_restore(fleet, small_tenant)
    assert content(fleet, small_tenant) == (10, "changed")


@pytest.mark.slow
def test_killed_while_it_is_taken_back_the_files_follow_the_rows(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    run_killed(undo_until_killed, fleet.settings, small_tenant.slug, swapping, "swap_files_back")
    assert content(fleet, small_tenant) == (10, "one")
    execute_backup(fleet, plan_backup(fleet, small_tenant))
    assert content(fleet, small_tenant) == (10, "changed")


@pytest.mark.slow
def test_a_new_tenant_whose_restore_was_killed_is_quarantined_until_it_is_done(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup, slug = take(small_tenant), f"{small_tenant.slug}_copy"
    run_killed(restore_until_killed, fleet.settings, backup.id, slug, swapping, "exchange", "new")
    half = fleet.registry.get(slug)
    assert (half.state, half.state_reason) == (State.QUARANTINED, "a restore into it did not finish")
    execute_restore(fleet, plan_restore(fleet, backup, slug))
    assert fleet.registry.get(slug).state is State.ACTIVE
    assert songs(fleet, half) == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "done"),
    [
        (merging, "_merge_rows", False),
        (merging, "apply", False),
        (merging, "finish_merged_files", True),
        (merged_files.shutil, "rmtree", True),
        (executing, "note_restore", True),
    ],
)
def test_a_merge_that_is_killed_is_done_or_not_done(
    fleet: Fleet, small_tenant: Tenant, take: Take, owner: Any, name: str, done: bool
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    run_killed(restore_until_killed, fleet.settings, backup.id, small_tenant.slug, owner, name, "merge")
    execute_backup(fleet, plan_backup(fleet, small_tenant))
    assert content(fleet, small_tenant) == ((100, "one") if done else (10, "changed"))
    assert left_behind(fleet, small_tenant) == []
    with fleet.control.transaction() as connection:
        noted = [event.action for event in history(connection, str(small_tenant.id))]
    assert noted.count("backup.restored") == done
    if done:
        undo_restore(fleet, small_tenant)
        assert content(fleet, small_tenant) == (10, "changed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["take_back_files", "_take_rows_back"])
def test_taking_a_merge_back_that_is_killed_is_done_or_not_done(
    fleet: Fleet, small_tenant: Tenant, take: Take, name: str
) -> None:
    backup = take(small_tenant)
    change(fleet, small_tenant)
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug, mode="merge"))
    run_killed(undo_until_killed, fleet.settings, small_tenant.slug, merging, name)
    execute_backup(fleet, plan_backup(fleet, small_tenant))
    done = name == "take_back_files"
    assert content(fleet, small_tenant) == ((10, "changed") if done else (100, "one"))
    assert left_behind(fleet, small_tenant) == []


@contextmanager
def restoring(
    fleet: Fleet, backup: BackupRecord, slug: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A restore that has loaded and goes on when the block ends."""
    loaded, go_on = threading.Event(), threading.Event()
    exchange = swapping.exchange

    def wait(*arguments: Any, **options: Any) -> None:
        loaded.set()
        go_on.wait(60)
        exchange(*arguments, **options)

    monkeypatch.setattr(swapping, "exchange", wait)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            execute_restore(fleet, plan_restore(fleet, backup, slug))
        except BaseException as error:
            failures.append(error)
            loaded.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert loaded.wait(60)
    try:
        yield
    finally:
        go_on.set()
        thread.join()
    assert failures == []


def test_neither_a_second_restore_nor_a_backup_gets_in_while_one_restores(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Fleet.lock.__wrapped__.__kwdefaults__, "wait_s", 0.2)  # type: ignore[attr-defined]
    backup = take(small_tenant)
    second = plan_restore(fleet, backup, small_tenant.slug)
    change(fleet, small_tenant)
    with restoring(fleet, backup, small_tenant.slug, monkeypatch):
        with pytest.raises(TenantBusy):
            execute_restore(fleet, second)
        with pytest.raises(TenantBusy):
            take(small_tenant)
        with pytest.raises(TenantBusy):
            undoing.undo_restore(fleet, small_tenant)
        assert content(fleet, small_tenant) == (10, "changed")
    assert content(fleet, small_tenant) == (100, "one")


def test_a_session_that_is_ended_while_a_restore_is_taken_back_is_a_sentence(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = take(small_tenant)
    run_sql(fleet, small_tenant, "DELETE FROM plays WHERE id > 10")
    execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))

    def ended(connection: psycopg.Connection, *_: object) -> None:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(swapping, "comment", ended)
    with pytest.raises(OperationFailed, match="taking back the restore was broken off by the database"):
        undo_restore(fleet, small_tenant)
    assert songs(fleet, small_tenant) == 100
    monkeypatch.undo()
    undo_restore(fleet, small_tenant)
    assert songs(fleet, small_tenant) == 10
