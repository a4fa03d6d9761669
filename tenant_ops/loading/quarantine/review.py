"""Looking at the quarantine: what is in it, by dataset and reason, and single rows.

Here: what may be shown, so personal data is masked. Not here: rows as they are (`exporting.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tenant_ops.datasets import Dataset
from tenant_ops.datasets.lineage import privacy_of
from tenant_ops.loading.quarantine.entries import LONGEST_VALUE, entries_of
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.masking import mask
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class QuarantineCount:
    """Rows with one thing wrong; a row with several counts under each.

    Attributes:
        open: Whether their load is not merged yet: loading decides about them anew.
    """

    dataset: str
    check: str
    reason: str
    rows: int
    open: bool


@dataclass(frozen=True)
class QuarantineEntry:
    """One thing wrong with one row.

    Attributes:
        id: The row's; entries of one row share it.
        line: Where it stands in its file.
        column: What is wrong, None for the whole row.
        value: What stands there, masked.
        at: When it came into quarantine.
        open: Whether its load is not merged yet.
    """

    id: int
    dataset: str
    file: str
    line: int | None
    check: str
    column: str | None
    value: str | None
    reason: str
    at: datetime
    open: bool


@dataclass(frozen=True)
class QuarantineList:
    """What is in quarantine.

    Attributes:
        rows: How many rows.
        counts: By dataset and reason, most first.
        entries: The oldest of them, as many as were asked for.
    """

    tenant: str
    rows: int
    counts: tuple[QuarantineCount, ...]
    entries: tuple[QuarantineEntry, ...]


@dataclass(frozen=True)
class QuarantinedRow:
    """One row, with everything wrong with it.

    Attributes:
        values: What it holds by source column, personal data masked; None when it could not be split.
        text: What stood there instead, masked.
    """

    tenant: str
    id: int
    dataset: str
    file: str
    line: int | None
    at: datetime
    open: bool
    faults: tuple[QuarantineEntry, ...]
    values: dict[str, str | None] | None
    text: str | None


def list_quarantine(
    fleet: Fleet,
    tenant: Tenant,
    *,
    dataset: str | None = None,
    reason: str | None = None,
    file: str | None = None,
    limit: int = 50,
) -> QuarantineList:
    """Count what is in quarantine and show the oldest entries.

    Args:
        fleet: The fleet.
        tenant: Whose quarantine.
        dataset: Only this dataset's rows.
        reason: Only what is wrong for exactly this reason.
        file: Only rows of the file of this name.
        limit: Most entries shown.

    Raises:
        InputError: there is no such dataset.
    """
    wanted, arguments = matching(fleet, dataset=dataset, reason=reason, file=file)
    parts = {"entries": entries_of(tenant), "wanted": wanted}
    with fleet.session(tenant) as connection:
        total = connection.execute(
            sql.SQL("SELECT count(DISTINCT e.row_id) FROM {entries} e WHERE {wanted}").format(**parts),
            arguments,
        ).fetchone()
        with connection.cursor(row_factory=class_row(QuarantineCount)) as cursor:
            counts = cursor.execute(
                sql.SQL(
                    "SELECT dataset, check_name AS check, reason, count(DISTINCT row_id) AS rows, open "
                    "FROM {entries} e WHERE {wanted} GROUP BY dataset, check_name, reason, open "
                    "ORDER BY rows DESC, dataset, reason, open"
                ).format(**parts),
                arguments,
            ).fetchall()
        entries = _entries(
            connection,
            sql.SQL("{wanted} ORDER BY e.id LIMIT {limit}").format(wanted=wanted, limit=sql.Literal(limit)),
            tenant,
            arguments,
        )
    assert total is not None
    return QuarantineList(tenant.slug, total[0], tuple(counts), entries)


def show_row(fleet: Fleet, tenant: Tenant, row_id: int) -> QuarantinedRow:
    """One row of the quarantine, and everything wrong with it.

    Raises:
        InputError: the tenant's quarantine has no such row.
    """
    with fleet.session(tenant) as connection:
        found = connection.execute(
            sql.SQL("SELECT load_id, file, raw FROM {} WHERE id = %s AND raw IS NOT NULL").format(
                sql.Identifier(tenant.stage_schema, "quarantine")
            ),
            (row_id,),
        ).fetchone()
        if found is None:
            raise not_there(tenant, row_id)
        load_id, file, raw = found
        # Load and file spare Postgres all other entries.
        faults = _entries(
            connection,
            sql.SQL("e.load_id = %(load)s AND e.file = %(file)s AND e.row_id = %(id)s ORDER BY e.id"),
            tenant,
            {"load": load_id, "file": file, "id": row_id},
        )
    first = faults[0]
    known = first.dataset in fleet.catalog
    dataset = fleet.catalog[first.dataset] if known else None
    shown = isinstance(raw, dict)
    return QuarantinedRow(
        tenant=tenant.slug,
        id=row_id,
        dataset=first.dataset,
        file=first.file,
        line=first.line,
        at=first.at,
        open=first.open,
        faults=faults,
        values={name: _masked(dataset, name, value) for name, value in raw.items()} if shown else None,
        text=None if shown else mask(raw, "free_text"),
    )


def matching(
    fleet: Fleet,
    *,
    dataset: str | None = None,
    reason: str | None = None,
    file: str | None = None,
    ids: Sequence[int] | None = None,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The condition on an entry `e` of `entries_of`, and its arguments.

    Raises:
        InputError: there is no such dataset.
    """
    arguments: dict[str, Any] = {"dataset": dataset, "reason": reason, "file": file}
    arguments["ids"] = None if ids is None else list(ids)
    if dataset is not None:
        arguments["dataset"] = fleet.catalog[dataset].name
    conditions: dict[str, LiteralString] = {
        "dataset": "e.dataset = %(dataset)s",
        "reason": "e.reason = %(reason)s",
        "file": "e.file = %(file)s",
        "ids": "e.row_id = ANY(%(ids)s)",
    }
    used = [sql.SQL(condition) for name, condition in conditions.items() if arguments[name] is not None]
    return sql.SQL(" AND ").join([sql.SQL("true"), *used]), arguments


def not_there(tenant: Tenant, row_id: int, where: str = "") -> InputError:
    """The sentence for a row that is not in a tenant's quarantine."""
    return InputError(
        f"there is no row {row_id} in its quarantine.",
        where=f"tenant {tenant.slug}{where}",
        fix="It was replayed or dropped meanwhile, or was never there; list what is.",
    )


def _entries(
    connection: psycopg.Connection, rest: sql.Composable, tenant: Tenant, arguments: dict[str, Any]
) -> tuple[QuarantineEntry, ...]:
    query = sql.SQL(
        "SELECT row_id AS id, dataset, file, line, check_name AS check, column_name AS column, value, "
        "reason, created_at AS at, open FROM {} e WHERE "
    ).format(entries_of(tenant))
    with connection.cursor(row_factory=class_row(QuarantineEntry)) as cursor:
        return tuple(cursor.execute(query + rest, arguments).fetchall())


def _masked(dataset: Dataset | None, source_name: str, value: Any) -> str | None:
    """What may be shown of a value; of a column the dataset does not have, nothing may."""
    if value is None or value == "":
        return value
    text = str(value)[:LONGEST_VALUE]
    privacy = privacy_of(dataset, dataset.reads.get(source_name, source_name)) if dataset else "secret"
    return mask(text, privacy) if privacy else text
