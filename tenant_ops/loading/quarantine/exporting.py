"""Quarantined rows as a file, to be repaired with an editor and replayed.

Here: writing it. Not here: reading it back (`repaired_files.py`).

The rows are in it as they were read, personal data and all, so it is readable by its owner only, and its
making is on record. Beside the source's own columns it has `_id` and `_dataset`, by which a replay knows the
row, and for whoever repairs it `_file`, `_line`, `_reason`, and `_raw` with text that could not be split.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

import orjson
import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.datasets import Dataset
from tenant_ops.loading.quarantine.entries import entries_of
from tenant_ops.loading.quarantine.review import matching
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

ID, DATASET, FILE, LINE, REASON, RAW = "_id", "_dataset", "_file", "_line", "_reason", "_raw"
OWN_COLUMNS = (ID, DATASET, FILE, LINE, REASON, RAW)
"""What an exported file has beside the columns of the source."""

ExportFormat = Literal["csv", "ndjson"]
_AT_A_TIME = 10_000
SNAPSHOT = psycopg.IsolationLevel.REPEATABLE_READ


@dataclass(frozen=True)
class ExportReport:
    """A file of quarantined rows that was written."""

    tenant: str
    dataset: str
    path: str
    format: ExportFormat
    rows: int
    bytes: int


def export_quarantine(
    fleet: Fleet,
    tenant: Tenant,
    dataset_name: str,
    path: Path,
    *,
    format: ExportFormat = "csv",  # noqa: A002 - reads best
    reason: str | None = None,
    file: str | None = None,
    force: bool = False,
) -> ExportReport:
    """Write the quarantined rows of a dataset, as they were read, to a file only its owner can read.

    In CSV a null is nothing and an empty text two quotes, as loading reads it. Rows whose load is not merged
    yet are left out: loading decides about them anew.

    Args:
        fleet: The fleet.
        tenant: Whose quarantine.
        dataset_name: Which rows.
        path: Where to; the file is there whole or not at all.
        format: `csv` or `ndjson`.
        reason: Only rows with this wrong.
        file: Only rows of the file of this name.
        force: Replace a file that is there.

    Raises:
        InputError: there is no such dataset or format, the file is there already or cannot be written, or a
            column of the source has the name of one the export adds.
    """
    dataset = fleet.catalog[dataset_name]
    if format not in ("csv", "ndjson"):
        raise InputError(f"{format!r} is no format of an export.", fix="Use csv or ndjson.")
    write = _csv_line if format == "csv" else _json_line
    wanted, arguments = matching(fleet, dataset=dataset.name, reason=reason, file=file)
    rows = 0
    with (
        private_file(path, force=force) as target,
        fleet.session(tenant, isolation=SNAPSHOT) as connection,
        connection.cursor("exported") as cursor,
    ):
        cursor.itersize = _AT_A_TIME
        columns = _columns(connection, tenant, dataset)
        if format == "csv":
            target.write(_csv_line(OWN_COLUMNS + columns, OWN_COLUMNS + columns))
        for row_id, name, line, reasons, values, text in cursor.execute(
            _exported(tenant, wanted), {**arguments, "dataset": dataset.name}
        ):
            own = (row_id, dataset.name, name, line, reasons, text)
            values = values or {}
            held = columns if format == "csv" else [each for each in columns if each in values]
            target.write(write((*OWN_COLUMNS, *held), (*own, *(values.get(each) for each in held))))
            rows += 1
        written = target.tell()
        # Before the file gets its name: no export is there without a record of it.
        with fleet.control.transaction() as control:
            record(
                control,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="quarantine.export",
                detail={"dataset": dataset.name, "rows": rows, "format": format},
            )
    return ExportReport(tenant.slug, dataset.name, str(path), format, rows, written)


@contextmanager
def private_file(path: Path, *, force: bool = False) -> Iterator[IO[bytes]]:
    """A new file that only its owner can read; after an error there is none, or the one that was there.

    Raises:
        InputError: it is there already, or cannot be written.
    """
    if not force and os.path.lexists(path):
        raise InputError("the file is there already.", where=str(path), fix="Name another, or use --force.")
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"it cannot be written: {error.strerror}.", where=str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            draft.replace(path)
        except OSError as error:
            raise InputError(f"it cannot be written: {error.strerror}.", where=str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


def _columns(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> tuple[str, ...]:
    """The source columns its quarantined rows have; all it may have when they are nothing but text."""
    found = connection.execute(
        sql.SQL(
            """
            SELECT array_agg(DISTINCT key) FILTER (WHERE key IS NOT NULL),
                   bool_or(jsonb_typeof(raw) = 'string')
            FROM {} LEFT JOIN LATERAL (
                SELECT jsonb_object_keys(CASE jsonb_typeof(raw) WHEN 'object' THEN raw ELSE '{{}}' END) AS key
            ) AS keys ON true
            WHERE dataset = %s AND raw IS NOT NULL
            """
        ).format(sql.Identifier(tenant.stage_schema, "quarantine")),
        (dataset.name,),
    ).fetchone()
    keys, has_text = (set(found[0] or ()), found[1]) if found else (set(), False)
    if has_text and not keys:
        keys = set(dataset.reads)
    clash = sorted(keys & set(OWN_COLUMNS))
    if clash:
        raise InputError(
            f"the source has a column {clash[0]!r}, which an export has a meaning for.",
            where=f"tenant {tenant.slug}, dataset {dataset.name}",
            fix="Repair single values instead: tenant-ops quarantine repair.",
        )
    known = [name for name in dataset.reads if name in keys]
    return (*known, *sorted(keys - set(known)))


def _exported(tenant: Tenant, wanted: sql.Composed) -> sql.Composed:
    """Number, file, line, reasons, values as text by source column, and the text that could not be split."""
    return sql.SQL(
        """
        SELECT q.id, q.file, q.line, r.reasons,
               CASE jsonb_typeof(q.raw) WHEN 'object' THEN
                   (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(q.raw)) END,
               CASE jsonb_typeof(q.raw) WHEN 'string' THEN q.raw #>> '{{}}' END
        FROM {quarantine} q JOIN (
            SELECT row_id, string_agg(concat_ws(': ', column_name, reason), '; ' ORDER BY id) AS reasons
            FROM {entries} all_of
            WHERE dataset = %(dataset)s AND row_id IN (
                SELECT e.row_id FROM {entries} e WHERE {wanted} AND NOT e.open)
            GROUP BY row_id
        ) r ON r.row_id = q.id
        ORDER BY q.id
        """
    ).format(
        quarantine=sql.Identifier(tenant.stage_schema, "quarantine"),
        entries=entries_of(tenant),
        wanted=wanted,
    )


def _csv_line(_names: Sequence[str], values: Sequence[Any]) -> bytes:
    return (",".join(map(_cell, values)) + "\n").encode()


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case int():
            return str(value)
        case _:
            quoted = str(value).replace('"', '""')
            return f'"{quoted}"'


def _json_line(names: Sequence[str], values: Sequence[Any]) -> bytes:
    return orjson.dumps(dict(zip(names, values, strict=True))) + b"\n"
