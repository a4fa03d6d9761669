"""What monitoring says: readings, alerts, health and the report of one look, as frozen values.

Here: the values. Not here: how they come about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tenant_ops.tenants import Tenant

Severity = Literal["info", "warning", "error", "critical"]
Verdict = Literal["healthy", "warning", "error", "critical", "unknown"]


@dataclass(frozen=True)
class Metric:
    """Something that is read of every tenant: its unit, and what it means."""

    unit: Literal["bytes", "rows", "share", "connections", "seconds", "points"]
    meaning: str


METRICS: dict[str, Metric] = {
    "size_bytes": Metric("bytes", "Tables and indexes, stages and trash included, close to exact."),
    "live_rows": Metric("rows", "Rows, as the server's statistics estimate them."),
    "dead_share": Metric("share", "Dead rows among all rows, by the same statistics."),
    "unanalyzed_share": Metric("share", "The worst table's rows changed since it was last analysed."),
    "quarantine_rows": Metric("rows", "Rows in quarantine, estimated."),
    "connections": Metric("connections", "Open connections of the tenant's login."),
    "longest_transaction_s": Metric("seconds", "Age of its oldest transaction."),
    "idle_in_transaction_s": Metric("seconds", "Longest time a transaction of it has been idle."),
    "lock_wait_s": Metric("seconds", "Longest time a statement of it has waited for a lock."),
    "backup_age_s": Metric("seconds", "Since the last backup, or since the tenant was made."),
    "load_age_s": Metric("seconds", "Since the last load; absent when nothing was ever loaded."),
    "validation_score": Metric(
        "points", "Score of the last validation, 0 to 100; absent when there is none."
    ),
    "files_bytes": Metric("bytes", "The tenant's files."),
}
# Ages follow from the moments in the backup catalog and the reports: stored, they would never stand still.
UNSTORED = frozenset({"backup_age_s", "load_age_s"})


@dataclass(frozen=True)
class Reading:
    """What one look saw of one tenant.

    Attributes:
        metrics: By name, those that could be read.
        reached: Whether the tenant's server answered.
    """

    tenant: Tenant
    metrics: Mapping[str, float] = field(hash=False)
    reached: bool = True


@dataclass(frozen=True)
class Alert:
    """Something that is, or was, wrong with a tenant. There is at most one open alert per tenant and rule."""

    id: int
    tenant: str
    rule: str
    severity: Severity
    message: str
    value: float | None
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = None


@dataclass(frozen=True)
class RecoveryAction:
    """Something repaired, or tried to be, without asking."""

    tenant: str
    action: Literal["terminate", "analyze"]
    target: str
    done: bool
    reason: str


@dataclass(frozen=True)
class TenantHealth:
    """How one tenant is.

    Attributes:
        verdict: The severity of its worst open alert; `healthy` without any above `info`; `unknown` when its
            server did not answer.
        metrics: By name, see `METRICS`.
        alerts: Open now, worst first.
    """

    tenant: str
    tier: str
    state: str
    verdict: Verdict
    metrics: Mapping[str, float] = field(hash=False)
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True)
class ServerHealth:
    """How one Postgres server is; `problem` says why nothing else is known of it."""

    placement: str
    reached: bool
    connections: int = 0
    connection_limit: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Channel:
    """A way alerts leave the building."""

    name: str
    configured: bool
    state: str


@dataclass(frozen=True)
class MonitoringReport:
    """One look at the fleet.

    Attributes:
        at: When.
        tenants: Health, by tenant.
        servers: The servers they are on.
        opened: Alerts this look opened.
        resolved: Alerts this look found to be over.
        recovery: What was repaired.
        channels: Where alerts would be sent to.
        samples: Values stored: those that changed, and each at least once an hour.
        notes: What cannot be seen here, and why.
        seconds: Wall-clock time.
    """

    at: datetime
    tenants: tuple[TenantHealth, ...]
    servers: tuple[ServerHealth, ...]
    opened: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    recovery: tuple[RecoveryAction, ...]
    channels: tuple[Channel, ...]
    samples: int
    notes: tuple[str, ...]
    seconds: float

    def of(self, slug: str) -> TenantHealth | None:
        """The health of one tenant, None when this look did not concern it."""
        return next((health for health in self.tenants if health.tenant == slug), None)
