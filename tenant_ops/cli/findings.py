"""`tenant-ops findings`: what is wrong by the last validations, since when, and what does not count.

Findings come from `tenant-ops validate-data`; nothing is looked for here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from tenant_ops.cli.output import STDERR, print_json, print_table
from tenant_ops.cli.running import AsJson, OneTenant, TenantIds, chosen_tenants, open_fleet, split
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document

if TYPE_CHECKING:
    from tenant_ops.validation import TrackedFinding

app = typer.Typer(help="What is wrong, since when, and what does not count.", no_args_is_help=True)

LISTED = ("tenant", "state", "severity", "key", "count", "since", "last_seen_at", "reopened")
MUTED = ("mute_id", "tenant", "pattern", "until", "muted_by", "reason")

States = Annotated[str, typer.Option("--state", help="Of open, muted and resolved; several as a,b.")]
Severities = Annotated[
    str | None, typer.Option("--severity", help="Of critical, error, warning and info; several as a,b.")
]


@app.command("list")
def list_(
    tenant_id: TenantIds, state: States = "open", severity: Severities = None, as_json: AsJson = False
) -> None:
    """List findings of tenants, worst first, the oldest of them first."""
    from tenant_ops.validation import SEVERITIES, list_findings
    from tenant_ops.validation.tracking import State

    states = _words(state, get_args(State), "--state")
    severities = _words(severity, SEVERITIES, "--severity") or list(SEVERITIES)
    with open_fleet() as fleet:
        found = list_findings(
            fleet,
            chosen_tenants(fleet, tenant_id),
            states=cast(Any, states),
            severities=cast(Any, severities),
        )
    if as_json:
        print_json([_document(one) for one in found])
        return
    print_table([_row(one) for one in found], LISTED, title=f"{len(found)} findings")
    if found:
        first = found[0]
        command = f"tenant-ops findings show --tenant-id {first.tenant} '{first.key}'"
        STDERR.print(f"the worst: {command}", markup=False, highlight=False)


@app.command("show")
def show(
    tenant_id: OneTenant,
    key: Annotated[str, typer.Argument(help="The finding, as `findings list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show one finding: what it says, since when it is known, what to do."""
    from tenant_ops.validation import known_rules, list_findings

    with open_fleet() as fleet:
        tenant = fleet.registry.get(tenant_id)
        found = list_findings(fleet, [tenant], states=("open", "muted", "resolved"))
        rules = {one.rule.id: one.rule for one in known_rules(fleet.catalog, fleet.settings.rules)}
    finding = next((one for one in found if one.key == key), None)
    if finding is None:
        raise InputError(
            f"no validation saw {key!r}.",
            where=f"tenant {tenant_id}",
            fix=f"List what was seen: tenant-ops findings list --tenant-id {tenant_id} --state open,resolved",
        )
    known = rules.get(finding.rule)
    document = _document(finding) | {"remediation": known.remediation if known else "the rule is gone"}
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        if value not in (None, ""):
            typer.echo(f"{name:<14} {value}")


@app.command("mute")
def mute(
    tenant_id: Annotated[str, typer.Option("--tenant-id", help="Tenant id, or `all` for every tenant.")],
    pattern: Annotated[str, typer.Argument(help="A finding's key, a rule, or either with * for anything.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in every report.")],
    days: Annotated[int | None, typer.Option(min=1, help="For so many days.")] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Until then (UTC).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let findings not count, for a reason; critical ones only with an end."""
    from tenant_ops.validation import mute as mute_findings

    if days is not None and until is not None:
        raise InputError("the end is given twice.", where="--days, --until", fix="Leave one out.")
    with open_fleet() as fleet:
        end = until.replace(tzinfo=UTC) if until else fleet.clock() + timedelta(days=days) if days else None
        tenant = None if tenant_id == "all" else fleet.registry.get(tenant_id)
        made = mute_findings(fleet, tenant, pattern, reason, end)
    if as_json:
        print_json(made)
        return
    ends = f"until {made.until:%Y-%m-%d %H:%M} UTC" if made.until else "until it is lifted"
    STDERR.print(
        f"muted {ends}; undo: tenant-ops findings unmute {made.mute_id}", markup=False, highlight=False
    )


@app.command("unmute")
def unmute(
    mute_id: Annotated[int, typer.Argument(help="The mute, as `findings mutes` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Lift a mute: its findings count again from the next validation on."""
    from tenant_ops.validation import unmute as unmute_findings

    with open_fleet() as fleet:
        lifted = unmute_findings(fleet, mute_id)
    if as_json:
        print_json(lifted)
        return
    STDERR.print(f"{lifted.pattern} counts again.", markup=False, highlight=False)


@app.command("mutes")
def mutes(tenant_id: TenantIds, as_json: AsJson = False) -> None:
    """List the mutes in force for tenants, and why they are."""
    from tenant_ops.validation import list_mutes

    with open_fleet() as fleet:
        found = list_mutes(fleet, chosen_tenants(fleet, tenant_id))
    if as_json:
        print_json(found)
        return
    rows = [as_document(one) | {"tenant": one.tenant or "all", "until": _minute(one.until)} for one in found]
    print_table(rows, MUTED, title=f"{len(found)} mutes in force")


@app.command("fleet")
def fleet_(as_json: AsJson = False) -> None:
    """Show how the last validations of all active tenants stand, worst first."""
    from tenant_ops.validation import fleet_overview

    with open_fleet() as fleet:
        overview = fleet_overview(fleet)
    if as_json:
        print_json(overview)
        return
    rows = [one.row() for one in overview.tenants]
    title = f"{len(rows)} tenants, {len(overview.failed)} left failed, {len(overview.stale)} stale"
    print_table(rows, tuple(rows[0]) if rows else ("tenant",), title=title)


def _words(text: str | None, known: tuple[str, ...], flag: str) -> list[str]:
    words = split(text)
    if unknown := [word for word in words if word not in known]:
        raise InputError(f"{unknown[0]!r} is not known.", where=flag, fix=f"Choose from: {', '.join(known)}.")
    return words


def _document(one: TrackedFinding) -> dict[str, Any]:
    return {"tenant": one.tenant, "state": one.state} | as_document(one)


def _row(one: TrackedFinding) -> dict[str, Any]:
    return _document(one) | {"since": _minute(one.since), "last_seen_at": _minute(one.last_seen_at)}


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""
