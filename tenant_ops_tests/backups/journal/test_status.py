"""What monitoring is told of a journal."""

from datetime import datetime

import pytest

from tenant_ops.backups.journal import install, journal_status, keep
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.chains import Chain
from tenant_ops_tests.backups.journal.conftest import as_login, run

SONGS = "CREATE TABLE song (id integer PRIMARY KEY, n integer)"


def test_a_tenant_without_a_journal(fleet: Fleet, tenant: Tenant) -> None:
    status = journal_status(fleet, tenant)
    assert (status.installed, status.healthy, status.bytes) == (False, False, 0)
    assert (status.kept_since, status.kept_until, status.open) == (None, None, ())


def test_what_can_be_gone_on_from_and_which_transactions_have_not_ended(fleet: Fleet, tenant: Tenant) -> None:
    run(fleet, tenant, SONGS)
    chain = Chain.begin(fleet, tenant)
    with as_login(fleet, tenant) as login:
        login.execute("BEGIN")
        login.execute("INSERT INTO song VALUES (1, 1)")
        tick = chain.tick()
        status = journal_status(fleet, tenant)
        (writer,) = status.open
        began = login.execute("SELECT now()").fetchone()
        assert began is not None and writer.since is not None
        assert datetime.fromisoformat(writer.since) == began[0]
        assert status.longest_open_s == (datetime.fromisoformat(status.at) - began[0]).total_seconds() > 0
    assert status.healthy and status.granularity == "tick"
    assert (status.kept_since, status.kept_until) == (chain.base.taken_at, tick.anchor.taken_at)
    assert journal_status(fleet, tenant).open == ()
    assert journal_status(fleet, tenant).longest_open_s == 0


def test_a_table_that_is_not_followed_is_told(fleet: Fleet, tenant: Tenant) -> None:
    run(fleet, tenant, SONGS)
    install(fleet, tenant)
    run(fleet, tenant, "ALTER TABLE song DISABLE TRIGGER tenant_ops_journal_insert")
    status = journal_status(fleet, tenant)
    assert status.installed and not status.healthy
    assert status.problems[0].startswith("song is not followed")


def test_a_journal_that_forgot_what_was_kept_is_none(fleet: Fleet, tenant: Tenant) -> None:
    chain = Chain.begin(fleet, tenant)
    run(fleet, tenant, f"DROP TABLE {tenant.stage_schema}.journal_kept")
    assert journal_status(fleet, tenant).installed is False
    install(fleet, tenant)
    assert journal_status(fleet, tenant).kept_since is None
    keep(fleet, tenant, chain.base)
    assert journal_status(fleet, tenant).kept_since == chain.base.taken_at


@pytest.mark.slow
def test_a_server_that_keeps_the_times_of_commits_restores_to_each(
    timed_fleet: Fleet, timed_tenant: Tenant
) -> None:
    assert journal_status(timed_fleet, timed_tenant).granularity == "commit"
