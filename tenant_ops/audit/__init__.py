"""What was done, provably: the hash-chained audit log and the stored report of every operation."""

from tenant_ops.audit.log import AuditEvent, ChainVerdict, history, record, verify_chain
from tenant_ops.audit.reports import Outcome, StoredReport, latest_report, reports_of_run, save_report

__all__ = [
    "AuditEvent",
    "ChainVerdict",
    "Outcome",
    "StoredReport",
    "history",
    "latest_report",
    "record",
    "reports_of_run",
    "save_report",
    "verify_chain",
]
