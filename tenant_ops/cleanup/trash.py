"""The trash: removed rows, in tables of the tenant's own stage schema.

Here: making trash tables, listing them, and dropping those past their time. Not here: what goes into them
(`rows.py`) and how it comes back (`undo.py`).

A trash table is named `trash_<cleanup>_<n>` (whole rows) or `links_<cleanup>_<n>` (key and value of a
reference that became empty) and has a line in `tenant_ops.cleanup_undo`, written before the table is made: a
table nobody knows of cannot exist, and a line without a table is an empty one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tenant_ops.cleanup.policies import TRASH_DAYS
from tenant_ops.cleanup.records import CleanedItem, CleanupItem, PastCleanup, Rule, Type
from tenant_ops.tenants import Fleet, Tenant


class Trash:
    """The trash tables of one cleanup.

    Attributes:
        expires_at: Until when they are kept.
    """

    def __init__(self, fleet: Fleet, tenant: Tenant, cleanup_id: UUID) -> None:
        self._fleet, self._tenant, self._id = fleet, tenant, cleanup_id
        self._made_at = fleet.clock()
        self._places: list[str] = []
        self.expires_at = self._made_at + timedelta(days=TRASH_DAYS)

    def new_table(self, kind: Type, dataset: str, unit: str, shape: sql.Composable) -> sql.Composable:
        """Make an empty trash table with the columns of the query `shape`, and return its name."""
        prefix = "trash" if unit == "rows" else "links"
        place = f"{prefix}_{self._id.hex[:12]}_{len(self._places)}"
        with self._fleet.control.transaction() as connection:
            connection.execute(
                """
                INSERT INTO tenant_ops.cleanup_undo (id, tenant_id, type, dataset, rows, place, made_at,
                                                     expires_at)
                VALUES (%s, %s, %s, %s, 0, %s, %s, %s)
                """,
                (self._id, self._tenant.id, kind, dataset, place, self._made_at, self.expires_at),
            )
        self._places.append(place)
        name = sql.Identifier(self._tenant.stage_schema, place)
        with self._fleet.session(self._tenant) as connection:
            connection.execute(sql.SQL("CREATE TABLE {} AS {} WITH NO DATA").format(name, shape))
        return name

    def close(self) -> int:
        """Write down how much each table holds, drop empty ones, and return how many rows are kept."""
        with self._fleet.session(self._tenant) as connection:
            sizes = {place: count_rows(connection, self._tenant, place) for place in self._places}
            drop_tables(connection, self._tenant, [place for place, size in sizes.items() if not size])
        with self._fleet.control.transaction() as connection:
            for place, size in sizes.items():
                connection.execute(
                    "UPDATE tenant_ops.cleanup_undo SET rows = %s WHERE id = %s AND place = %s",
                    (size, self._id, place),
                )
            connection.execute("DELETE FROM tenant_ops.cleanup_undo WHERE id = %s AND rows = 0", (self._id,))
        return sum(size for place, size in sizes.items() if place.startswith("trash"))


@dataclass(frozen=True)
class TrashTable:
    """One trash table, as it is written down in the control plane."""

    id: UUID
    type: Type
    dataset: str
    rows: int
    place: str
    made_at: datetime
    expires_at: datetime
    undone_at: datetime | None
    purged_at: datetime | None

    @property
    def holds_rows(self) -> bool:
        """Whether it holds whole rows; else it holds references that became empty."""
        return self.place.startswith("trash")

    @property
    def lies_there(self) -> bool:
        """Whether it can still be undone."""
        return self.undone_at is None and self.purged_at is None

    def schema(self, tenant: Tenant) -> str:
        """Where its rows came from."""
        return tenant.stage_schema if self.type == "quarantine" else tenant.schema_name


def past_cleanups(fleet: Fleet, tenant: Tenant) -> tuple[PastCleanup, ...]:
    """The cleanups that put rows into the trash, newest first."""
    by_id: dict[UUID, list[TrashTable]] = {}
    for line in trash_tables(fleet, tenant):
        by_id.setdefault(line.id, []).append(line)
    return tuple(
        PastCleanup(
            cleanup_id=str(cleanup_id),
            tenant=tenant.slug,
            tables=tuple(sorted({line.dataset for line in lines if line.holds_rows})),
            rows=sum(line.rows for line in lines if line.holds_rows),
            made_at=lines[0].made_at,
            expires_at=lines[0].expires_at,
            state="undone" if lines[0].undone_at else "purged" if lines[0].purged_at else "undoable",
        )
        for cleanup_id, lines in by_id.items()
    )


def look_trash(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanupItem]:
    """The trash tables past their time."""
    expired = [line for rule in rules for line in _expired(fleet, tenant, rule)]
    with fleet.session(tenant) as connection:
        return [
            CleanupItem(
                "trash",
                f"{line.dataset} removed {line.made_at:%Y-%m-%d}",
                "tables",
                1,
                _bytes(connection, tenant, line.place),
                line.expires_at,
                line.expires_at,
            )
            for line in expired
        ]


def purge_trash(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanedItem]:
    """Drop the trash tables past their time: what they hold is gone for good."""
    expired = [line for rule in rules for line in _expired(fleet, tenant, rule)]
    with fleet.session(tenant) as connection:
        drop_tables(connection, tenant, [line.place for line in expired])
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.cleanup_undo SET purged_at = %s WHERE tenant_id = %s AND place = ANY(%s)",
            (fleet.clock(), tenant.id, [line.place for line in expired]),
        )
    return [
        CleanedItem("trash", f"{line.dataset} removed {line.made_at:%Y-%m-%d}", "tables", 1, 1)
        for line in expired
    ]


def _expired(fleet: Fleet, tenant: Tenant, rule: Rule) -> list[TrashTable]:
    lines = trash_tables(fleet, tenant)
    return [line for line in lines if line.expires_at < rule.cutoff and line.purged_at is None]


def trash_tables(fleet: Fleet, tenant: Tenant) -> list[TrashTable]:
    """Every trash table the tenant has or had, newest cleanup first."""
    with (
        fleet.control.transaction() as connection,
        connection.cursor(row_factory=class_row(TrashTable)) as cursor,
    ):
        return cursor.execute(
            """
            SELECT id, type, dataset, rows, place, made_at, expires_at, undone_at, purged_at
            FROM tenant_ops.cleanup_undo WHERE tenant_id = %s ORDER BY made_at DESC, id, place
            """,
            (tenant.id,),
        ).fetchall()


def count_rows(connection: psycopg.Connection, tenant: Tenant, place: str) -> int:
    """Rows in a trash table."""
    name = sql.Identifier(tenant.stage_schema, place)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    assert row is not None
    return row[0]


def drop_tables(connection: psycopg.Connection, tenant: Tenant, places: Sequence[str]) -> None:
    """Drop trash tables; one that is gone already is no error."""
    for place in places:
        name = sql.Identifier(tenant.stage_schema, place)
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def _bytes(connection: psycopg.Connection, tenant: Tenant, place: str) -> int:
    row = connection.execute(
        "SELECT coalesce(pg_total_relation_size(to_regclass(%s)), 0)", (f"{tenant.stage_schema}.{place}",)
    ).fetchone()
    assert row is not None
    return row[0]
