"""Catalogs written by hand: backups and drills of any age, without taking them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenant_ops.backups import BackupRecord, catalog
from tenant_ops.backups.drills import Aim, Drill
from tenant_ops.backups.drills.recording import record_drill
from tenant_ops.backups.layout import new_backup_id
from tenant_ops.tenants import Fleet, Tenant

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def now(fleet: Fleet) -> Fleet:
    """The fleet on the 20th of November 2026 at noon."""
    return replace(fleet, clock=lambda: NOW)


@pytest.fixture
def registered(fleet: Fleet) -> Callable[..., Tenant]:
    """Registers tenants, made at any time, that have nothing in the database but their row."""

    def register(slug: str, tier: str = "starter", *, days_old: float = 1) -> Tenant:
        tenant = fleet.registry.register(slug, tier_name=tier)
        made = NOW - timedelta(days=days_old)
        with fleet.control.transaction() as connection:
            connection.execute(
                "UPDATE tenant_ops.tenant SET created_at = %s WHERE id = %s", (made, tenant.id)
            )
        return replace(tenant, created_at=made)

    return register


@pytest.fixture
def has_backup(fleet: Fleet) -> Callable[..., BackupRecord]:
    """Enters a backup that was taken so many hours ago."""

    def enter(tenant: Tenant, *, hours_ago: float, parent: BackupRecord | None = None, **fields: Any):
        at = NOW - timedelta(hours=hours_ago)
        backup_id = new_backup_id(at)
        record = BackupRecord(
            id=backup_id,
            tenant_id=str(tenant.id),
            tenant=tenant.slug,
            type="incremental" if parent else "full",
            parent=parent.id if parent else None,
            path=f"/nowhere/{backup_id}",
            codec="zstd",
            encrypted=False,
            key_id=None,
            manifest_sha256="",
            version=None,
            tables=1,
            rows=10,
            raw_bytes=1_000,
            stored_bytes=100,
            started_at=at.isoformat(),
            finished_at=at.isoformat(),
            taken_at=at.isoformat(),
            store="/nowhere",
            base_id=parent.base_id if parent else backup_id,
            depth=parent.depth + 1 if parent else 0,
        )
        record = replace(record, **fields)
        with fleet.control.transaction() as connection:
            assert catalog.add(connection, record)
        return record

    return enter


@pytest.fixture
def was_drilled(fleet: Fleet) -> Callable[..., None]:
    """Records a drill of so many days ago."""

    def record(
        tenant: Tenant, *, days_ago: float, aim: Aim = Aim.NEWEST, equal=True, rto_s: float = 1.0
    ) -> None:
        drill = Drill(
            tenant=tenant.slug,
            tenant_id=str(tenant.id),
            tier=tenant.tier_name,
            backup_id="b",
            aim=aim,
            depth=0,
            measured=False,
            moment=NOW.isoformat(),
            granularity="tick",
            started_at=(NOW - timedelta(days=days_ago)).isoformat(),
            rpo_s=60,
            rpo_target_s=3_600,
            rto_s=rto_s,
            rto_target_s=3_600,
            mb_per_s=1,
            tables=1,
            rows=1,
            files=0,
            raw_bytes=1,
            equal=equal,
            problems=() if equal else ("differs",),
        )
        record_drill(fleet, drill)

    return record
