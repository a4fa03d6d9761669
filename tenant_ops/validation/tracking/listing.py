"""Reading findings back: what is open, since when, and what mutes it.

Here: queries. Not here: printing (`cli/findings.py`).
"""

from collections.abc import Sequence

from psycopg.rows import dict_row

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.rules import SEVERITIES, Severity
from tenant_ops.validation.tracking.mutes import in_force
from tenant_ops.validation.tracking.states import State, TrackedFinding

ALARMING: tuple[Severity, ...] = ("critical", "error")
"""What monitoring raises alerts for: whatever of it is open and not muted. What is no longer listed is over,
so whoever compares two lists misses nothing, however long it looked away."""

_SELECT = """
SELECT tenant.id AS tenant_id, tenant.slug AS tenant, finding.key, rule, level, severity, dataset, subject,
       message, count, first_seen_at, since, last_seen_at, resolved_at, reopened
FROM tenant_ops.finding JOIN tenant_ops.tenant ON tenant.id = finding.tenant_id
WHERE finding.tenant_id = ANY (%(tenants)s) AND severity = ANY (%(severities)s)
  AND (resolved_at IS NULL OR %(resolved)s)
ORDER BY array_position(%(order)s, severity), since, tenant.slug, finding.key
"""


def list_findings(
    fleet: Fleet,
    tenants: Sequence[Tenant],
    *,
    states: Sequence[State] = ("open",),
    severities: Sequence[Severity] = SEVERITIES,
) -> tuple[TrackedFinding, ...]:
    """The findings of these tenants, worst first, then by how long they are open."""
    ids = [tenant.id for tenant in tenants]
    asked = {"tenants": ids, "severities": list(severities), "order": list(SEVERITIES)}
    with fleet.control.transaction() as connection:
        mutes = in_force(connection, ids, fleet.clock())
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_SELECT, asked | {"resolved": "resolved" in states}).fetchall()
    found: list[TrackedFinding] = []
    for row in rows:
        held = mutes[row.pop("tenant_id")]
        muting = (one for one in held if one.covers(row["key"], row["rule"], row["severity"]))
        found.append(TrackedFinding(**row, mute=next(muting, None)))
    return tuple(one for one in found if one.state in states)
