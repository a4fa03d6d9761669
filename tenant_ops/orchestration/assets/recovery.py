"""Standing alarms of group `backups`: whether each tenant could be restored now, soon enough, losing little.

Here: checks that need no backup to be taken, for a run over the whole fleet. Not here: what they judge by
(`backups/drills/`), reading a backup back right after it was taken (`backups.py`).
"""

from collections.abc import Iterator

import dagster as dg

from tenant_ops.backups.drills import Recovery, check_chain, rpo_report
from tenant_ops.orchestration.assets.common import DRILL, FULL_BACKUP, tenant_check
from tenant_ops.orchestration.batch import Batch, tenants_of
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.tenants import Fleet

HOUR_S = 3_600
SPECS = [
    tenant_check("chain_whole", FULL_BACKUP, "The newest chain opens from end to end, every file in place."),
    tenant_check("rpo_in_target", FULL_BACKUP, "No more would be lost now than the tier allows."),
    tenant_check("drill_equal", DRILL, "The last drill brought back what was backed up."),
    tenant_check("drill_in_time", DRILL, "A restore was tried within the tier's cadence."),
    tenant_check("rto_in_target", DRILL, "The last drill took no longer than the tier allows."),
]


@dg.multi_asset_check(specs=SPECS, can_subset=True)
def recovery_alarms(
    context: dg.AssetCheckExecutionContext, fleet: FleetParam, batch: Batch
) -> dg.AssetCheckResult:
    """How each tenant would come out of a disaster now, all of them where the run names none."""
    asked = {key.name for key in context.selected_asset_check_keys}
    named = {"dagster/partition", "dagster/asset_partition_range_start"} & context.run.tags.keys()
    chosen = fleet.registry.find(tenants_of(context)) if named else fleet.registry.all()
    found = {recovery.tenant: recovery for recovery in rpo_report(fleet, chosen).tenants}

    def verdicts(slug: str) -> list[dg.AssetCheckResult]:
        results = [*_by_the_catalog(found[slug]), *_by_the_store(fleet, slug, asked)]
        return [result for result in results if result.check_name in asked]

    return batch.check(context, verdicts, [tenant.slug for tenant in chosen])


def _by_the_catalog(recovery: Recovery) -> Iterator[dg.AssetCheckResult]:
    known = metadata_of(recovery)
    late = bool({"rpo", "no backup"} & set(recovery.breaches))
    lost, allowed = recovery.age_s / HOUR_S, recovery.rpo_target_s / HOUR_S
    yield dg.AssetCheckResult(
        asset_key=FULL_BACKUP,
        check_name="rpo_in_target",
        passed=not late,
        description=f"{lost:.1f} h would be lost, {allowed:g} h may be.",
        metadata=known,
    )
    for name, breach, said in (
        ("drill_equal", "drill differed", _when(recovery)),
        ("drill_in_time", "drill overdue", _when(recovery)),
        ("rto_in_target", "rto", f"{_took(recovery)}, {recovery.rto_target_s:g} s are allowed."),
    ):
        yield dg.AssetCheckResult(
            asset_key=DRILL,
            check_name=name,
            passed=breach not in recovery.breaches,
            description=said,
            metadata=known,
        )


def _by_the_store(fleet: Fleet, slug: str, asked: set[str]) -> Iterator[dg.AssetCheckResult]:
    if "chain_whole" in asked:
        verdict = check_chain(fleet, fleet.registry.get(slug))
        yield dg.AssetCheckResult(
            asset_key=FULL_BACKUP,
            check_name="chain_whole",
            passed=verdict.whole and not verdict.interruptions,
            # A journal that cannot go on costs a full backup, not the tenant.
            severity=dg.AssetCheckSeverity.WARN if verdict.whole else dg.AssetCheckSeverity.ERROR,
            description="; ".join((*verdict.problems, *verdict.interruptions)) or None,
            metadata=metadata_of(verdict),
        )


def _when(recovery: Recovery) -> str:
    return f"last drill: {recovery.last_drill or 'never'}"


def _took(recovery: Recovery) -> str:
    return "never tried" if recovery.rto_s is None else f"{recovery.rto_s:.1f} s"
