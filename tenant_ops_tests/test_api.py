"""The Python API: awaitable, concurrent within the pool's bounds, and cheap to import."""

import asyncio
import subprocess
import sys
import threading

import pytest

import tenant_ops
from tenant_ops.api import (
    BackupManager,
    DataCleanup,
    DataValidator,
    FixtureLoader,
    FixtureMigrator,
    FixtureMonitoringSystem,
    TenantInitializer,
)
from tenant_ops.backups import compare
from tenant_ops.cleanup import CleanupPlan
from tenant_ops.platform.errors import UnknownTenant
from tenant_ops.tenants import Fleet


def test_many_tenants_go_through_the_whole_flow_at_once(fleet: Fleet) -> None:
    slugs = [f"team_{number}" for number in range(6)]

    async def flow(slug: str) -> str:
        await TenantInitializer(fleet).init_tenant(slug)
        loaded = await FixtureLoader(fleet).load_fixtures(slug)
        assert loaded.inserted > 0
        assert (await DataValidator(fleet).validate_data(slug, validation_types=["schema"])).score == 100
        return (await BackupManager(fleet).backup_data(slug)).backup_id

    async def everybody() -> list[str]:
        return await asyncio.gather(*(flow(slug) for slug in slugs))

    backups = asyncio.run(everybody())
    assert len(set(backups)) == len(slugs)


def test_no_more_work_at_once_than_the_pool_can_serve(fleet: Fleet) -> None:
    running, most, guard = 0, 0, threading.Lock()
    operator = TenantInitializer(fleet)

    def work() -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        with fleet.control.transaction() as outer, fleet.control.transaction() as inner:
            outer.execute("SELECT pg_sleep(0.05)")
            inner.execute("SELECT 1")
        with guard:
            running -= 1

    async def everybody() -> None:
        await asyncio.gather(*(operator._run(work) for _ in range(30)))

    asyncio.run(everybody())
    assert 1 < most <= fleet.control.pool_size // 2


def test_a_backup_restores_as_another_tenant(fleet: Fleet) -> None:
    async def flow() -> None:
        await TenantInitializer(fleet).init_tenant("acme", initialize_data=True)
        backup = await BackupManager(fleet).backup_data("acme")
        await BackupManager(fleet).restore_data(backup.backup_id, "acme_copy")

    asyncio.run(flow())
    assert compare(fleet, fleet.registry.get("acme"), fleet.registry.get("acme_copy")).equal


def test_what_destroys_or_changes_is_a_plan_until_told_otherwise(fleet: Fleet) -> None:
    async def flow() -> None:
        await TenantInitializer(fleet).init_tenant("acme", initialize_data=True)
        assert isinstance(await DataCleanup(fleet).cleanup_data("acme"), CleanupPlan)
        await FixtureMigrator(fleet).migrate_fixtures("acme")
        looked = await FixtureMonitoringSystem(fleet).monitor_fixtures(["acme"])
        assert [health.tenant for health in looked.tenants] == ["acme"]

    asyncio.run(flow())


def test_an_unknown_tenant_is_an_error_that_says_what_to_do(fleet: Fleet) -> None:
    with pytest.raises(UnknownTenant, match="init-tenant --tenant-id nobody"):
        asyncio.run(FixtureLoader(fleet).load_fixtures("nobody"))


def test_importing_the_package_imports_neither_dagster_nor_pandas() -> None:
    program = "import sys, tenant_ops; sys.exit('dagster' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_every_public_name_is_there() -> None:
    for name in tenant_ops.__all__:
        assert callable(getattr(tenant_ops, name))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tenant_ops.no_such_name
