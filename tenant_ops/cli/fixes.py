"""`tenant-ops fixes`: plan, apply, undo and list what mends a tenant's findings.

Safe fixes are also applied by `tenant-ops validate-data --auto-fix`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import FAILED, AsJson, DryRun, OneTenant, open_fleet, split
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

if TYPE_CHECKING:
    from tenant_ops.tenants import Fleet
    from tenant_ops.validation import FixPlan, Policies, ValidationPlan

app = typer.Typer(help="What mends findings: plan, apply, undo, list.", no_args_is_help=True)

PLANNED = ("rule", "trust", "change", "rows", "touches", "undoable", "ends_chain", "refusal")
DONE = ("rule", "dataset", "rows", "done", "reason")
LISTED = ("fix_id", "fixed_at", "actor", "steps", "rows_kept", "undone_at")

Rules = Annotated[
    str | None,
    typer.Option(help="Only the fixes of these rules, as a,b; the only way to apply reviewed ones."),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="For duplicates keep-first, keep-last, keep-newest or keep-complete; for orphans delete, "
        "set-null or quarantine. Both as a,b."
    ),
]


@app.command("plan")
def plan(tenant_id: OneTenant, rules: Rules = None, policy: Policy = None, as_json: AsJson = False) -> None:
    """Show what would change, reviewed fixes too; nothing is changed."""
    with open_fleet() as fleet:
        _, fixes = _planned(fleet, tenant_id, rules, policy, offer_reviewed=True)
    _show(fixes, as_json=as_json)


@app.command("apply")
def apply(
    tenant_id: OneTenant,
    rules: Rules = None,
    policy: Policy = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Apply the safe fixes, or those of the named rules; exit code 1 when one could not be done."""
    from tenant_ops.validation import execute_fixes

    with open_fleet() as fleet:
        validation, fixes = _planned(fleet, tenant_id, rules, policy, offer_reviewed=False)
        if dry_run:
            _show(fixes, as_json=as_json)
            return
        report = execute_fixes(fleet, validation, fixes)
    if as_json:
        print_json(report)
    elif report.outcomes:
        print_table(as_document(report)["outcomes"], DONE, title=f"fixes of {report.tenant}")
        if report.fix_id:
            STDERR.print(
                f"undo: tenant-ops fixes undo --tenant-id {tenant_id} {report.fix_id}",
                markup=False,
                highlight=False,
            )
    else:
        STDERR.print("Nothing is to be fixed.")
    if not all(one.done for one in report.outcomes):
        raise typer.Exit(FAILED)


@app.command("undo")
def undo(
    tenant_id: OneTenant,
    fix_id: Annotated[str, typer.Argument(help="The fix, as `fixes list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Give rows back what they were before a fix, except those changed since."""
    from tenant_ops.validation import undo_fixes

    with open_fleet() as fleet:
        report = undo_fixes(fleet, fleet.registry.get(tenant_id), fix_id)
    if as_json:
        print_json(report)
        return
    document = as_document(report)
    print_table([document], ("fix_id", "restored", "changed_since"), title=f"undone for {report.tenant}")
    for row in report.left:
        STDERR.print(f"left as it is by now: {row}", markup=False, highlight=False)


@app.command("list")
def list_(tenant_id: OneTenant, as_json: AsJson = False) -> None:
    """List the fixes of the last 30 days that were kept for undoing, newest first."""
    from tenant_ops.validation import list_fixes

    with open_fleet() as fleet:
        found = list_fixes(fleet, fleet.registry.get(tenant_id))
    if as_json:
        print_json(found)
        return
    rows = [
        {**as_document(one), "steps": "; ".join(f"{step.rule} ({step.rows:,})" for step in one.steps)}
        for one in found
    ]
    print_table(rows, LISTED, title=f"{len(found)} fixes of {tenant_id}")


def _planned(
    fleet: Fleet, tenant_id: str, rules: str | None, policy: str | None, *, offer_reviewed: bool
) -> tuple[ValidationPlan, FixPlan]:
    from tenant_ops.validation import find_fixes, plan_validation

    validation = plan_validation(fleet, fleet.registry.get(tenant_id))
    named = None if rules is None else split(rules)
    return validation, find_fixes(
        fleet, validation, rules=named, policies=_policies(policy), offer_reviewed=offer_reviewed
    )


def _policies(text: str | None) -> Policies:
    from tenant_ops.validation import Policies
    from tenant_ops.validation.rules import Duplicates, Strays

    chosen: dict[str, Any] = {}
    for word in split(text):
        group = next(
            (
                name
                for name, words in (("duplicates", Duplicates), ("orphans", Strays))
                if word in get_args(words)
            ),
            None,
        )
        if group is None or group in chosen:
            wrong = "is not known" if group is None else "is the second one for the same thing"
            known = ", ".join((*get_args(Duplicates), *get_args(Strays)))
            raise InputError(f"the policy {word!r} {wrong}.", where="--policy", fix=f"Choose from: {known}.")
        chosen[group] = word
    return Policies(**chosen)


def _show(fixes: FixPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, "plan": fixes})
        return
    rows = [
        {**as_document(step), "touches": ", ".join(f"{name}: {rows:,}" for name, rows in step.touches)}
        for step in fixes.steps
    ]
    print_table(rows, PLANNED, title=f"fixes of {fixes.tenant}: plan, {len(rows)} steps")
    for step in fixes.steps:
        for line in step.sample:
            STDERR.print(f"{step.rule}: {line}", markup=False, highlight=False)
