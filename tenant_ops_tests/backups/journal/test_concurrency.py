"""Whatever six writers do at once: what was seen at a moment is what base and segments give back for it."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from tenant_ops.backups.journal import AsSeenBy, AtTime, Until, prune
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.backups.journal.busy import Writers
from tenant_ops_tests.backups.journal.chains import Chain, Contents, differing, read
from tenant_ops_tests.backups.journal.conftest import as_login, run

TICKS = 36
# Two transactions that stay open over some ticks, one of them prepared, with subtransactions in them.
SLOW = {
    3: ("BEGIN", "INSERT INTO slow VALUES (1, 1)", "SAVEPOINT here", "INSERT INTO slow VALUES (2, 2)"),
    5: ("ROLLBACK TO here", "INSERT INTO slow VALUES (3, 3)"),
    7: ("UPDATE slow SET v = 4 WHERE id = 1", "COMMIT"),
    12: ("BEGIN", "SAVEPOINT here", "DELETE FROM slow WHERE id = 3", "PREPARE TRANSACTION 'slow'"),
    16: ("COMMIT PREPARED 'slow'",),
}
BUSY = Path(__file__).with_name("busy.sql").read_text()


@pytest.mark.slow
def test_every_tick_and_every_moment_comes_back_as_it_was(timed_fleet: Fleet, timed_tenant: Tenant) -> None:
    check(timed_fleet, timed_tenant, TICKS)


@pytest.mark.slow
def test_on_the_oldest_server_too(debian_server: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": debian_server, "TENANT_OPS_HOME": str(tmp_path)}
    fleet = Fleet.open(Settings.load(settings))
    provision(fleet, "acme")
    check(fleet, fleet.registry.get("acme"), TICKS // 2)
    fleet.close()


def check(fleet: Fleet, tenant: Tenant, ticks: int) -> None:
    """The journal is installed and the base taken while they write; some transactions stay open for ticks."""
    run(fleet, tenant, BUSY)
    moments: list[tuple[Until, Contents]] = []
    with Writers(fleet, tenant) as writers, as_login(fleet, tenant) as slow:
        time.sleep(0.3)
        chain = Chain.begin(fleet, tenant)
        for number in range(ticks):
            writers.prepare = number % 9 < 6
            for statement in SLOW.get(number, ()):
                slow.execute(statement.encode())
            time.sleep(0.2)
            if number % 3 == 0:
                with hold_snapshot(fleet, tenant) as snapshot:
                    moments.append((AsSeenBy(snapshot.id), read(snapshot)[1]))
            if number % 9 == 8:
                moments.append(still(chain, writers))
            time.sleep(0.1)
            chain.tick()
            if number % 5 == 0:
                prune(fleet, tenant, chain.last)
    chain.tick()
    assert writers.committed > 300
    still_open = [len(segment.info.open) > 0 for segment in chain.segments]
    assert all(still_open[3:7]) and all(still_open[12:16])
    assert any(one.prepared == "slow" for one in chain.segments[13].info.open)
    assert wrong_ticks(chain) == {}
    assert wrong_moments(chain, moments) == {}


def wrong_ticks(chain: Chain) -> dict[int, dict]:
    """Ticks that do not come back as they were; every sixth is completed, so its foreign keys are checked."""
    whole, wrong = chain.segments, {}
    for number in range(len(whole) + 1):
        chain.segments = whole[:number]
        with chain.replayed(finish=number % 6 == 0) as replayed:
            if found := differing(replayed.contents(), chain.ticks[number]):
                wrong[number] = found
    chain.segments = whole
    return wrong


def wrong_moments(chain: Chain, moments: list[tuple[Until, Contents]]) -> dict[Until, dict]:
    """The same for moments between ticks. Tables that are copied whole may be behind, and then say so."""
    wrong = {}
    for until, expected in moments:
        with chain.replayed(until, finish=False) as replayed:
            found = differing(replayed.contents(), expected)
            assert replayed.report.reach.exact
            assert set(replayed.report.behind) <= {"mother", "daughter"}
            if found.keys() - set(replayed.report.behind):
                wrong[until] = found
    return wrong


def still(chain: Chain, writers: Writers) -> tuple[Until, Contents]:
    """A time at which nobody was writing, and what there was then."""
    with writers.halted(), hold_snapshot(chain.fleet, chain.tenant) as snapshot:
        return AtTime(datetime.fromisoformat(snapshot.taken_at)), read(snapshot)[1]
