"""Bringing rows and files of a backup into a live tenant, row by row, so that it can be taken back.

Here: the order of a merge and of taking it back. Not here: the SQL of differences (`differences.py`), files
(`merged_files.py`), loading the backup beside (`loading.py`).

Single tables are restored the same way, not by exchanging tables: only rows that differ are touched, foreign
keys of other tables go on holding, the journal and the tenant's own triggers see every change, nobody waits
but who writes to the same row, and what has to be kept for undoing is what was changed.

The work is one REPEATABLE READ transaction: where somebody changes one of the rows meanwhile it begins again.
Rows that are changed are kept as text in the schema `<schema>__merged_<UTC time>`, whose tables need no type
of the tenant's, so that none of its migrations stumbles over them.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from tenant_ops.audit import record as record_event
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.restoring import swapping
from tenant_ops.backups.restoring.differences import Compared, apply, column_types, read_compared
from tenant_ops.backups.restoring.loading import owned_columns
from tenant_ops.backups.restoring.login import as_owner, owner_sessions
from tenant_ops.backups.restoring.merged_files import (
    FileChanges,
    file_changes,
    finish_merged_files,
    stage_files,
    take_back_files,
)
from tenant_ops.backups.restoring.references import dangling
from tenant_ops.backups.restoring.reports import RestorePlan, TableDifference, UndoReport
from tenant_ops.backups.restoring.swapping import MERGED_ROWS, Names
from tenant_ops.platform.errors import InputError, OperationFailed, first_line
from tenant_ops.platform.retry import Patience, retrying
from tenant_ops.tenants import Fleet, Tenant

_PATIENCE = Patience(attempts=20, first_s=0.1, longest_s=2.0, total_s=120.0)


@dataclass(frozen=True)
class Merged:
    """What a merge did: to each table, to files (created, updated, deleted), and what to know of it."""

    tables: tuple[TableDifference, ...]
    files: tuple[int, int, int]
    warnings: tuple[str, ...]


def check_tables(fleet: Fleet, tenant: Tenant, archive: Archive, chosen: Sequence[str]) -> Iterator[str]:
    """What forbids bringing a backup's tables into the live ones, in sentences."""
    with fleet.session(tenant) as connection:
        connection.execute("SET LOCAL search_path = ''")
        live = column_types(connection, tenant.schema_name)
        parts = _partitions(connection, tenant.schema_name)
    backed_up = {table.name: table for table in archive.manifest.tables}
    for name in chosen:
        if name in parts:
            yield f"{name} is a partition: restore {parts[name]}"
        elif name not in live:
            yield f"the tenant has no table {name} now: restore the backup as a new tenant and copy it"
        elif name not in backed_up and name not in parts.values():
            yield f"the backup has no table {name}"
    for name in chosen or live:
        if name in backed_up and name in live:
            unknown = [column for column in backed_up[name].columns if column not in live[name]]
            if unknown:
                yield (
                    f"table {name} no longer has the columns {', '.join(unknown)}, which the backup has: "
                    "their values would be lost"
                )


def preview(
    connection: psycopg.Connection, tenant: Tenant, plan: RestorePlan, beside: str
) -> tuple[tuple[TableDifference, ...], tuple[str, ...]]:
    """What a merge would change, and what forbids it; nothing stays."""
    with as_owner(connection, tenant):
        tables = _chosen(read_compared(connection, tenant.schema_name, beside), plan)
        found = _compared(connection, tables, plan)
        problems = tuple(dangling(connection, tenant.schema_name, {table.name: table for table in tables}))
        return found, problems


