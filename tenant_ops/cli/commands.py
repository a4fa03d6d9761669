"""The commands of one operation each: init-tenant, load-fixtures, validate-data, cleanup, migrate, monitor.

Here: their flags. Not here: command groups (`backups.py`, `tenants.py`, `fixtures.py`, `desk.py`).
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tenant_ops.cli import (
    backup_catalog,
    backup_drills,
    backup_keys,
    backup_restore,
    backup_retention,
    backup_stores,
    backups,
    desk,
    drift,
    findings,
    fixes,
    fixtures,
    loading,
    quarantine,
    rules,
    tenants,
)
from tenant_ops.cli.output import print_json, print_table
from tenant_ops.cli.running import (
    FINDINGS,
    AsJson,
    DryRun,
    Execute,
    TenantIds,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
    split,
)
from tenant_ops.cli.verdicts import FailOn, Judge, JunitFile, MinScore
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

app = typer.Typer(
    name="tenant-ops",
    help="Operate a fleet of SaaS tenants on Postgres: provision, load, validate, back up, restore, migrate, "
    "clean up and watch each tenant. Every command runs a Dagster job you can see in the UI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
backups.app.add_typer(backup_catalog.app)
backups.app.add_typer(backup_restore.app)
backups.app.add_typer(backup_retention.app)
backups.app.add_typer(backup_keys.app)
backups.app.add_typer(backup_drills.app)
backups.app.add_typer(backup_stores.app)
app.add_typer(backups.app, name="backup")
app.add_typer(tenants.app, name="tenant")
app.add_typer(fixtures.app, name="fixtures")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(rules.app, name="rules")
app.add_typer(fixes.app, name="fixes")
app.add_typer(findings.app, name="findings")
app.command("drift")(drift.drift)
app.command("load-fixtures")(loading.load_fixtures)
app.command("demo")(desk.demo)
app.command("dev")(desk.dev)
app.command("stop")(desk.stop)


@app.command("init-tenant")
def init_tenant(
    tenant_id: TenantIds,
    tier: Annotated[str, typer.Option(help="starter, professional or enterprise.")] = "starter",
    admin_email: Annotated[str | None, typer.Option(help="Whom to write to about the tenant.")] = None,
    initialize_data: Annotated[bool, typer.Option(help="Load the tier's fixtures as well.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register and provision tenants: schema, tables, roles, login, files; twice changes nothing."""
    from tenant_ops.tenants import plan_provision

    with open_fleet() as fleet:
        slugs = list(dict.fromkeys(split(tenant_id)))
        if not slugs:
            raise InputError("it names no tenant.", where="--tenant-id")
        plans = [plan_provision(fleet, slug, tier_name=tier, admin_email=admin_email) for slug in slugs]
        if dry_run:
            show_plans(plans, as_json=as_json, title="init-tenant: plan")
            return
        config = {
            "tenants": slugs,
            "tier": tier,
            "initialize_data": initialize_data,
            **({"admin_email": admin_email} if admin_email else {}),
        }
        run(fleet, "init_tenant", as_json=as_json, config={"ops": {"make_tenants": {"config": config}}})


@app.command("validate-data")
def validate_data(
    tenant_id: TenantIds,
    validation_types: Annotated[
        str | None,
        typer.Option(help="Levels, as schema,data,business,performance,security; all when left out."),
    ] = None,
    auto_fix: Annotated[bool, typer.Option(help="Apply the safe fixes; each can be undone.")] = False,
    undo: Annotated[str | None, typer.Option(help="Take back the fixes of this fix id.")] = None,
    generate_report: Annotated[bool, typer.Option(help="Write a report per tenant.")] = False,
    report_format: Annotated[str, typer.Option(help="As html, md or json, or several: html,json.")] = "html",
    output_path: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("reports"),
    fail_on: FailOn = "info",
    min_score: MinScore = None,
    junit: JunitFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Check tenants at five levels and score their health; exit code 3 when there are findings."""
    from tenant_ops.validation import check_formats, find_fixes, plan_validation, undo_fixes

    with open_fleet() as fleet:
        chosen = chosen_tenants(fleet, tenant_id)
        if undo is not None:
            print_json(undo_fixes(fleet, chosen[0], undo))
            return
        formats = split(report_format)
        check_formats(formats)
        levels = split(validation_types) or None
        plans = [plan_validation(fleet, tenant, types=levels, auto_fix=auto_fix) for tenant in chosen]
        if dry_run:
            planned = [
                {
                    **vars(plan),
                    "rules": [rule.id for rule in plan.rules],
                    "fixes": find_fixes(fleet, plan).steps if auto_fix else (),
                }
                for plan in plans
            ]
            show_plans(planned, as_json=as_json, title="validate-data: plan")
            return
        folder = str(output_path.resolve()) if generate_report else ""
        config = {"types": levels or [], "auto_fix": auto_fix}
        config |= {"report_folder": folder, "report_formats": formats}
        run(
            fleet,
            "validate_data",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {"validation_report": {"config": config}}},
            command="tenant-ops validate-data",
            where=f"reports: {output_path}" if generate_report else "",
            judge=Judge(plans, fail_on, min_score, junit),
        )


@app.command("cleanup")
def cleanup(
    tenant_id: TenantIds,
    cleanup_types: Annotated[
        str | None, typer.Option(help="expired, quarantine, stages, files, cache; all when left out.")
    ] = None,
    retention_days: Annotated[
        int | None, typer.Option(min=1, help="Keep rows this long, whatever the tier says.")
    ] = None,
    create_backup: Annotated[bool, typer.Option(help="Take a backup before anything is removed.")] = True,
    undo: Annotated[str | None, typer.Option(help="Bring back what this cleanup removed.")] = None,
    execute: Execute = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove what tenants need no more. Without --execute only the plan is printed."""
    from tenant_ops.cleanup import plan_cleanup, undo_cleanup

    with open_fleet() as fleet:
        chosen = chosen_tenants(fleet, tenant_id)
        if undo is not None:
            print_json(undo_cleanup(fleet, chosen[0], undo))
            return
        types = split(cleanup_types) or None
        plans = [plan_cleanup(fleet, tenant, types=types, retention_days=retention_days) for tenant in chosen]
        if dry_run or not execute:
            show_plans(plans, as_json=as_json, title="cleanup: plan (add --execute to do it)")
            return
        config: dict[str, Any] = {"types": types or [], "create_backup": create_backup, "execute": True}
        config |= {"retention_days": retention_days} if retention_days is not None else {}
        run(
            fleet,
            "cleanup",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {"cleanup_report": {"config": config}}},
            command="tenant-ops cleanup --execute",
        )


