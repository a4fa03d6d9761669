"""The first step of a load: files, read and checked, into an unlogged stage beside the live tables.

Here: the stage table and filling it, a transaction a file. Not here: formats (`sources/`), what makes a row
bad (`checking.py`), what happens to staged rows (`merging.py`).

Good rows go on as the text they were, by COPY, while the next batch is being checked. A stage remembers its
files by content and how they were read, so the same files are not staged twice; a killed load goes on with
the file it was at.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from time import perf_counter

import psycopg
from psycopg import sql

from tenant_ops.datasets import Column, Dataset
from tenant_ops.datasets.tables import sql_type
from tenant_ops.loading import ledger
from tenant_ops.loading.checking import FILE, LINE, as_csv, check
from tenant_ops.loading.discovery import hash_file
from tenant_ops.loading.ledger import Load, fingerprint
from tenant_ops.loading.quarantine import Findings, Quarantine, findings
from tenant_ops.loading.refusals import in_sentences
from tenant_ops.loading.reports import FileReport, LoadPlan, SourceFile, StageReport
from tenant_ops.loading.sources import Batch, open_source
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, Tenant

VIOLATION = "_violation"
"""Column of every stage: which check of the merge the row failed, null while it failed none."""


def stage(
    fleet: Fleet, tenant: Tenant, plan: LoadPlan, dataset_name: str, *, progress: Progress = SILENT
) -> StageReport:
    """Read the plan's files of one dataset into its stage; bad rows go to the quarantine.

    Raises:
        InputError: a file cannot be used as a whole; the rows of the files before it stay staged, and the
            next attempt goes on with this one.
        OperationFailed: Postgres refused the rows.
    """
    started = perf_counter()
    dataset = fleet.catalog[dataset_name]
    with fleet.lock(tenant, "load"), in_sentences(tenant, dataset):
        with fleet.session(tenant) as connection:
            files = _wanted(connection, tenant, dataset, plan)
            load = _resume(connection, tenant, dataset, fingerprint(dataset, plan), files) if files else None
        state = "reused" if load is not None and load.complete else "staged" if files else "unchanged"
        staged = set() if load is None else {file.name for file in load.files}
        for file in files:
            if file.name not in staged:
                last = file == files[-1]
                progress.start(_task(dataset, file))
                try:
                    load = _stage_file(fleet, tenant, dataset, plan, load, file, progress, last=last)
                finally:
                    progress.finish(_task(dataset, file))
        found = Findings.none()
        if load is not None:
            with fleet.session(tenant) as connection:
                found = findings(connection, tenant, load.id)
    return _report(tenant, dataset, load, found, state, started)


def stage_table(tenant: Tenant, dataset: Dataset) -> sql.Identifier:
    """The stage of a dataset."""
    return sql.Identifier(tenant.stage_schema, f"stage_{dataset.name}")


def drop_stage(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> None:
    """Drop the stage, if there is one."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(stage_table(tenant, dataset)))