def merge(
    fleet: Fleet,
    tenant: Tenant,
    names: Names,
    plan: RestorePlan,
    connection: psycopg.Connection,
    files_of: Archive | None,
    also: Callable[[psycopg.Connection], None],
) -> Merged:
    """Bring live rows, and files when `files_of` is given, to what lies beside in `names.new_schema`.

    Raises:
        InputError: rows would refer to nothing.
        OperationFailed: the server refused; nothing was changed.
    """
    owner = sql.Identifier(tenant.role("owner"))
    with fleet.database(tenant).transaction() as admin:
        admin.execute(
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(names.merged_schema), owner)
        )
    try:
        changes = FileChanges({}, {}, ())
        if files_of is not None:
            changes = file_changes(files_of, names.files, plan.words)
            stage_files(files_of, changes, names.new_files, names.merged_files)
        done, warnings = _in_transaction(
            connection, tenant, lambda: _merge_rows(connection, tenant, names, plan)
        )
    except BaseException:
        swapping.drop_schema(fleet, tenant, names.merged_schema)
        shutil.rmtree(names.new_files, ignore_errors=True)
        shutil.rmtree(names.merged_files, ignore_errors=True)
        raise
    if files_of is not None:
        finish_merged_files(names.files, names.new_files, names.merged_files)
    with fleet.control.transaction() as control:
        also(control)
    swapping.note_recorded(fleet, tenant, names.merged_schema)
    return Merged(done, changes.counts, warnings)


def take_back_merge(fleet: Fleet, tenant: Tenant, names: Names) -> UndoReport:
    """Put the rows and files back that a merge changed, except what was changed again since.

    Raises:
        InputError: the tables have other columns now, or rows that came since refer to what would go.
        OperationFailed: the server refused; nothing was changed.
    """
    scratch = swapping.names_of_swap(fleet, tenant, fleet.clock()).new_schema
    owner = sql.Identifier(tenant.role("owner"))
    with fleet.database(tenant).transaction() as admin:
        admin.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(scratch), owner))
    try:
        # What runs here are the live tenant's own triggers, as they do for every write.
        with owner_sessions(fleet, tenant, 1, trusted=True) as sessions:
            connection = sessions.connections[0]
            done, kept = _in_transaction(
                connection, tenant, lambda: _take_rows_back(connection, tenant, names, scratch)
            )
    finally:
        swapping.drop_schema(fleet, tenant, scratch)
    kept += take_back_files(names.files, names.merged_files)
    swapping.drop_schema(fleet, tenant, names.merged_schema)
    had_files = names.merged_files.exists()
    shutil.rmtree(names.merged_files, ignore_errors=True)
    with fleet.control.transaction() as control:
        record_event(
            control,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="restore.undone",
            detail={"schema": names.merged_schema, "kept": kept},
        )
    return UndoReport(tenant.slug, names.merged_schema, None, had_files, tenant.version, done, kept)


def _merge_rows(
    connection: psycopg.Connection, tenant: Tenant, names: Names, plan: RestorePlan
) -> tuple[tuple[TableDifference, ...], tuple[str, ...]]:
    live = tenant.schema_name
    rows, columns = (sql.Identifier(names.merged_schema, name) for name in (MERGED_ROWS, "columns"))
    tables = _chosen(read_compared(connection, live, names.new_schema), plan)
    connection.execute(sql.SQL("CREATE TABLE {} (tbl text, was text, became text)").format(rows))
    connection.execute(sql.SQL("CREATE TABLE {} (tbl text, name text, type text)").format(columns))
    found = _compared(connection, tables, plan)
    changed = [
        table for table, one in zip(tables, found, strict=True) if one.create + one.update + one.delete
    ]
    _refuse_dangling(connection, tenant, changed)
    for table in changed:
        table.set_aside(connection, rows)
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(columns),
                [(table.name, column.name, column.type) for column in table.columns],
            )
    apply(connection, changed)
    _move_sequences(connection, live, changed)
    left = {table.name: table.left(connection, plan.words) for table in changed}
    warnings = [
        f"{rows} rows of {name} are not as in the backup: its own triggers changed them, or an identity that "
        "is always generated could not be set."
        for name, rows in left.items()
        if rows
    ]
    return tuple(one for one in found if one.create + one.update + one.delete), tuple(warnings)


