"""`tenant-ops backup restore`, `undo`, `discard`: going back to a backup or a moment, and taking that back.

Here: their flags. Not here: taking backups (`backups.py`), which there are (`backup_catalog.py`).
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import AsJson, DryRun, OneTenant, open_fleet, run, show_plans, split
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

if TYPE_CHECKING:
    from tenant_ops.backups import RestorePlan
    from tenant_ops.tenants import Fleet

app = typer.Typer()

_MOMENTS = "--to, --before-transaction, --to-backup, --backup-id, --backup-path"


@app.command("restore")
def restore(
    tenant_id: OneTenant,
    to: Annotated[
        str | None,
        typer.Option(help="What was committed up to this time, with a time zone: 2026-11-20T14:03:00Z."),
    ] = None,
    to_backup: Annotated[str | None, typer.Option(help="The moment of this backup; as --backup-id.")] = None,
    before_transaction: Annotated[
        int | None, typer.Option(help="What was committed before the transaction of this id was.")
    ] = None,
    backup_path: Annotated[
        str | None, typer.Option(help="Path of an archive; the tenant's newest backup when left out.")
    ] = None,
    backup_id: Annotated[str | None, typer.Option(help="Id of a backup, as `backup list` shows it.")] = None,
    from_tenant: Annotated[
        str | None, typer.Option(help="Whose backups; those of the tenant itself when left out.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="replace, new, tables or merge; replace or new, by what is there, when left out."),
    ] = None,
    tables: Annotated[str | None, typer.Option(help="Only these tables, as a,b: mode tables.")] = None,
    merge: Annotated[
        str, typer.Option(help="For mode merge: which of create, update and delete to do.")
    ] = "create,update,delete",
    trust_plain: Annotated[
        bool,
        typer.Option(
            "--trust-plain",
            help="Trust a backup that is not encrypted, where the server lets in no login for it alone.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup or a moment: over its tenant, as another, single tables, or merged into what is there.

    What is there is backed up first, and what is replaced or changed is kept: `backup undo` brings it back.
    """
    backup = _one(backup_path, backup_id, to_backup, to, before_transaction)
    config: dict[str, Any] = {
        "tenant": tenant_id,
        "tables": split(tables),
        "words": split(merge),
        "trusted": trust_plain,
        "execute": True,
    }
    config |= {"mode": mode} if mode else {}
    config |= {"to": to} if to else {}
    config |= {"before_transaction": before_transaction} if before_transaction is not None else {}
    config |= {"source": from_tenant} if from_tenant else {}
    with open_fleet() as fleet:
        if backup is None and to is None and before_transaction is None:
            backup = _newest(fleet, from_tenant or tenant_id)
        config |= {"backup": backup} if backup else {}
        if dry_run:
            show_plans([_planned(fleet, config)], as_json=as_json, title="backup restore: plan")
            return
        if conflicts := _planned(fleet, config, look=False).conflicts:  # said before a run begins
            raise InputError(f"it cannot be restored: {'; '.join(conflicts)}.", where=f"tenant {tenant_id}")
        run(fleet, "restore", as_json=as_json, config={"ops": {"restore_backup": {"config": config}}})


@app.command("undo")
def undo(tenant_id: OneTenant, as_json: AsJson = False) -> None:
    """Take back the last restore of a tenant: what it replaced or changed is live again."""
    from tenant_ops.backups import undo_restore

    with open_fleet() as fleet:
        report = undo_restore(fleet, fleet.registry.get(tenant_id))
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table([document], tuple(document), title="backup undo")


@app.command("discard")
def discard(
    tenant_id: OneTenant,
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest to keep.")] = 1,
    older_than_hours: Annotated[float, typer.Option(min=0, help="Only what is older.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Drop what restores of a tenant set aside; those can then not be taken back any more."""
    from tenant_ops.backups import discard_replaced

    with open_fleet() as fleet:
        before = fleet.clock() - timedelta(hours=older_than_hours)
        dropped = discard_replaced(fleet, fleet.registry.get(tenant_id), keep=keep, before=before)
    if as_json:
        print_json({"dropped": dropped})
    elif dropped:
        print_table([{"schema": name} for name in dropped], ("schema",), title=f"{len(dropped)} dropped")
    else:
        STDERR.print("nothing to drop.")


def _one(
    backup_path: str | None,
    backup_id: str | None,
    to_backup: str | None,
    to: str | None,
    before_transaction: int | None,
) -> str | None:
    """The backup that is named, when one is; no more than one backup or moment may be."""
    named = [one for one in (backup_path, backup_id, to_backup, to, before_transaction) if one is not None]
    if len(named) > 1:
        raise InputError("more than one backup or moment is named.", where=_MOMENTS, fix="Give one of them.")
    return backup_path or backup_id or to_backup


def _newest(fleet: "Fleet", source: str) -> str:
    from tenant_ops.backups import list_backups

    found = [record for record in list_backups(fleet, fleet.registry.get(source)) if record.present]
    if not found:
        raise InputError("it has no backup.", where=f"tenant {source}", fix="Name one with --backup-path.")
    return found[0].id


def _planned(fleet: "Fleet", config: dict[str, Any], *, look: bool = True) -> "RestorePlan":
    from tenant_ops.backups import find_backup, parse_time, plan_restore, plan_restore_to

    how: dict[str, Any] = {
        "mode": config.get("mode"),
        "tables": config["tables"],
        "words": config["words"],
        "trusted": config["trusted"],
        "look": look,
    }
    if "backup" in config:
        return plan_restore(fleet, find_backup(fleet, config["backup"]), config["tenant"], **how)
    return plan_restore_to(
        fleet,
        fleet.registry.get(config.get("source", config["tenant"])),
        config["tenant"],
        to=parse_time(config["to"]) if "to" in config else None,
        before_transaction=config.get("before_transaction"),
        **how,
    )
