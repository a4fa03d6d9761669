"""`tenant-ops backup drill` and `backup status`: how every tenant would come out of a disaster.

Here: their flags and tables. Not here: the other commands on backups (`backups.py`), the judgement
(`backups/drills/`).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from tenant_ops.backups.drills import Aim
from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import (
    FINDINGS,
    AsJson,
    DryRun,
    TenantIds,
    as_typed,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
)
from tenant_ops.platform.reports import as_document

app = typer.Typer()

SHOWN = (
    "tenant",
    "tier",
    "newest_moment",
    "age",
    "may_be",
    "granularity",
    "depth",
    "verified_at",
    "last_drill",
    "equal",
    "rto_s",
    "breaches",
)


@app.command("drill")
def drill(
    context: typer.Context,
    tenant_id: TenantIds = "all",
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many; left out: all that are named, or of `all` as many as are due a day.",
        ),
    ] = None,
    aim: Annotated[Aim | None, typer.Option(help="Which backup of each; in turn when left out.")] = None,
    measure: Annotated[
        bool,
        typer.Option(help="Where not all rows are known, take an incremental that counts them first."),
    ] = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try restores for real, beside the live schemas: compare, measure, record. Exit code 3: one differed."""
    from tenant_ops.backups.drills import plan_drill

    with open_fleet() as fleet:
        tenants = chosen_tenants(fleet, tenant_id)
        if sample is None and tenant_id.strip() != "all":
            sample = len(tenants)
        plan = plan_drill(fleet, tenants, sample=sample, aim=aim, measure=measure)
        if dry_run:
            show_plans([plan], as_json=as_json, title="backup drill: plan")
            return
        if plan.without:
            STDERR.print(f"without a backup to try: {', '.join(plan.without)}", markup=False)
        if not plan.targets:
            raise typer.Exit(FINDINGS)
        config: dict[str, Any] = {"measure": measure} | ({"aim": aim.name} if aim else {})
        chosen = [target.tenant for target in plan.targets]
        run(
            fleet,
            "drill",
            as_json=as_json,
            tenants=[tenant for tenant in tenants if tenant.slug in chosen],
            config={"ops": {"restore_drill": {"config": config}}},
            command=as_typed(context),
        )


@app.command("status")
def status(tenant_id: TenantIds = "all", as_json: AsJson = False) -> None:
    """What each tenant would lose now and how long a restore takes, worst first. Exit code 3: a breach."""
    from tenant_ops.backups.drills import rpo_report

    with open_fleet() as fleet:
        report = rpo_report(fleet, chosen_tenants(fleet, tenant_id))
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table(map(_row, document["tenants"]), SHOWN, title="backup status, worst first")
        print_table(map(_sum, document["tiers"]), tuple(_sum(document["tiers"][0])), title="by tier")
        for line in _advice(document):
            STDERR.print(line, markup=False, highlight=False)
    if report.in_breach:
        raise typer.Exit(FINDINGS)


def _row(recovery: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **recovery,
        "age": _hours(recovery["age_s"]),
        "may_be": _hours(recovery["rpo_target_s"]),
        "equal": recovery["drill_equal"],
        "outcome": "failed" if recovery["breaches"] else "done",
    }


def _sum(tier: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tier": tier["tier"],
        "tenants": tier["tenants"],
        "in breach": tier["in_breach"],
        "worst age": _hours(tier["worst_age_s"]),
        "RPO": _hours(tier["rpo_target_s"]),
        "worst restore, s": tier["worst_rto_s"],
        "RTO, s": tier["rto_target_s"],
        "drilled": tier["drilled"],
    }


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def _advice(document: Mapping[str, Any]) -> Iterator[str]:
    """What to do about the breaches there are."""
    found = {breach for tenant in document["tenants"] for breach in tenant["breaches"]}
    if found & {"rpo", "no backup"}:
        yield "take backups: tenant-ops backup --tenant-id <id>; let the schedules backup_* do it."
    if "drill overdue" in found:
        yield "try restores: tenant-ops backup drill; let the schedule restore_drills do it."
    if "drill differed" in found:
        yield "a restore that was tried was not right: see the asset restore_drill, and take a full backup."
