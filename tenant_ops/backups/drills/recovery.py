"""How every tenant would come out of a disaster now, and whether that is what its tier promises.

Here: reading the catalog and the drills of all tenants in two queries, and judging them. Not here: looking
into backups (`verifying.py`), trying them (`executing.py`), the targets (`tenants/tiers.py`).

By the catalog a backup is sound when nobody found it damaged, nobody is removing it, and so up to the full
backup its chain begins with. One dated in the future displaces none: what it says of its age is not true.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import kwargs_row

from tenant_ops.backups.drills.reports import Breach, Granularity, Recovery, RpoReport, TierSummary
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, Tenant

HOUR_S, DAY_S = 3_600.0, 86_400.0
# Clocks of two machines differ; what is further ahead was dated by one that is wrong.
_CLOCKS_DIFFER = timedelta(minutes=5)

# Grouped, not looked up tenant by tenant: the time grows with the number of backups, not with its square.
_STANDINGS = """
WITH RECURSIVE sound AS (
    SELECT id, tenant_id FROM tenant_ops.backup
    WHERE type = 'full' AND damaged_at IS NULL AND removing_at IS NULL AND tenant_id = ANY(%(ids)s)
    UNION ALL
    SELECT b.id, b.tenant_id
    FROM tenant_ops.backup b JOIN sound s ON b.parent = s.id AND b.tenant_id = s.tenant_id
    WHERE b.type <> 'full' AND b.damaged_at IS NULL AND b.removing_at IS NULL
), known AS (
    SELECT b.*, s.id IS NOT NULL AS good
    FROM tenant_ops.backup b LEFT JOIN sound s USING (id)
    WHERE b.tenant_id = ANY(%(ids)s) AND b.removing_at IS NULL AND b.taken_at <= %(latest)s
), newest AS (
    SELECT DISTINCT ON (tenant_id) * FROM known WHERE good ORDER BY tenant_id, taken_at DESC, id DESC
), oldest AS (
    SELECT DISTINCT ON (tenant_id) * FROM known WHERE good ORDER BY tenant_id, taken_at, id
), counted AS (
    SELECT k.tenant_id, count(*) AS backups, max(k.verified_at) AS last_verified,
           array_agg(k.id ORDER BY k.taken_at DESC) FILTER (
               WHERE NOT k.good AND (n.taken_at IS NULL OR k.taken_at > n.taken_at)) AS unsound
    FROM known k LEFT JOIN newest n USING (tenant_id) GROUP BY k.tenant_id
), drill AS (
    SELECT DISTINCT ON (tenant_id) * FROM tenant_ops.drill
    WHERE tenant_id = ANY(%(ids)s) ORDER BY tenant_id, started_at DESC, id DESC
)
SELECT t.id AS tenant_id, n.id AS newest, n.taken_at AS newest_at, o.id AS oldest, o.taken_at AS oldest_at,
       coalesce(n.depth, 0) AS depth, coalesce(o.depth, 0) AS oldest_depth,
       coalesce(n.rows, 0) AS rows, coalesce(o.rows, 0) AS oldest_rows,
       coalesce(n.raw_bytes, 0) AS raw_bytes, coalesce(o.raw_bytes, 0) AS oldest_bytes,
       n.verified_at, n.anchor IS NOT NULL AS journal, coalesce(n.type <> 'full', false) AS builds,
       coalesce(c.backups, 0) AS backups, c.last_verified, coalesce(c.unsound, '{}') AS unsound,
       d.started_at AS drilled_at, d.equal AS drill_equal, d.rto_s, d.detail->>'aim' AS aim
FROM unnest(%(ids)s::uuid[]) AS t (id)
LEFT JOIN newest n ON n.tenant_id = t.id LEFT JOIN oldest o ON o.tenant_id = t.id
LEFT JOIN counted c ON c.tenant_id = t.id LEFT JOIN drill d ON d.tenant_id = t.id
"""


@dataclass(frozen=True)
class Standing:
    """What the control plane knows of a tenant's backups and drills; `newest` and `oldest` are sound ones."""

    tenant: Tenant
    newest: str | None
    newest_at: datetime | None
    oldest: str | None
    oldest_at: datetime | None
    depth: int
    verified_at: datetime | None
    journal: bool
    rows: int
    raw_bytes: int
    oldest_depth: int
    oldest_rows: int
    oldest_bytes: int
    builds: bool
    backups: int
    last_verified: datetime | None
    unsound: tuple[str, ...]
    drilled_at: datetime | None
    drill_equal: bool | None
    rto_s: float | None
    aim: str | None

    def age_s(self, now: datetime) -> float:
        """Seconds since the newest restorable moment; without one, since the tenant was made."""
        return max((now - (self.newest_at or self.tenant.created_at)).total_seconds(), 0.0)


