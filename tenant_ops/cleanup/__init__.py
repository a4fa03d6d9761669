"""Cleanup: what a tenant no longer needs goes, after a plan and a safety copy, and comes back for a week.

`policies.py` says how old things may become, `plan.py` counts, `execute.py` removes, `trash.py` keeps and
`undo.py` brings back; `rows.py`, `stages.py`, `files.py` and `cached.py` are the types.
"""

from tenant_ops.cleanup.execute import SafetyCopy, execute_cleanup
from tenant_ops.cleanup.plan import plan_cleanup
from tenant_ops.cleanup.records import (
    DEFAULT_TYPES,
    TYPES,
    CleanedItem,
    CleanupItem,
    CleanupPlan,
    CleanupReport,
    PastCleanup,
    RestoredItem,
    Rule,
    UndoReport,
)
from tenant_ops.cleanup.references import Reference, Structure, read_structure
from tenant_ops.cleanup.trash import past_cleanups
from tenant_ops.cleanup.undo import undo_cleanup

__all__ = [
    "DEFAULT_TYPES",
    "TYPES",
    "CleanedItem",
    "CleanupItem",
    "CleanupPlan",
    "CleanupReport",
    "PastCleanup",
    "Reference",
    "RestoredItem",
    "Rule",
    "SafetyCopy",
    "Structure",
    "UndoReport",
    "execute_cleanup",
    "past_cleanups",
    "plan_cleanup",
    "read_structure",
    "undo_cleanup",
]