@app.command("migrate")
def migrate(
    tenant_id: TenantIds,
    from_version: Annotated[str | None, typer.Option(help="Refuse tenants at another version.")] = None,
    to_version: Annotated[str | None, typer.Option(help="Where to go; the newest when left out.")] = None,
    auto_resolve: Annotated[
        bool, typer.Option(help="Apply the resolutions that releases declare for conflicts.")
    ] = False,
    create_backup: Annotated[bool, typer.Option(help="Take a backup before anything is changed.")] = True,
    execute: Execute = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring tenants to another version. Without --execute only the plan is printed."""
    from tenant_ops.migrations import plan_migration

    with open_fleet() as fleet:
        chosen = chosen_tenants(fleet, tenant_id)
        plans = [
            plan_migration(fleet, tenant, from_version, to_version, auto_resolve=auto_resolve)
            for tenant in chosen
        ]
        if dry_run or not execute:
            show_plans(plans, as_json=as_json, title="migrate: plan (add --execute to do it)")
            return
        config: dict[str, Any] = {
            "auto_resolve": auto_resolve,
            "create_backup": create_backup,
            "execute": True,
        }
        config |= {"from_version": from_version} if from_version else {}
        config |= {"to_version": to_version} if to_version else {}
        run(
            fleet,
            "migrate",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {"schema_version": {"config": config}}},
            command="tenant-ops migrate --execute",
        )


@app.command("versions")
def versions(as_json: AsJson = False) -> None:
    """The version every tenant is at, and the releases it lacks."""
    from tenant_ops.migrations import status

    with open_fleet() as fleet:
        found = status(fleet)
    if as_json:
        print_json(found)
        return
    rows = as_document(found)["tenants"]
    columns = ("tenant", "version", "pending", "last_change", "last_failure")
    print_table(rows, columns, title=f"newest: {found.newest}")


@app.command("monitor")
def monitor(
    tenant_id: TenantIds = "all",
    mode: Annotated[str, typer.Option(help="once, or continuous until interrupted.")] = "once",
    interval: Annotated[int | None, typer.Option(min=1, help="Seconds between two looks.")] = None,
    auto_recovery: Annotated[bool, typer.Option(help="Repair what can be repaired safely.")] = False,
    output_format: Annotated[str, typer.Option(help="table or json.")] = "table",
    as_json: AsJson = False,
) -> None:
    """Look at the health of tenants: sizes, connections, backups, alerts; exit code 3 when one is unwell."""
    if mode not in {"once", "continuous"}:
        raise InputError(f"{mode!r} is no mode.", where="--mode", fix="Use once or continuous.")
    if output_format not in {"table", "json"}:
        raise InputError(
            f"{output_format!r} is no format.", where="--output-format", fix="Use table or json."
        )
    with open_fleet() as fleet:
        while True:
            try:
                run(
                    fleet,
                    "monitor",
                    as_json=as_json or output_format == "json",
                    tenants=chosen_tenants(fleet, tenant_id),
                    config={"ops": {"tenant_health": {"config": {"auto_recovery": auto_recovery}}}},
                    command="tenant-ops monitor",
                )
            except typer.Exit as outcome:
                if mode == "once" or outcome.exit_code != FINDINGS:
                    raise
            if mode == "once":
                return
            time.sleep(interval or fleet.settings.monitoring_interval)


@app.command("report")
def report(
    tenant_id: TenantIds,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Events to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What was done to a tenant, from the audit log, and whether its chain is intact."""
    from tenant_ops.audit import history, verify_chain

    broken = False
    with open_fleet() as fleet:
        for tenant in chosen_tenants(fleet, tenant_id):
            with fleet.control.transaction() as connection:
                events = history(connection, str(tenant.id), limit=limit)
                verdict = verify_chain(connection, str(tenant.id))
            broken |= not verdict.intact
            if as_json:
                print_json({"tenant": tenant.slug, "chain": verdict, "events": events})
                continue
            state = "intact" if verdict.intact else f"BROKEN: {verdict.reason}"
            rows = [
                {
                    "at": event.at.isoformat(" ", "seconds"),
                    "actor": event.actor,
                    "action": event.action,
                    "detail": event.detail,
                }
                for event in events
            ]
            print_table(
                rows,
                ("at", "actor", "action", "detail"),
                title=f"{tenant.slug}: {verdict.events} events, chain {state}",
            )
    if broken:
        raise typer.Exit(FINDINGS)
