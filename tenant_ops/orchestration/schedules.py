"""When things happen by themselves. Every schedule ships stopped: switch on in the UI what you want.

Here: times, and which tenants. Not here: what is done (`jobs.py`), discovery (`sensors.py`).
Cadences are the tiers' (`tenants/tiers.py`). Full backups begin at the hour, incremental ones at half past:
two operations on a tenant wait for each other.
https://docs.dagster.io/guides/automate/schedules
"""

from collections.abc import Callable, Iterable, Iterator

import dagster as dg

from tenant_ops.backups.drills import plan_drill
from tenant_ops.orchestration.partitions import partition_keys
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import TIERS, Fleet, Tier

Chosen = Callable[[Fleet], Iterable[str]]


def _cron(hours: int, minute: int = 0) -> str:
    """A cron line for every so many hours; once a day at 02:00 UTC, and less often on Sundays."""
    if hours < 24:
        return f"{minute} * * * *" if hours == 1 else f"{minute} */{hours} * * *"
    return f"{minute} 2 * * *" if hours < 168 else f"{minute} 2 * * 0"


def _schedule(name: str, job: str, cron: str, description: str, chosen: Chosen) -> dg.ScheduleDefinition:
    """Runs a job on the tenants chosen at each tick: as few runs as can name them all."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=description,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def tick(context: dg.ScheduleEvaluationContext, fleet: FleetParam) -> Iterator[dg.RunRequest]:
        for number, key in enumerate(partition_keys(chosen(fleet))):
            yield dg.RunRequest(
                run_key=f"{context.scheduled_execution_time:%Y%m%dT%H%M}:{number}", partition_key=key
            )

    return tick


def _everybody(fleet: Fleet) -> list[str]:
    return [tenant.slug for tenant in fleet.registry.all()]


def _of_tier(tier: Tier) -> Chosen:
    return lambda fleet: [t.slug for t in fleet.registry.all() if t.tier_name == tier.name]


def _due_for_a_drill(fleet: Fleet) -> list[str]:
    return [target.tenant for target in plan_drill(fleet).targets]


def _backup_schedules(tier: Tier) -> Iterator[dg.ScheduleDefinition]:
    yield _schedule(
        f"backup_{tier.name}",
        "backup",
        _cron(tier.full_backup_every_h),
        f"Backs up every {tier.name} tenant in full, every {tier.full_backup_every_h} hours.",
        _of_tier(tier),
    )
    if tier.keeps_journal:
        yield _schedule(
            f"backup_incremental_{tier.name}",
            "backup_incremental",
            _cron(tier.backup_every_h, minute=30),
            f"Backs up what changed in every {tier.name} tenant, every {tier.backup_every_h} hours.",
            _of_tier(tier),
        )


def _validation_schedule(tier: Tier) -> dg.ScheduleDefinition:
    return _schedule(
        f"validate_{tier.name}",
        "validate_data",
        _cron(tier.validate_every_h, minute=15),
        f"Validates every {tier.name} tenant at every level, every {tier.validate_every_h} hours.",
        _of_tier(tier),
    )


def _fleet_schedule(name: str, job: str, op: str, cron: str, description: str) -> dg.ScheduleDefinition:
    """Runs a job that names no tenants, for real."""
    return dg.ScheduleDefinition(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=description,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        run_config={"ops": {op: {"config": {"execute": True}}}},
    )


SCHEDULES = [
    *(schedule for tier in TIERS.values() for schedule in _backup_schedules(tier)),
    _schedule(
        "backup_alarms",
        "backup_alarms",
        "45 * * * *",
        "Judges every hour whether every tenant could be restored now, soon enough and losing little.",
        _everybody,
    ),
    _schedule(
        "restore_drills",
        "drill",
        "0 5 * * *",
        "Tries the restores of a sample of tenants once a day: as many as keep every tier's cadence.",
        _due_for_a_drill,
    ),
    _fleet_schedule(
        "backup_retention",
        "retention",
        "apply_retention",
        "0 6 * * *",
        "Removes the backups that no policy keeps, once a day.",
    ),
    _fleet_schedule(
        "backup_reconcile",
        "reconcile",
        "reconcile_stores",
        "15 * * * *",
        "Carries what the fallback store took over to the store it was meant for, every hour.",
    ),
    _schedule("monitor_fleet", "monitor", "*/5 * * * *", "Looks at the health of every tenant.", _everybody),
    *(_validation_schedule(tier) for tier in TIERS.values()),
    dg.ScheduleDefinition(
        name="validation_overview",
        job_name="validation_overview",
        cron_schedule="50 * * * *",
        execution_timezone="UTC",
        description="Says every hour how the validations of the whole fleet stand, worst first.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    ),
    _schedule(
        "cleanup_fleet", "cleanup", "30 4 * * 0", "Plans the weekly cleanup of every tenant.", _everybody
    ),
]
