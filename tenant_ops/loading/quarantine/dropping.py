"""Removing rows from quarantine for good, in a way that can be taken back.

Here: choosing them, removing them, putting them back. Not here: removing those past their time (`cleanup/`).

What is removed is first written whole to a file among the tenant's own, which only the owner of the
installation can read. It stays there until somebody deletes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.loading.quarantine.entries import entries_of
from tenant_ops.loading.quarantine.exporting import private_file
from tenant_ops.loading.quarantine.review import matching, not_there
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

FOLDER = "quarantine"
_BATCH_ENTRIES = 1_000
_KIND = "tenant_ops/dropped-quarantine/1"
_COLUMNS = (
    "id",
    "load_id",
    "dataset",
    "file",
    "line",
    "column_name",
    "value",
    "check_name",
    "reason",
    "raw",
    "created_at",
)


@dataclass(frozen=True)
class DropCount:
    """Rows of one dataset that would go, by what is wrong with them first."""

    dataset: str
    reason: str
    rows: int


@dataclass(frozen=True)
class DropPlan:
    """Which rows would be removed from quarantine.

    Attributes:
        ids: Only these rows; None is any.
        dataset: Only rows of this dataset; None is any.
        reason: Only rows of which exactly this is wrong; None is any.
        rows: How many that are now.
    """

    tenant: str
    ids: tuple[int, ...] | None
    dataset: str | None
    reason: str | None
    rows: int
    counts: tuple[DropCount, ...]


@dataclass(frozen=True)
class DropReport:
    """Rows that were removed from quarantine, or put back.

    Attributes:
        path: The file they are in, by which they can be put back; empty when there were none.
    """

    tenant: str
    rows: int
    path: str


def plan_drop(
    fleet: Fleet,
    tenant: Tenant,
    *,
    ids: Sequence[int] | None = None,
    dataset: str | None = None,
    reason: str | None = None,
) -> DropPlan:
    """Look at what would be removed from quarantine, changing nothing.

    Rows whose load is not merged yet are left: loading decides about them anew.

    Raises:
        InputError: nothing says which rows, there is no such dataset, or one of `ids` is not there.
    """
    tenant.require()
    if ids is None and dataset is None and reason is None:
        raise InputError(
            "nothing says which rows to drop.",
            where=f"tenant {tenant.slug}",
            fix="Name rows by id, a dataset, or a reason.",
        )
    wanted, arguments = matching(fleet, ids=ids, dataset=dataset, reason=reason)
    with fleet.session(tenant) as connection:
        counts = connection.execute(
            sql.SQL(
                "SELECT dataset, reason, count(*) FROM {entries} w WHERE whole AND row_id IN "
                "(SELECT e.row_id FROM {entries} e WHERE {wanted} AND NOT e.open) "
                "GROUP BY dataset, reason ORDER BY 3 DESC, 1, 2"
            ).format(entries=entries_of(tenant), wanted=wanted),
            arguments,
        ).fetchall()
        found = connection.execute(
            sql.SQL("SELECT DISTINCT e.row_id FROM {} e WHERE {} AND NOT e.open").format(
                entries_of(tenant), wanted if ids is not None else sql.SQL("false")
            ),
            arguments,
        ).fetchall()
    for row_id in ids or ():
        if (row_id,) not in found:
            raise not_there(tenant, row_id)
    return DropPlan(
        tenant=tenant.slug,
        ids=None if ids is None else tuple(ids),
        dataset=dataset,
        reason=reason,
        rows=sum(count for _, _, count in counts),
        counts=tuple(DropCount(*each) for each in counts),
    )


def drop_quarantine(fleet: Fleet, plan: DropPlan) -> DropReport:
    """Remove the plan's rows from quarantine; `undo_drop` puts them back.

    Raises:
        InputError: the file for them cannot be written.
        TenantBusy: a load is running.
    """
    tenant = fleet.registry.get(plan.tenant).require()
    wanted, arguments = matching(fleet, ids=plan.ids, dataset=plan.dataset, reason=plan.reason)
    rows, path = 0, _new_path(fleet, tenant)
    with fleet.lock(tenant, "load"), fleet.session(tenant) as connection:
        with private_file(path) as file:
            file.write(orjson.dumps({"kind": _KIND, "tenant": str(tenant.id)}) + b"\n")
            for entry, whole in _removed(connection, tenant, wanted, arguments):
                file.write(entry.encode() + b"\n")
                rows += whole
        if not rows:
            path.unlink()
            return DropReport(tenant.slug, 0, "")
        detail = {"rows": rows, "dataset": plan.dataset, "reason": plan.reason, "file": path.name}
        _record(fleet, tenant, connection, "quarantine.drop", detail)
    return DropReport(tenant.slug, rows, str(path))


def undo_drop(fleet: Fleet, tenant: Tenant, path: Path) -> DropReport:
    """Put dropped rows back into quarantine, as they were; again changes nothing.

    Args:
        fleet: The fleet.
        tenant: Whose rows they are.
        path: The file that dropping them wrote.

    Raises:
        InputError: the file is not such a file, or another tenant's.
        TenantBusy: a load is running.
    """
    tenant.require()
    if not path.is_file():
        raise InputError("there is no such file.", where=str(path))
    rows = 0
    with fleet.lock(tenant, "load"), fleet.session(tenant) as connection:
        with path.open("rb") as file:
            _check_origin(tenant, path, file.readline())
            while entries := list(islice(file, _BATCH_ENTRIES)):
                rows += _put_back(connection, tenant, path, entries)
        _record(fleet, tenant, connection, "quarantine.undrop", {"rows": rows, "file": path.name})
    return DropReport(tenant.slug, rows, str(path))


def _new_path(fleet: Fleet, tenant: Tenant) -> Path:
    folder = fleet.files(tenant) / FOLDER
    if folder.is_symlink():
        raise InputError("the folder is a link, which may lead anywhere.", where=str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"dropped-{fleet.clock():%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}.ndjson"


def _removed(
    connection: psycopg.Connection, tenant: Tenant, wanted: sql.Composed, arguments: dict[str, Any]
) -> Iterator[tuple[str, bool]]:
    """Delete all entries of the wanted rows: each as a JSON object, and whether it is a row's first."""
    entries = entries_of(tenant)
    return connection.cursor().stream(
        sql.SQL(
            """
            DELETE FROM {quarantine} q USING {entries} w
            WHERE q.id = w.id AND w.row_id IN (
                SELECT e.row_id FROM {entries} e WHERE {wanted} AND NOT e.open)
            RETURNING to_jsonb(q)::text, w.whole
            """
        ).format(
            quarantine=sql.Identifier(tenant.stage_schema, "quarantine"), entries=entries, wanted=wanted
        ),
        arguments,
    )


