"""Which backups stay and which go: `policy.py` says, `deciding.py` decides, `executing.py` removes.

`marks.py` is what an operator says of single backups. All rules: `docs/backup-retention.md`.
"""

from tenant_ops.backups.retention.deciding import decide
from tenant_ops.backups.retention.executing import (
    execute_retention,
    plan_retention,
    prune_journal,
    remove_backup,
)
from tenant_ops.backups.retention.marks import hold, pin, release, require_no_hold
from tenant_ops.backups.retention.policy import RetentionPolicy, policy_for

__all__ = [
    "RetentionPolicy",
    "decide",
    "execute_retention",
    "hold",
    "pin",
    "plan_retention",
    "policy_for",
    "prune_journal",
    "release",
    "remove_backup",
    "require_no_hold",
]
