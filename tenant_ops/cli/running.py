"""What the commands share: the fleet, which tenants are meant, running a job, the exit code.

Here: glue between flags and jobs. Not here: single commands (`commands.py` and neighbours).
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tenant_ops.audit import StoredReport
from tenant_ops.cli.output import STDERR, print_json, print_notes, print_plan, print_reports
from tenant_ops.platform import logs
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant

FAILED, FINDINGS = 1, 3

TenantIds = Annotated[
    str, typer.Option("--tenant-id", help="Tenant id, several as a,b,c, or `all` for every active tenant.")
]
OneTenant = Annotated[str, typer.Option("--tenant-id", help="Tenant id.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
Execute = Annotated[
    bool, typer.Option("--execute", help="Do it; without this flag only the plan is printed.")
]


@contextmanager
def open_fleet() -> Iterator[Fleet]:
    """The configured fleet, closed at the end; logs go to stderr."""
    logs.configure()
    fleet = Fleet.open(Settings.load())
    try:
        yield fleet
    finally:
        fleet.close()


def chosen_tenants(fleet: Fleet, tenant_ids: str) -> list[Tenant]:
    """The tenants a `--tenant-id` means.

    Raises:
        UnknownTenant: one of them is not registered.
        InputError: it names nobody.
    """
    if tenant_ids.strip() == "all":
        found = list(fleet.registry.all())
        if not found:
            raise InputError(
                "no tenant is active.", fix="Make one with: tenant-ops init-tenant --tenant-id acme"
            )
        return found
    slugs = list(dict.fromkeys(split(tenant_ids)))
    if not slugs:
        raise InputError("it names no tenant.", where="--tenant-id")
    found = {tenant.slug: tenant for tenant in fleet.registry.find(slugs)}
    for slug in slugs:
        if slug not in found:
            raise fleet.registry.unknown(slug)
    return [found[slug] for slug in slugs]


def split(text: str | None) -> list[str]:
    """The parts of a comma-separated flag."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def as_typed(context: typer.Context) -> str:
    """The command as it was typed, without its tenants and without flags that only change what is printed."""
    words: list[str] = []
    within: Any = context
    while within is not None and within.parent is not None:  # the outermost is the program itself
        words.insert(0, within.info_name or "")
        within = within.parent
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name in {"tenant_id", "as_json"}:
            continue
        value = context.params[parameter.name or ""]
        if isinstance(value, bool):
            flags = parameter.opts if value else parameter.secondary_opts
            words += flags[:1]
        else:
            words += [parameter.opts[0], str(getattr(value, "value", value))]
    return shlex.join(["tenant-ops", *words])


def show_plans(plans: Sequence[Any], *, as_json: bool, title: str) -> None:
    """Print the dry run of a command."""
    if as_json:
        print_json({"dry_run": True, "plans": plans})
        return
    for plan in plans:
        print_plan(plan, title=title)


def run(
    fleet: Fleet,
    job: str,
    *,
    as_json: bool,
    tenants: Sequence[Tenant] = (),
    config: Mapping[str, Any] | None = None,
    assets: Sequence[Sequence[str]] | None = None,
    command: str = "",
    shown: Sequence[str] = (),
    where: str = "",
    judge: Callable[[Sequence[StoredReport]], bool] | None = None,
) -> None:
    """Run a job, print what it stored, and exit with what that means.

    Args:
        fleet: Where the reports are.
        job: Name of the job.
        as_json: JSON instead of tables.
        tenants: Whom it works on.
        config: Run configuration.
        assets: Keys of the assets to run, when not all of the job's.
        command: The command to repeat for tenants that failed.
        shown: Operations whose reports are tabled; empty for all.
        where: What to say about files that were written.
        judge: Says of the reports whether what was found is to end in exit code 3; None: whatever was.
    """
    from tenant_ops.orchestration.launch import run_job  # Dagster takes a second to import

    launched = run_job(
        fleet,
        job,
        tenants=[tenant.slug for tenant in tenants],
        config=config,
        assets=assets,
        command=command,
    )
    if as_json:
        print_json(
            {
                "job": job,
                "run_ids": launched.run_ids,
                "success": launched.success,
                "errors": launched.errors,
                "reports": launched.reports,
            }
        )
    else:
        print_reports(
            [r for r in launched.reports if not shown or r.operation in shown or r.outcome == "failed"]
        )
        print_notes(launched.reports)
        for error in launched.errors:
            STDERR.print(f"error: {error}", style="red", markup=False, highlight=False)
        if where:
            STDERR.print(where, markup=False, highlight=False)
        STDERR.print(
            f"run {', '.join(launched.run_ids)} (see it in the UI: tenant-ops dev)",
            style="dim",
            highlight=False,
        )
    found = any(report.outcome == "findings" for report in launched.reports)
    if judge is not None:
        found = judge(launched.reports)
    if not launched.success:
        codes = {
            report.body.get("exit_code", FAILED) for report in launched.reports if report.outcome == "failed"
        }
        # Bad input only when nothing else went wrong: then trying again as it is cannot help.
        raise typer.Exit(codes.pop() if len(codes) == 1 else FAILED)
    if found:
        raise typer.Exit(FINDINGS)
