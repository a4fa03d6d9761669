"""Backups of one tenant: sealed archives of schema, rows, files and configuration, and the way back.

`taking.py` and `restoring.py` are the two operations; `archive.py` and `reading.py` the format, described in
`docs/backup-format.md`; `ddl/` the definition of a schema; `catalog.py` which backups there are.
"""

from tenant_ops.backups.catalog import find_backup, list_backups, pin, rebuild
from tenant_ops.backups.crypto import DamagedBackup, WrongKey
from tenant_ops.backups.keys import forget_keys
from tenant_ops.backups.replaced import discard_replaced, undo_restore
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
from tenant_ops.backups.restoring import execute_restore, plan_restore
from tenant_ops.backups.retention import execute_retention, plan_retention
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
    "list_backups",
    "pin",
    "plan_backup",
    "plan_restore",
    "plan_retention",
    "rebuild",
    "safety_copy",
    "undo_restore",
    "verify_backup",
]
