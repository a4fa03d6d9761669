"""`tenant-ops backup reconcile`: backups that wait in the fallback store.

Here: that. Not here: taking backups (`backups.py`).
"""

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import FINDINGS, AsJson, Execute, open_fleet
from tenant_ops.platform.reports import as_document

app = typer.Typer()

WAITING = ("backup_id", "tenant", "store", "stored_bytes", "carried")


@app.command("reconcile")
def reconcile(execute: Execute = False, as_json: AsJson = False) -> None:
    """Carry what the fallback store took over to the store it was meant for; exit code 3 while some waits."""
    from tenant_ops.backups import execute_reconcile, plan_reconcile

    with open_fleet() as fleet:
        plan = plan_reconcile(fleet)
        report = execute_reconcile(fleet, plan) if execute else None
    if as_json:
        print_json({"plan": plan, "report": report})
    elif not plan.waiting:
        STDERR.print("nothing waits in a fallback store.")
    else:
        print_table([as_document(each) for each in plan.waiting], WAITING, title="backup reconcile")
    if report is None:
        if plan.waiting and not as_json:
            STDERR.print("plan only; add --execute to carry them over.")
    elif not as_json:
        STDERR.print(f"carried over: {len(report.moved)}; copies removed: {len(report.removed)}.")
        for problem in report.failed:
            STDERR.print(f"waits on: {problem}", markup=False, highlight=False)
    if report.failed if report else plan.waiting:
        raise typer.Exit(FINDINGS)
