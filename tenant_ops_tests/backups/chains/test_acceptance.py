"""A chain of one full backup and twenty incrementals, taken while six writers are at work, with an observer
who belongs to nobody: whichever of the observer's moments is restored, the restored tenant is what it saw."""

import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

import pytest

from tenant_ops.backups import (
    execute_restore,
    find_backup,
    list_backups,
    plan_restore,
    plan_restore_to,
    verify_backup,
)
from tenant_ops.backups.content import copy_out
from tenant_ops.backups.journal import AsSeenBy, AtTime
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.tenants import Fleet, Tenant, offboard, plan_offboard
from tenant_ops_tests.backups.chains.conftest import Contents, live, run, take
from tenant_ops_tests.backups.journal.busy import Writers
from tenant_ops_tests.backups.journal.test_concurrency import BUSY

INCREMENTALS = 20
SEED = 20_261_124
# Tables that are copied whole are as of a tick.
AS_OF_TICKS = {"mother", "daughter"}
Moments = list[tuple[AsSeenBy | AtTime, Contents]]


@contextmanager
def observer(fleet: Fleet, tenant: Tenant, writers: Writers) -> Generator[Moments]:
    """Looks at the tenant at random moments until the block ends, by connections of its own.

    Every other time nobody is in a transaction: then the time alone tells the moment, and else a snapshot.
    """
    moments: Moments = []
    stop = threading.Event()
    chance = random.Random(SEED)

    def look() -> None:
        with hold_snapshot(fleet, tenant) as snapshot:
            seen = {
                table.name: copy_out(snapshot.connection, snapshot.table(table.name), table.columns)
                for table in snapshot.definition.tables
            }
        until = AtTime(datetime.fromisoformat(snapshot.taken_at)) if still else AsSeenBy(snapshot.id)
        moments.append((until, seen))

    def watch() -> None:
        nonlocal still
        while not stop.wait(chance.uniform(0.05, 0.4)):
            still = not still
            if still:
                with writers.halted():
                    look()
            else:
                look()

    still = False
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield moments
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_any_moment_an_observer_saw_is_restored_from_a_chain_taken_under_load(
    timed_fleet: Fleet, timed_tenant: Tenant
) -> None:
    fleet, tenant = timed_fleet, timed_tenant
    run(fleet, tenant, BUSY)
    types = []
    with Writers(fleet, tenant) as writers:
        time.sleep(0.3)
        first = take(fleet, tenant, "incremental")
        assert first.type == "full"
        with observer(fleet, tenant, writers) as moments:
            for number in range(INCREMENTALS):
                time.sleep(0.3)
                if number in (5, 13):
                    types.append(take(fleet, tenant, "differential"))
                types.append(take(fleet, tenant, "incremental", measure=number % 4 == 0))
    last = take(fleet, tenant, "incremental", measure=True)
    assert writers.committed > 200
    assert [taken.type for taken in types].count("incremental") == INCREMENTALS
    assert [taken.because for taken in types] == [None] * len(types)
    assert len(moments) > 10
    chosen = random.Random(SEED).sample(moments, 5)
    for number, (until, seen) in enumerate(chosen):
        slug = f"{tenant.slug}_{number}"
        tip = find_backup(fleet, last.backup_id)
        if isinstance(until, AtTime):
            plan = plan_restore_to(fleet, tenant, slug, to=until.at)
        else:
            plan = plan_restore(fleet, tip, slug, until=until)
        report = execute_restore(fleet, plan)
        assert report.exact
        found = live(fleet, fleet.registry.get(slug))
        assert {name for name in seen if found[name] != seen[name]} <= AS_OF_TICKS
        offboard(fleet, plan_offboard(fleet, slug), safety_copy=None)
    execute_restore(fleet, plan_restore(fleet, find_backup(fleet, last.backup_id), f"{tenant.slug}_tip"))
    assert live(fleet, fleet.registry.get(f"{tenant.slug}_tip")) == live(fleet, tenant)
    assert all(verify_backup(fleet, backup).sound for backup in list_backups(fleet, tenant))
