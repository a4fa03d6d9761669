"""`tenant-ops backup`: take, list, verify, compare and restore backups.

Here: those. Not here: which ones are kept (`backup_retention.py`).
"""

from pathlib import Path
from typing import Annotated

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import (
    FINDINGS,
    AsJson,
    DryRun,
    OneTenant,
    TenantIds,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
)
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

app = typer.Typer(help="Take, list, verify and restore backups.", invoke_without_command=True)

LISTED = (
    "id",
    "tenant",
    "type",
    "finished_at",
    "rows",
    "raw_bytes",
    "stored_bytes",
    "encrypted",
    "verified_at",
)


@app.callback()
def backup(
    context: typer.Context,
    tenant_id: Annotated[
        str | None, typer.Option("--tenant-id", help="Tenant id, several as a,b,c, or `all`.")
    ] = None,
    backup_type: Annotated[str, typer.Option(help="full.")] = "full",
    compression: Annotated[str, typer.Option(help="zstd, gzip or none.")] = "zstd",
    encryption: Annotated[bool, typer.Option(help="Encrypt; a missing key is made, and said.")] = True,
    output_path: Annotated[
        Path | None, typer.Option(help="Where to store it; the configured store when left out.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Back tenants up: schema, data, files and configuration at one moment, sealed and read back."""
    if context.invoked_subcommand is not None:
        return
    if tenant_id is None:
        raise InputError(
            "whom to back up is missing.", where="--tenant-id", fix="For instance --tenant-id acme."
        )
    from tenant_ops.backups import plan_backup

    with open_fleet() as fleet:
        chosen = chosen_tenants(fleet, tenant_id)
        plans = [
            plan_backup(
                fleet,
                tenant,
                backup_type=backup_type,
                compression=compression,
                encryption=encryption,
                output_path=str(output_path.resolve()) if output_path else None,
            )
            for tenant in chosen
        ]
        if dry_run:
            show_plans(plans, as_json=as_json, title="backup: plan")
            return
        config = {"compression": compression, "encryption": encryption}
        config |= {"output_path": str(output_path.resolve())} if output_path else {}
        run(
            fleet,
            "backup",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {"backups__full": {"config": config}}},
            command="tenant-ops backup",
        )


@app.command("restore")
def restore(
    tenant_id: OneTenant,
    backup_path: Annotated[
        str | None, typer.Option(help="Path of an archive; the tenant's newest backup when left out.")
    ] = None,
    backup_id: Annotated[str | None, typer.Option(help="Id of a backup, as `backup list` shows it.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup over its tenant or as another one; what was there is copied first and kept."""
    from tenant_ops.backups import find_backup, list_backups, plan_restore

    with open_fleet() as fleet:
        chosen = backup_path or backup_id
        if chosen is None:
            found = list_backups(fleet, fleet.registry.get(tenant_id))
            if not found:
                raise InputError(
                    "it has no backup.", where=f"tenant {tenant_id}", fix="Name one with --backup-path."
                )
            chosen = found[0].id
        backup = find_backup(fleet, chosen)
        plan = plan_restore(fleet, backup, tenant_id)
        if dry_run:
            show_plans([plan], as_json=as_json, title="backup restore: plan")
            return
        config = {"backup": chosen, "tenant": tenant_id, "execute": True}
        run(fleet, "restore", as_json=as_json, config={"ops": {"restore_backup": {"config": config}}})


@app.command("undo")
def undo(tenant_id: OneTenant, as_json: AsJson = False) -> None:
    """Take back the last restore of a tenant: what it replaced is live again."""
    from tenant_ops.backups import undo_restore

    with open_fleet() as fleet:
        report = undo_restore(fleet, fleet.registry.get(tenant_id))
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table([document], tuple(document), title="backup undo")


@app.command("rebuild")
def rebuild(as_json: AsJson = False) -> None:
    """Make the catalog again from the store alone, for instance after losing the database."""
    from tenant_ops.backups import rebuild as rebuild_catalog

    with open_fleet() as fleet:
        report = rebuild_catalog(fleet)
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table([document], tuple(document), title="backup rebuild")


@app.command("list")
def list_all(tenant_id: TenantIds = "all", as_json: AsJson = False) -> None:
    """List backups, newest first."""
    from tenant_ops.backups import list_backups

    with open_fleet() as fleet:
        tenants = [None] if tenant_id == "all" else chosen_tenants(fleet, tenant_id)
        found = [backup for tenant in tenants for backup in list_backups(fleet, tenant)]
        if as_json:
            print_json(found)
        elif found:
            print_table([as_document(backup) for backup in found], LISTED, title=f"{len(found)} backups")
        else:
            STDERR.print("no backups yet; take one with: tenant-ops backup --tenant-id <id>")


@app.command("verify")
def verify(
    backup: Annotated[str, typer.Argument(help="Backup id or path.")], as_json: AsJson = False
) -> None:
    """Read a backup back: open, decrypt, decompress and hash every member."""
    from tenant_ops.backups import find_backup, verify_backup

    with open_fleet() as fleet:
        verdict = verify_backup(fleet, find_backup(fleet, backup))
        if as_json:
            print_json(verdict)
        else:
            document = as_document(verdict)
            print_table([document], tuple(document), title="backup verify")
    if not verdict.sound:
        raise typer.Exit(1)


@app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="Tenant id.")],
    second: Annotated[str, typer.Argument(help="Another tenant id.")],
    as_json: AsJson = False,
) -> None:
    """Compare two tenants' data table by table, by rows and content hash; exit code 3 when they differ."""
    from tenant_ops.backups import compare as compare_tenants

    with open_fleet() as fleet:
        result = compare_tenants(fleet, fleet.registry.get(first), fleet.registry.get(second))
        if as_json:
            print_json(result)
        else:
            rows = as_document(result)["tables"]
            print_table(rows, tuple(rows[0]) if rows else (), title="equal" if result.equal else "different")
    if not result.equal:
        raise typer.Exit(FINDINGS)
