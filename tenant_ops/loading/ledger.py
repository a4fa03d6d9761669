"""The ledger of loads: what is staged and what was merged, in the tenant's own stage schema.

Here: its rows. Not here: the data they speak of. It lives beside that data so that both commit together:
after a kill there is either the data and its entry, or neither.

A load enters all of its files when it begins, in the order of the plan; a file's place among them is its
number in the stage. Each chunk of a file writes that file's entry again, as the last statement of its
transaction: those who stage other files wait for nothing but the commit. The entry must be as the chunk
before left it, so of two processes that stage the same file (one has lost its lock without knowing) only one
can go on.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tenant_ops.datasets import ConflictStrategy, Dataset, Mode
from tenant_ops.datasets.transforms import spelled
from tenant_ops.loading.reports import CheckOutcome, Drifted, FileReport, LoadPlan, MergeReport, SourceFile
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Tenant


@dataclass(frozen=True)
class Load:
    """One load of one dataset that is not merged yet.

    Attributes:
        definition: `fingerprint` of how it is read.
        columns: The columns its files have; none before the first rows.
        files: All it is made of, and how far each was staged.
        complete: Whether every file is staged to its end.
        by: The cursor column of an incremental load.
        after: The value of it before which rows are passed over.
    """

    id: UUID
    dataset: str
    definition: str
    columns: tuple[str, ...]
    files: tuple[FileReport, ...]
    complete: bool
    by: str | None = None
    after: str | None = None

    @property
    def staged(self) -> int:
        """Rows in its stage."""
        return sum(file.staged for file in self.files)


def fingerprint(dataset: Dataset, plan: LoadPlan) -> str:
    """A hash of everything that decides how a file's bytes become rows of this dataset."""
    part = plan.of(dataset.name)
    how = (
        [
            (c.name, c.type, c.nullable, c.unique, c.rules, c.default, c.source, c.formats, c.zone)
            for c in dataset.columns
        ],
        (dataset.key, dataset.foreign_keys, dataset.unique, dataset.orders),
        (spelled(dataset.transforms), part.upcasts),
        (plan.validate, str(part.drift), plan.reading.encoding, plan.reading.delimiter, plan.reading.query),
    )
    return hashlib.sha256(repr(how).encode()).hexdigest()


def untouched(file: SourceFile | FileReport) -> FileReport:
    """The entry of a file nothing is staged of."""
    return FileReport(file.name, file.format, file.bytes, file.sha256, 0, 0, 0, complete=False)


