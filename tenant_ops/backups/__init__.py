"""Backups of one tenant: sealed archives of schema, rows, files and configuration, and the way back.

`taking.py` and `restoring.py` are the two operations; `archive.py` and `reading.py` the format, described in
`docs/backup-format.md`; `ddl/` the definition of a schema; `catalog.py` which backups there are.
"""

from tenant_ops.backups.catalog import UnknownBackup, find_backup, list_backups
from tenant_ops.backups.comparing import Comparison, TableComparison, compare
from tenant_ops.backups.crypto import DamagedBackup, WrongKey
from tenant_ops.backups.exporting import ExportPlan, ExportReport, export_key, plan_export
from tenant_ops.backups.lineage import ChainView, chains
from tenant_ops.backups.rebuilding import rebuild
from tenant_ops.backups.reconciling import (
    ReconcilePlan,
    ReconcileReport,
    execute_reconcile,
    plan_reconcile,
)
from tenant_ops.backups.reports import (
    BackupPlan,
    BackupRecord,
    BackupReport,
    RebuildReport,
    RetentionDecision,
    RetentionReport,
    VerifyReport,
)
from tenant_ops.backups.restoring.executing import execute_restore
from tenant_ops.backups.restoring.moments import parse_time
from tenant_ops.backups.restoring.planning import plan_restore, plan_restore_to
from tenant_ops.backups.restoring.reports import RestorePlan, RestoreReport, TableDifference, UndoReport
from tenant_ops.backups.restoring.undoing import discard_replaced, undo_restore
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
from tenant_ops.backups.rotating import (
    KeyProblem,
    RotationPlan,
    RotationReport,
    execute_rotation,
    plan_rotation,
)
from tenant_ops.backups.rotating_master import (
    MasterRotationPlan,
    MasterRotationReport,
    execute_master_rotation,
    plan_master_rotation,
)
from tenant_ops.backups.safety import safety_copy
from tenant_ops.backups.shredding import ShredReport, shred
from tenant_ops.backups.stores import StoreFailed
from tenant_ops.backups.taking import execute_backup, plan_backup
from tenant_ops.backups.verifying import verify_backup, verify_backups

__all__ = [
    "BackupPlan",
    "BackupRecord",
    "BackupReport",
    "ChainView",
    "Comparison",
    "DamagedBackup",
    "ExportPlan",
    "ExportReport",
    "KeyProblem",
    "MasterRotationPlan",
    "MasterRotationReport",
    "RebuildReport",
    "ReconcilePlan",
    "ReconcileReport",
    "RestorePlan",
    "RestoreReport",
    "RetentionDecision",
    "RetentionPolicy",
    "RetentionReport",
    "RotationPlan",
    "RotationReport",
    "ShredReport",
    "StoreFailed",
    "TableComparison",
    "TableDifference",
    "UndoReport",
    "UnknownBackup",
    "VerifyReport",
    "WrongKey",
    "chains",
    "compare",
    "discard_replaced",
    "execute_backup",
    "execute_master_rotation",
    "execute_reconcile",
    "execute_restore",
    "execute_retention",
    "execute_rotation",
    "export_key",
    "find_backup",
    "hold",
    "list_backups",
    "parse_time",
    "pin",
    "plan_backup",
    "plan_export",
    "plan_master_rotation",
    "plan_reconcile",
    "plan_restore",
    "plan_restore_to",
    "plan_retention",
    "plan_rotation",
    "prune_journal",
    "rebuild",
    "release",
    "remove_backup",
    "require_no_hold",
    "safety_copy",
    "shred",
    "undo_restore",
    "verify_backup",
    "verify_backups",
]
