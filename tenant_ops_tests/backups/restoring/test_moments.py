"""A tenant comes back as it was: between backups, before a transaction, or after the newest backup."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tenant_ops.backups import (
    BackupRecord,
    execute_backup,
    execute_restore,
    parse_time,
    plan_backup,
    plan_restore,
    plan_restore_to,
)
from tenant_ops.backups.journal import health, install
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_sql, songs
from tenant_ops_tests.backups.journal.conftest import timed_fleet, timed_server, timed_tenant

__all__ = ["timed_fleet", "timed_server", "timed_tenant"]  # fixtures

Take = Callable[..., BackupRecord]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def server_time(fleet: Fleet) -> datetime:
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0].astimezone(UTC)


@pytest.fixture
def followed(fleet: Fleet, small_tenant: Tenant) -> Tenant:
    install(fleet, small_tenant)
    return small_tenant


def test_each_backup_of_a_chain_is_a_moment_to_go_back_to(fleet: Fleet, followed: Tenant, take: Take) -> None:
    base = take(followed)
    run_sql(fleet, followed, "DELETE FROM plays WHERE id > 60")
    first = take(followed, backup_type="incremental")
    run_sql(fleet, followed, "UPDATE plays SET song = 'all the same'")
    second = take(followed, backup_type="incremental")
    assert [base.type, first.type, second.type] == ["full", "incremental", "incremental"]
    report = execute_restore(fleet, plan_restore(fleet, first, f"{followed.slug}_copy"))
    copy = fleet.registry.get(f"{followed.slug}_copy")
    assert songs(fleet, copy) == 60
    assert run_sql(fleet, copy, "SELECT count(DISTINCT song) FROM plays") == [(60,)]
    assert report.exact
    assert at(report.reached) == at(first.taken_at)
    assert report.granularity.startswith("exactly the backup of")


def test_a_time_between_backups_is_met_at_the_tick_before_and_the_report_says_how_near(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    take(followed)
    run_sql(fleet, followed, "DELETE FROM plays WHERE id > 60")
    first = take(followed, backup_type="incremental")
    moment = server_time(fleet)
    run_sql(fleet, followed, "DELETE FROM plays")
    take(followed, backup_type="incremental")
    plan = plan_restore_to(fleet, followed, followed.slug, to=moment)
    assert not plan.exact
    assert at(plan.reached) == at(first.taken_at)
    assert "as of the tick at" in plan.granularity
    report = execute_restore(fleet, plan)
    assert songs(fleet, followed) == 60
    assert at(report.reached) == at(first.taken_at)
    assert not report.exact


def test_a_moment_after_the_newest_backup_is_that_backup_where_times_of_commits_are_not_kept(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    take(followed)
    newest = take(followed, backup_type="incremental")
    plan = plan_restore_to(fleet, followed, f"{followed.slug}_copy", to=server_time(fleet))
    assert (plan.backup_id, plan.fresh_backup, plan.exact) == (newest.id, False, False)
    assert "s before" in plan.granularity


@pytest.mark.slow
def test_a_moment_after_the_newest_backup_takes_an_incremental_first_and_is_met_exactly(
    timed_fleet: Fleet, timed_tenant: Tenant
) -> None:
    run_sql(
        timed_fleet, timed_tenant, "CREATE TABLE plays (id int PRIMARY KEY); INSERT INTO plays VALUES (1)"
    )
    install(timed_fleet, timed_tenant)
    base = execute_backup(timed_fleet, plan_backup(timed_fleet, timed_tenant))
    run_sql(timed_fleet, timed_tenant, "INSERT INTO plays VALUES (2)")
    moment = server_time(timed_fleet)
    run_sql(timed_fleet, timed_tenant, "DELETE FROM plays")
    plan = plan_restore_to(timed_fleet, timed_tenant, timed_tenant.slug, to=moment)
    assert (plan.fresh_backup, plan.backup_id) == (True, base.backup_id)
    report = execute_restore(timed_fleet, plan)
    assert songs(timed_fleet, timed_tenant) == 2
    assert report.exact
    assert report.left_out != ()
    assert at(report.reached) == moment
    assert report.fresh_backup is not None
    assert "1 tables as the journal left them" in report.verified


def test_a_moment_before_the_first_backup_is_refused_with_the_first_one_named(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    base = take(followed)
    before = datetime.fromisoformat(base.taken_at) - timedelta(seconds=1)
    with pytest.raises(InputError, match="first moment that can be restored") as refusal:
        plan_restore_to(fleet, followed, followed.slug, to=before)
    assert base.taken_at in str(refusal.value)


def test_a_moment_in_the_future_is_refused(fleet: Fleet, followed: Tenant, take: Take) -> None:
    take(followed)
    with pytest.raises(InputError, match="future"):
        plan_restore_to(fleet, followed, followed.slug, to=server_time(fleet) + timedelta(days=1))


def test_a_full_backup_without_a_journal_is_the_nearest_moment_before(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    run_sql(fleet, small_tenant, "DELETE FROM plays")
    plan = plan_restore_to(fleet, small_tenant, small_tenant.slug, to=server_time(fleet))
    assert not plan.fresh_backup
    assert at(plan.reached) == at(backup.taken_at)
    execute_restore(fleet, plan)
    assert songs(fleet, small_tenant) == 100


def test_a_differential_is_passed_over_where_an_incremental_has_nearer_ticks(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    take(followed)
    run_sql(fleet, followed, "DELETE FROM plays WHERE id > 60")
    near = take(followed, backup_type="incremental")
    moment = server_time(fleet)
    run_sql(fleet, followed, "DELETE FROM plays")
    take(followed, backup_type="differential")
    assert plan_restore_to(fleet, followed, followed.slug, to=moment).backup_id == near.id


def test_before_a_transaction_means_the_last_tick_that_did_not_see_it(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    take(followed)
    near = take(followed, backup_type="incremental")
    ((xid,),) = run_sql(
        fleet, followed, "WITH gone AS (DELETE FROM plays) SELECT pg_current_xact_id()::text::bigint"
    )
    take(followed, backup_type="incremental")
    plan = plan_restore_to(fleet, followed, f"{followed.slug}_copy", before_transaction=xid)
    assert at(plan.reached) == at(near.taken_at)
    execute_restore(fleet, plan)
    assert songs(fleet, fleet.registry.get(f"{followed.slug}_copy")) == 100
    with pytest.raises(InputError, match="no chain"):
        plan_restore_to(fleet, followed, f"{followed.slug}_copy", before_transaction=3)


def test_after_a_restore_the_journal_follows_the_new_tables_and_the_next_backup_is_full(
    fleet: Fleet, followed: Tenant, take: Take
) -> None:
    base = take(followed)
    report = execute_restore(fleet, plan_restore(fleet, base, followed.slug))
    assert "next backup is a full one" in report.journal
    assert health(fleet, followed).problems == ()
    assert take(followed, backup_type="incremental").type == "full"
    run_sql(fleet, followed, "DELETE FROM plays WHERE id > 10")
    assert take(followed, backup_type="incremental").type == "incremental"


def test_taking_a_restore_back_ends_the_chain_too(fleet: Fleet, followed: Tenant, take: Take) -> None:
    """The journal holds what was written to the restored tables, which are gone again."""
    from tenant_ops.backups import undo_restore

    base = take(followed)
    execute_restore(fleet, plan_restore(fleet, base, followed.slug))
    run_sql(fleet, followed, "DELETE FROM plays")
    undo_restore(fleet, followed)
    assert songs(fleet, followed) == 100
    assert take(followed, backup_type="incremental").type == "full"


def test_a_backup_that_is_damaged_is_not_chosen(fleet: Fleet, followed: Tenant, take: Take) -> None:
    from tenant_ops.backups.catalog import mark_damaged

    first, second = take(followed), take(followed)
    mark_damaged(fleet, second.id, "a bit flipped")
    plan = plan_restore_to(
        fleet, followed, followed.slug, to=datetime.fromisoformat(second.taken_at) + timedelta(microseconds=1)
    )
    assert plan.backup_id == first.id


@pytest.mark.parametrize("text", ["2026-11-20T14:03:00", "yesterday", "14:03", ""])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="time"):
        parse_time(text)


def test_a_time_with_a_zone_is_that_moment() -> None:
    assert parse_time("2026-11-20T15:03:00+01:00") == parse_time("2026-11-20T14:03:00Z")
    assert parse_time("2026-11-20T14:03:00Z") == datetime(2026, 11, 20, 14, 3, tzinfo=UTC)


def test_the_plan_changes_with_the_backup_it_was_made_for(fleet: Fleet, followed: Tenant, take: Take) -> None:
    plan = plan_restore(fleet, take(followed), followed.slug)
    with pytest.raises(InputError, match="changed since the plan"):
        execute_restore(fleet, replace(plan, manifest_sha256="0" * 64))
