"""Findings over time: one problem is one finding from when it is first seen until it is mended.

`states.py` holds what is known of a finding, `recording.py` writes what a validation saw, `mutes.py` says
which findings do not count for now and why, `listing.py` reads it all back. Not here: finding things
(`run.py`), telling anybody (the monitoring package reads `list_findings`).

Findings resolve only when a rule that was really checked sees them no more: not when it could not be checked,
when its level was not asked for, or when only a sample of the rows was looked at.
"""

from tenant_ops.validation.tracking.listing import ALARMING, list_findings
from tenant_ops.validation.tracking.mutes import in_force, list_mutes, mute, unmute
from tenant_ops.validation.tracking.recording import KEEP_RESOLVED_DAYS, Recorded, record_run
from tenant_ops.validation.tracking.states import (
    MendedFinding,
    Mute,
    MutedFinding,
    Previous,
    Seen,
    State,
    TrackedFinding,
)

__all__ = [
    "ALARMING",
    "KEEP_RESOLVED_DAYS",
    "MendedFinding",
    "Mute",
    "MutedFinding",
    "Previous",
    "Recorded",
    "Seen",
    "State",
    "TrackedFinding",
    "in_force",
    "list_findings",
    "list_mutes",
    "mute",
    "record_run",
    "unmute",
]
