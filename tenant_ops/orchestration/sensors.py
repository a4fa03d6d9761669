"""What is noticed by itself. The discovery sensor runs from the start: it starts no runs.

Here: polling that registers or requests. Not here: fixed times (`schedules.py`).
https://docs.dagster.io/guides/automate/sensors
"""

import dagster as dg

from tenant_ops.orchestration.partitions import sync
from tenant_ops.orchestration.resources import FleetParam


@dg.sensor(
    name="tenant_discovery",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def tenant_discovery(context: dg.SensorEvaluationContext, fleet: FleetParam) -> dg.SkipReason:
    """Mirrors the tenant registry into Dagster's partitions; requests no runs."""
    changed = sync(context.instance, fleet.registry.slugs())
    return dg.SkipReason(
        f"{len(changed.added)} tenants added, {len(changed.removed)} removed, {changed.left} to remove next."
    )


SENSORS = [tenant_discovery]
