"""Quarantine, stages, temporary files, cache: each type removes its own kind of thing and nothing else."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql

from tenant_ops.cleanup import CleanupReport, execute_cleanup, plan_cleanup, undo_cleanup
from tenant_ops.platform.cache import open_cache
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.cleanup.conftest import NOW
from tenant_ops_tests.cleanup.making import contents


def clean(fleet: Fleet, tenant: Tenant, type_: str, **options: int) -> CleanupReport:
    return execute_cleanup(fleet, plan_cleanup(fleet, tenant, types=[type_], **options), safety_copy=None)


def quarantine(fleet: Fleet, tenant: Tenant, *ages: int) -> None:
    with fleet.session(tenant) as connection:
        for age in ages:
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (load_id, dataset, file, check_name, reason, created_at) "
                    "VALUES (%s, 'users', 'users.csv', 'email', 'bad', %s)"
                ).format(sql.Identifier(tenant.stage_schema, "quarantine")),
                (uuid4(), NOW - timedelta(days=age)),
            )


def stage(fleet: Fleet, tenant: Tenant, dataset: str, begun: datetime | None, state: str = "staging") -> None:
    """A stage as a killed load leaves it; without `begun` nothing is known of the load."""
    with fleet.session(tenant) as connection:
        connection.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} (id int)").format(
                sql.Identifier(tenant.stage_schema, f"stage_{dataset}")
            )
        )
        if begun:
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (id, dataset, definition, columns, files, state, started_at) "
                    "VALUES (%s, %s, '', '{{}}', '[]', %s, %s)"
                ).format(sql.Identifier(tenant.stage_schema, "load")),
                (uuid4(), dataset, state, begun),
            )


def temporary(fleet: Fleet, tenant: Tenant, name: str, age: int) -> Path:
    path = fleet.files(tenant) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    moment = (NOW - timedelta(days=age)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_quarantined_rows_go_after_thirty_days_and_can_be_undone(fleet: Fleet, tenant: Tenant) -> None:
    quarantine(fleet, tenant, 5, 29, 31, 100)
    before = contents(fleet, tenant, tenant.stage_schema)
    report = clean(fleet, tenant, "quarantine")
    assert (report.rows, contents(fleet, tenant, tenant.stage_schema)["quarantine"][0]) == (2, 2)
    undo_cleanup(fleet, tenant, report.cleanup_id or "")
    assert contents(fleet, tenant, tenant.stage_schema) == before


def test_asked_days_hold_for_quarantined_rows(fleet: Fleet, tenant: Tenant) -> None:
    quarantine(fleet, tenant, 5, 29, 31, 100)
    assert clean(fleet, tenant, "quarantine", retention_days=10).rows == 3


def test_stages_go_when_no_load_will_come_back_to_them(fleet: Fleet, tenant: Tenant) -> None:
    stage(fleet, tenant, "users", NOW - timedelta(days=2))
    stage(fleet, tenant, "tracks", NOW - timedelta(hours=2))
    stage(fleet, tenant, "artists", NOW - timedelta(hours=2), "merged")
    stage(fleet, tenant, "sessions", None)
    report = clean(fleet, tenant, "stages")
    assert {item.subject for item in report.items} == {"stage_users", "stage_artists", "stage_sessions"}
    assert set(contents(fleet, tenant, tenant.stage_schema)) == {"quarantine", "load", "stage_tracks"}
    assert report.cleanup_id is None, "a stage is loaded again, not undone"


def test_old_files_below_tmp_go_and_all_others_stay(fleet: Fleet, tenant: Tenant) -> None:
    old = [temporary(fleet, tenant, name, 8) for name in ("tmp/a", "tmp/deep/er/b", "tmp/odd\nname %s")]
    kept = [temporary(fleet, tenant, "tmp/young", 6), temporary(fleet, tenant, "logo.png", 800)]
    plan = plan_cleanup(fleet, tenant, types=["files"])
    assert [(item.count, item.bytes) for item in plan.items] == [(3, 300)]
    execute_cleanup(fleet, plan, safety_copy=None)
    assert [path.exists() for path in (*old, *kept)] == [False, False, False, True, True]


def test_a_link_below_tmp_leads_nowhere(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("globex")
    precious = temporary(fleet, other, "tmp/precious", 800)
    (fleet.files(tenant) / "tmp").mkdir(parents=True)
    (fleet.files(tenant) / "tmp" / "folder").symlink_to(precious.parent)
    (fleet.files(tenant) / "tmp" / "file").symlink_to(precious)
    clean(fleet, tenant, "files")
    assert precious.exists()


def test_a_tmp_folder_that_is_a_link_is_not_entered(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    precious = temporary(fleet, new_tenant("globex"), "tmp/precious", 800)
    (fleet.files(tenant) / "tmp").symlink_to(precious.parent)
    assert plan_cleanup(fleet, tenant, types=["files"]).items == ()


def test_the_cache_is_cleared_only_when_asked_for_and_for_one_tenant_only(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    other = new_tenant("globex")
    cache = open_cache(fleet.settings.redis_url, fleet.settings.home)
    if not cache.available:
        pytest.skip(cache.reason)
    for key in (tenant.key, other.key):
        cache.set(key, "a", b"1", ttl_s=60)
        cache.set(key, "b", b"2", ttl_s=60)
    assert "cache" not in {rule.type for rule in plan_cleanup(fleet, tenant).rules}
    report = clean(fleet, tenant, "cache")
    assert [(item.unit, item.done) for item in report.items] == [("keys", 2)]
    assert (cache.get(tenant.key, "a"), cache.get(other.key, "a")) == (None, b"1")
    assert (cache.count_tenant(tenant.key), cache.count_tenant(other.key)) == (0, 2)
