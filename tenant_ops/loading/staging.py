"""The first step of a load: files, read and checked, into an unlogged stage beside the live tables.

Here: which files, which of them at once, and the report. Not here: the table (`stages.py`), one file
(`filling.py`), what makes a row bad (`checking.py`), what happens to staged rows (`merging.py`).

A stage remembers its files by content and how they were read, so the same files are not staged twice; a
killed load goes on with the chunk it was at.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from threading import Event
from time import perf_counter
from uuid import uuid4

import psycopg

from tenant_ops.datasets import Dataset, Drift
from tenant_ops.loading import ledger
from tenant_ops.loading.filling import Stopped, Target, fill
from tenant_ops.loading.ledger import Load, fingerprint
from tenant_ops.loading.pieces import Pieces, read_pieces
from tenant_ops.loading.prepared import PreparedFiles
from tenant_ops.loading.proposals import proposals_for
from tenant_ops.loading.quarantine import Findings, findings
from tenant_ops.loading.refusals import in_sentences
from tenant_ops.loading.reports import FileReport, LoadPlan, SourceFile, StageReport
from tenant_ops.loading.stages import count_staged, create_stage, drop_stage
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.platform.retry import retrying
from tenant_ops.tenants import Fleet, Tenant

MOST_FILES = 32_767
"""Files of one load: their numbers are small integers in every row of the stage."""


def stage(
    fleet: Fleet,
    tenant: Tenant,
    plan: LoadPlan,
    dataset_name: str,
    *,
    progress: Progress = SILENT,
    prepared: PreparedFiles | None = None,
) -> StageReport:
    """Read the plan's files of one dataset into its stage; bad rows go to the quarantine.

    Errors that pass by themselves are waited for, and staging goes on where it was.

    Args:
        fleet: The fleet.
        tenant: Whose stage.
        plan: Which files, and how they are read.
        dataset_name: Of which dataset.
        progress: Told of every piece that is read.
        prepared: Where files are read once for several tenants.

    Raises:
        InputError: a file cannot be used as a whole; the rows of the other files stay staged, and the next
            attempt goes on with this one.
        OperationFailed: Postgres refused the rows, or does not come back.
    """
    dataset = fleet.catalog[dataset_name]

    def attempt(_: int) -> StageReport:
        with in_sentences(tenant, dataset), fleet.lock(tenant, "load"):
            return stage_all(fleet, tenant, plan, (dataset_name,), progress=progress, prepared=prepared)[0]

    return retrying(attempt, f"stage {dataset_name} of {tenant.slug}")


def stage_all(
    fleet: Fleet,
    tenant: Tenant,
    plan: LoadPlan,
    datasets: Sequence[str],
    *,
    progress: Progress = SILENT,
    prepared: PreparedFiles | None = None,
) -> list[StageReport]:
    """Stage several datasets, `plan.parallel_files` files of them at once; the tenant is locked already.

    Each of them takes a connection; there are never more of them than half of the pool.

    Raises:
        InputError: a file cannot be used as a whole; other files stay as far as they are staged.
        OperationFailed: Postgres refused the rows.
    """
    stopped = Event()
    stagings = [
        _Staging(
            fleet,
            tenant,
            plan,
            fleet.catalog.incoming(name, plan.of(name).upcasts),
            progress,
            prepared,
            stopped.is_set,
        )
        for name in datasets
    ]
    jobs = [partial(staging.stage_file, number) for staging in stagings for number in staging.left]
    most = max(1, fleet.database(tenant).pool_size // 2)
    try:
        _work(jobs, min(plan.parallel_files, most, len(jobs)), stopped)
    except InputError:
        for staging in stagings:
            staging.forget_if_empty()
        raise
    return [staging.finish() for staging in stagings]


class _Staging:
    """One dataset on its way into its stage, as long as one call of `stage_all`."""

    def __init__(
        self,
        fleet: Fleet,
        tenant: Tenant,
        plan: LoadPlan,
        dataset: Dataset,
        progress: Progress,
        prepared: PreparedFiles | None,
        stopped: Callable[[], bool],
    ) -> None:
        started = perf_counter()
        self._fleet = fleet
        self._tenant = tenant
        self._plan = plan
        self._dataset = dataset
        self._prepared = prepared
        self._key = fleet.column_key(tenant) if dataset.tenant_dependent else b""
        self._target: Target | None = None
        self._filled: list[FileReport] = []
        self._moments: list[float] = []
        with in_sentences(tenant, dataset), fleet.session(tenant) as connection:
            self._files = _wanted(connection, tenant, dataset, plan)
            if self._files:
                load = _open(connection, fleet, tenant, dataset, plan, self._files)
                self._target = Target(
                    fleet, tenant, dataset, load, plan.batch_rows, progress=progress, stopped=stopped
                )
        self._opening_s = perf_counter() - started

    @property
    def left(self) -> list[int]:
        """The numbers of the files that are not staged to their end."""
        files = self._target.load.files if self._target else ()
        return [number for number, file in enumerate(files) if not file.complete]

    def stage_file(self, number: int) -> None:
        """Stage one of the files that are left."""
        assert self._target is not None
        self._moments.append(perf_counter())
        with in_sentences(self._tenant, self._dataset):
            self._filled.append(fill(self._target, self._files[number], number, self._pieces))
        self._moments.append(perf_counter())

    def forget_if_empty(self) -> None:
        """Leave no stage behind of which no file has anything."""
        with self._fleet.session(self._tenant) as connection:
            load = ledger.open_load(connection, self._tenant, self._dataset)
            if load is not None and not any(file.batches or file.complete for file in load.files):
                ledger.forget(connection, self._tenant, load)
                drop_stage(connection, self._tenant, self._dataset)

    def finish(self) -> StageReport:
        """Enter that all is staged, and tell what it came to."""
        started = perf_counter()
        load, state, found = None, "unchanged", Findings.none()
        if self._target is not None:
            state = "reused" if self._target.load.complete else "staged"
            with in_sentences(self._tenant, self._dataset), self._fleet.session(self._tenant) as connection:
                load = ledger.complete(connection, self._tenant, self._target.load)
                found = findings(connection, self._tenant, load.id)
        working = max(self._moments) - min(self._moments) if self._moments else 0.0
        seconds = self._opening_s + working + perf_counter() - started
        report = _report(self._tenant, self._dataset, state, load, found, self._filled, seconds)
        return replace(report, proposals=self._proposals(report))

    def _proposals(self, report: StageReport) -> tuple[str, ...]:
        if self._plan.of(self._dataset.name).drift is not Drift.EVOLVE:
            return ()
        unknown = dict.fromkeys(drifted.column for drifted in report.drift if drifted.kind == "unknown")
        home, version = self._fleet.settings.home, self._fleet.catalog.version
        return tuple(map(str, proposals_for(home, version, self._dataset, unknown)))

    def _pieces(self, file: SourceFile, number: int, batch_rows: int) -> AbstractContextManager[Pieces]:
        read = self._prepared.pieces if self._prepared else read_pieces
        return read(self._fleet, self._tenant, self._dataset, self._plan, file, number, batch_rows=batch_rows)


def _wanted(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, plan: LoadPlan
) -> list[SourceFile]:
    """The plan's files that were not loaded since it was made."""
    files = plan.of(dataset.name).files
    loaded = set() if plan.force else ledger.already_loaded(connection, tenant, dataset, files, plan)
    wanted = [file for file in files if file.name not in loaded]
    if len(wanted) > MOST_FILES:
        raise InputError(
            f"{len(wanted)} files are more than one load takes.",
            where=f"dataset {dataset.name}",
            fix=f"Load {MOST_FILES} at a time.",
        )
    return wanted


