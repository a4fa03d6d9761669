"""`tenant-ops backup`: take backups.

Here: that. Not here: restoring them (`backup_restore.py`), which there are (`backup_catalog.py`), which are
kept (`backup_retention.py`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tenant_ops.cli.running import (
    AsJson,
    DryRun,
    as_typed,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
)
from tenant_ops.platform.errors import InputError, TenantOpsError

if TYPE_CHECKING:
    from tenant_ops.backups import BackupPlan
    from tenant_ops.tenants import Tenant

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

        def plan(tenant: "Tenant") -> "BackupPlan":
            return plan_backup(
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

        if dry_run:
            show_plans([plan(tenant) for tenant in chosen], as_json=as_json, title="backup: plan")
            return
        planned = _first(plan, chosen)
        config = {"compression": compression, "encryption": encryption, "archive_format": archive_format}
        config |= {"output_path": planned.store} if output_path else {}
        config |= {} if compression_level is None else {"compression_level": compression_level}
        full = backup_type == "full"
        config |= {} if full else {"backup_type": backup_type, "measure": measure}
        run(
            fleet,
            "backup" if full else "backup_incremental",
            as_json=as_json,
            tenants=chosen,
            config={"ops": {f"backups__{'full' if full else 'incremental'}": {"config": config}}},
            command=as_typed(context),
        )


def _first(plan: Callable[["Tenant"], "BackupPlan"], tenants: Sequence["Tenant"]) -> "BackupPlan":
    """The first plan that can be made: what is wrong with the flags is so for every tenant, and said at once.

    What is wrong with one tenant is told by the run, which backs up the others.
    """
    refused: list[TenantOpsError] = []
    for tenant in tenants:
        try:
            return plan(tenant)
        except TenantOpsError as error:
            refused.append(error)
    raise refused[0]
