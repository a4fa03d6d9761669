"""The journal: every change of a tenant's rows, from which incremental backups and moments in time are made.

A base (a full backup with an `Anchor`) and the segments after it are a chain. `capture.py` keeps the journal,
`tick.py` writes segments, `replay.py` puts them back, `chain.py` says when a new base is due. How it works,
what it costs and what it cannot do: `docs/journal.md`.
"""

from tenant_ops.backups.journal.capture import health, install, remove
from tenant_ops.backups.journal.chain import Anchor, ChainBroken
from tenant_ops.backups.journal.changes import ChangedRows, changes_since
from tenant_ops.backups.journal.inspection import Health
from tenant_ops.backups.journal.replay import ReplayReport, Segment, replay
from tenant_ops.backups.journal.status import JournalStatus, OpenTransaction, journal_status
from tenant_ops.backups.journal.tick import (
    FollowedTable,
    SegmentInfo,
    foresee_segment,
    keep,
    prune,
    read_anchor,
    write_segment,
)
from tenant_ops.backups.journal.until import (
    LAST_TICK,
    AsSeenBy,
    AtTime,
    BeforeTransaction,
    LastTick,
    Reach,
    Until,
    WithoutTransaction,
    reach,
)

__all__ = [
    "LAST_TICK",
    "Anchor",
    "AsSeenBy",
    "AtTime",
    "BeforeTransaction",
    "ChainBroken",
    "ChangedRows",
    "FollowedTable",
    "Health",
    "JournalStatus",
    "LastTick",
    "OpenTransaction",
    "Reach",
    "ReplayReport",
    "Segment",
    "SegmentInfo",
    "Until",
    "WithoutTransaction",
    "changes_since",
    "foresee_segment",
    "health",
    "install",
    "journal_status",
    "keep",
    "prune",
    "reach",
    "read_anchor",
    "remove",
    "replay",
    "write_segment",
]
