"""Monitoring: how every tenant is, and what is wrong.

`monitor` is one look: `collectors.py` reads all tenants at once, `samples.py` keeps values, `rules.py` says
what is wrong, `alerts.py` keeps it until it is over, `recovery.py` repairs the little that is safe to.
"""

from tenant_ops.monitoring.alerts import open_alerts
from tenant_ops.monitoring.collectors import Look, collect
from tenant_ops.monitoring.monitor import channels, monitor
from tenant_ops.monitoring.records import (
    METRICS,
    Alert,
    Channel,
    Metric,
    MonitoringReport,
    Reading,
    RecoveryAction,
    ServerHealth,
    Severity,
    TenantHealth,
    Verdict,
)
from tenant_ops.monitoring.rules import RULES, Rule
from tenant_ops.monitoring.samples import samples_of

__all__ = [
    "METRICS",
    "RULES",
    "Alert",
    "Channel",
    "Look",
    "Metric",
    "MonitoringReport",
    "Reading",
    "RecoveryAction",
    "Rule",
    "ServerHealth",
    "Severity",
    "TenantHealth",
    "Verdict",
    "channels",
    "collect",
    "monitor",
    "open_alerts",
    "samples_of",
]
