"""What drills and the report of recovery plan and find: frozen values that turn into JSON as they are.

Here: plans and reports. Not here: what makes them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Granularity = Literal["exact", "tick"]
Breach = Literal["no backup", "rpo", "rto", "drill differed", "drill overdue"]


class Aim(StrEnum):
    """Which backup of a tenant a drill restores."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class DrillTarget:
    """One tenant's restore that is to be tried.

    Attributes:
        backup_id: Which backup.
        aim: Whether it is the end of the tenant's newest chain or the oldest backup kept.
        depth: How many backups lie between it and the full one its chain begins with, itself counted.
        measure: Take an incremental that counts and hashes every row first, when the backup knows them of
            some tables only.
        rows: Of the tables whose rows the backup knows.
        raw_bytes: Of the backup's own content, before compression.
        why: Why this tenant, now.
    """

    tenant: str
    tenant_id: str
    tier: str
    backup_id: str
    aim: Aim
    depth: int
    measure: bool
    rows: int
    raw_bytes: int
    why: str


@dataclass(frozen=True)
class DrillPlan:
    """Whose restore is tried, in order.

    Attributes:
        considered: Tenants that were looked at.
        targets: The sample.
        without: Slugs of tenants that have no backup a restore could be tried with.
    """

    considered: int
    targets: tuple[DrillTarget, ...]
    without: tuple[str, ...]


@dataclass(frozen=True)
class Drill:
    """A restore that was tried.

    Attributes:
        backup_id: What was restored; with `measured`, the incremental that was taken for it.
        aim: The newest or the oldest backup of the tenant.
        depth: Backups of the chain before this one.
        measured: Whether an incremental was taken first, whose rows are all counted and hashed.
        moment: The moment that was restored, by the server's clock.
        granularity: How near any moment of the chain can be restored: exact, or as of a backup (`tick`).
        started_at: When.
        rpo_s: Age of the newest restorable moment of the tenant before the drill, in seconds.
        rpo_target_s: At most, by its tier.
        rto_s: Seconds from the start to a verified schema; until it failed, when it did.
        rto_target_s: At most, by its tier.
        mb_per_s: Content restored, in megabytes per second of that.
        tables: Restored.
        rows: In them.
        files: Unpacked.
        raw_bytes: Content of rows, journal and files.
        equal: Everything could be read and put back, and what could be compared is what was backed up.
        not_compared: Tables whose rows the backup does not know: put back, but compared with nothing.
        problems: What was wrong, in sentences.
    """

    tenant: str
    tenant_id: str
    tier: str
    backup_id: str
    aim: Aim
    depth: int
    measured: bool
    moment: str
    granularity: Granularity
    started_at: str
    rpo_s: float
    rpo_target_s: float
    rto_s: float
    rto_target_s: float
    mb_per_s: float
    tables: int
    rows: int
    files: int
    raw_bytes: int
    equal: bool
    not_compared: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrillReport:
    """What a round of drills found.

    Attributes:
        drills: In the order of the plan.
        failed: Tenants whose restore could not be tried, each with the reason.
        swept: What killed drills had left and is removed now.
    """

    drills: tuple[Drill, ...]
    failed: tuple[str, ...]
    swept: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether everything that was tried was right."""
        return not self.failed and all(drill.equal for drill in self.drills)


@dataclass(frozen=True)
class Recovery:
    """How one tenant would come out of a disaster now, by the catalog and its drills.

    Attributes:
        newest_backup: Id of the newest backup that is sound with its whole chain, as far as is known.
        newest_moment: The moment it holds; the newest that can be restored.
        oldest_moment: The oldest that can be.
        age_s: Seconds since the newest one; without a backup, since the tenant was made.
        granularity: How near any moment in between can be restored.
        depth: Backups of the chain before the newest.
        verified_at: When the newest was read back whole; None for never.
        last_verified: When any backup of the tenant was.
        unsound: Backups that are newer than `newest_backup` and cannot be restored.
        last_drill: When a restore was tried last.
        drill_equal: Whether that one was right.
        rto_s: Seconds it took.
        rpo_target_s: What may be lost at most, by its tier.
        rto_target_s: How long a restore may take at most.
        drill_target_s: How long ago the last drill may be; a new tenant has as long until its first.
        breaches: What is not as the tier promises.
    """

    tenant: str
    tenant_id: str
    tier: str
    newest_backup: str | None
    newest_moment: str | None
    oldest_moment: str | None
    age_s: float
    granularity: Granularity
    depth: int
    backups: int
    verified_at: str | None
    last_verified: str | None
    unsound: tuple[str, ...]
    last_drill: str | None
    drill_equal: bool | None
    rto_s: float | None
    rpo_target_s: float
    rto_target_s: float
    drill_target_s: float
    breaches: tuple[Breach, ...]

    @property
    def urgency(self) -> tuple[bool, float]:
        """By which tenants are put in order: those in breach first, then by the share of the RPO used up."""
        return bool(self.breaches), self.age_s / self.rpo_target_s


@dataclass(frozen=True)
class TierSummary:
    """The tenants of a tier together.

    Attributes:
        in_breach: How many of them are.
        worst_age_s: The largest age of a newest restorable moment; None without tenants.
        worst_rto_s: The longest that the last drill of one took; None when none was drilled.
    """

    tier: str
    tenants: int
    in_breach: int
    rpo_target_s: float
    rto_target_s: float
    worst_age_s: float
    worst_rto_s: float | None
    drilled: int


@dataclass(frozen=True)
class RpoReport:
    """Every tenant's recovery, worst first, and the tiers'."""

    at: str
    tenants: tuple[Recovery, ...]
    tiers: tuple[TierSummary, ...] = field(default=())

    @property
    def in_breach(self) -> tuple[Recovery, ...]:
        """Those that are not as their tier promises."""
        return tuple(tenant for tenant in self.tenants if tenant.breaches)
