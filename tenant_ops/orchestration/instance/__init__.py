"""The Dagster instance of this project: Postgres storage with nothing to configure, and events in groups.

Here: every use of a private Dagster API in the project. `dagster._core` moves between minor versions: these
are the modules to read after an upgrade. Not here: what a run does with its tenants (`batch.py`).
"""

from tenant_ops.orchestration.instance.connection import InstanceUnusable, instance_url
from tenant_ops.orchestration.instance.events import (
    LOGGED_BY_THE_STEP,
    latest_materializations,
    leads_to_partitions,
    log_events,
    log_planned,
    version_tags,
)
from tenant_ops.orchestration.instance.selection import accept_prefixes
from tenant_ops.orchestration.instance.storage import TenantOpsInstance, TenantOpsStorage

__all__ = [
    "LOGGED_BY_THE_STEP",
    "InstanceUnusable",
    "TenantOpsInstance",
    "TenantOpsStorage",
    "accept_prefixes",
    "instance_url",
    "latest_materializations",
    "leads_to_partitions",
    "log_events",
    "log_planned",
    "version_tags",
]
