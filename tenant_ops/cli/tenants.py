"""`tenant-ops tenant`: list, suspend, resume, change tier, offboard."""

from typing import Annotated, Any

import typer

from tenant_ops.cli.output import print_json, print_table
from tenant_ops.cli.running import AsJson, Execute, OneTenant, open_fleet, run, show_plans
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import State, plan_offboard, tier

app = typer.Typer(help="The registry and the life of a tenant.", no_args_is_help=True)

LISTED = (
    "slug",
    "display_name",
    "tier_name",
    "state",
    "state_reason",
    "version",
    "schema_name",
    "admin_email",
)


@app.command("list")
def list_tenants(
    every: Annotated[bool, typer.Option("--all", help="Erased and unfinished tenants too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the tenants of the registry."""
    states = tuple(State) if every else (State.ACTIVE, State.SUSPENDED, State.FAILED, State.QUARANTINED)
    with open_fleet() as fleet:
        found = fleet.registry.all(states)
    rows = [{**as_document(tenant), "schema_name": tenant.schema_name} for tenant in found]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, LISTED, title=f"{len(rows)} tenants")


@app.command("suspend")
def suspend(
    tenant_id: OneTenant,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Lock the tenant's login out and end its connections; the data stays."""
    _change(tenant_id, {"change": "SUSPEND", "reason": reason}, as_json=as_json)


@app.command("resume")
def resume(tenant_id: OneTenant, as_json: AsJson = False) -> None:
    """Let a suspended tenant in again."""
    _change(tenant_id, {"change": "RESUME"}, as_json=as_json)


@app.command("change-tier")
def change_tier(
    tenant_id: OneTenant,
    tier_name: Annotated[str, typer.Option("--tier", help="starter, professional or enterprise.")],
    as_json: AsJson = False,
) -> None:
    """Move a tenant to another tier; its limits follow at once."""
    tier(tier_name)
    _change(tenant_id, {"change": "CHANGE_TIER", "tier": tier_name}, as_json=as_json)


@app.command("offboard")
def offboard(
    tenant_id: OneTenant,
    create_backup: Annotated[
        bool,
        typer.Option(help="Take a last backup; without one the key is destroyed and older backups with it."),
    ] = True,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Remove a tenant: schema, roles, login, files. Without --execute only the plan is printed."""
    if not execute:
        with open_fleet() as fleet:
            plan = plan_offboard(fleet, tenant_id)
        show_plans([plan], as_json=as_json, title="tenant offboard: plan (add --execute to do it)")
        return
    _change(
        tenant_id, {"change": "OFFBOARD", "create_backup": create_backup, "execute": True}, as_json=as_json
    )


def _change(tenant_id: str, config: dict[str, Any], *, as_json: bool) -> None:
    with open_fleet() as fleet:
        fleet.registry.get(tenant_id)
        config = {"tenant": tenant_id, **config}
        run(fleet, "change_tenant", as_json=as_json, config={"ops": {"apply_change": {"config": config}}})
