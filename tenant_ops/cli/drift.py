"""`tenant-ops drift`: whose tables are not what the definitions say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import FINDINGS, AsJson, TenantIds, chosen_tenants, open_fleet

if TYPE_CHECKING:
    from tenant_ops.validation.drift import DriftGroup

MOST_SHOWN = 5
COLUMNS = ("tenants", "versions", "for_example", "differences")


def drift(
    tenant_id: TenantIds = "all",
    fail_on_drift: Annotated[bool, typer.Option(help="Exit code 3 when a tenant is not as defined.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the tables of tenants with the definitions: who differs, and in what; changes nothing."""
    from tenant_ops.validation.drift import find_drift

    with open_fleet() as fleet:
        report = find_drift(fleet, chosen_tenants(fleet, tenant_id))
    if as_json:
        print_json(report)
    else:
        title = (
            f"{report.as_defined:,} of {report.tenants:,} tenants are as version {report.version} is defined"
        )
        print_table([_row(group) for group in report.groups], COLUMNS, title=title)
        if report.groups:
            example = report.groups[0].tenants[0]
            command = f"tenant-ops validate-data --tenant-id {example} --validation-types schema"
            STDERR.print(f"each difference: {command}", markup=False, highlight=False)
    if fail_on_drift and report.groups:
        raise typer.Exit(FINDINGS)


def _row(group: DriftGroup) -> dict[str, str]:
    differences = [f"-{part.table}.{part.name} {part.kind}" for part in group.missing]
    differences += [f"+{part.table}.{part.name} {part.kind}" for part in group.surplus]
    more = f", and {len(differences) - MOST_SHOWN} more" if len(differences) > MOST_SHOWN else ""
    return {
        "tenants": f"{len(group.tenants):,}",
        "versions": ", ".join(group.versions),
        "for_example": ", ".join(group.tenants[:3]),
        "differences": ", ".join(differences[:MOST_SHOWN]) + more,
    }
