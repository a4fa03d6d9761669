"""Changing what is wrong with a quarantined row, where it lies.

Here: single values of single rows. Not here: many rows, by way of a file (`repaired_files.py`); whether the
row is good now, which replaying it will tell (`replay.py`).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenant_ops.audit import record
from tenant_ops.datasets import Dataset
from tenant_ops.loading.quarantine.entries import entries_of
from tenant_ops.loading.quarantine.replay import unstage
from tenant_ops.loading.quarantine.review import not_there
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

REPAIRED = "repaired, not replayed yet"
"""The reason of what was wrong with a row until its value was changed."""

_LABEL = b"tenant_ops/quarantine/replaced-value/1"


@dataclass(frozen=True)
class RepairReport:
    """A row that was repaired.

    Attributes:
        columns: What was changed, by source column.
        left: What is still known to be wrong with it.
    """

    tenant: str
    id: int
    dataset: str
    file: str
    line: int | None
    columns: tuple[str, ...]
    left: tuple[str, ...]


def repair_row(fleet: Fleet, tenant: Tenant, row_id: int, values: Mapping[str, str | None]) -> RepairReport:
    """Change values of a quarantined row; replaying loads it with them.

    A row that was text which could not be split becomes one with these values, the others empty. The audit
    log tells each replaced value by a hash under the tenant's own key, which says whether two were equal and
    nothing else.

    Args:
        fleet: The fleet.
        tenant: Whose quarantine.
        row_id: The row, as listed.
        values: New values by source column, spelled as in a file; None is null.

    Raises:
        InputError: the row is not there or its load is not merged yet, or a column or value is impossible.
        TenantBusy: a load is running.
    """
    tenant.require()
    where = f"tenant {tenant.slug}, row {row_id}"
    if not values:
        raise InputError("no value is given.", where=where, fix="For instance --set email=a@example.org.")
    with fleet.lock(tenant, "load"):
        key = fleet.tenant_key(tenant)[1]
        with fleet.session(tenant) as connection:
            row = _row(connection, tenant, row_id)
            dataset = fleet.catalog[row.dataset]
            named = {_source_name(dataset, row, name, where): value for name, value in values.items()}
            for name, value in named.items():
                if value is not None and "\x00" in value:
                    raise InputError("no text can hold a NUL character.", where=f"{where}, column {name}")
            replaced = {name: _hash(key, (row.values or {}).get(name)) for name in named}
            _write(connection, tenant, row, named)
            left = _mark(connection, tenant, row, dataset, named)
            unstage(connection, tenant, row_id)
            with fleet.control_within(tenant, connection) as control:
                record(
                    control,
                    chain=str(tenant.id),
                    at=fleet.clock(),
                    actor=fleet.settings.actor,
                    action="quarantine.repair",
                    detail={"row": row_id, "dataset": dataset.name, "replaced": replaced},
                )
    return RepairReport(tenant.slug, row_id, dataset.name, row.file, row.line, tuple(named), left)


@dataclass(frozen=True)
class _Row:
    """A row as it lies there; `values` is None when it is text that could not be split."""

    id: int
    load_id: UUID
    dataset: str
    file: str
    line: int | None
    undecided: bool | None
    values: dict[str, str | None] | None


def _row(connection: psycopg.Connection, tenant: Tenant, row_id: int) -> _Row:
    """Find it.

    Raises:
        InputError: it is not there, or its load is not merged.
    """
    query = sql.SQL(
        """
        SELECT q.id, q.load_id, q.dataset, q.file, q.line, l.state <> 'merged' AS undecided,
               CASE jsonb_typeof(q.raw) WHEN 'object' THEN
                   (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(q.raw)) END AS values
        FROM {} q LEFT JOIN {} l ON l.id = q.load_id WHERE q.id = %s AND q.raw IS NOT NULL
        """
    ).format(sql.Identifier(tenant.stage_schema, "quarantine"), sql.Identifier(tenant.stage_schema, "load"))
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        row = cursor.execute(query, (row_id,)).fetchone()
    if row is None:
        raise not_there(tenant, row_id)
    if row.undecided:
        raise InputError(
            "the load that left it out is not merged yet.",
            where=f"tenant {tenant.slug}, row {row_id}",
            fix="Finish that load first, or repair its file.",
        )
    return row


def _source_name(dataset: Dataset, row: _Row, name: str, where: str) -> str:
    known = [*dataset.reads, *(row.values or ())]
    if name in known:
        return name
    if name in dataset.by_name:
        return dataset.by_name[name].source_name
    raise InputError(
        f"{dataset.name} has no column {name!r}.",
        where=where,
        fix=f"Known columns: {', '.join(dict.fromkeys(known))}.",
    )


def _write(connection: psycopg.Connection, tenant: Tenant, row: _Row, values: dict[str, str | None]) -> None:
    """Change the values; what was text gets the columns other rows of its load have."""
    query = sql.SQL(
        """
        UPDATE {quarantine} SET raw = %(values)s || CASE
            WHEN jsonb_typeof(raw) = 'object' THEN raw - %(names)s::text[]
            ELSE coalesce((
                SELECT (SELECT jsonb_object_agg(key, NULL) FROM jsonb_object_keys(other.raw) AS key
                        WHERE key <> ALL(%(names)s))
                FROM {quarantine} other
                WHERE other.load_id = %(load)s AND jsonb_typeof(other.raw) = 'object'
                LIMIT 1), '{{}}')
            END
        WHERE id = %(id)s
        """
    ).format(quarantine=sql.Identifier(tenant.stage_schema, "quarantine"))
    connection.execute(
        query,
        {
            "values": Jsonb(values),
            "names": list(values),
            "load": row.load_id,
            "id": row.id,
        },
    )


def _mark(
    connection: psycopg.Connection, tenant: Tenant, row: _Row, dataset: Dataset, values: Mapping[str, Any]
) -> tuple[str, ...]:
    """Say of the entries about these columns that they are history, and return what the others say."""
    parts = {
        "quarantine": sql.Identifier(tenant.stage_schema, "quarantine"),
        "entries": entries_of(tenant),
        # Load and file spare Postgres all other entries.
        "of_row": sql.SQL("e.load_id = %(load)s AND e.file = %(file)s AND e.row_id = %(id)s"),
    }
    columns = [*values, *(dataset.reads.get(name, name) for name in values)]
    arguments = {
        "load": row.load_id,
        "file": row.file,
        "id": row.id,
        "repaired": REPAIRED,
        "columns": columns,
    }
    connection.execute(
        sql.SQL(
            "UPDATE {quarantine} q SET reason = %(repaired)s, value = NULL FROM {entries} e "
            "WHERE e.id = q.id AND {of_row} "
            "AND (q.column_name IS NULL OR string_to_array(q.column_name, ', ') && %(columns)s)"
        ).format(**parts),
        arguments,
    )
    left = connection.execute(
        sql.SQL(
            "SELECT concat_ws(': ', column_name, reason) FROM {entries} e "
            "WHERE {of_row} AND reason <> %(repaired)s ORDER BY id"
        ).format(**parts),
        arguments,
    ).fetchall()
    return tuple(reason for (reason,) in left)


def _hash(key: bytes, value: str | None) -> str | None:
    if value is None:
        return None
    return hmac.new(hmac.digest(key, _LABEL, "sha256"), value.encode(), hashlib.sha256).hexdigest()
