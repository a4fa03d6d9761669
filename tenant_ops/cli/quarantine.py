"""`tenant-ops quarantine`: list, show, export, repair and drop rows that were left out of loads.

Loading them again is `tenant-ops load-fixtures --replay-quarantine`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import AsJson, Execute, OneTenant, open_fleet, show_plans, split
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

app = typer.Typer(
    help="Rows that were left out of loads: list, show, export, repair, drop.", no_args_is_help=True
)

COUNTED = ("dataset", "check", "reason", "rows", "open")
LISTED = ("id", "dataset", "file", "line", "check", "column", "value", "reason", "at", "open")

DataType = Annotated[str | None, typer.Option("--data-type", help="Only rows of this dataset.")]
Reason = Annotated[str | None, typer.Option(help="Only rows left out for exactly this reason.")]
File = Annotated[str | None, typer.Option("--file", help="Only rows of the file of this name.")]
RowId = Annotated[int, typer.Argument(help="The row, as `quarantine list` shows it.")]


@app.command("list")
def list_rows(
    tenant_id: OneTenant,
    data_type: DataType = None,
    reason: Reason = None,
    file: File = None,
    limit: Annotated[int, typer.Option(min=0, max=100_000, help="Most entries shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Count rows by dataset and reason, and show the oldest; values of personal data are masked."""
    from tenant_ops.loading import list_quarantine

    with open_fleet() as fleet:
        found = list_quarantine(
            fleet, fleet.registry.get(tenant_id), dataset=data_type, reason=reason, file=file, limit=limit
        )
    if as_json:
        print_json(found)
        return
    document = as_document(found)
    print_table(document["counts"], COUNTED, title=f"{found.tenant}: {found.rows} rows in quarantine")
    if found.entries:
        print_table(document["entries"], LISTED, title="oldest first")


@app.command("show")
def show(tenant_id: OneTenant, row_id: RowId, as_json: AsJson = False) -> None:
    """Show one row and everything wrong with it; values of personal data are masked."""
    from tenant_ops.loading import show_row

    with open_fleet() as fleet:
        row = show_row(fleet, fleet.registry.get(tenant_id), row_id)
    if as_json:
        print_json(row)
        return
    document = as_document(row)
    print_table(document["faults"], ("column", "value", "reason"), title=f"{row.file}, line {row.line}")
    values = row.values if row.values is not None else {"": row.text}
    rows = [{"column": name, "value": value} for name, value in values.items()]
    print_table(rows, ("column", "value"), title=f"row {row.id} of {row.dataset}")


@app.command("export")
def export(
    tenant_id: OneTenant,
    data_type: Annotated[str, typer.Option(help="The dataset whose rows are exported.")],
    output_path: Annotated[Path, typer.Option(help="The file to write, readable by you alone.")],
    format_: Annotated[
        Literal["csv", "ndjson"] | None,
        typer.Option("--format", help="As the file's name says when left out."),
    ] = None,
    reason: Reason = None,
    file: File = None,
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write rows as they were read, unmasked, to repair them in an editor and replay the file."""
    from tenant_ops.loading import export_quarantine

    written = format_ or ("ndjson" if output_path.suffix in {".ndjson", ".jsonl"} else "csv")
    with open_fleet() as fleet:
        tenant = fleet.registry.get(tenant_id)
        report = export_quarantine(
            fleet, tenant, data_type, output_path, format=written, reason=reason, file=file, force=force
        )
    if as_json:
        print_json(report)
        return
    document = as_document(report)
    print_table([document], tuple(document), title="quarantine export")
    STDERR.print(
        f"repair it, then: tenant-ops load-fixtures --tenant-id {tenant_id} --replay-quarantine "
        f"--source-path {output_path}",
        markup=False,
        highlight=False,
    )


@app.command("repair")
def repair(
    tenant_id: OneTenant,
    row_id: RowId,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A column's new value, as email=a@example.org.")
    ] = None,
    null: Annotated[list[str] | None, typer.Option("--null", help="A column to empty.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change values of one row; replaying loads it with them."""
    from tenant_ops.loading import repair_row

    values: dict[str, str | None] = dict.fromkeys(null or ())
    for assignment in set_ or ():
        name, equals, value = assignment.partition("=")
        if not equals or name in values:
            wrong = "is set and emptied" if equals else "has no = in it"
            raise InputError(f"{name!r} {wrong}.", where="--set", fix="Write column=value, each column once.")
        values[name] = value
    with open_fleet() as fleet:
        report = repair_row(fleet, fleet.registry.get(tenant_id), row_id, values)
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table([document], tuple(document), title="quarantine repair")


@app.command("drop")
def drop(
    tenant_id: OneTenant,
    ids: Annotated[str | None, typer.Option(help="Rows, as 17,18.")] = None,
    data_type: DataType = None,
    reason: Reason = None,
    undo: Annotated[
        Path | None, typer.Option(help="Put back the rows of a file that dropping them wrote.")
    ] = None,
    execute: Execute = False,
    as_json: AsJson = False,
) -> None:
    """Remove rows from quarantine, keeping them in a file. Without --execute only the plan is printed."""
    from tenant_ops.loading import drop_quarantine, plan_drop, undo_drop

    with open_fleet() as fleet:
        tenant = fleet.registry.get(tenant_id)
        if undo is not None:
            report = undo_drop(fleet, tenant, undo)
        else:
            plan = plan_drop(fleet, tenant, ids=_numbers(ids), dataset=data_type, reason=reason)
            if not execute:
                show_plans([plan], as_json=as_json, title="quarantine drop: plan (add --execute to do it)")
                return
            report = drop_quarantine(fleet, plan)
    if as_json:
        print_json(report)
    else:
        document = as_document(report)
        print_table([document], tuple(document), title="quarantine drop")


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers = split(text)
    for number in numbers:
        if not (number.isascii() and number.isdecimal() and len(number) <= 18):
            raise InputError(f"{number!r} is no number of a row.", where="--ids", fix="Write them as 17,18.")
    return [int(number) for number in numbers]
