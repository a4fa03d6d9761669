"""What a retention policy says, and which one is in force for a tenant.

Here: the value and how it is written. Not here: the tiers' policies (`tenants/tiers.py`), what a policy means
for given backups (`deciding.py`).
"""

import re
from dataclasses import dataclass, fields
from datetime import timedelta

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Tenant

_HOURS = {"h": 1, "d": 24, "w": 7 * 24}
_ITEM = re.compile(r"^([a-z-]+)=([0-9]{1,6})([hdw]?)$")


@dataclass(frozen=True)
class RetentionPolicy:
    """Which backups of a tenant are kept. Every rule keeps; what none keeps goes.

    Attributes:
        last: So many of the newest.
        within: Everything younger, None for no such rule.
        hourly: The newest of each of so many hours that have a backup, counted back from the newest.
        daily: The same of days, as all of these in UTC.
        weekly: Of ISO weeks, which begin on Monday.
        monthly: Of months.
        yearly: Of years.
        most_removed: So many go in one run at most: a mistake shows before it has cost everything.
    """

    last: int = 0
    within: timedelta | None = None
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    most_removed: int = 100

    @classmethod
    def parse(cls, text: str) -> "RetentionPolicy":
        """The policy written as `last=7,within=30d,daily=7,weekly=4,monthly=12,yearly=3,most-removed=100`.

        What is left out is 0; `most-removed` is 100. `within` takes hours (36h), days (30d) or weeks (8w).

        Raises:
            InputError: an item is none of these, or is there twice.
        """
        values: dict[str, int | timedelta] = {}
        for item in (part.strip() for part in text.split(",") if part.strip()):
            found = _ITEM.match(item)
            name = found[1].replace("-", "_") if found else ""
            if found is None or name not in _NAMES or name in values or bool(found[3]) != (name == "within"):
                raise InputError(
                    f"{item!r} is no rule of retention, or a second one of its kind.",
                    where="retention policy",
                    fix="Write for instance last=7,within=30d,daily=7,weekly=4,monthly=12,yearly=3.",
                )
            count = int(found[2])
            values[name] = timedelta(hours=count * _HOURS[found[3]]) if found[3] else count
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """As `parse` reads it; rules that keep nothing are left out."""
        said = (
            (name, getattr(self, name)) for name, default in _NAMES.items() if getattr(self, name) != default
        )
        return ",".join(f"{name.replace('_', '-')}={_written(value)}" for name, value in said) or "last=0"

    @property
    def window(self) -> str:
        """`within` as it is written."""
        return _written(self.within or timedelta(0))


_NAMES = {field.name: field.default for field in fields(RetentionPolicy)}


def policy_for(tenant: Tenant, settings: Settings) -> RetentionPolicy:
    """The policy of the tenant's tier; BACKUP_RETENTION_DAYS is its `within` where it has none."""
    text = tenant.tier.backup_retention
    if "within=" not in text and settings.backup_retention_days is not None:
        text = f"{text},within={settings.backup_retention_days}d"
    return RetentionPolicy.parse(text)


def _written(value: int | timedelta) -> str:
    if isinstance(value, int):
        return str(value)
    hours = value // timedelta(hours=1)
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"