def _check_origin(tenant: Tenant, path: Path, header: bytes) -> None:
    try:
        origin = orjson.loads(header)
    except orjson.JSONDecodeError:
        origin = None
    if not isinstance(origin, dict) or origin.get("kind") != _KIND:
        raise InputError("dropping quarantined rows did not write this file.", where=str(path))
    if origin.get("tenant") != str(tenant.id):
        raise InputError(f"its rows are not those of tenant {tenant.slug}.", where=str(path))


def _put_back(connection: psycopg.Connection, tenant: Tenant, path: Path, entries: Sequence[bytes]) -> int:
    """Insert entries that are not there, exactly as they were; how many rows that are."""
    statement = sql.SQL(
        """
        INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
        SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s)
        ON CONFLICT (id) DO NOTHING RETURNING raw IS NOT NULL
        """
    ).format(
        table=sql.Identifier(tenant.stage_schema, "quarantine"),
        columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
    )
    try:
        inserted = connection.execute(statement, (f"[{b','.join(entries).decode()}]",)).fetchall()
    except (psycopg.DataError, psycopg.IntegrityError, UnicodeDecodeError) as error:
        raise InputError("the file was changed and cannot be read.", where=str(path)) from error
    return sum(whole for (whole,) in inserted)


def _record(
    fleet: Fleet, tenant: Tenant, connection: psycopg.Connection, action: str, detail: dict[str, Any]
) -> None:
    with fleet.control_within(tenant, connection) as control:
        record(
            control,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action=action,
            detail=detail,
        )
