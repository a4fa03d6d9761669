"""Rows: expired ones of the live tables and old ones of the quarantine, moved to the trash.

Here: counting them by a selection and moving them, in bounded transactions. Not here: which rows
(`selection.py`), the trash tables and the way back (`trash.py`).

Each transaction takes 64 pages of one table (about 5,000 rows, 0.1 s): one statement deletes the doomed rows
in them, saves the references that become empty, and puts all of it into the trash, so a row is always in
exactly one of the two places, however the process ends. Rows go children first, and only when nothing would
cascade. REPEATABLE READ makes the server refuse (40001) when a row referring to a doomed one was added
meanwhile; in the default isolation the cascade would take such a row along, unseen and for good.
"""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from tenant_ops.cleanup.records import CleanedItem, CleanupItem, CleanupPlan, Rule, Type
from tenant_ops.cleanup.references import Reference, read_structure
from tenant_ops.cleanup.selection import Limit, Selection
from tenant_ops.cleanup.trash import Trash
from tenant_ops.tenants import Fleet, Tenant

PAGES_PER_BATCH = 64
LOCK_TIMEOUT_MS = 2_000
ATTEMPTS = 3
SNAPSHOT = psycopg.IsolationLevel.REPEATABLE_READ


def look_rows(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanupItem]:
    """Count what would go from every table, all tables as of one moment."""
    with fleet.session(tenant, isolation=SNAPSHOT) as connection:
        return [
            item
            for kind, selection in _selections(connection, tenant, rules)
            for item in _items(connection, kind, selection)
        ]


def move_rows(fleet: Fleet, tenant: Tenant, plan: CleanupPlan, trash: Trash) -> list[CleanedItem]:
    """Move the plan's rows to the trash.

    Raises:
        OperationFailed: the server refused; what was moved until then is in the trash.
    """
    counted = {(item.type, item.subject) for item in plan.items if item.unit == "rows" and item.count}
    with fleet.session(tenant) as connection:
        selections = _selections(connection, tenant, plan.rules)
    return [
        _empty(fleet, tenant, kind, selection, table, trash)
        for kind, selection in selections
        for table in selection.tables
        if (kind, table) in counted
    ]


def _selections(
    connection: psycopg.Connection, tenant: Tenant, rules: Sequence[Rule]
) -> list[tuple[Type, Selection]]:
    schemas: dict[Type, str] = {"expired": tenant.schema_name, "quarantine": tenant.stage_schema}
    found: list[tuple[Type, Selection]] = []
    for kind, schema in schemas.items():
        limits = {rule.subject: Limit(rule.column, rule.cutoff) for rule in rules if rule.type == kind}
        if limits:
            found.append((kind, Selection(read_structure(connection, schema), limits)))
    return found


def _items(connection: psycopg.Connection, kind: Type, selection: Selection) -> list[CleanupItem]:
    items: list[CleanupItem] = []
    for table in selection.tables:
        found = selection.count_rows(connection, table)
        items.append(
            CleanupItem(
                kind,
                table,
                "rows",
                found.rows,
                found.bytes,
                found.oldest,
                found.newest,
                found.cascaded,
                found.held,
                undoable=True,
            )
        )
        if found.rows:
            items += [
                CleanupItem(
                    kind,
                    f"{ref.child}.{', '.join(ref.child_columns)}",
                    "links",
                    selection.count_links(connection, ref),
                    undoable=True,
                )
                for ref in selection.links(table)
            ]
    return items


def _empty(
    fleet: Fleet, tenant: Tenant, kind: Type, selection: Selection, table: str, trash: Trash
) -> CleanedItem:
    place = trash.new_table(
        kind,
        table,
        "rows",
        sql.SQL("SELECT {} FROM {} AS t").format(_columns(selection, table), selection.name(table)),
    )
    links = {
        ref: trash.new_table(
            kind,
            ref.child,
            "links",
            sql.SQL("SELECT {} FROM {} AS c").format(_saved(selection, ref), selection.name(ref.child)),
        )
        for ref in selection.links(table)
    }
    moved, progress = 0, 1
    while progress:  # rows of a table that refers to itself come free when those below them are gone
        batches = _batches(fleet, tenant, selection, table)
        progress = sum(
            _move(fleet, tenant, _statement(selection, table, batch, place, links)) for batch in batches
        )
        moved += progress
    with fleet.session(tenant) as connection:
        left = selection.count_rows(connection, table).rows
    return CleanedItem(kind, table, "rows", moved + left, moved, left)


def _batches(fleet: Fleet, tenant: Tenant, selection: Selection, table: str) -> list[int]:
    """Numbers of the page ranges that hold rows to move: one look, so no page is read for each batch."""
    row = sql.Identifier("t")
    with fleet.session(tenant) as connection:
        found = connection.execute(
            sql.SQL(
                """
                SELECT DISTINCT (t.ctid::text::point)[0]::bigint / {} FROM {} AS t
                WHERE {} AND {} ORDER BY 1
                """
            ).format(
                sql.Literal(PAGES_PER_BATCH),
                selection.name(table),
                selection.doomed(table, row),
                selection.free(table, row),
            )
        ).fetchall()
    return [batch for (batch,) in found]


def _move(fleet: Fleet, tenant: Tenant, statement: sql.Composed) -> int:
    """Rows the statement moved; 0 when others kept changing or holding them."""
    for _ in range(ATTEMPTS):
        try:
            with fleet.session(tenant, isolation=SNAPSHOT) as connection:
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(LOCK_TIMEOUT_MS),))
                return connection.execute(statement).rowcount
        except psycopg.errors.SerializationFailure:
            continue
        except psycopg.errors.LockNotAvailable:
            return 0
    return 0


def _statement(
    selection: Selection,
    table: str,
    batch: int,
    place: sql.Composable,
    links: Mapping[Reference, sql.Composable],
) -> sql.Composed:
    row, gone = sql.Identifier("t"), sql.Identifier("gone")
    saved = [
        sql.SQL(", {} AS (INSERT INTO {} SELECT {} FROM {} AS c JOIN gone ON {})").format(
            sql.Identifier(f"saved_{number}"),
            links_place,
            _saved(selection, ref),
            selection.name(ref.child),
            ref.matches(sql.Identifier("c"), gone),
        )
        for number, (ref, links_place) in enumerate(links.items())
    ]
    # No bound parameters: a column named with a percent sign would be read as one.
    return sql.SQL(
        """
        WITH gone AS (
            DELETE FROM {table} AS t
            WHERE t.ctid >= {first}::tid AND t.ctid < {end}::tid AND {doomed} AND {free}
            RETURNING {columns}
        ){saved}
        INSERT INTO {place} SELECT * FROM gone
        """
    ).format(
        table=selection.name(table),
        first=sql.Literal(f"({batch * PAGES_PER_BATCH},0)"),
        end=sql.Literal(f"({(batch + 1) * PAGES_PER_BATCH},0)"),
        doomed=selection.doomed(table, row),
        free=selection.free(table, row),
        saved=sql.SQL("").join(saved),
        columns=_columns(selection, table),
        place=place,
    )


def _columns(selection: Selection, table: str) -> sql.Composable:
    """All but generated columns: those come back by themselves."""
    columns = selection.structure.columns[table]
    return sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in columns)


def _saved(selection: Selection, ref: Reference) -> sql.Composable:
    """What is kept of a row whose reference becomes empty: its key and the reference."""
    columns = (*selection.structure.keys[ref.child], *ref.child_columns)
    return sql.SQL(", ").join(sql.SQL("c.{}").format(sql.Identifier(column)) for column in columns)