def _take_rows_back(
    connection: psycopg.Connection, tenant: Tenant, names: Names, scratch: str
) -> tuple[tuple[TableDifference, ...], int]:
    rows = sql.Identifier(names.merged_schema, MERGED_ROWS)
    recorded: dict[str, dict[str, str]] = {}
    for name, column, kind in connection.execute(
        sql.SQL("SELECT tbl, name, type FROM {}").format(sql.Identifier(names.merged_schema, "columns"))
    ):
        recorded.setdefault(name, {})[column] = kind
    now = column_types(connection, tenant.schema_name)
    for name, columns in recorded.items():
        if columns.items() - now.get(name, {}).items():
            raise InputError(
                f"table {name} has other columns than when the restore changed it: it cannot be taken back.",
                where=f"tenant {tenant.slug}",
                fix="Restore the backup that was taken before it.",
            )
    found, tables, kept = [], [], 0
    for table in read_compared(connection, tenant.schema_name, tenant.schema_name).values():
        if table.name not in recorded:
            continue
        columns = tuple(column for column in table.columns if column.name in recorded[table.name])
        table = replace(table, beside=scratch, columns=columns)
        table.prepare(connection)
        one, left = table.compare_aside(connection, rows)
        found.append(one)
        tables.append(table)
        kept += left
    _refuse_dangling(connection, tenant, tables)
    apply(connection, tables)
    # From here on it is taken back: files follow, also where this process ends now.
    connection.execute(sql.SQL("DROP TABLE {}").format(rows))
    connection.execute(
        sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(names.merged_schema, swapping.TAKEN_BACK))
    )
    return tuple(found), kept


def _compared(
    connection: psycopg.Connection, tables: Sequence[Compared], plan: RestorePlan
) -> tuple[TableDifference, ...]:
    found = []
    for table in tables:
        table.prepare(connection)
        # Without a key a changed row is a row that goes and one that comes: creating alone would double it.
        found.append(table.compare(connection, plan.words))
    return tuple(found)


def _chosen(tables: dict[str, Compared], plan: RestorePlan) -> list[Compared]:
    return [table for name, table in tables.items() if not plan.chosen or name in plan.chosen]


def _refuse_dangling(connection: psycopg.Connection, tenant: Tenant, tables: Sequence[Compared]) -> None:
    problems = list(dangling(connection, tenant.schema_name, {table.name: table for table in tables}))
    if problems:
        raise InputError(f"{'; '.join(problems)}.", where=f"tenant {tenant.slug}", fix="Nothing was changed.")


def _move_sequences(connection: psycopg.Connection, schema: str, tables: Sequence[Compared]) -> None:
    """Past what the rows now use, never back: numbers given out since stay given out."""
    changed = {table.name for table in tables}
    for sequence, (table, column, increment) in owned_columns(connection, schema).items():
        if table in changed:
            connection.execute(
                sql.SQL(
                    "SELECT pg_catalog.setval({literal}, used.at) FROM {sequence} s, "
                    "(SELECT pg_catalog.{furthest}({column})::bigint AS at FROM {table}) AS used "
                    "WHERE used.at {past} s.last_value"
                ).format(
                    literal=sql.Literal(sql.Identifier(schema, sequence).as_string()),
                    sequence=sql.Identifier(schema, sequence),
                    furthest=sql.SQL("max" if increment > 0 else "min"),
                    column=sql.Identifier(column),
                    table=sql.Identifier(schema, table),
                    past=sql.SQL(">" if increment > 0 else "<"),
                )
            )


def _in_transaction(connection: psycopg.Connection, tenant: Tenant, work: Callable) -> tuple:
    """Do it in one view of the rows; again where a row was changed meanwhile."""

    def attempt(_: int) -> tuple:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with as_owner(connection, tenant):
            return work()

    try:
        return retrying(attempt, f"merge into {tenant.slug}", patience=_PATIENCE)
    except psycopg.Error as error:
        raise OperationFailed(
            f"the rows could not be merged: {first_line(error)}.",
            where=f"tenant {tenant.slug}",
            fix="Nothing was changed.",
        ) from error


def _partitions(connection: psycopg.Connection, schema: str) -> dict[str, str]:
    """Partitions of a schema, and the topmost table of each."""
    rows = connection.execute(
        """
        SELECT c.relname::text, r.relname::text
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid)
        WHERE c.relispartition AND c.relkind IN ('r', 'p')
          AND c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
        """,
        (schema,),
    )
    return dict(rows.fetchall())
