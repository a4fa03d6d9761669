"""The migration history: which release went into which tenant, when, from which files, and what failed.

Here: rows of `tenant_ops.migration_history`, and where every tenant stands. Not here: running migrations.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class HistoryEntry:
    """One release applied to one tenant in one transaction, or the attempt that failed.

    Attributes:
        release: The release that went in or out.
        direction: `up` or `down`.
        steps: Checksum by step.
        outcome: `applied` or `failed`.
        reason: Why it failed.
        plan_hash: The plan it was part of.
        fingerprint_before: Of the tenant's tables, before; None when the attempt failed.
        fingerprint_after: And after.
    """

    tenant_id: UUID
    release: str
    direction: str
    steps: dict[str, str]
    outcome: str
    reason: str
    plan_hash: str
    fingerprint_before: str | None
    fingerprint_after: str | None
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class TenantVersion:
    """Where one tenant stands.

    Attributes:
        pending: Releases between its version and the newest, in order.
        last_change: When its version changed last; None since it was made.
        last_failure: Why the latest attempt failed, when it did.
    """

    tenant: str
    version: str | None
    pending: tuple[str, ...]
    last_change: str | None
    last_failure: str | None


@dataclass(frozen=True)
class FleetStatus:
    """Where the fleet stands: the newest version, tenants per version, and each tenant."""

    newest: str
    versions: dict[str, int]
    tenants: tuple[TenantVersion, ...]


_COLUMNS = (
    "tenant_id, release, direction, steps, outcome, reason, plan_hash, "
    "fingerprint_before, fingerprint_after, started_at, finished_at"
)


def add_entry(connection: psycopg.Connection, entry: HistoryEntry) -> None:
    """Store the entry inside the caller's transaction."""
    connection.execute(
        f"INSERT INTO tenant_ops.migration_history ({_COLUMNS}) "  # noqa: S608 - fixed column names
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(entry.tenant_id, entry.release, entry.direction, Jsonb(entry.steps), entry.outcome),
            *(entry.reason, entry.plan_hash, entry.fingerprint_before, entry.fingerprint_after),
            *(entry.started_at, entry.finished_at),
        ),
    )


def migration_history(fleet: Fleet, tenant: Tenant) -> tuple[HistoryEntry, ...]:
    """Everything that was applied to the tenant or failed, oldest first."""
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM tenant_ops.migration_history WHERE tenant_id = %s ORDER BY id",  # noqa: S608
            (tenant.id,),
        )
        return tuple(HistoryEntry(*row) for row in rows)


def applied_checksums(fleet: Fleet, tenant: Tenant) -> dict[str, dict[str, str]]:
    """For every release the tenant has now: the checksums of its steps when they were applied."""
    applied: dict[str, dict[str, str]] = {}
    for entry in migration_history(fleet, tenant):
        if entry.outcome == "applied" and entry.direction == "up":
            applied[entry.release] = entry.steps
        elif entry.outcome == "applied":
            applied.pop(entry.release, None)
    return applied


def latest_changes(fleet: Fleet) -> dict[UUID, tuple[datetime | None, str | None]]:
    """For every tenant with a history: when its version changed last, and why the latest attempt failed."""
    with fleet.control.transaction() as connection:
        rows = connection.execute("""
            SELECT tenant_id, max(finished_at) FILTER (WHERE outcome = 'applied'),
                   (array_agg(CASE WHEN outcome = 'failed' THEN reason END ORDER BY id DESC))[1]
            FROM tenant_ops.migration_history GROUP BY tenant_id
        """)
        return {row[0]: (row[1], row[2]) for row in rows}
