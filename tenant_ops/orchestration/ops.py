"""Jobs that are actions, not assets: make a tenant, restore one, suspend, resume, move or remove one.

Here: ops with their configuration; each records what it made as an asset event, so lineage stays true.
Not here: the domain functions they call, asset jobs (`jobs.py`).
"""

from collections.abc import Iterator
from enum import Enum
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from tenant_ops.backups import (
    RestorePlan,
    RestoreReport,
    RetentionReport,
    execute_reconcile,
    execute_restore,
    execute_retention,
    find_backup,
    parse_time,
    plan_reconcile,
    plan_restore,
    plan_restore_to,
    plan_retention,
    require_no_hold,
    safety_copy,
    shred,
)
from tenant_ops.loading import execute_load, plan_load
from tenant_ops.orchestration.assets.common import RESTORED, TENANT
from tenant_ops.orchestration.batch import MOST_NAMED
from tenant_ops.orchestration.metadata import metadata_of
from tenant_ops.orchestration.operations import operation, stored
from tenant_ops.orchestration.partitions import TENANTS
from tenant_ops.orchestration.resources import FleetParam, ProgressParam
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import (
    Fleet,
    State,
    Tenant,
    change_tier,
    offboard,
    plan_offboard,
    plan_provision,
    provision,
    resume,
    suspend,
)

KEPT = (State.ACTIVE, State.SUSPENDED, State.QUARANTINED)


class InitConfig(dg.Config):
    """The tenants to make."""

    tenants: list[str] = Field(description="Tenant ids (slugs), for instance [acme, globex].")
    tier: str = Field(default="starter", description="starter, professional or enterprise.")
    admin_email: str | None = Field(default=None, description="Who to write to about the tenant.")
    initialize_data: bool = Field(default=False, description="Load the tier's fixtures as well.")


@dg.op(out=dg.Out(dg.Nothing), tags={"scope": "tenant"})
def make_tenants(context: dg.OpExecutionContext, fleet: FleetParam, config: InitConfig) -> Iterator[Any]:
    """Register and provision tenants; one that is there already is left as it is."""
    for slug in config.tenants:  # every name is checked before the first tenant is made
        plan_provision(fleet, slug, tier_name=config.tier, admin_email=config.admin_email)

    def make(tenant: Tenant) -> Any:
        return provision(fleet, tenant.slug, tier_name=config.tier, admin_email=config.admin_email)

    perform = operation(context, fleet, "init-tenant", make, states=tuple(State))
    for slug in config.tenants:
        fleet.registry.register(slug, tier_name=config.tier, admin_email=config.admin_email)
        report = perform(slug)
        context.instance.add_dynamic_partitions(TENANTS.name or "", [slug])
        yield dg.AssetMaterialization(TENANT, partition=slug, metadata=metadata_of(report))
        if config.initialize_data:
            yield from _initialize(context, fleet, slug)
    yield dg.Output(None)


def _initialize(context: dg.OpExecutionContext, fleet: Fleet, slug: str) -> Iterator[dg.AssetMaterialization]:
    def load(tenant: Tenant) -> Any:
        return execute_load(fleet, plan_load(fleet, tenant))

    report = operation(context, fleet, "load", load)(slug)
    for dataset in report.datasets:
        metadata = metadata_of(dataset.merge)
        yield dg.AssetMaterialization(["datasets", dataset.dataset], partition=slug, metadata=metadata)


class RestoreConfig(dg.Config):
    """Which backup, or which moment of whose backups, becomes which tenant, and how."""

    backup: str = Field(default="", description="Backup id, or the path of an archive.")
    source: str = Field(default="", description="Instead: whose backups, with `to` or `before_transaction`.")
    to: str = Field(default="", description="What was committed up to then, as 2026-11-20T14:03:00Z.")
    before_transaction: int | None = Field(default=None, description="What was committed before this one.")
    tenant: str = Field(description="Tenant to restore over, or a new tenant id.")
    mode: str | None = Field(
        default=None, description="replace, new, tables or merge; unset: replace or new, by what is there."
    )
    tables: list[str] = Field(default=[], description="For mode tables: which.")
    words: list[str] = Field(default=["create", "update", "delete"], description="For mode merge.")
    trusted: bool = Field(default=False, description="Trust a backup that nothing proves to come from here.")
    execute: bool = Field(default=False, description="Without it only the plan is made.")

    def plan(self, fleet: Fleet) -> RestorePlan:
        """The restore this describes."""
        how: dict[str, Any] = {
            "mode": self.mode,
            "tables": self.tables,
            "words": self.words,
            "trusted": self.trusted,
        }
        if self.backup:
            found = find_backup(fleet, self.backup)
            return plan_restore(fleet, found, self.tenant, **how)
        at = parse_time(self.to, "to") if self.to else None
        source = fleet.registry.get(self.source or self.tenant)
        return plan_restore_to(
            fleet, source, self.tenant, to=at, before_transaction=self.before_transaction, **how
        )


