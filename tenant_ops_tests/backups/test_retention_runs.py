"""Retention at work: it removes what it said, stops for what happened since, and survives being killed."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tenant_ops.audit import history, verify_chain
from tenant_ops.backups import (
    BackupRecord,
    RetentionPolicy,
    catalog,
    execute_retention,
    find_backup,
    hold,
    journal,
    list_backups,
    pin,
    plan_retention,
    prune_journal,
    rebuild,
    release,
    remove_backup,
    require_no_hold,
    shred,
    verify_backup,
)
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant

Take = Callable[..., BackupRecord]
ONE = RetentionPolicy(last=1)


def build_on(fleet: Fleet, parent: BackupRecord) -> BackupRecord:
    """An incremental, as far as the catalog and the store's listing know one."""
    number = uuid4().hex[:8]
    path = Path(parent.path).with_name(f"20261120T140300Z-{number}")
    shutil.copytree(parent.path, path)
    child = replace(
        parent,
        id=path.name,
        type="incremental",
        parent=parent.id,
        path=str(path),
        depth=parent.depth + 1,
        taken_at=(fleet.clock()).isoformat(),
        pinned=False,
        legal_hold=None,
        held_by=None,
        held_at=None,
    )
    with fleet.control.transaction() as connection:
        catalog.add(connection, child)
    return find_backup(fleet, child.id)


def left(fleet: Fleet, tenant: Tenant) -> set[str]:
    return {record.id for record in list_backups(fleet, tenant) if record.present}


def actions(fleet: Fleet, tenant: Tenant) -> list[tuple[str, str]]:
    """What the audit log tells of its backups, oldest first."""
    with fleet.control.transaction() as connection:
        assert verify_chain(connection, str(tenant.id)).intact
        events = history(connection, str(tenant.id))
    return [
        (event.action, event.detail["backup"])
        for event in reversed(events)
        if event.action.startswith("backup.")
    ]