def _open(
    connection: psycopg.Connection,
    fleet: Fleet,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    files: Sequence[SourceFile],
) -> Load:
    """The open load, if what is staged of it is of the wanted one; else a new one in its place."""
    part = plan.of(dataset.name)
    after = part.after if part.cursor else None
    untouched = tuple(ledger.untouched(file) for file in files)
    new = Load(
        uuid4(),
        dataset.name,
        fingerprint(dataset, plan),
        (),
        untouched,
        complete=False,
        by=part.cursor,
        after=after,
    )
    load = ledger.open_load(connection, tenant, dataset)
    if load is not None:
        if _fits(load, new) and count_staged(connection, tenant, dataset) == load.staged:
            return _go_on(connection, tenant, load, new)
        ledger.forget(connection, tenant, load)
    drop_stage(connection, tenant, dataset)
    ledger.begin(connection, tenant, new, fleet.clock())
    create_stage(connection, tenant, dataset)
    return new


def _fits(load: Load, new: Load) -> bool:
    """Whether all that is staged of a load would be staged at the same place now."""
    how = (load.definition, load.by, load.after) == (new.definition, new.by, new.after)
    begun = [place for place, file in enumerate(load.files) if file.batches or file.complete]
    same = all(place < len(new.files) and _is(load.files[place], new.files[place]) for place in begun)
    return how and same


def _go_on(connection: psycopg.Connection, tenant: Tenant, load: Load, new: Load) -> Load:
    """The load, with the files that are wanted now."""
    begun = dict(enumerate(load.files))
    files = tuple(
        begun[place] if place in begun and _is(begun[place], file) else file
        for place, file in enumerate(new.files)
    )
    if files == load.files:
        return load
    load = replace(load, files=files, complete=all(file.complete for file in files))
    ledger.enter_files(connection, tenant, load)
    return load


def _is(staged: FileReport, file: FileReport) -> bool:
    return (staged.name, staged.sha256) == (file.name, file.sha256)


def _work(jobs: Sequence[Callable[[], None]], threads: int, stopped: Event) -> None:
    """Do all jobs; when one fails the others stop. Of several that failed the first one's error is raised."""
    if threads <= 1:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(threads, "staging") as pool:
        # A copy of the context for each, for it says that this thread holds the tenant.
        running = [pool.submit(copy_context().run, job) for job in jobs]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    errors = [error for job in running if not job.cancelled() and (error := job.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error


def _report(
    tenant: Tenant,
    dataset: Dataset,
    state: str,
    load: Load | None,
    found: Findings,
    filled: Sequence[FileReport],
    seconds: float,
) -> StageReport:
    files = load.files if load else ()
    return StageReport(
        tenant=tenant.slug,
        dataset=dataset.name,
        state=state,  # pyright: ignore[reportArgumentType]
        load_id=str(load.id) if load else None,
        files=files,
        read=sum(file.read for file in files),
        staged=sum(file.staged for file in files),
        quarantined=sum(file.quarantined for file in files),
        reasons=found.reasons("schema"),
        checks=(found.outcome("schema"),),
        seconds=round(seconds, 4),
        rejected=sum(file.rejected for file in files),
        passed_over=sum(file.passed_over for file in files),
        drift=tuple(drifted for file in files for drifted in file.drift),
        bytes=sum(file.bytes for file in files),
        rows_per_second=round(sum(file.read for file in filled) / seconds) if filled else None,
        mb_per_second=round(sum(file.bytes for file in filled) / 1e6 / seconds, 3) if filled else None,
    )
