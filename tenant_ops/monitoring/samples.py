"""Samples: what was read, kept for a while.

Here: storing, reading back and forgetting values. Not here: reading them from servers (`collectors.py`).

A value is stored when it changed, and at least once an hour: between two samples it was what the earlier one
says. So an idle tenant costs a dozen rows an hour, not a dozen rows a look.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

from tenant_ops.monitoring.records import UNSTORED, Reading

AT_LEAST_EVERY = timedelta(hours=1)
KEPT_DAYS = 30
PURGED_AT_ONCE = 50_000


def store_samples(connection: psycopg.Connection, readings: Sequence[Reading], at: datetime) -> int:
    """Store what changed, in one statement; returns how many values that were."""
    values = [
        (reading.tenant.id, name, value)
        for reading in readings
        for name, value in reading.metrics.items()
        if name not in UNSTORED
    ]
    return connection.execute(
        """
        INSERT INTO tenant_ops.sample (tenant_id, metric, at, value)
        SELECT new.tenant_id, new.metric, %(at)s, new.value
        FROM unnest(%(ids)s::uuid[], %(names)s::text[], %(numbers)s::float8[])
             AS new (tenant_id, metric, value)
        LEFT JOIN LATERAL (
            SELECT at, value FROM tenant_ops.sample AS old
            WHERE old.tenant_id = new.tenant_id AND old.metric = new.metric
            ORDER BY at DESC LIMIT 1
        ) AS last ON true
        WHERE last.at IS NULL OR last.at <= %(at)s - %(every)s
           OR (last.at < %(at)s AND last.value <> new.value)
        """,
        {
            "at": at,
            "ids": [tenant_id for tenant_id, _, _ in values],
            "names": [name for _, name, _ in values],
            "numbers": [value for _, _, value in values],
            "every": AT_LEAST_EVERY,
        },
    ).rowcount


def purge_samples(connection: psycopg.Connection, now: datetime) -> int:
    """Forget values older than 30 days, at most 50,000 at once; returns how many went."""
    return connection.execute(
        """
        DELETE FROM tenant_ops.sample WHERE (tenant_id, metric, at) IN (
            SELECT tenant_id, metric, at FROM tenant_ops.sample WHERE at < %s LIMIT %s)
        """,
        (now - timedelta(days=KEPT_DAYS), PURGED_AT_ONCE),
    ).rowcount


def samples_of(
    connection: psycopg.Connection, tenant_id: UUID, metric: str, since: datetime
) -> list[tuple[datetime, float]]:
    """The stored values of one metric since then, oldest first."""
    return connection.execute(
        """
        SELECT at, value FROM tenant_ops.sample
        WHERE tenant_id = %s AND metric = %s AND at >= %s ORDER BY at
        """,
        (tenant_id, metric, since),
    ).fetchall()