def count_staged(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> int | None:
    """Rows in the stage, None when there is none.

    A stage is unlogged: after a crash of the server it is there, and empty.
    """
    name = stage_table(tenant, dataset)
    exists = connection.execute("SELECT to_regclass(%s)", (name.as_string(),)).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    return row[0] if row else None


def _wanted(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, plan: LoadPlan
) -> list[SourceFile]:
    """The plan's files that were not loaded since it was made."""
    files = plan.of(dataset.name).files
    loaded = set() if plan.force else ledger.already_loaded(connection, tenant, dataset, files, plan)
    return [file for file in files if file.name not in loaded]


def _resume(
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    definition: str,
    files: Sequence[SourceFile],
) -> Load | None:
    """The open load when it is a beginning of the wanted one; any other is taken back."""
    load = ledger.open_load(connection, tenant, dataset)
    if load is not None:
        begun = [(file.name, file.sha256) for file in load.files]
        wanted = [(file.name, file.sha256) for file in files]
        fits = begun == wanted if load.complete else begun == wanted[: len(begun)] != wanted
        if (
            fits
            and load.definition == definition
            and count_staged(connection, tenant, dataset) == load.staged
        ):
            return load
        ledger.forget(connection, tenant, load)
    drop_stage(connection, tenant, dataset)
    return None


def _stage_file(
    fleet: Fleet,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    load: Load | None,
    file: SourceFile,
    progress: Progress,
    *,
    last: bool,
) -> Load:
    """Stage one file, whole or not at all."""
    task = _task(dataset, file)
    with (
        fleet.session(tenant) as connection,
        open_source(
            file,
            dataset,
            batch_rows=plan.batch_rows,
            drift=plan.of(dataset.name).drift,
            reading=plan.reading,
        ) as source,
        Quarantine(dataset, "schema") as quarantine,
    ):
        if load is None:
            load = ledger.begin(connection, tenant, dataset, fingerprint(dataset, plan), fleet.clock())
            _create_stage(connection, tenant, dataset)
        columns, batches = _columns(load, dataset, file, source.batches)
        read = bytes_read = 0
        with _copy_into(connection, tenant, dataset, columns) as write:
            for batch in batches:
                checked = check(dataset, batch, len(load.files), validate=plan.validate)
                if checked.good.num_rows:
                    write(as_csv(checked.good))
                for row in checked.bad:
                    quarantine.add(file.name, row)
                read += checked.good.num_rows + len(checked.bad)
                progress.advance(task, batch.rows, bytes=source.consumed() - bytes_read)
                bytes_read = source.consumed()
        _check_unchanged(file)
        quarantine.write(connection, tenant, load.id, fleet.clock())
        report = FileReport(
            name=file.name,
            format=file.format,
            bytes=file.bytes,
            sha256=file.sha256,
            read=read,
            staged=read - quarantine.rows,
            quarantined=quarantine.rows,
        )
        return ledger.add_file(connection, tenant, load, report, columns, complete=last)


def _task(dataset: Dataset, file: SourceFile) -> str:
    return f"{dataset.name} {file.name}"


def _check_unchanged(file: SourceFile) -> None:
    """The ledger must not say that other bytes were loaded than those that were read."""
    if hash_file(Path(file.path), file.name) != file.sha256:
        raise InputError(
            "the file changed after the load was planned.",
            where=file.name,
            fix="Load again when it is whole.",
        )


def _create_stage(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> None:
    """The live table's columns, types and defaults, without its constraints: bad keys are to be found.

    Taken from the definition, which may be ahead of a live table that is not migrated yet.
    """
    columns = [f'"{column.name}" {sql_type(column)} {_default(column)}' for column in dataset.columns]
    connection.execute(
        sql.SQL(
            "CREATE UNLOGGED TABLE {} ({}, {} smallint NOT NULL, {} bigint NOT NULL, {} smallint) "
            "WITH (autovacuum_enabled = false)"
        ).format(
            stage_table(tenant, dataset),
            # Names and defaults come from a dataset definition, which is code; no input reaches them.
            sql.SQL(", ".join(columns)),  # pyright: ignore[reportArgumentType]
            *map(sql.Identifier, (FILE, LINE, VIOLATION)),
        )
    )


def _default(column: Column) -> str:
    return f"DEFAULT {column.default}" if column.default else ""


def _columns(
    load: Load, dataset: Dataset, file: SourceFile, batches: Iterator[Batch]
) -> tuple[tuple[str, ...], Iterator[Batch]]:
    """The dataset's columns this file has, and its batches from the first on.

    Raises:
        InputError: the load's other files have other columns, so an absent one would have two meanings.
    """
    first = next(batches, None)
    if first is None or not first.columns:
        return load.columns, chain([first] if first else [], batches)
    columns = tuple(name for name in dataset.column_names if name in first.columns)
    if load.columns and columns != load.columns:
        other = sorted({*columns} ^ {*load.columns})
        raise InputError(
            f"the columns {', '.join(other)} are in only one of this file and those before it.",
            where=file.name,
            fix="Give all files of one dataset the same columns, or load them one by one.",
        )
    return columns, chain([first], batches)


@contextmanager
def _copy_into(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, columns: Sequence[str]
) -> Iterator["_Write"]:
    """COPY into the stage, in the background: while Postgres reads one block the next is checked."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, NULL '', ENCODING 'UTF8')").format(
        stage_table(tenant, dataset),
        sql.SQL(", ").join(map(sql.Identifier, (*columns, FILE, LINE))),
    )
    with (
        ThreadPoolExecutor(1) as thread,
        connection.cursor().copy(statement) as copy,
        _Write(thread, copy) as write,
    ):
        yield write


class _Write:
    """Hands blocks to COPY one at a time; the caller is at most one block ahead."""

    def __init__(self, thread: ThreadPoolExecutor, copy: psycopg.Copy) -> None:
        self._thread = thread
        self._copy = copy
        self._pending: Future[None] | None = None

    def __call__(self, block: memoryview) -> None:
        self._settle()
        self._pending = self._thread.submit(self._copy.write, block)

    def __enter__(self) -> "_Write":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._settle()
        elif self._pending is not None:
            wait([self._pending])

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()


def _report(
    tenant: Tenant, dataset: Dataset, load: Load | None, found: Findings, state: str, started: float
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
        seconds=round(perf_counter() - started, 4),
    )
