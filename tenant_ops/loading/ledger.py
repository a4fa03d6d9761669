"""The ledger of loads: what is staged and what was merged, in the tenant's own stage schema.

Here: its rows. Not here: the data they speak of. It lives beside that data so that both commit together:
after a kill there is either the data and its entry, or neither.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tenant_ops.datasets import ConflictStrategy, Dataset
from tenant_ops.loading.reports import Drifted, FileReport, LoadPlan, SourceFile
from tenant_ops.tenants import Tenant


@dataclass(frozen=True)
class Load:
    """One load of one dataset that is not merged yet.

    Attributes:
        definition: `fingerprint` of how it is read.
        columns: The columns its files have; none before the first file with rows.
        files: What was staged so far.
        complete: Whether every file is.
    """

    id: UUID
    definition: str
    columns: tuple[str, ...]
    files: tuple[FileReport, ...]
    complete: bool

    @property
    def staged(self) -> int:
        """Rows in its stage."""
        return sum(file.staged for file in self.files)


def fingerprint(dataset: Dataset, plan: LoadPlan) -> str:
    """A hash of everything that decides how a file's bytes become rows of this dataset."""
    how = (
        [(c.name, c.type, c.nullable, c.unique, c.rules, c.default, c.source) for c in dataset.columns],
        (dataset.key, dataset.foreign_keys, dataset.unique, dataset.orders),
        (plan.validate, str(plan.of(dataset.name).drift), plan.reading.encoding, plan.reading.delimiter),
    )
    return hashlib.sha256(repr(how).encode()).hexdigest()


def open_load(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> Load | None:
    """The load of this dataset that is staged, or being staged."""
    row = _execute(
        connection,
        tenant,
        "SELECT id, definition, columns, files, state = 'staged' FROM {load} "
        "WHERE dataset = %s AND state <> 'merged'",
        (dataset.name,),
    ).fetchone()
    if row is None:
        return None
    return Load(row[0], row[1], tuple(row[2]), tuple(_file(each) for each in row[3]), row[4])


def begin(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, definition: str, now: datetime
) -> Load:
    """Enter a new load."""
    load = Load(uuid4(), definition, (), (), complete=False)
    _execute(
        connection,
        tenant,
        "INSERT INTO {load} (id, dataset, definition, columns, files, state, started_at) "
        "VALUES (%s, %s, %s, '{{}}', '[]', 'staging', %s)",
        (load.id, dataset.name, definition, now),
    )
    return load


def add_file(
    connection: psycopg.Connection,
    tenant: Tenant,
    load: Load,
    file: FileReport,
    columns: Sequence[str],
    *,
    complete: bool,
) -> Load:
    """Enter a file that was staged in this transaction."""
    load = replace(load, columns=tuple(columns), files=(*load.files, file), complete=complete)
    _execute(
        connection,
        tenant,
        "UPDATE {load} SET columns = %s, files = %s, state = %s WHERE id = %s",
        (
            list(load.columns),
            Jsonb([asdict(each) for each in load.files]),
            "staged" if complete else "staging",
            load.id,
        ),
    )
    return load


def finish(
    connection: psycopg.Connection,
    tenant: Tenant,
    load: Load,
    conflict: ConflictStrategy,
    report: Any,
    now: datetime,
) -> None:
    """Enter that the load's rows were merged in this transaction."""
    _execute(
        connection,
        tenant,
        "UPDATE {load} SET state = 'merged', conflict = %s, report = %s, finished_at = %s WHERE id = %s",
        (str(conflict), Jsonb(report), now, load.id),
    )


def forget(connection: psycopg.Connection, tenant: Tenant, load: Load) -> None:
    """Take back a load that was not merged, with what it left in quarantine."""
    _execute(connection, tenant, "DELETE FROM {quarantine} WHERE load_id = %s", (load.id,))
    _execute(connection, tenant, "DELETE FROM {load} WHERE id = %s", (load.id,))


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
    copy of loaded bytes is not.
    """
    rows = _execute(
        connection,
        tenant,
        """
        SELECT file->>'name', file->>'sha256', definition, conflict
        FROM {load}, jsonb_array_elements(files) AS file
        WHERE dataset = %s AND state = 'merged' ORDER BY finished_at
        """,
        (dataset.name,),
    ).fetchall()
    definition = fingerprint(dataset, plan)
    latest = {name: (sha256, used, conflict) for name, sha256, used, conflict in rows}
    anywhere = {(sha256, used, conflict) for _, sha256, used, conflict in rows}
    strategy = plan.of(dataset.name).conflict
    conflicts = {str(strategy)}
    if strategy is ConflictStrategy.SKIP:
        conflicts |= {str(each) for each in ConflictStrategy}
    loaded: set[str] = set()
    for file in files:
        wanted = {(file.sha256, definition, conflict) for conflict in conflicts}
        if latest[file.name] in wanted if file.name in latest else wanted & anywhere:
            loaded.add(file.name)
    return loaded


def _file(document: dict[str, Any]) -> FileReport:
    drift = tuple(Drifted(**each) for each in document.pop("drift", ()))
    return FileReport(**document, drift=drift)


def _execute(
    connection: psycopg.Connection, tenant: Tenant, query: str, arguments: Sequence[Any]
) -> psycopg.Cursor:
    statement = sql.SQL(query).format(  # pyright: ignore[reportArgumentType]
        load=sql.Identifier(tenant.stage_schema, "load"),
        quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
    )
    return connection.execute(statement, arguments)
