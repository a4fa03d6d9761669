"""`tenant-ops backup`: take and restore backups.

Here: those. Not here: which there are (`backup_catalog.py`), which are kept (`backup_retention.py`).
"""

from typing import Annotated

import typer

from tenant_ops.cli.output import print_json, print_table
from tenant_ops.cli.running import (
    AsJson,
    DryRun,
    OneTenant,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
)
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

app = typer.Typer(help="Take, list, verify and restore backups.", invoke_without_command=True)


@app.callback()
def backup(
    context: typer.Context,
    tenant_id: Annotated[
        str | None, typer.Option("--tenant-id", help="Tenant id, several as a,b,c, or `all`.")
    ] = None,
    backup_type: Annotated[str, typer.Option(help="full, incremental or differential.")] = "full",
    compression: Annotated[str, typer.Option(help="zstd, gzip or none.")] = "zstd",
    compression_level: Annotated[
        int | None,
        typer.Option(help="zstd 1 to 19, gzip 0 to 3; the fastest that packs well when left out."),
    ] = None,
    encryption: Annotated[bool, typer.Option(help="Encrypt; a missing key is made, and said.")] = True,
    output_path: Annotated[
        str | None,
        typer.Option(help="Directory or URL to store it in; the configured store when left out."),
    ] = None,
    archive_format: Annotated[
        str, typer.Option("--format", help="dir, zip, tar, tar.gz or tar.zst.")
    ] = "dir",
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Also count and hash the rows of changed tables; not needed with full backups."
        ),
    ] = False,
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
                level=compression_level,
                encryption=encryption,
                output_path=output_path,
                archive_format=archive_format,
                measure=measure,
            )
            for tenant in chosen
        ]
        if dry_run:
            show_plans(plans, as_json=as_json, title="backup: plan")
            return
        config = {"compression": compression, "encryption": encryption, "archive_format": archive_format}
        config |= {"output_path": plans[0].store} if output_path else {}
        config |= {} if compression_level is None else {"compression_level": compression_level}
        full = backup_type == "full"
        config |= {} if full else {"backup_type": backup_type, "measure": measure}
        run(
            fleet,
            "backup" if full else "backup_incremental",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {f"backups__{'full' if full else 'incremental'}": {"config": config}}},
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
