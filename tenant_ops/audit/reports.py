"""The stored report of every operation: what the CLI prints, the UI links to, and auditors ask for.

Here: saving and finding reports. Not here: what is in them (each domain's own frozen dataclass).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tenant_ops.platform.reports import dumps

Outcome = Literal["done", "findings", "failed"]


@dataclass(frozen=True)
class StoredReport:
    """A report as it was saved."""

    id: int
    tenant_id: UUID | None
    operation: str
    run_id: str | None
    outcome: Outcome
    started_at: datetime
    finished_at: datetime
    body: dict[str, Any]


_COLUMNS = "id, tenant_id, operation, run_id, outcome, started_at, finished_at, body"


def save_report(
    connection: psycopg.Connection,
    *,
    operation: str,
    report: Any,
    outcome: Outcome,
    started_at: datetime,
    finished_at: datetime,
    tenant_id: UUID | None = None,
    run_id: str | None = None,
) -> int:
    """Store a report inside the caller's transaction and return its number."""
    row = connection.execute(
        """
        INSERT INTO tenant_ops.report (tenant_id, operation, run_id, outcome, started_at, finished_at, body)
        VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        (tenant_id, operation, run_id, outcome, started_at, finished_at, Jsonb(report, dumps=dumps)),
    ).fetchone()
    assert row is not None
    return row[0]


def reports_of_run(connection: psycopg.Connection, run_id: str) -> tuple[StoredReport, ...]:
    """Every report a Dagster run saved, in the order they were saved."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tenant_ops.report WHERE run_id = %s ORDER BY id",  # noqa: S608
        (run_id,),
    )
    return tuple(StoredReport(*row) for row in rows)


def latest_report(connection: psycopg.Connection, tenant_id: UUID, operation: str) -> StoredReport | None:
    """The newest report of one operation on one tenant."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM tenant_ops.report WHERE tenant_id = %s AND operation = %s "  # noqa: S608
        "ORDER BY finished_at DESC LIMIT 1",
        (tenant_id, operation),
    ).fetchone()
    return StoredReport(*row) if row else None
