"""`tenant-ops load-fixtures`: its flags, and what they become in the run's configuration.

Here: the one command. Not here: what a load does (`loading/`), making fixture files (`fixtures.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenant_ops.cli.output import STDERR, print_table
from tenant_ops.cli.running import (
    AsJson,
    DryRun,
    TenantIds,
    as_typed,
    chosen_tenants,
    open_fleet,
    run,
    show_plans,
    split,
)
from tenant_ops.datasets import ConflictStrategy, Drift, Mode
from tenant_ops.platform.errors import InputError

if TYPE_CHECKING:
    from tenant_ops.loading import LoadPlan


def load_fixtures(
    context: typer.Context,
    tenant_id: TenantIds,
    data_types: Annotated[str | None, typer.Option(help="Datasets, as a,b,c; all when left out.")] = None,
    source_path: Annotated[
        str | None,
        typer.Option(
            help="What to load: a folder, file, zip or pattern; s3://... or another object store; a "
            "database URL, or env:NAME for one kept in an environment variable. The tier's shipped "
            "fixtures when left out."
        ),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="batch: rows that are not in the files stay. full: they are deleted, after a backup. "
            "incremental: only rows changed since the last load are taken."
        ),
    ] = Mode.BATCH,
    conflict: Annotated[
        ConflictStrategy | None,
        typer.Option(help="What happens to a row that is there already; as each dataset says when left out."),
    ] = None,
    newest_by: Annotated[
        str | None, typer.Option(help="Column that says which row is newer, for --conflict newest.")
    ] = None,
    incremental_by: Annotated[
        str | None,
        typer.Option(help="Column that says how far --mode incremental has come; else files by content."),
    ] = None,
    drift: Annotated[
        Drift | None,
        typer.Option(
            help="Columns no dataset has: strict refuses, ignore passes over, evolve proposes a migration."
        ),
    ] = None,
    query: Annotated[str | None, typer.Option(help="SQL to read from a database, for one dataset.")] = None,
    encoding: Annotated[str, typer.Option(help="auto, detect, or the name of an encoding.")] = "auto",
    delimiter: Annotated[str | None, typer.Option(help="Between values of CSV; found when left out.")] = None,
    source_version: Annotated[
        str | None, typer.Option(help="Version the files were written for; older ones are brought up.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Rows read, checked and committed at a time.")
    ] = 100_000,
    parallel_files: Annotated[int, typer.Option(min=1, max=16, help="Files read at once.")] = 1,
    max_bad_rows: Annotated[
        int | None, typer.Option(min=0, help="More bad rows than this fail the dataset; nothing is merged.")
    ] = None,
    max_bad_pct: Annotated[
        float | None, typer.Option(min=0, max=100, help="The same in percent of the rows read.")
    ] = None,
    replay_quarantine: Annotated[
        bool,
        typer.Option(
            "--replay-quarantine",
            help="Load the rows in quarantine again; with --source-path, as repaired in an exported file.",
        ),
    ] = False,
    validate_data: Annotated[bool, typer.Option(help="Validate the tenant after loading.")] = False,
    force: Annotated[bool, typer.Option(help="Load again what was loaded before, unchanged.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load fixtures into tenants; bad rows are quarantined with file, line, column and reason."""
    from tenant_ops.loading import Reading, plan_load

    source = None if source_path is None else _from_anywhere(source_path)
    with open_fleet() as fleet:
        datasets = [dataset.name for dataset in fleet.catalog.select(split(data_types))]
        chosen = chosen_tenants(fleet, tenant_id)
        plans = [
            plan_load(
                fleet,
                tenant,
                datasets=datasets,
                source=source,
                mode=mode,
                conflict=conflict,
                newest_by=newest_by,
                incremental_by=incremental_by,
                drift=drift,
                reading=Reading(encoding, delimiter, query),
                source_version=source_version,
                batch_rows=batch_size,
                parallel_files=parallel_files,
                max_bad_rows=max_bad_rows,
                max_bad_pct=max_bad_pct,
                force=force,
                replay=replay_quarantine,
            )
            for tenant in chosen
        ]
        if dry_run:
            _show(plans, as_json=as_json)
            return
        options: dict[str, Any] = {
            "source_path": source,
            "mode": mode.name,
            "conflict": conflict.name if conflict else None,
            "newest_by": newest_by,
            "incremental_by": incremental_by,
            "drift": drift.name if drift else None,
            "query": query,
            "encoding": encoding,
            "delimiter": delimiter,
            "source_version": source_version,
            "batch_rows": batch_size,
            "parallel_files": parallel_files,
            "max_bad_rows": max_bad_rows,
            "max_bad_pct": max_bad_pct,
            "replay_quarantine": replay_quarantine,
            "force": force,
        }
        options = {name: value for name, value in options.items() if value is not None}
        assets = [[group, name] for name in datasets for group in ("fixtures", "datasets")]
        run(
            fleet,
            "tenant_pipeline" if validate_data else "load_fixtures",
            as_json=as_json,
            tenants=chosen,
            config={"resources": {"load_options": {"config": options}}},
            assets=[*assets, ["validation_report"]] if validate_data else assets,
            command=as_typed(context),
            shown=("merge", "validate"),
        )


def _show(plans: "Sequence[LoadPlan]", *, as_json: bool) -> None:
    """The dry run: every file, and what would become of it."""
    if as_json:
        show_plans(plans, as_json=True, title="")
        return
    for plan in plans:
        rows = [
            {
                "dataset": part.dataset,
                "file": file.name,
                "bytes": file.bytes,
                "outcome": outcome,
                "conflict": part.conflict.value,
                "drift": part.drift.value,
                **({"after": f"{part.cursor} {part.after or '(all)'}"} if part.cursor else {}),
                **({"upcasts": ", ".join(part.upcasts)} if part.upcasts else {}),
            }
            for part in plan.datasets
            for files, outcome in ((part.files, "to load"), (part.skipped, "loaded before"))
            for file in files
        ]
        title = f"load-fixtures: plan for {plan.tenant}, mode {plan.mode.value}, from {plan.source}"
        print_table(rows, tuple(dict.fromkeys(name for row in rows for name in row)), title=title)
        if plan.mode is Mode.FULL:
            note = "Rows the files do not have leave their tables, after a backup; how many, staging tells."
            STDERR.print(note, highlight=False)


def _from_anywhere(source: str) -> str:
    """The source as it is found from any working directory: runs may start in another one."""
    if not source.strip():
        raise InputError("it names nothing.", where="--source-path")
    if "://" in source or source.startswith("env:"):
        return source
    return str(Path(source).expanduser().absolute())
