"""Writing down what a validation saw: opened, still open, reopened, resolved.

Here: one statement per validation. Not here: which findings count (`mutes.py`).

Validations of a tenant may overlap. Each is taken for what was so when it began: one that began earlier and
ends later neither reopens nor resolves what a later one saw.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.tracking.states import MendedFinding, Previous, Seen

if TYPE_CHECKING:
    from tenant_ops.validation.report import Finding  # whose findings hold what is made here

KEEP_RESOLVED_DAYS = 400
"""A little more than a year, so that what came back after a year is still known to have been there."""


@dataclass(frozen=True)
class Recorded:
    """What was known, now that a validation is recorded."""

    seen: dict[str, Seen]
    mended: tuple[MendedFinding, ...]
    previous: Previous | None


# Two validations of a tenant would otherwise lock each other's rows in different orders.
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('tenant_ops.finding ' || %s, 0))"

_RECORD = """
WITH looked AS (
    SELECT DISTINCT ON (key) * FROM jsonb_to_recordset(%(findings)s) AS one(
        key text, rule text, level text, severity text, dataset text, subject text, message text, count bigint
    )
), seen AS (
    INSERT INTO tenant_ops.finding AS known (
        tenant_id, key, rule, level, severity, dataset, subject, message, count,
        first_seen_at, since, last_seen_at
    )
    SELECT %(tenant)s, key, rule, level, severity, dataset, subject, message, count, %(at)s, %(at)s, %(at)s
    FROM looked
    ON CONFLICT (tenant_id, key) DO UPDATE SET
        rule = excluded.rule, level = excluded.level, severity = excluded.severity,
        dataset = excluded.dataset, subject = excluded.subject, message = excluded.message,
        count = excluded.count, last_seen_at = excluded.last_seen_at,
        since = CASE WHEN known.resolved_at IS NULL THEN known.since ELSE excluded.since END,
        reopened = known.reopened + (known.resolved_at IS NOT NULL)::int,
        resolved_at = NULL
    WHERE known.last_seen_at <= excluded.last_seen_at
      AND (known.resolved_at IS NULL OR known.resolved_at <= excluded.last_seen_at)
    RETURNING key, severity, subject, message, first_seen_at, since, reopened
), mended AS (
    UPDATE tenant_ops.finding SET resolved_at = %(at)s
    WHERE tenant_id = %(tenant)s AND resolved_at IS NULL AND last_seen_at < %(at)s
      AND rule = ANY (%(checked)s) AND key NOT IN (SELECT key FROM looked)
    RETURNING key, severity, subject, message, first_seen_at, since, reopened
), forgotten AS (
    DELETE FROM tenant_ops.finding
    WHERE tenant_id = %(tenant)s AND resolved_at < %(keep)s AND key NOT IN (SELECT key FROM looked)
)
SELECT false AS mended, * FROM seen UNION ALL SELECT true, * FROM mended ORDER BY key
"""

_KNOWN = """
SELECT key, first_seen_at, since, reopened FROM tenant_ops.finding
WHERE tenant_id = %s AND key = ANY (%s)
"""

_PREVIOUS = """
SELECT body->'score', finished_at FROM tenant_ops.report
WHERE tenant_id = %s AND operation = 'validate' AND outcome <> 'failed' ORDER BY finished_at DESC LIMIT 1
"""


def record_run(
    fleet: Fleet, tenant: Tenant, findings: Sequence[Finding], *, at: datetime, checked: Collection[str]
) -> Recorded:
    """Write down what a validation saw, in one transaction of the control plane.

    Args:
        fleet: Whose control plane.
        tenant: Who was validated.
        findings: All of it, muted or not.
        at: When the validation began.
        checked: The rules that were really checked, on all rows: their other findings are resolved.
    """
    columns = ("key", "rule", "level", "severity", "dataset", "subject", "message", "count")
    given = {
        "tenant": tenant.id,
        "findings": Jsonb([{name: getattr(one, name) for name in columns} for one in findings]),
        "checked": list(checked),
        "at": at,
        "keep": at - timedelta(days=KEEP_RESOLVED_DAYS),
    }
    with fleet.control.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_TURN, (str(tenant.id),))
        rows = cursor.execute(_RECORD, given).fetchall()
        seen = {row["key"]: _seen(row, at) for row in rows if not row["mended"]}
        if late := [one.key for one in findings if one.key not in seen]:
            seen |= {row["key"]: _seen(row, at) for row in cursor.execute(_KNOWN, (tenant.id, late))}
        previous = _previous(connection, tenant.id)
    return Recorded(
        seen,
        tuple(
            MendedFinding(row["key"], row["severity"], row["subject"], row["message"], row["since"])
            for row in rows
            if row["mended"]
        ),
        previous,
    )


def _seen(row: dict[str, Any], at: datetime) -> Seen:
    return Seen(row["first_seen_at"], row["since"], row["reopened"], new=row["since"] == at)


def _previous(connection: psycopg.Connection, tenant_id: UUID) -> Previous | None:
    row = connection.execute(_PREVIOUS, (tenant_id,)).fetchone()
    return Previous(*row) if row else None
