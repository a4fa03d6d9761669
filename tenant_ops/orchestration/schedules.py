"""When things happen by themselves. Every schedule ships stopped: switch on in the UI what you want.

Here: times, and which tenants. Not here: what is done (`jobs.py`), discovery (`sensors.py`).
https://docs.dagster.io/guides/automate/schedules
"""

from collections.abc import Callable, Iterator

import dagster as dg

from tenant_ops.orchestration.partitions import partition_keys
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import TIERS, Tenant, Tier


def _cron(hours: int) -> str:
    """A cron line for every so many hours; once a day and less often, at 02:00 UTC."""
    return "0 * * * *" if hours == 1 else f"0 */{hours} * * *" if hours < 24 else "0 2 * * *"


def _schedule(
    name: str, job: str, cron: str, description: str, wanted: Callable[[Tenant], bool] = lambda _: True
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=description,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def tick(context: dg.ScheduleEvaluationContext, fleet: FleetParam) -> Iterator[dg.RunRequest]:
        slugs = [tenant.slug for tenant in fleet.registry.all() if wanted(tenant)]
        for number, key in enumerate(partition_keys(slugs)):
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time:%Y%m%dT%H%M}:{number}", partition_key=key
            )

    return tick


def _backup_schedule(tier: Tier) -> dg.ScheduleDefinition:
    return _schedule(
        f"backup_{tier.name}",
        "backup",
        _cron(tier.backup_every_h),
        f"Backs up every {tier.name} tenant, every {tier.backup_every_h} hours.",
        wanted=lambda tenant: tenant.tier_name == tier.name,
    )


SCHEDULES = [
    *(_backup_schedule(tier) for tier in TIERS.values()),
    _schedule("monitor_fleet", "monitor", "*/5 * * * *", "Looks at the health of every tenant."),
    _schedule("validate_fleet", "validate_data", "30 3 * * *", "Validates every tenant once a day."),
    _schedule("cleanup_fleet", "cleanup", "30 4 * * 0", "Plans the weekly cleanup of every tenant."),
]
