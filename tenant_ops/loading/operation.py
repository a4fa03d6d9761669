"""Loading as a whole: the plan, and all its datasets in foreign-key order.

Here: `plan_load` and `execute_load`. Not here: the two steps themselves (`staging.py`, `merging.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from uuid import UUID

from tenant_ops.datasets import ConflictStrategy, Dataset, Drift, Mode
from tenant_ops.loading import ledger
from tenant_ops.loading.discovery import find_files
from tenant_ops.loading.merging import merge
from tenant_ops.loading.prepared import PreparedFiles
from tenant_ops.loading.quarantine.replay import find_replayed
from tenant_ops.loading.refusals import in_sentences
from tenant_ops.loading.reports import (
    DatasetLoad,
    DatasetPlan,
    LoadPlan,
    LoadReport,
    MergeReport,
    Reading,
    SourceFile,
    StageReport,
)
from tenant_ops.loading.source_versions import version_of_source
from tenant_ops.loading.staging import stage_all
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.platform.retry import retried, retrying
from tenant_ops.platform.settings import fixtures_root
from tenant_ops.tenants import Fleet, SafetyCopy, Tenant

_Found = dict[str, tuple[tuple[SourceFile, ...], tuple[str, ...]]]
"""The files of each dataset, and the versions whose changes their rows are brought through."""

_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z-]+)*")

_OVERRULING = frozenset({ConflictStrategy.OVERWRITE, ConflictStrategy.MERGE})
"""Strategies under which the incoming row wins, however old it is."""

_ORDERED = frozenset({"integer", "bigint", "numeric", "double", "text", "date", "timestamptz"})
"""Types that can say how far an incremental load has come."""


@retried("plan a load")
def plan_load(
    fleet: Fleet,
    tenant: Tenant,
    *,
    datasets: Sequence[str] | None = None,
    source: Path | str | None = None,
    mode: Mode = Mode.BATCH,
    conflict: ConflictStrategy | None = None,
    newest_by: str | None = None,
    incremental_by: str | None = None,
    drift: Drift | None = None,
    reading: Reading | None = None,
    source_version: str | None = None,
    batch_rows: int = 100_000,
    parallel_files: int = 1,
    max_bad_rows: int | None = None,
    max_bad_pct: float | None = None,
    validate: bool = True,
    force: bool = False,
    replay: bool = False,
    together: Sequence[str] | None = None,
) -> LoadPlan:
    """Look at what a load would do, changing nothing.

    Args:
        fleet: The fleet.
        tenant: Whose tables.
        datasets: Names of the datasets to load, all when None.
        source: A folder, file, zip or pattern, an object store's or a database's URL, `env:NAME` for one
            kept in an environment variable; None is the shipped fixtures of the tenant's version and tier.
        mode: What the rows are to the rows that are there.
        conflict: What happens to rows that are there already; None as each dataset says, in mode full they
            are overwritten.
        newest_by: The column that says which row is newer; None as each dataset says.
        incremental_by: The column that says how far incremental loads have come; None as each dataset says.
        drift: What happens to columns a dataset does not have; None as each dataset says.
        reading: How text and databases are read; None finds out.
        source_version: The version the rows were written for; None is found out from the source.
        batch_rows: Most rows read, checked and committed at a time.
        parallel_files: Files read at once.
        max_bad_rows: Most quarantined rows a dataset may have and still be merged.
        max_bad_pct: The same in percent of the rows read.
        validate: Whether rules, keys and references are checked; types always are.
        force: Also load files whose bytes were loaded before.
        replay: Load the rows in quarantine, all of them as they are or, with a `source`, those in this edited
            export (`export_quarantine`) as they are there. Their version is known. Without `conflict` they
            do not win over rows that are there: those may be newer, or be why they were left out.
        together: Datasets that are loaded in the same run, each by a plan of its own; None is these alone.

    Raises:
        InputError: a dataset is unknown, the source is missing or has files that belong to no dataset, or
            what is asked for does not go together.
    """
    tenant.require()
    mode = Mode(mode)
    if batch_rows < 1:
        raise InputError(
            f"{batch_rows} rows cannot be read at a time.", where="batch size", fix="Use 1 or more."
        )
    if parallel_files < 1:
        raise InputError(
            f"{parallel_files} files cannot be read at once.", where="parallel files", fix="Use 1 or more."
        )
    chosen = fleet.catalog.select(datasets)
    reading = reading or Reading()
    if replay:
        place, found = _quarantined(fleet, tenant, chosen, source, mode, source_version)
    else:
        place, found = _files(fleet, tenant, chosen, source, reading, source_version)
    plan = LoadPlan(
        tenant=tenant.slug,
        source=place,
        datasets=(),
        mode=mode,
        batch_rows=batch_rows,
        reading=reading,
        parallel_files=parallel_files,
        replaced=tuple(together or (dataset.name for dataset in chosen)) if mode is Mode.FULL else (),
        max_bad_rows=max_bad_rows,
        max_bad_pct=max_bad_pct,
        validate=validate,
        force=force,
    )
    parts: list[DatasetPlan] = []
    with fleet.session(tenant) as connection:
        for dataset in chosen:
            files, upcasts = found[dataset.name]
            incoming = fleet.catalog.incoming(dataset.name, upcasts)
            part = DatasetPlan(
                dataset=dataset.name,
                files=files,
                skipped=(),
                conflict=_strategy(dataset, mode, conflict, replay=replay),
                drift=Drift(drift or dataset.drift),
                newest_by=newest_by or dataset.newest_by,
                cursor=(incremental_by or dataset.cursor) if mode is Mode.INCREMENTAL else None,
                upcasts=upcasts,
            )
            _check(part, dataset, mode)
            if part.cursor and not force:
                part = replace(part, after=ledger.latest_cursor(connection, tenant, dataset, part.cursor))
            alone = replace(plan, datasets=(part,))
            loaded = (
                set() if force else ledger.already_loaded(connection, tenant, incoming, part.files, alone)
            )
            parts.append(
                replace(
                    part,
                    files=tuple(file for file in part.files if file.name not in loaded),
                    skipped=tuple(file for file in part.files if file.name in loaded),
                )
            )
    return replace(plan, datasets=tuple(parts))


def _files(
    fleet: Fleet,
    tenant: Tenant,
    datasets: Sequence[Dataset],
    source: Path | str | None,
    reading: Reading,
    source_version: str | None,
) -> tuple[str, _Found]:
    """Where the source is, and what it has of each dataset."""
    place = source or shipped_fixtures(tenant, fleet.catalog.version)
    found = find_files(
        fleet.catalog,
        place,
        {dataset.name for dataset in datasets},
        reading=reading,
        spool=fleet.settings.home / "spool",
    )
    version = version_of_source(fleet.catalog, Path(place), given=source_version, shipped=source is None)
    return str(place), {
        name: (tuple(files), fleet.catalog.upcasts_since(name, version)) for name, files in found.items()
    }


def _quarantined(
    fleet: Fleet,
    tenant: Tenant,
    datasets: Sequence[Dataset],
    source: Path | str | None,
    mode: Mode,
    source_version: str | None,
) -> tuple[str, _Found]:
    """The quarantine or the repaired file, and what it has of each dataset."""
    if mode is not Mode.BATCH:
        raise InputError(
            f"quarantined rows are some rows of a dataset, and mode {mode} would take them for more.",
            where=f"tenant {tenant.slug}",
            fix="Replay them in mode batch.",
        )
    repaired = Path(source).expanduser() if source else None
    found = find_replayed(fleet, tenant, datasets, repaired=repaired, source_version=source_version)
    return str(repaired or "quarantine"), found


def _strategy(
    dataset: Dataset, mode: Mode, conflict: ConflictStrategy | None, *, replay: bool
) -> ConflictStrategy:
    if replay and conflict is None and dataset.conflict in _OVERRULING:
        # A row was left out because of the one that is there, or that one is newer: somebody has to say.
        return ConflictStrategy.KEEP_BOTH
    if mode is not Mode.FULL:
        return ConflictStrategy(conflict or dataset.conflict)
    if conflict not in (None, ConflictStrategy.OVERWRITE):
        raise InputError(
            f"mode full replaces the rows that are there, so conflict {conflict} decides nothing.",
            where=f"dataset {dataset.name}",
            fix="Leave the conflict strategy out, or use mode batch.",
        )
    return ConflictStrategy.OVERWRITE


def _check(part: DatasetPlan, dataset: Dataset, mode: Mode) -> None:
    where = f"dataset {dataset.name}"
    undecided = part.conflict is ConflictStrategy.NEWEST and part.newest_by not in dataset.column_names
    if undecided and part.files:
        wrong = f"there is no column {part.newest_by}" if part.newest_by else "no column is named"
        raise InputError(
            f"conflict newest needs to know which of two rows is newer, and {wrong}.",
            where=where,
            fix=f"Name one of its columns by newest_by: {', '.join(dataset.column_names)}.",
        )
    cursor = dataset.by_name.get(part.cursor) if part.cursor else None
    if part.cursor and (cursor is None or cursor.type not in _ORDERED):
        wrong = f"{part.cursor} is {cursor.type}" if cursor else f"there is no column {part.cursor}"
        ordered = [column.name for column in dataset.columns if column.type in _ORDERED]
        raise InputError(
            f"mode incremental needs a column whose values grow, and {wrong}.",
            where=where,
            fix=f"Name one of its columns by incremental_by: {', '.join(ordered)}.",
        )
    if mode is Mode.FULL and not part.files:
        raise InputError(
            "mode full would replace its rows, and there are no files of it.",
            where=where,
            fix="Name only the datasets to replace; a file with a header and no rows, forced, empties one.",
        )


def shipped_fixtures(tenant: Tenant, version: str) -> Path:
    """The fixtures of the tenant's tier, of its version or the newest one before that.

    A version that changed no fixtures has no folder of its own.
    """
    wanted = tenant.version or version
    found = [
        folder
        for folder in fixtures_root().glob(f"*/{tenant.tier_name}")
        if _VERSION.fullmatch(folder.parent.name) and _order(folder.parent.name) <= _order(wanted)
    ]
    newest = max(found, key=lambda folder: _order(folder.parent.name), default=None)
    return newest or fixtures_root() / wanted / tenant.tier_name


def execute_load(
    fleet: Fleet,
    plan: LoadPlan,
    *,
    progress: Progress = SILENT,
    safety_copy: SafetyCopy | None = None,
    prepared: PreparedFiles | None = None,
) -> LoadReport:
    """Stage every dataset of the plan, then merge them, referenced ones first.

    Staging comes first for all of them: a file that cannot be used is found before any live table changes.
    Errors that pass by themselves are waited for, and the load goes on where it was.

    Args:
        fleet: The fleet.
        plan: Made by `plan_load`.
        progress: Told of each file.
        safety_copy: Takes the backup before a full load removes rows; None is the usual one.
        prepared: Where files are read once for several tenants.

    Raises:
        InputError: a file cannot be used.
        OperationFailed: a dataset has more bad rows than the plan allows, or Postgres refused. Datasets
            merged before the one named stay merged; loading again goes on from there.
    """
    started = perf_counter()
    stages: dict[str, StageReport] = {}
    merges: dict[str, MergeReport] = {}

    def attempt(retries: int) -> int:
        tenant = fleet.registry.get(plan.tenant).require()
        # All of it is tried again, the lock too: the connection that holds it may be the one that was lost.
        with in_sentences(tenant), fleet.lock(tenant, "load"):
            _find_merged(fleet, tenant, stages, merges)
            left = [part.dataset for part in plan.datasets if part.dataset not in merges]
            for staged in stage_all(fleet, tenant, plan, left, progress=progress, prepared=prepared):
                if staged.state != "reused" or staged.dataset not in stages:
                    stages[staged.dataset] = staged
            for name in left:
                merges[name] = merge(fleet, tenant, plan, name, safety_copy=safety_copy)
        return retries

    retries = retrying(attempt, f"load {plan.tenant}")
    names = [part.dataset for part in plan.datasets]
    reports = [merges[name] for name in names]
    return LoadReport(
        tenant=plan.tenant,
        source=plan.source,
        mode=plan.mode,
        datasets=tuple(DatasetLoad(name, stages[name], merges[name]) for name in names),
        read=sum(report.read for report in reports),
        inserted=sum(report.inserted for report in reports),
        updated=sum(report.updated for report in reports),
        unchanged=sum(report.unchanged for report in reports),
        skipped=sum(report.skipped for report in reports),
        quarantined=sum(report.quarantined for report in reports),
        rejected=sum(report.rejected for report in reports),
        passed_over=sum(report.passed_over for report in reports),
        deleted=sum(report.deleted + sum(report.taken_along.values()) for report in reports),
        seconds=round(perf_counter() - started, 4),
        retries=retries,
    )


def _find_merged(
    fleet: Fleet, tenant: Tenant, stages: dict[str, StageReport], merges: dict[str, MergeReport]
) -> None:
    """Note the merges that came about though nobody was told, because the connection was lost meanwhile."""
    for name, staged in stages.items():
        if name not in merges and staged.load_id is not None:
            with fleet.session(tenant) as connection:
                report = ledger.merged_report(connection, tenant, UUID(staged.load_id))
            if report is not None:
                merges[name] = report


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