@dg.op(out=dg.Out(dg.Nothing), tags={"scope": "tenant"})
def restore_backup(
    context: dg.OpExecutionContext, fleet: FleetParam, progress: ProgressParam, config: RestoreConfig
) -> Iterator[Any]:
    """Restore a backup or a moment, over a tenant, as another one or into it; what was there is kept."""
    plan = config.plan(fleet)
    context.add_output_metadata({"plan": dg.MetadataValue.json(as_document(plan))})
    if not config.execute:
        context.log.info("Plan only; set execute: true to restore.")
    else:

        def restore() -> RestoreReport:
            return execute_restore(fleet, plan, progress=progress)

        report = stored(context, fleet, "restore", config.tenant, restore)
        context.instance.add_dynamic_partitions(TENANTS.name or "", [config.tenant])
        yield dg.AssetMaterialization(RESTORED, partition=config.tenant, metadata=metadata_of(report))
    yield dg.Output(None)


class RetentionConfig(dg.Config):
    """Whose backups to look at. Without `execute` only the plan is made."""

    tenants: list[str] = Field(default=[], description="Tenant ids; empty: all.")
    execute: bool = Field(default=False, description="Remove what goes; otherwise plan only.")


@dg.op(out=dg.Out(dg.Nothing), tags={"scope": "tenant"})
def apply_retention(context: dg.OpExecutionContext, fleet: FleetParam, config: RetentionConfig) -> None:
    """Remove the backups that no rule of their tenant's policy keeps; each tenant's failure is its own."""

    def work(tenant: Tenant) -> RetentionReport:
        decisions = plan_retention(fleet, [tenant])
        if not config.execute:
            context.log.info(f"{tenant.slug}: {sum(not each.keep for each in decisions)} would go.")
        return execute_retention(fleet, decisions if config.execute else ())

    perform = operation(context, fleet, "retention", work, states=KEPT, found=lambda done: bool(done.failed))
    failed = []
    for slug in config.tenants or [tenant.slug for tenant in fleet.registry.all(KEPT)]:
        try:
            failed += [f"{slug}: {problem}" for problem in perform(slug).failed]
        except TenantOpsError as error:
            failed.append(f"{slug}: {error}")
    if failed:
        raise dg.Failure(f"{len(failed)} backups or tenants failed:\n" + "\n".join(failed[:MOST_NAMED]))


class ReconcileConfig(dg.Config):
    """Whether to carry backups over. Without `execute` only the plan is made."""

    execute: bool = Field(default=False, description="Carry them over; otherwise plan only.")


@dg.op(out=dg.Out(dg.Nothing))
def reconcile_stores(
    context: dg.OpExecutionContext, fleet: FleetParam, progress: ProgressParam, config: ReconcileConfig
) -> None:
    """Carry the backups that wait in the fallback store to the one they were meant for."""
    plan = plan_reconcile(fleet)
    context.add_output_metadata({"waiting": len(plan.waiting), "stored_bytes": plan.stored_bytes})
    if not config.execute:
        return
    report = execute_reconcile(fleet, plan, progress=progress)
    context.add_output_metadata({"moved": len(report.moved), "moved_bytes": report.moved_bytes})
    if report.failed:
        raise dg.Failure(f"{len(report.failed)} backups wait on:\n" + "\n".join(report.failed[:MOST_NAMED]))


class Change(Enum):
    """What can be done to a tenant as a whole."""

    SUSPEND = "suspend"
    RESUME = "resume"
    CHANGE_TIER = "change-tier"
    OFFBOARD = "offboard"


class ChangeConfig(dg.Config):
    """What to do to which tenant."""

    tenant: str = Field(description="Tenant id.")
    change: Change = Field(description="suspend, resume, change-tier or offboard.")
    tier: str = Field(default="", description="The new tier, for change-tier.")
    reason: str = Field(default="asked by an operator", description="Why, for the audit log.")
    execute: bool = Field(default=False, description="Needed for offboard; without it only the plan is made.")
    create_backup: bool = Field(default=True, description="Take a last backup before offboarding.")


@dg.op(out=dg.Out(dg.Nothing), tags={"scope": "tenant"})
def apply_change(context: dg.OpExecutionContext, fleet: FleetParam, config: ChangeConfig) -> None:
    """Suspend, resume, move to another tier, or offboard one tenant."""

    def work(tenant: Tenant) -> Any:
        match config.change:
            case Change.SUSPEND:
                return suspend(fleet, tenant.slug, reason=config.reason)
            case Change.RESUME:
                return resume(fleet, tenant.slug)
            case Change.CHANGE_TIER:
                return change_tier(fleet, tenant.slug, config.tier)
            case Change.OFFBOARD:
                plan = plan_offboard(fleet, tenant.slug)
                copy = safety_copy(fleet, "offboard", alone=True) if config.create_backup else None
                if copy is None:
                    require_no_hold(fleet, tenant)  # before anything is dropped: the key goes last
                if not config.execute:
                    return plan
                return offboard(fleet, plan, safety_copy=copy, shred=partial(shred, fleet))

    operation(context, fleet, str(config.change.value), work, states=tuple(State))(config.tenant)
    if config.change is Change.OFFBOARD and config.execute:
        context.instance.delete_dynamic_partition(TENANTS.name or "", config.tenant)
