"""Loading quarantined rows again, as they are or as they were repaired.

Here: which rows, and taking them out of quarantine once they are merged. Not here: reading them as
a source (`sources/quarantined.py`), everything else a load does.

A replay is a load whose files are the original ones, by name, with the quarantined rows of each. They stay
where they are until it is merged; the transaction that merges the good ones removes them all, and those that
are bad again are there again, entered by the new load. So a row is in one place, whatever is killed when.

Left where they are: rows whose load is not merged yet, for loading decides about them anew, and text that
could not be split into values, unless it was repaired.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.quarantine.entries import entries_of
from tenant_ops.loading.quarantine.repaired_files import repairs
from tenant_ops.loading.reports import SourceFile
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant

FORMAT = "quarantine"
_AT_A_TIME = 10_000
SNAPSHOT = psycopg.IsolationLevel.REPEATABLE_READ


@dataclass(frozen=True)
class ReplayRow:
    """One row to be loaded again.

    Attributes:
        filled: Whether it was text that could not be split, and has the values somebody gave it.
        content: Its values as text by source column, as a JSON object.
        upcasts: Versions its load brought it through.
        version: The catalog's version at that time.
    """

    id: int
    file: str
    line: int
    filled: bool
    content: str
    upcasts: list[str]
    version: str | None

    @property
    def written(self) -> bytes:
        """Line and values as one line of JSON."""
        return f"[{self.line},{self.content}]\n".encode()


def find_replayed(
    fleet: Fleet,
    tenant: Tenant,
    datasets: Sequence[Dataset],
    *,
    repaired: Path | None = None,
    source_version: str | None = None,
) -> dict[str, tuple[tuple[SourceFile, ...], tuple[str, ...]]]:
    """What a replay would load of each dataset, changing nothing.

    That is the original files, with the quarantined rows of each, and the versions whose changes these are
    brought through, oldest first.

    Args:
        fleet: The fleet.
        tenant: Whose quarantine.
        datasets: Whose rows.
        repaired: An edited export: only the rows in it, as they are there. None is all rows, as they are.
        source_version: The version the rows were written for; None is what their loads took it to be.

    Raises:
        InputError: the repaired file cannot be used, or rows of one dataset have different columns or were
            written for different versions.
    """
    found: dict[str, tuple[tuple[SourceFile, ...], tuple[str, ...]]] = {}
    path = "" if repaired is None else str(repaired)
    with fleet.session(tenant, isolation=SNAPSHOT) as connection:
        for dataset in datasets:
            alike = _Alike(tenant, fleet.catalog, dataset)
            with replayed_rows(connection, tenant, fleet.catalog, dataset, repaired) as rows_of:
                files = [
                    SourceFile(name, path, FORMAT, "", None, size, snapshot)
                    for name, of_file in groupby(rows_of(None), attrgetter("file"))
                    for snapshot, size in [snapshot_of(map(alike.seen, of_file))]
                ]
            found[dataset.name] = tuple(files), alike.upcasts(source_version)
    return found


@contextmanager
def replayed_rows(
    connection: psycopg.Connection, tenant: Tenant, catalog: Catalog, dataset: Dataset, repaired: Path | None
) -> Iterator[Callable[[str | None], Generator[ReplayRow]]]:
    """Gives the rows a replay loads: those of a file, or all of them by file, in the order of their lines.

    Args:
        connection: A session of the tenant's, in which all is as of one moment.
        tenant: Whose quarantine.
        catalog: The datasets there are.
        dataset: Whose rows.
        repaired: An edited export.

    Raises:
        InputError: the repaired file cannot be used.
    """
    with ExitStack() as stack:
        table = None
        if repaired is not None:
            table = stack.enter_context(repairs(connection, tenant, catalog, repaired, (dataset.name,)))
        yield partial(_read, connection, tenant, dataset, table)


def snapshot_of(rows: Iterable[ReplayRow]) -> tuple[str, int]:
    """What identifies these rows as they are, and how many bytes they hold."""
    digest, size = hashlib.sha256(), 0
    for row in rows:
        written = row.written
        digest.update(b"%d" % row.id + written)
        size += len(written)
    return f"snapshot:{digest.hexdigest()}", size


def enter_replayed(connection: psycopg.Connection, tenant: Tenant, snapshot: str, ids: Iterable[int]) -> None:
    """Write down which rows are being replayed, for `settle_replayed`; again changes nothing.

    Their table is beside the quarantine, in tenants that replay.
    """
    table = _replayed(tenant)
    # Two threads may stage two files: IF NOT EXISTS does not keep them apart.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (table.as_string(),))
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (snapshot text, id bigint, PRIMARY KEY (snapshot, id))"
        ).format(table)
    )
    connection.execute(sql.SQL("DELETE FROM {} WHERE snapshot = %s").format(table), (snapshot,))
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for row_id in ids:
            copy.write_row((snapshot, row_id))


def settle_replayed(connection: psycopg.Connection, tenant: Tenant, load: Load) -> None:
    """Take the rows a load has replayed out of quarantine, in the transaction that merges it.

    Raises:
        OperationFailed: one of them was repaired, dropped or removed since it was staged.
    """
    files = [file for file in load.files if file.format == FORMAT]
    if not files:
        return
    table, where = _replayed(tenant), f"tenant {tenant.slug}, dataset {load.dataset}"
    settled = 0
    if _exists(connection, table):
        row = connection.execute(
            sql.SQL(
                """
                WITH gone AS (
                    DELETE FROM {quarantine} q USING {entries} e, {table} r
                    WHERE q.id = e.id AND e.row_id = r.id AND e.dataset = %s AND r.snapshot = ANY(%s)
                    RETURNING e.whole
                ) SELECT count(*) FILTER (WHERE whole) FROM gone
                """
            ).format(
                quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
                entries=entries_of(tenant),
                table=table,
            ),
            (load.dataset, [file.sha256 for file in files]),
        ).fetchone()
        settled = row[0] if row else 0
        # Those of this load, and of replays that were given up.
        connection.execute(
            sql.SQL("DELETE FROM {} r WHERE NOT EXISTS (SELECT FROM {} q WHERE q.id = r.id)").format(
                table, sql.Identifier(tenant.stage_schema, "quarantine")
            )
        )
    if settled != sum(file.read for file in files):
        raise OperationFailed(
            "rows of the quarantine were changed or removed since they were staged; nothing was merged.",
            where=where,
            fix="Replay them again.",
        )


def unstage(connection: psycopg.Connection, tenant: Tenant, row_id: int) -> None:
    """Let no load that staged this row before it was changed be merged."""
    table = _replayed(tenant)
    if _exists(connection, table):
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(table), (row_id,))


class _Alike:
    """Holds rows against each other: those of one load must have the same columns and be of one version."""

    def __init__(self, tenant: Tenant, catalog: Catalog, dataset: Dataset) -> None:
        self._catalog = catalog
        self._dataset = dataset
        self._where = f"tenant {tenant.slug}, dataset {dataset.name}"
        # What only transforms read is the same to them when it is empty and when it is not there.
        self._stored = {column.source_name for column in dataset.columns}
        self._found: dict[frozenset[str], str] = {}
        self._filled: set[str] = set()
        self._upcasts: dict[tuple[str, ...], str] = {}

    def seen(self, row: ReplayRow) -> ReplayRow:
        """The row, having taken note of its columns and version."""
        names = self._stored.intersection(orjson.loads(row.content))
        if row.filled:
            self._filled |= names
        else:
            self._found.setdefault(frozenset(names), row.file)
        since = self._catalog.upcasts_since(self._dataset.name, row.version) if row.version else ()
        self._upcasts.setdefault((*row.upcasts, *since), row.file)
        return row

    def upcasts(self, source_version: str | None) -> tuple[str, ...]:
        """The versions they are brought through, after all of them were seen.

        Raises:
            InputError: two files had different columns or versions, or somebody filled in other columns.
        """
        self._check_columns()
        if source_version:
            return self._catalog.upcasts_since(self._dataset.name, source_version)
        if len(self._upcasts) > 1:
            first, second = list(self._upcasts.values())[:2]
            raise InputError(
                f"quarantined rows of {first} and {second} were written for different versions.",
                where=self._where,
                fix="Replay the rows of one file at a time, from: tenant-ops quarantine export --file <name>",
            )
        return next(iter(self._upcasts), ())

    def _check_columns(self) -> None:
        found = list(self._found.items())
        if len(found) > 1:
            (one, first), (other, second) = found[:2]
            raise InputError(
                f"quarantined rows of {first} and {second} differ in having the columns "
                f"{', '.join(sorted(one ^ other))}, so an absent one would have two meanings.",
                where=self._where,
                fix="Replay the rows of one file at a time, from: tenant-ops quarantine export --file <name>",
            )
        more = self._filled - found[0][0] if found else set()
        if more:
            raise InputError(
                f"rows that were repaired have the columns {', '.join(sorted(more))}, which others do not.",
                where=self._where,
                fix="Leave these empty, or replay the repaired rows from a file of their own.",
            )


def _read(
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    repaired: sql.Identifier | None,
    file: str | None,
) -> Generator[ReplayRow]:
    query = sql.SQL(
        """
        WITH l AS MATERIALIZED (
            SELECT id, state, report->>'version' AS version,
                   ARRAY(SELECT jsonb_array_elements_text(report->'upcasts')) AS upcasts
            FROM {load} WHERE dataset = %(dataset)s
        )
        SELECT q.id, q.file, q.line, jsonb_typeof(q.raw) = 'string' AS filled, c.content::text AS content,
               coalesce(l.upcasts, '{{}}') AS upcasts, l.version
        FROM {quarantine} q {repaired} LEFT JOIN l ON l.id = q.load_id CROSS JOIN LATERAL (
            SELECT jsonb_object_agg(key, value) AS content FROM jsonb_each_text({values})
        ) c
        WHERE q.dataset = %(dataset)s AND q.raw IS NOT NULL AND c.content IS NOT NULL
          AND (%(file)s::text IS NULL OR q.file = %(file)s)
          AND (l.state = 'merged' OR l.id IS NULL)
        ORDER BY q.file COLLATE "C", q.line, q.id
        """
    ).format(
        quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
        load=sql.Identifier(tenant.stage_schema, "load"),
        repaired=sql.SQL("JOIN {} r ON r.id = q.id").format(repaired) if repaired else sql.SQL(""),
        values=_REPAIRED_VALUES if repaired else _VALUES,
    )
    with connection.cursor("replayed", row_factory=class_row(ReplayRow)) as cursor:
        cursor.itersize = _AT_A_TIME
        yield from cursor.execute(query, {"dataset": dataset.name, "file": file})


_VALUES = sql.SQL("CASE jsonb_typeof(q.raw) WHEN 'object' THEN q.raw END")

# A value that is empty in the file, of a column the row does not have, says nothing: a table has no holes.
_REPAIRED_VALUES = sql.SQL(
    """
    CASE jsonb_typeof(q.raw) WHEN 'object' THEN
        q.raw || coalesce((SELECT jsonb_object_agg(key, value) FROM jsonb_each(r.row)
                           WHERE value <> 'null' OR q.raw ? key), '{}')
    ELSE jsonb_strip_nulls(r.row) END
    """
)


def _replayed(tenant: Tenant) -> sql.Identifier:
    return sql.Identifier(tenant.stage_schema, "replayed")


def _exists(connection: psycopg.Connection, table: sql.Identifier) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(),)).fetchone()
    return bool(row and row[0])