def rpo_report(fleet: Fleet, tenants: Iterable[Tenant] | None = None) -> RpoReport:
    """What each tenant would lose now, how long it would be away, and whether that is within its targets.

    It reads the control plane only, whose cost is two queries however many tenants there are; the backups
    themselves are looked at by `verify_backup` and drills.

    Args:
        fleet: The fleet.
        tenants: Of which; None takes every active one.
    """
    now = fleet.clock()
    chosen = fleet.registry.all() if tenants is None else tuple(tenants)
    exact = _exact_servers(fleet, chosen)
    found = [
        _recovery(standing, now, exact=standing.tenant.placement in exact)
        for standing in read_standings(fleet, chosen, now)
    ]
    found.sort(key=lambda recovery: recovery.tenant)
    found.sort(key=lambda recovery: recovery.urgency, reverse=True)
    return RpoReport(now.isoformat(), tuple(found), tuple(_summaries(found)))


def read_standings(fleet: Fleet, tenants: Sequence[Tenant], now: datetime) -> tuple[Standing, ...]:
    """What is known of the tenants' backups and drills, in their order."""
    by_id = {tenant.id: tenant for tenant in tenants}

    def standing(**row) -> Standing:
        return Standing(by_id[row.pop("tenant_id")], **{**row, "unsound": tuple(row["unsound"])})

    with (
        fleet.control.transaction() as connection,
        connection.cursor(row_factory=kwargs_row(standing)) as cursor,
    ):
        cursor.execute(_STANDINGS, {"ids": list(by_id), "latest": now + _CLOCKS_DIFFER})
        found = {standing.tenant.id: standing for standing in cursor}
    return tuple(found[tenant_id] for tenant_id in by_id)


def _recovery(standing: Standing, now: datetime, *, exact: bool) -> Recovery:
    tenant, tier = standing.tenant, standing.tenant.tier
    granularity: Granularity = "exact" if exact and standing.journal else "tick"
    return Recovery(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        tier=tier.name,
        newest_backup=standing.newest,
        newest_moment=_written(standing.newest_at),
        oldest_moment=_written(standing.oldest_at),
        age_s=round(standing.age_s(now), 1),
        granularity=granularity,
        depth=standing.depth,
        backups=standing.backups,
        verified_at=_written(standing.verified_at),
        last_verified=_written(standing.last_verified),
        unsound=standing.unsound,
        last_drill=_written(standing.drilled_at),
        drill_equal=standing.drill_equal,
        rto_s=standing.rto_s,
        rpo_target_s=tier.rpo_h * HOUR_S,
        rto_target_s=tier.rto_s,
        drill_target_s=tier.drill_every_d * DAY_S,
        breaches=tuple(_breaches(standing, now)),
    )


def _breaches(standing: Standing, now: datetime) -> Iterator[Breach]:
    tenant, tier = standing.tenant, standing.tenant.tier
    if standing.age_s(now) > tier.rpo_h * HOUR_S:
        yield "rpo" if standing.newest else "no backup"
    if standing.rto_s is not None and standing.rto_s > tier.rto_s:
        yield "rto"
    if standing.drill_equal is False:
        yield "drill differed"
    if (now - (standing.drilled_at or tenant.created_at)).total_seconds() > tier.drill_every_d * DAY_S:
        yield "drill overdue"


def _summaries(found: Sequence[Recovery]) -> Iterator[TierSummary]:
    for tier in sorted({recovery.tier for recovery in found}):
        group = [recovery for recovery in found if recovery.tier == tier]
        taken = [recovery.rto_s for recovery in group if recovery.rto_s is not None]
        yield TierSummary(
            tier=tier,
            tenants=len(group),
            in_breach=sum(bool(recovery.breaches) for recovery in group),
            rpo_target_s=group[0].rpo_target_s,
            rto_target_s=group[0].rto_target_s,
            worst_age_s=max(recovery.age_s for recovery in group),
            worst_rto_s=max(taken, default=None),
            drilled=len(taken),
        )


def _exact_servers(fleet: Fleet, tenants: Iterable[Tenant]) -> set[str]:
    """Placements whose server notes when transactions were committed; one that does not answer is none."""
    exact = set()
    for placement, tenant in {tenant.placement: tenant for tenant in tenants}.items():
        try:
            with fleet.database(tenant).transaction() as connection:
                row = connection.execute("SHOW track_commit_timestamp").fetchone()
        except (TenantOpsError, psycopg.Error):
            continue
        if row and row[0] == "on":
            exact.add(placement)
    return exact


def _written(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
