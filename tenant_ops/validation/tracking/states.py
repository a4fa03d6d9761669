"""What is known of a finding over time: values, and when a mute holds.

Here: frozen values. Not here: storing them (`recording.py`, `mutes.py`).
"""

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from tenant_ops.validation.rules import Level, Severity

State = Literal["open", "muted", "resolved"]


@dataclass(frozen=True)
class Seen:
    """Since when a finding of a report is known.

    Attributes:
        first_at: When it was first seen at all.
        since: Since when it is open this time.
        reopened: How often it came back after it had been resolved.
        new: Whether the last validation before did not have it.
    """

    first_at: datetime
    since: datetime
    reopened: int
    new: bool


@dataclass(frozen=True)
class Mute:
    """A decision that findings do not count.

    Attributes:
        pattern: A finding's key, a rule, or either with `*` for anything.
        until: When they count again; None: when the mute is lifted. Findings of severity critical are never
            muted without end.
        tenant: The tenant; None: all of them.
    """

    mute_id: int
    tenant: str | None
    pattern: str
    reason: str
    muted_by: str
    muted_at: datetime
    until: datetime | None

    def covers(self, key: str, rule: str, severity: Severity) -> bool:
        """Whether a finding does not count as long as this holds."""
        if severity == "critical" and self.until is None:
            return False
        return fnmatchcase(key, self.pattern) or fnmatchcase(rule, self.pattern)


@dataclass(frozen=True)
class MutedFinding:
    """A finding that is there and does not count."""

    key: str
    rule: str
    level: Level
    severity: Severity
    dataset: str | None
    subject: str
    message: str
    count: int
    reason: str
    muted_by: str
    until: datetime | None


@dataclass(frozen=True)
class MendedFinding:
    """A finding that the last validation before had, and this one has not."""

    key: str
    severity: Severity
    subject: str
    message: str
    since: datetime


@dataclass(frozen=True)
class Previous:
    """The validation before, as its operation stored it."""

    score: int | None
    at: datetime


@dataclass(frozen=True)
class TrackedFinding:
    """A finding, whether or not it still is one.

    Attributes:
        count: Rows or objects concerned, when it was last seen.
        since: Since when it is open, or was the last time.
        mute: What mutes it.
    """

    tenant: str
    key: str
    rule: str
    level: Level
    severity: Severity
    dataset: str | None
    subject: str
    message: str
    count: int
    first_seen_at: datetime
    since: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    reopened: int
    mute: Mute | None = None

    @property
    def state(self) -> State:
        """Open, muted or resolved."""
        return "resolved" if self.resolved_at else "muted" if self.mute else "open"
