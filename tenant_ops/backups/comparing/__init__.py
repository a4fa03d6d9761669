"""Comparing: a tenant or a backup with another tenant or backup.

`sides.py` is what is known of each, `differences.py` what differs between two, `rows.py` row by row.
"""

from tenant_ops.backups.comparing.differences import compare
from tenant_ops.backups.comparing.reports import (
    Comparison,
    FileDifference,
    SchemaDifference,
    TableComparison,
)

__all__ = ["Comparison", "FileDifference", "SchemaDifference", "TableComparison", "compare"]
