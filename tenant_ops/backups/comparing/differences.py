"""What differs between two sides.

Here: schema, tables and files, side against side. Not here: where they come from (`sides.py`), counting rows
(`rows.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from time import perf_counter
from typing import TypeVar

from tenant_ops.backups.comparing.reports import (
    Change,
    Comparison,
    FileDifference,
    SchemaDifference,
    TableComparison,
)
from tenant_ops.backups.comparing.rows import count_changes
from tenant_ops.backups.comparing.sides import Side, Table, side_of
from tenant_ops.backups.content import Content
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, Tenant

T = TypeVar("T")


def compare(
    fleet: Fleet,
    left: Tenant | BackupRecord,
    right: Tenant | BackupRecord,
    *,
    rows: bool = False,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare schema, rows and files of two tenants, two backups, or one of each; each side is one moment.

    Columns are matched by name, so tables whose columns were added in another order have equal rows.

    Args:
        fleet: The fleet.
        left: What `added` and `removed` are seen from.
        right: The other side.
        rows: Also count the rows that were added, removed and changed in each table that is not equal, and
            put the rows of backups together that do not know them.
        progress: Told of each table.

    Raises:
        InputError: a backup is not there, or its key is not at hand.
        DamagedBackup: a backup is not what was written.
        NotAvailable: the rows of a backup cannot be put together here.
    """
    started = perf_counter()
    with ExitStack() as opened:
        ours = opened.enter_context(side_of(fleet, left, rows=rows, progress=progress))
        theirs = opened.enter_context(side_of(fleet, right, rows=rows, progress=progress))
        tables = tuple(_tables(ours, theirs, rows=rows, progress=progress))
    schema = tuple(
        SchemaDifference(name, change, ";\n".join(was), ";\n".join(is_now))
        for name, change, was, is_now in _changes(ours.schema, theirs.schema, ())
    )
    files = tuple(
        FileDifference(path, change) for path, change, _, _ in _changes(ours.files, theirs.files, "")
    )
    return Comparison(
        left=ours.name,
        right=theirs.name,
        schema=schema,
        tables=tables,
        files=files,
        files_equal=not files,
        unknown=tuple(table.table for table in tables if table.equal is None),
        equal=not schema and not files and all(table.equal for table in tables),
        rows=sum(max(table.rows_left or 0, 0) for table in tables),
        seconds=round(perf_counter() - started, 4),
    )


def _changes(left: Mapping[str, T], right: Mapping[str, T], nothing: T) -> Iterator[tuple[str, Change, T, T]]:
    for name in sorted(left.keys() | right.keys()):
        was, is_now = left.get(name, nothing), right.get(name, nothing)
        if was != is_now:
            change: Change = "added" if name not in left else "removed" if name not in right else "changed"
            yield name, change, was, is_now


def _tables(left: Side, right: Side, *, rows: bool, progress: Progress) -> Iterator[TableComparison]:
    for name in sorted(left.tables.keys() | right.tables.keys()):
        task = f"compare {name}"
        progress.start(task)
        try:
            yield _table(name, left.tables.get(name), right.tables.get(name), rows=rows)
        finally:
            progress.finish(task)


def _table(name: str, left: Table | None, right: Table | None, *, rows: bool) -> TableComparison:
    if left is None or right is None:
        ours, theirs = _count(left), _count(right)
        alone = {"added": theirs, "removed": 0} if left is None else {"added": 0, "removed": ours}
        return TableComparison(name, ours, theirs, equal=False, **(alone if rows else {}))
    same_columns = sorted(left.columns) == sorted(right.columns)
    ours = left.content(left.columns)
    theirs = right.content(left.columns if same_columns else right.columns)
    equal = None if ours is None or theirs is None else same_columns and ours == theirs
    compared = TableComparison(name, ours and ours.rows, theirs and theirs.rows, equal)
    if not rows or equal is not False or ours is None or theirs is None:
        return compared
    return _row_by_row(compared, left, right, max(ours.rows, theirs.rows))


def _row_by_row(compared: TableComparison, left: Table, right: Table, rows: int) -> TableComparison:
    """Count changes over the columns both sides have."""
    columns = tuple(column for column in left.columns if column in right.columns)
    key = left.key if left.key == right.key and set(left.key) <= set(columns) else ()
    if left.lines is None or right.lines is None or not columns:
        return compared
    changes = count_changes(
        left.lines(columns), right.lines(columns), [columns.index(name) for name in key] or None, rows
    )
    return TableComparison(
        compared.table,
        compared.rows_left,
        compared.rows_right,
        compared.equal,
        changes.added,
        changes.removed,
        changes.changed,
    )


def _count(table: Table | None) -> int | None:
    if table is None:
        return -1
    content: Content | None = table.content(table.columns)
    return content and content.rows
