"""`tenant-ops backup retention`, `pin`, `hold`, `release`, `remove`: which backups stay and which go.

Here: their flags. Not here: the other commands on backups (`backups.py`).
"""

from typing import Annotated

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import FAILED, AsJson, Execute, TenantIds, chosen_tenants, open_fleet
from tenant_ops.platform.reports import as_document

app = typer.Typer()

DECIDED = ("tenant", "backup_id", "type", "taken_at", "keep", "reason", "stored_bytes")

OneBackup = Annotated[str, typer.Argument(help="Backup id, or its beginning.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit log.")]


@app.command("retention")
def retention(
    tenant_id: TenantIds = "all",
    policy: Annotated[
        str | None,
        typer.Option(help="For instance last=7,within=30d,daily=7,weekly=4; each tier's own when left out."),
    ] = None,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Which backups would go, and why each one stays. Without --execute nothing is removed."""
    from tenant_ops.backups import RetentionPolicy, execute_retention, plan_retention

    chosen = RetentionPolicy.parse(policy) if policy is not None else None
    with open_fleet() as fleet:
        decisions = plan_retention(fleet, chosen_tenants(fleet, tenant_id), policy=chosen)
        done = execute_retention(fleet, decisions) if execute else None
    if as_json:
        print_json({"decisions": decisions, "report": done})
    else:
        print_table([as_document(each) for each in decisions], DECIDED, title="backup retention")
        if done is None:
            STDERR.print("plan only; add --execute to remove what is not kept.")
        else:
            print_table(
                [as_document(done)], ("kept", "removed", "freed_bytes", "pruned_entries"), title="done"
            )
            for problem in done.failed:
                STDERR.print(f"error: {problem}", style="red", markup=False, highlight=False)
    if done is not None and done.failed:
        raise typer.Exit(FAILED)


@app.command("pin")
def pin(
    backup: OneBackup,
    off: Annotated[bool, typer.Option("--off", help="Let retention remove it again.")] = False,
) -> None:
    """Keep a backup whatever retention says."""
    from tenant_ops.backups import find_backup
    from tenant_ops.backups import pin as pin_backup

    with open_fleet() as fleet:
        pin_backup(fleet, find_backup(fleet, backup), pinned=not off)


@app.command("hold")
def hold(backup: OneBackup, reason: Reason) -> None:
    """Put a backup under legal hold: nothing and nobody removes it until it is released."""
    from tenant_ops.backups import find_backup
    from tenant_ops.backups import hold as hold_backup

    with open_fleet() as fleet:
        hold_backup(fleet, find_backup(fleet, backup), reason)


@app.command("release")
def release(backup: OneBackup, reason: Reason) -> None:
    """Lift a legal hold."""
    from tenant_ops.backups import find_backup
    from tenant_ops.backups import release as release_backup

    with open_fleet() as fleet:
        release_backup(fleet, find_backup(fleet, backup), reason)


@app.command("remove")
def remove(backup: OneBackup, reason: Reason, execute: Execute = False) -> None:
    """Remove one backup by name. One that is pinned, held or built on is refused."""
    from tenant_ops.backups import find_backup, remove_backup

    with open_fleet() as fleet:
        found = find_backup(fleet, backup)
        if not execute:
            STDERR.print(f"plan only; add --execute to remove {found.id} from {found.path}.")
            return
        remove_backup(fleet, found, reason=reason)
