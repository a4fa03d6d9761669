"""What each tier of tenant gets: the one place limits, cadences and retention are written down.

Here: values. Not here: what enforces them (provisioning, schedules, cleanup, validation read this table).
"""

from dataclasses import dataclass

from tenant_ops.platform.errors import InputError


@dataclass(frozen=True)
class Tier:
    """One tier.

    Attributes:
        name: As written on the command line and in the registry.
        connection_limit: Most concurrent connections of the tenant's login.
        statement_timeout_s: Longest statement of the tenant's login, in seconds.
        max_users: Accounts the tenant may have.
        max_storage_mb: Data and files, in megabytes.
        integrations: Outside services it may connect.
        backup_every_h: Hours between two scheduled backups: incremental ones, and full ones among them.
        full_backup_every_h: Hours between two scheduled full backups; it bounds how long a chain becomes.
        rpo_h: Most hours of changes that may be lost (recovery point objective): a scheduled backup may be
            missed once.
        rto_s: Most seconds a restore may take (recovery time objective).
        drill_every_d: Days within which a restore is tried for real.
        backup_retention: Which backups are kept, as `backup retention --policy` takes it; without a
            `within`, BACKUP_RETENTION_DAYS is it.
        validate_every_h: Hours between two scheduled validations; after twice as many it is stale.
        retention_days: Days rows with a retention rule are kept at most; None leaves the dataset's own rule.
        rotation_days: Days a credential lives.
        wave: Its turn in a fleet-wide rollout, lowest first.
    """

    name: str
    connection_limit: int
    statement_timeout_s: int
    max_users: int
    max_storage_mb: int
    integrations: tuple[str, ...]
    backup_every_h: int
    full_backup_every_h: int
    rpo_h: float
    rto_s: float
    drill_every_d: int
    backup_retention: str
    validate_every_h: int
    retention_days: int | None
    rotation_days: int
    wave: int

    @property
    def keeps_journal(self) -> bool:
        """Whether changes are logged between full backups: where they are all full, nobody needs it."""
        return self.backup_every_h < self.full_backup_every_h


TIERS: dict[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier(
            name="starter",
            connection_limit=5,
            statement_timeout_s=15,
            max_users=100,
            max_storage_mb=1_000,
            integrations=("spotify", "webhook"),
            backup_every_h=24,
            full_backup_every_h=24,
            rpo_h=48,
            rto_s=14_400,
            drill_every_d=30,
            backup_retention="last=7,daily=7,weekly=4",
            validate_every_h=24,
            retention_days=90,
            rotation_days=90,
            wave=1,
        ),
        Tier(
            name="professional",
            connection_limit=20,
            statement_timeout_s=60,
            max_users=5_000,
            max_storage_mb=50_000,
            integrations=("spotify", "lastfm", "slack", "webhook"),
            backup_every_h=6,
            full_backup_every_h=24,
            rpo_h=12,
            rto_s=3_600,
            drill_every_d=14,
            backup_retention="last=30,daily=14,weekly=8,monthly=6",
            validate_every_h=24,
            retention_days=365,
            rotation_days=30,
            wave=2,
        ),
        Tier(
            name="enterprise",
            connection_limit=100,
            statement_timeout_s=300,
            max_users=1_000_000,
            max_storage_mb=1_000_000,
            integrations=("spotify", "lastfm", "slack", "webhook", "salesforce", "s3"),
            backup_every_h=1,
            full_backup_every_h=24,
            rpo_h=2,
            rto_s=900,
            drill_every_d=7,
            backup_retention="last=90,hourly=48,daily=30,weekly=13,monthly=12,yearly=3",
            validate_every_h=6,
            retention_days=None,
            rotation_days=7,
            wave=3,
        ),
    )
}


def tier(name: str) -> Tier:
    """The tier of that name.

    Raises:
        InputError: there is no such tier.
    """
    if name not in TIERS:
        raise InputError(f"there is no tier {name!r}.", fix=f"Choose one of: {', '.join(TIERS)}.")
    return TIERS[name]
