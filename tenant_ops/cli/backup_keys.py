"""`tenant-ops backup rotate-keys`, `export-key`: the keys that backups are sealed with.

Here: their flags. Not here: the other commands on backups (`backups.py`). No key is ever an argument: they
come from the environment or a file, and leave in a file.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import (
    FAILED,
    AsJson,
    DryRun,
    OneTenant,
    chosen_tenants,
    open_fleet,
    show_plans,
)
from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant

app = typer.Typer()

ROTATED = ("tenant", "new_key", "backups", "rewrapped", "destroyed", "seconds")


@app.command("rotate-keys")
def rotate_keys(
    tenant_id: Annotated[
        str | None,
        typer.Option("--tenant-id", help="Whose keys: a tenant id, several as a,b,c, or `all`."),
    ] = None,
    master: Annotated[
        bool,
        typer.Option(
            "--master",
            help="Replace the master key: the new one is configured as usual, the old one in "
            "BACKUP_ENCRYPTION_KEY_PREVIOUS, ..._PREVIOUS_FILE or BACKUP_KEY_SERVICE_PREVIOUS.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Wrap the keys of backups anew; their data is not touched. Run it again to go on where it stopped."""
    if master == (tenant_id is not None):
        raise InputError(
            "it is either tenants' keys or the master key that is replaced.",
            where="rotate-keys",
            fix="Give --tenant-id, or --master.",
        )
    with open_fleet() as fleet:
        if tenant_id is None:
            finished = _rotate_master(fleet, dry_run=dry_run, as_json=as_json)
        else:
            tenants = chosen_tenants(fleet, tenant_id)
            finished = _rotate_tenants(fleet, tenants, dry_run=dry_run, as_json=as_json)
    if not finished:
        raise typer.Exit(FAILED)


@app.command("export-key")
def export(
    tenant_id: OneTenant,
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")],
    key_id: Annotated[
        str | None, typer.Option(help="One of the tenant's keys; the one in force when left out.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a tenant's key to a file, with which restore.py opens its backups; the audit log has it."""
    from tenant_ops.backups import export_key, plan_export

    with open_fleet() as fleet:
        plan = plan_export(fleet, fleet.registry.get(tenant_id), out, key_id=key_id)
        if dry_run:
            show_plans([plan], as_json=as_json, title="backup export-key: plan")
            return
        report = export_key(fleet, plan)
    if as_json:
        print_json(report)
        return
    document = as_document(report)
    print_table([document], tuple(document), title="backup export-key")
    STDERR.print("whoever has this file can read the backups; keep it where nobody else can.")


def _rotate_tenants(fleet: Fleet, tenants: list[Tenant], *, dry_run: bool, as_json: bool) -> bool:
    """One tenant that fails does not keep the others from being done."""
    from tenant_ops.backups import execute_rotation, plan_rotation

    done: list[Any] = []
    failed: dict[str, str] = {}
    for tenant in tenants:
        try:
            plan = plan_rotation(fleet, tenant)
            done.append(plan if dry_run else execute_rotation(fleet, plan))
        except TenantOpsError as error:
            if len(tenants) == 1:
                raise
            failed[tenant.slug] = str(error)
    if dry_run:
        show_plans(done, as_json=as_json, title="backup rotate-keys: plan")
    elif as_json:
        print_json({"reports": done, "failed": failed})
    else:
        print_table([as_document(each) for each in done], ROTATED, title="backup rotate-keys")
    _say([f"{slug}: {error}" for slug, error in failed.items()])
    _say([f"{each.where}: {each.problem}" for report in done for each in report.problems])
    return not failed and (dry_run or all(report.destroyed for report in done))


def _rotate_master(fleet: Fleet, *, dry_run: bool, as_json: bool) -> bool:
    from tenant_ops.backups import execute_master_rotation, plan_master_rotation

    plan = plan_master_rotation(fleet)
    if dry_run:
        show_plans([plan], as_json=as_json, title="backup rotate-keys --master: plan")
        return True
    report = execute_master_rotation(fleet, plan)
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        shown = tuple(name for name in document if name != "problems")
        print_table([document], shown, title="backup rotate-keys --master")
    _say([f"{each.where}: {each.problem}" for each in report.problems])
    if report.finished:
        STDERR.print("nothing is wrapped by the old master key any more; it can be put away.")
    return report.finished


def _say(problems: list[str]) -> None:
    for problem in problems:
        STDERR.print(f"error: {problem}", style="red", markup=False, highlight=False)
