"""`tenant-ops rules`: which validation rules there are, where they come from, whether they can be checked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenant_ops.cli.output import print_json, print_plan, print_table
from tenant_ops.cli.running import AsJson
from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.platform import logs
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.reports import as_document
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet

if TYPE_CHECKING:
    from tenant_ops.validation import KnownRule

app = typer.Typer(help="The validation rules, shipped and your own.", no_args_is_help=True)

LISTED = ("id", "level", "severity", "dataset", "comes_from", "fix")
TRIED = ("rule", "origin", "problem", "fix")
CatalogName = Annotated[
    str | None,
    typer.Option(
        "--catalog", help="A catalog of your own, as my_company.datasets:CATALOG; else the shipped."
    ),
]


@app.command("list")
def list_rules(
    level: Annotated[str | None, typer.Option(help="Only those of this level.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those about this dataset.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Only those that are not shipped.")] = False,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """List the rules: shipped, of installed packages, and of the modules in TENANT_OPS_RULES."""
    rows = [
        _row(one)
        for one in _known(catalog)
        if level in (None, one.rule.level)
        and dataset in (None, one.rule.dataset)
        and not (own and one.shipped)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, LISTED, title=f"{len(rows)} rules")


@app.command("show")
def show_rule(
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """Show one rule: what must hold, how it is looked for, what to do when it does not."""
    known = _known(catalog)
    found = next((one for one in known if one.rule.id == rule), None)
    if found is None:
        near = [one.rule.id for one in known if rule.rpartition(".")[2] in one.rule.id][:5]
        raise InputError(
            f"there is no rule {rule!r}.",
            fix=f"Perhaps {', '.join(near)}." if near else "List them with: tenant-ops rules list",
        )
    document = {
        **_row(found),
        "description": found.rule.description,
        "remediation": found.rule.remediation,
        "finds": type(found.rule.find).__name__,
        **as_document(found.rule.find),
    }
    if as_json:
        print_json(document)
    else:
        print_plan(document, title=rule)


@app.command("check")
def check_rules(
    tenant_id: Annotated[
        str | None,
        typer.Option(help="Try them on this tenant's tables and rows; else on empty tables."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The shipped ones too.")] = False,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """Try your own rules: does their SQL fit the tables, do their functions work? Nothing is changed."""
    from tenant_ops.validation import try_rules

    chosen = _catalog(catalog)
    known = [one for one in _known(catalog) if every or not one.shipped]
    if not known:
        raise InputError(
            "there is no rule of your own.",
            fix="List modules in TENANT_OPS_RULES, or install a package with a tenant_ops.rules entry point.",
        )
    logs.configure()
    fleet = Fleet.open(Settings.load(), catalog=chosen)
    try:
        tenant = fleet.registry.get(tenant_id) if tenant_id else None
        trials = try_rules(fleet, known, tenant)
    finally:
        fleet.close()
    bad = [trial for trial in trials if trial.problem]
    if as_json:
        print_json(trials)
    else:
        rows = [as_document(trial) for trial in bad]
        print_table(rows, TRIED, title=f"{len(trials)} rules tried, {len(bad)} of them cannot be checked")
    if bad:
        raise typer.Exit(InputError.exit_code)


def _known(catalog: str | None) -> tuple[KnownRule, ...]:
    from tenant_ops.validation import known_rules  # pulls in what other commands need not wait for

    return known_rules(_catalog(catalog), Settings.load().rules)


def _catalog(name: str | None) -> Catalog:
    if name is None:
        return MUSIC
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise InputError(
            f"{module!r} cannot be imported: {error}.",
            where="--catalog",
            fix="Correct its name, install its package, or put its folder on PYTHONPATH.",
        ) from error
    if not isinstance(found, Catalog):
        raise InputError(
            f"{name!r} is no catalog.", where="--catalog", fix="Write it as my_company.datasets:CATALOG."
        )
    return found


def _row(one: KnownRule) -> dict[str, Any]:
    rule = one.rule
    made_of = f"the definition of {rule.dataset}" if rule.dataset else "the definitions"
    shipped = rule.origin.removeprefix("tenant_ops.validation.").rpartition(".")[0] or made_of
    return {
        "id": rule.id,
        "level": rule.level,
        "severity": rule.severity,
        "dataset": rule.dataset,
        "comes_from": shipped if one.shipped else one.place,
        "fix": type(rule.fix).__name__.lower() if rule.fix else None,
    }
