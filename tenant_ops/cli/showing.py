"""How `tenant-ops demo` tells what it did: a line per step as it happens, a table, where to look next."""

from rich.table import Table

from tenant_ops.cli.output import STDERR, STDOUT, print_json
from tenant_ops.demo import Step, scenario
from tenant_ops.platform.keys import key_path
from tenant_ops.tenants import Fleet


def show_demo(fleet: Fleet, name: str, *, tenant_count: int, as_json: bool) -> int:
    """Run a scenario and print it; 0 when every step held, else 1."""
    steps: list[Step] = []
    for step in scenario(name)(fleet, tenant_count):
        steps.append(step)
        mark = "ok    " if step.ok else "FAILED"
        STDERR.print(f"{mark} {step.name} {_figures(step)}", markup=False, highlight=False)
    failed = [step for step in steps if not step.ok]
    if as_json:
        print_json({"scenario": name, "ok": not failed, "steps": steps})
        return 1 if failed else 0
    table = Table(title=f"tenant_ops demo: {name}", title_justify="left")
    for column in ("step", "outcome", "figures"):
        table.add_column(column, overflow="fold")
    table.add_column("seconds", justify="right")
    for step in steps:
        table.add_row(
            step.name,
            "[green]ok[/]" if step.ok else "[red]failed[/]",
            _figures(step).replace("[", r"\["),
            f"{step.seconds:.2f}",
        )
    STDOUT.print(table)
    STDOUT.print(_next_steps(fleet), markup=False, highlight=False)
    return 1 if failed else 0


def _figures(step: Step) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in step.figures.items() if value is not None)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _next_steps(fleet: Fleet) -> str:
    key = key_path(fleet.settings)
    sealed = f"\nBackups are sealed with the key in {key}: copy it somewhere safe." if key.is_file() else ""
    return (
        "Look at it:  make dev   (the Dagster UI, http://127.0.0.1:3000: Catalog, then datasets / users)\n"
        "Go on:       .venv/bin/tenant-ops --help\n"
        f"Data:        {fleet.control.describe()}{sealed}"
    )
