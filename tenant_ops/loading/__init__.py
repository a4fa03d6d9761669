"""Loading: rows from files into a tenant's tables, typed, checked, and never half.

`plan_load` looks, `execute_load` does; the two steps of each dataset, `stage` and `merge`, can be run on
their own. How it works is told in `staging.py` and `merging.py`.
"""

import pyarrow as arrow

from tenant_ops.datasets import ConflictStrategy, Drift, Mode
from tenant_ops.loading.many import FleetLoadReport, LoadFailure, load_many
from tenant_ops.loading.merging import merge
from tenant_ops.loading.operation import execute_load, plan_load
from tenant_ops.loading.prepared import PreparedFiles
from tenant_ops.loading.quarantine.dropping import (
    DropPlan,
    DropReport,
    drop_quarantine,
    plan_drop,
    undo_drop,
)
from tenant_ops.loading.quarantine.exporting import ExportReport, export_quarantine
from tenant_ops.loading.quarantine.repair import RepairReport, repair_row
from tenant_ops.loading.quarantine.review import (
    QuarantinedRow,
    QuarantineList,
    list_quarantine,
    show_row,
)
from tenant_ops.loading.reports import (
    CheckOutcome,
    DatasetLoad,
    DatasetPlan,
    Drifted,
    FileReport,
    LoadPlan,
    LoadReport,
    MergeReport,
    Reading,
    SourceFile,
    StageReport,
    checks,
)
from tenant_ops.loading.sample import checksum, masked_sample
from tenant_ops.loading.staging import stage

# The system's allocator keeps some 25 MB less of what is freed than Arrow's own, and is no slower here.
arrow.set_memory_pool(arrow.system_memory_pool())

__all__ = [
    "CheckOutcome",
    "ConflictStrategy",
    "DatasetLoad",
    "DatasetPlan",
    "Drift",
    "Drifted",
    "DropPlan",
    "DropReport",
    "ExportReport",
    "FileReport",
    "FleetLoadReport",
    "LoadFailure",
    "LoadPlan",
    "LoadReport",
    "MergeReport",
    "Mode",
    "PreparedFiles",
    "QuarantineList",
    "QuarantinedRow",
    "Reading",
    "RepairReport",
    "SourceFile",
    "StageReport",
    "checks",
    "checksum",
    "drop_quarantine",
    "execute_load",
    "export_quarantine",
    "list_quarantine",
    "load_many",
    "masked_sample",
    "merge",
    "plan_drop",
    "plan_load",
    "repair_row",
    "show_row",
    "stage",
    "undo_drop",
]