def open_load(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> Load | None:
    """The load of this dataset that is staged, or being staged."""
    row = _execute(
        connection,
        tenant,
        "SELECT id, definition, columns, files, state = 'staged', report->>'by', report->>'after' "
        "FROM {load} WHERE dataset = %s AND state <> 'merged'",
        (dataset.name,),
    ).fetchone()
    if row is None:
        return None
    id_, definition, columns, files, complete, by, after = row
    return Load(id_, dataset.name, definition, tuple(columns), tuple(map(_file, files)), complete, by, after)


def begin(
    connection: psycopg.Connection,
    tenant: Tenant,
    load: Load,
    now: datetime,
) -> None:
    """Enter a new load."""
    _execute(
        connection,
        tenant,
        "INSERT INTO {load} (id, dataset, definition, columns, files, state, report, started_at) "
        "VALUES (%s, %s, %s, %s, %s, 'staging', %s, %s)",
        (
            load.id,
            load.dataset,
            load.definition,
            list(load.columns),
            _entries(load.files),
            Jsonb({"by": load.by, "after": load.after}),
            now,
        ),
    )


def enter_files(connection: psycopg.Connection, tenant: Tenant, load: Load) -> None:
    """Enter what a load is made of now; while a file is not staged to its end, neither is the load."""
    _execute(
        connection,
        tenant,
        "UPDATE {load} SET files = %s, state = %s WHERE id = %s",
        (_entries(load.files), "staged" if load.complete else "staging", load.id),
    )


def enter_chunk(
    connection: psycopg.Connection,
    tenant: Tenant,
    load: Load,
    number: int,
    before: FileReport,
    after: FileReport,
    columns: Sequence[str],
) -> None:
    """Enter how far a file is with what this transaction staged of it.

    Args:
        connection: Inside the transaction, of which this must be the last statement.
        tenant: Whose load.
        load: The load.
        number: Which of its files.
        before: The file's entry until now.
        after: Its new entry.
        columns: The columns of the rows that were staged; none when there were only bad ones.

    Raises:
        InputError: the load's other files have other columns, so an absent one would have two meanings.
        OperationFailed: somebody else stages the file, or took the load back.
    """
    entered = _execute(
        connection,
        tenant,
        """
        UPDATE {load} SET files = jsonb_set(files, ARRAY[%(place)s], %(after)s),
                          columns = CASE WHEN columns = '{{}}' THEN %(columns)s ELSE columns END
        WHERE id = %(id)s AND state = 'staging' AND files->%(number)s = %(before)s
          AND (columns = '{{}}' OR %(columns)s = '{{}}'::text[] OR columns = %(columns)s)
        """,
        {
            "id": load.id,
            "number": number,
            "place": str(number),
            "before": Jsonb(asdict(before)),
            "after": Jsonb(asdict(after)),
            "columns": list(columns),
        },
    )
    if entered.rowcount == 0:
        _refuse_chunk(connection, tenant, load, after.name, columns)


def complete(connection: psycopg.Connection, tenant: Tenant, load: Load) -> Load:
    """Enter that every file of the load is staged to its end, and return it as it is now.

    Raises:
        OperationFailed: one is not, or somebody else took the load back.
    """
    row = _execute(
        connection,
        tenant,
        "UPDATE {load} SET state = 'staged' WHERE id = %s AND state <> 'merged' "
        "AND NOT files @> '[{{\"complete\": false}}]' RETURNING columns, files",
        (load.id,),
    ).fetchone()
    if row is None:
        raise _taken_over(f"dataset {load.dataset}")
    return replace(load, columns=tuple(row[0]), files=tuple(map(_file, row[1])), complete=True)


def finish(
    connection: psycopg.Connection,
    tenant: Tenant,
    load: Load,
    conflict: ConflictStrategy,
    report: Any,
    now: datetime,
) -> None:
    """Enter that the load's rows were merged in this transaction.

    Raises:
        OperationFailed: somebody else merged it or took it back.
    """
    entered = _execute(
        connection,
        tenant,
        "UPDATE {load} SET state = 'merged', conflict = %s, report = %s, finished_at = %s "
        "WHERE id = %s AND state = 'staged'",
        (str(conflict), Jsonb(report), now, load.id),
    )
    if entered.rowcount == 0:
        raise _taken_over(f"dataset {load.dataset}")


def forget_file(
    connection: psycopg.Connection, tenant: Tenant, load: Load, number: int, before: FileReport
) -> FileReport:
    """Take back what a file left in the ledger and in quarantine.

    Args:
        connection: Inside the transaction, of which this must be the last call.
        tenant: Whose load.
        load: The load.
        number: Which of its files.
        before: The file's entry until now; its new one is returned.

    Raises:
        OperationFailed: somebody else stages the file, or took the load back.
    """
    _execute(
        connection,
        tenant,
        "DELETE FROM {quarantine} WHERE load_id = %s AND file = %s AND check_name = 'schema'",
        (load.id, before.name),
    )
    after = untouched(before)
    enter_chunk(connection, tenant, load, number, before, after, ())
    return after


def forget(connection: psycopg.Connection, tenant: Tenant, load: Load) -> None:
    """Take back a load that was not merged, with what it left in quarantine."""
    _execute(connection, tenant, "DELETE FROM {quarantine} WHERE load_id = %s", (load.id,))
    _execute(connection, tenant, "DELETE FROM {load} WHERE id = %s", (load.id,))


def merged_report(connection: psycopg.Connection, tenant: Tenant, load_id: UUID) -> MergeReport | None:
    """What became of a load's rows; None while they are not merged.

    Asked after a connection was lost during COMMIT, when nobody told whether it came about.
    """
    row = _execute(
        connection, tenant, "SELECT report FROM {load} WHERE id = %s AND state = 'merged'", (load_id,)
    ).fetchone()
    return None if row is None else _merge_report(row[0])


def latest_cursor(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, by: str) -> str | None:
    """How far incremental loads by this column have come; None when there were none."""
    row = _execute(
        connection,
        tenant,
        "SELECT report->>'cursor' FROM {load} WHERE dataset = %s AND state = 'merged' "
        "AND report->>'cursor_column' = %s ORDER BY finished_at DESC LIMIT 1",
        (dataset.name, by),
    ).fetchone()
    return row[0] if row else None


def already_loaded(
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    files: Sequence[SourceFile],
    plan: LoadPlan,
) -> set[str]:
    """The names of the files whose rows are in the live table, as they would be loaded now.

    A file is loaded again when its name last brought other bytes (so that undoing a change to a file undoes
    it in the table), when the dataset's definition changed, or under another conflict strategy. A renamed
    copy of loaded bytes is not. Rows of a file that were replayed from quarantine say nothing of the file. A
    file of which an incremental load passed rows over counts for loads by the same column only. For a full
    load none counts: it makes the table what its files say, whatever happened to the table since they were
    loaded. Nor does any count that was loaded before a full load removed rows: they may have been its rows.
    """
    if plan.mode is Mode.FULL:
        return set()
    part = plan.of(dataset.name)
    rows = _execute(
        connection,
        tenant,
        """
        SELECT file->>'name', file->>'sha256', definition, conflict
        FROM {load}, jsonb_array_elements(files) AS file
        WHERE dataset = %s AND state = 'merged' AND file->>'format' <> 'quarantine'
          AND (coalesce((file->>'passed_over')::bigint, 0) = 0 OR report->>'cursor_column' = %s)
          AND finished_at >= coalesce((
              SELECT max(finished_at) FROM {load} WHERE state = 'merged'
              AND (dataset = %s AND report->>'mode' = 'full' OR jsonb_exists(report->'taken_along', %s))
          ), '-infinity')
        ORDER BY finished_at
        """,
        (dataset.name, part.cursor, dataset.name, dataset.name),
    ).fetchall()
    definition = fingerprint(dataset, plan)
    latest = {name: (sha256, used, conflict) for name, sha256, used, conflict in rows}
    anywhere = {(sha256, used, conflict) for _, sha256, used, conflict in rows}
    conflicts = {str(part.conflict)}
    if part.conflict is ConflictStrategy.SKIP:
        conflicts |= {str(each) for each in ConflictStrategy}
    loaded: set[str] = set()
    for file in files:
        wanted = {(file.sha256, definition, conflict) for conflict in conflicts}
        if latest[file.name] in wanted if file.name in latest else wanted & anywhere:
            loaded.add(file.name)
    return loaded


def _refuse_chunk(
    connection: psycopg.Connection, tenant: Tenant, load: Load, file: str, columns: Sequence[str]
) -> NoReturn:
    row = _execute(connection, tenant, "SELECT columns FROM {load} WHERE id = %s", (load.id,)).fetchone()
    other = sorted({*columns} ^ {*row[0]}) if row and row[0] and columns else []
    if not other:
        raise _taken_over(file)
    raise InputError(
        f"the columns {', '.join(other)} are in only one of this file and others of the load.",
        where=file,
        fix="Give all files of one dataset the same columns, or load them one by one.",
    )


def _taken_over(what: str) -> OperationFailed:
    return OperationFailed(
        "somebody else is loading it: this process lost the tenant's lock with its connection.",
        where=what,
        fix="Load again when the other load has finished.",
    )


def _entries(files: Sequence[FileReport]) -> Jsonb:
    return Jsonb([asdict(file) for file in files])


def _file(document: dict[str, Any]) -> FileReport:
    drift = tuple(Drifted(**each) for each in document.pop("drift", ()))
    return FileReport(**document, drift=drift)


def _merge_report(document: dict[str, Any]) -> MergeReport:
    known = {name: document[name] for name in MergeReport.__dataclass_fields__ if name in document}
    checks = tuple(CheckOutcome(**{**each, "sample": tuple(each["sample"])}) for each in known["checks"])
    conflict = ConflictStrategy(known["conflict"])
    return MergeReport(**{**known, "conflict": conflict, "files": tuple(known["files"]), "checks": checks})


def _execute(
    connection: psycopg.Connection,
    tenant: Tenant,
    query: str,
    arguments: Sequence[Any] | Mapping[str, Any],
) -> psycopg.Cursor:
    statement = sql.SQL(query).format(  # pyright: ignore[reportArgumentType]
        load=sql.Identifier(tenant.stage_schema, "load"),
        quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
    )
    return connection.execute(statement, arguments)