def test_what_is_removed_is_what_the_plan_said(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    records = [take(small_tenant) for _ in range(5)]
    assert verify_backup(fleet, records[0]).sound
    pin(fleet, records[1])
    plan = plan_retention(fleet, [small_tenant], policy=ONE)
    assert [decision.reason for decision in plan] == [
        "last 1 of 1; the newest",
        "no rule of last=1 keeps it",
        "no rule of last=1 keeps it",
        "pinned",
        "the newest that was verified; the newest full one that was verified",
    ]
    assert plan == plan_retention(fleet, [small_tenant], policy=ONE), "looking changes nothing"
    assert left(fleet, small_tenant) == {record.id for record in records}
    report = execute_retention(fleet, plan)
    assert report.removed == (records[2].id, records[3].id)
    assert report.removed == tuple(d.backup_id for d in reversed(plan) if not d.keep)
    assert (report.kept, report.failed) == (3, ())
    assert report.freed_bytes == records[2].stored_bytes + records[3].stored_bytes
    assert left(fleet, small_tenant) == {d.backup_id for d in plan if d.keep}
    assert not Path(records[2].path).exists()
    assert actions(fleet, small_tenant)[-2:] == [
        ("backup.removed", records[2].id),
        ("backup.removed", records[3].id),
    ]


def test_each_tenant_is_kept_by_its_own_tier(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    for _ in range(8):
        take(small_tenant)
    decisions = plan_retention(fleet, [small_tenant])
    assert small_tenant.tier.backup_retention.startswith("last=7,")
    assert [decision.keep for decision in decisions] == [True] * 7 + [False]


def test_what_was_pinned_held_or_built_on_since_the_plan_stays(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    pinned, held, base, plain, _newest = (take(small_tenant) for _ in range(5))
    plan = plan_retention(fleet, [small_tenant], policy=ONE)
    assert sum(not decision.keep for decision in plan) == 4
    pin(fleet, pinned)
    hold(fleet, held, "matter 7")
    child = build_on(fleet, base)
    report = execute_retention(fleet, plan)
    assert report.removed == (plain.id,)
    assert left(fleet, small_tenant) >= {pinned.id, held.id, base.id, child.id}


def test_a_chain_goes_from_its_tip_to_its_base(fleet: Fleet, small_tenant: Tenant, take: Take) -> None:
    base = take(small_tenant)
    first = build_on(fleet, base)
    second = build_on(fleet, first)
    take(small_tenant)
    report = execute_retention(fleet, plan_retention(fleet, [small_tenant], policy=ONE))
    assert report.removed == (second.id, first.id, base.id)


def test_nothing_goes_while_the_tenant_is_backed_up_and_other_tenants_go_on(
    fleet: Fleet, small_tenant: Tenant, new_tenant: Callable[..., Tenant], take: Take
) -> None:
    other = new_tenant(f"globex_{uuid4().hex[:8]}")
    for _ in range(2):
        take(small_tenant)
        take(other)
    plan = plan_retention(fleet, [small_tenant, other], policy=ONE)
    locked, done = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with fleet.lock(small_tenant, "backup"):
            locked.set()
            done.wait(30)

    backup = threading.Thread(target=hold_lock)
    backup.start()
    try:
        assert locked.wait(30)
        report = execute_retention(fleet, plan)
    finally:
        done.set()
        backup.join()
    assert len(left(fleet, small_tenant)) == 2
    assert len(left(fleet, other)) == 1
    assert len(report.failed) == 1
    assert small_tenant.slug in report.failed[0]


class Killed(BaseException):
    """What a removal meets where the process would be gone."""


@pytest.mark.parametrize("at", ["claim", "first file", "rest", "record"])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_killed_anywhere_it_leaves_no_backup_without_its_base_and_the_next_run_ends_it(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch, at: str, victim: int
) -> None:
    base = take(small_tenant)
    first = build_on(fleet, base)
    second = build_on(fleet, first)
    newest = take(small_tenant)
    chain = (second, first, base)
    doomed = chain[victim]
    plan = plan_retention(fleet, [small_tenant], policy=ONE)

    def kill_at(step: str, real: Callable, of: Callable[..., bool]) -> Callable:
        def instead(*arguments, **options):
            if step == at and of(*arguments):
                raise Killed
            return real(*arguments, **options)

        return instead

    def in_doomed(path: Path, *_args) -> bool:
        return doomed.id in str(path)

    with monkeypatch.context() as patch:
        claim = lambda _connection, record, _at: record.id == doomed.id  # noqa: E731
        patch.setattr(catalog, "_claim", kill_at("claim", catalog._claim, claim))
        patch.setattr(Path, "unlink", kill_at("first file", Path.unlink, in_doomed))
        patch.setattr(shutil, "rmtree", kill_at("rest", shutil.rmtree, in_doomed))
        told = lambda *_args: not Path(doomed.path).exists()  # noqa: E731
        patch.setattr(catalog, "record_event", kill_at("record", catalog.record_event, told))
        with pytest.raises(Killed):
            execute_retention(fleet, plan)

    listed = {record.id: record for record in list_backups(fleet, small_tenant)}
    for record in listed.values():
        if record.present and record.parent:
            assert listed[record.parent].present
    assert rebuild(fleet).found >= 1
    after = {record.id for record in list_backups(fleet, small_tenant) if record.present}
    assert newest.id in after
    going = {
        decision.backup_id
        for decision in plan_retention(fleet, [small_tenant], policy=ONE)
        if not decision.keep
    }
    assert going == set(listed) - {newest.id} & going
    report = execute_retention(fleet, plan_retention(fleet, [small_tenant], policy=ONE))
    assert report.failed == ()
    assert [record.id for record in list_backups(fleet, small_tenant)] == [newest.id]
    assert not any(Path(record.path).exists() for record in chain)


def test_what_is_being_removed_is_no_backup_any_more(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _newest = take(small_tenant), take(small_tenant)
    plan = plan_retention(fleet, [small_tenant], policy=ONE)

    def refused(*_args, **_options) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refused)
        report = execute_retention(fleet, plan)
    assert report.removed == ()
    assert "Permission denied" in report.failed[0]
    assert old.id in report.failed[0]
    found = find_backup(fleet, old.id)
    assert (found.present, found.removing_at is not None) == (False, True)
    for mark in (pin, lambda fleet, record: hold(fleet, record, "matter 7")):
        with pytest.raises(InputError, match="being removed"):
            mark(fleet, found)
    again = plan_retention(fleet, [small_tenant], policy=RetentionPolicy(last=9))
    assert [d.reason for d in again if not d.keep] == ["its removal was interrupted"]
    assert execute_retention(fleet, again).removed == (old.id,)


def test_a_legal_hold_stands_until_it_is_released_with_a_reason(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    held, _newest = take(small_tenant), take(small_tenant)
    hold(fleet, held, "matter 7")
    found = find_backup(fleet, held.id)
    assert (found.legal_hold, found.held_by) == ("matter 7", "tester")
    with pytest.raises(OperationFailed, match="under legal hold: matter 7"):
        remove_backup(fleet, found, reason="make room")
    (decision,) = (
        d for d in plan_retention(fleet, [small_tenant], policy=RetentionPolicy()) if d.backup_id == held.id
    )
    assert (decision.keep, decision.reason) == (True, "legal hold: matter 7")
    for destroy in (require_no_hold, shred):
        with pytest.raises(InputError, match=r"under legal hold \(matter 7\), and would be unreadable"):
            destroy(fleet, small_tenant)
    for say in (hold, release):
        with pytest.raises(InputError, match="needs a reason"):
            say(fleet, found, " ")
    release(fleet, found, "settled")
    with pytest.raises(InputError, match="no legal hold"):
        release(fleet, found, "settled")
    require_no_hold(fleet, small_tenant)
    remove_backup(fleet, found, reason="make room")
    assert actions(fleet, small_tenant)[-3:] == [
        ("backup.held", held.id),
        ("backup.released", held.id),
        ("backup.removed", held.id),
    ]


def test_a_backup_that_is_pinned_or_built_on_is_not_removed_by_name(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    base = take(small_tenant)
    child = build_on(fleet, base)
    with pytest.raises(OperationFailed, match=f"{child.id} builds on it"):
        remove_backup(fleet, base, reason="make room")
    pin(fleet, child)
    with pytest.raises(OperationFailed, match="it is pinned"):
        remove_backup(fleet, child, reason="make room")
    assert left(fleet, small_tenant) == {base.id, child.id}
    pin(fleet, child, pinned=False)
    remove_backup(fleet, child, reason="make room")
    remove_backup(fleet, base, reason="make room")
    assert left(fleet, small_tenant) == set()


def test_a_clock_of_this_machine_that_runs_ahead_makes_nothing_look_old(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    for _ in range(3):
        take(small_tenant)
    ahead = replace(fleet, clock=lambda: fleet.clock() + timedelta(days=365))
    decisions = plan_retention(ahead, [small_tenant], policy=RetentionPolicy(within=timedelta(days=30)))
    assert all(decision.keep for decision in decisions)


def test_a_store_that_is_away_costs_no_backup_and_no_record(
    fleet: Fleet, small_tenant: Tenant, take: Take, tmp_path: Path
) -> None:
    away = [take(small_tenant, output_path=str(tmp_path / "second store")) for _ in range(3)]
    take(small_tenant)
    (tmp_path / "second store").rename(tmp_path / "unmounted")
    decisions = {d.backup_id: d for d in plan_retention(fleet, [small_tenant], policy=ONE)}
    assert all("not found in its store" in decisions[record.id].reason for record in away)
    assert execute_retention(fleet, tuple(decisions.values())).removed == ()
    (tmp_path / "unmounted").rename(tmp_path / "second store")
    assert {record.id for record in away} <= left(fleet, small_tenant)


def test_the_journal_is_forgotten_up_to_the_newest_full_backup_and_no_further(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    journal.install(fleet, small_tenant)

    def full() -> BackupRecord:
        with hold_snapshot(fleet, small_tenant) as snapshot:
            anchor = journal.read_anchor(snapshot, small_tenant)
        journal.keep(fleet, small_tenant, anchor)
        record = take(small_tenant)
        with fleet.control.transaction() as connection:
            connection.execute(
                "UPDATE tenant_ops.backup SET anchor = %s WHERE id = %s",
                (catalog.Jsonb(asdict(anchor)), record.id),
            )
        return find_backup(fleet, record.id)

    def write(rows: int) -> None:
        with fleet.session(small_tenant) as connection:
            connection.execute("INSERT INTO plays (song) SELECT 'new' FROM generate_series(1, %s)", (rows,))

    first = full()
    write(10)
    second = full()
    write(5)
    catalog.mark_damaged(fleet, second.id, "a hash is wrong")
    assert prune_journal(fleet, small_tenant) == 0, "what can be read is the first, which needs all of it"
    catalog.mark_verified(fleet, second.id)
    report = execute_retention(fleet, plan_retention(fleet, [small_tenant], policy=ONE))
    assert (report.removed, report.pruned_entries) == ((first.id,), 10)
    assert prune_journal(fleet, small_tenant) == 0


def test_a_tenant_without_a_journal_or_with_a_younger_one_is_left_as_it_is(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    assert prune_journal(fleet, small_tenant) == 0
    journal.install(fleet, small_tenant)
    with hold_snapshot(fleet, small_tenant) as snapshot:
        never_kept = journal.read_anchor(snapshot, small_tenant)
    record = take(small_tenant)
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.backup SET anchor = %s WHERE id = %s",
            (catalog.Jsonb(asdict(never_kept)), record.id),
        )
    assert prune_journal(fleet, small_tenant) == 0
