"""Backups of one tenant: sealed archives of schema, rows, files and configuration, and the way back.

`taking.py` and `restoring.py` are the two operations; `archive.py` and `reading.py` the format, described in
`docs/backup-format.md`; `ddl/` the definition of a schema; `catalog.py` which backups there are.
"""

from tenant_ops.backups.catalog import find_backup, list_backups, rebuild
from tenant_ops.backups.crypto import DamagedBackup, WrongKey
from tenant_ops.backups.keys import forget_keys
from tenant_ops.backups.restoring.swapping import discard_replaced, undo_restore
from tenant_ops.backups.reports import (
    BackupPlan,
    BackupRecord,
    BackupReport,
    Comparison,
    RebuildReport,
    RestorePlan,
    RestoreReport,
    RetentionDecision,
    RetentionReport,
    TableComparison,
    UndoReport,
    VerifyReport,
)
from tenant_ops.backups.restoring.executing import execute_restore, plan_restore
from tenant_ops.backups.retention import (
    RetentionPolicy,
    execute_retention,
    hold,
    pin,
    plan_retention,
    prune_journal,
    release,
    remove_backup,
    require_no_hold,
)
from tenant_ops.backups.safety import forget_tenant, safety_copy
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.backups.verifying import compare, verify_backup

__all__ = [
    "BackupPlan",
    "BackupRecord",
    "BackupReport",
    "Comparison",
    "DamagedBackup",
    "RebuildReport",
    "RestorePlan",
    "RestoreReport",
    "RetentionDecision",
    "RetentionPolicy",
    "RetentionReport",
    "TableComparison",
    "UndoReport",
    "VerifyReport",
    "WrongKey",
    "compare",
    "discard_replaced",
    "execute_backup",
    "execute_restore",
    "execute_retention",
    "find_backup",
    "forget_keys",
    "forget_tenant",
    "hold",
    "list_backups",
    "pin",
    "plan_backup",
    "plan_restore",
    "plan_retention",
    "prune_journal",
    "rebuild",
    "release",
    "remove_backup",
    "require_no_hold",
    "safety_copy",
    "undo_restore",
    "verify_backup",
]
