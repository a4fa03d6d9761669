"""Undoing a cleanup: rows and references come back out of the trash.

Here: the way back. Not here: the trash tables themselves (`trash.py`).
"""

from collections.abc import Sequence
from time import perf_counter

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.cleanup.records import RestoredItem, UndoReport
from tenant_ops.cleanup.references import Reference, Structure, read_structure
from tenant_ops.cleanup.trash import TrashTable, count_rows, drop_tables, trash_tables
from tenant_ops.platform.errors import InputError, OperationFailed, first_line
from tenant_ops.tenants import Fleet, State, Tenant


def undo_cleanup(fleet: Fleet, tenant: Tenant, cleanup_id: str) -> UndoReport:
    """Put the rows a cleanup removed back, and the references it emptied, in one transaction.

    A row stays in the trash when its key is taken again or a row it refers to is gone; a reference stays
    empty when its row is gone or refers to something else by now. Such a rest is kept until it expires.

    Raises:
        InputError: there is no such cleanup, or it was undone or purged already.
        OperationFailed: the rows no longer fit their table; nothing was changed.
    """
    started = perf_counter()
    tenant.require(State.ACTIVE, State.SUSPENDED)
    with fleet.lock(tenant, "undo-cleanup"):
        tables = _undoable(fleet, tenant, cleanup_id)
        try:
            with fleet.session(tenant) as connection:
                items = _restore(connection, tenant, tables)
        except psycopg.Error as error:
            raise OperationFailed(
                f"undoing cleanup {cleanup_id} failed, nothing was changed: {first_line(error)}.",
                where=f"tenant {tenant.slug}",
                fix="The rows stay in the trash; bring table and trash table to the same columns and rules.",
            ) from error
        rows = sum(item.restored for item in items if item.unit == "rows")
        with fleet.control.transaction() as connection:
            now = fleet.clock()
            connection.execute(
                "UPDATE tenant_ops.cleanup_undo SET undone_at = %s WHERE id = %s AND tenant_id = %s",
                (now, tables[0].id, tenant.id),
            )
            record(
                connection,
                chain=str(tenant.id),
                at=now,
                actor=fleet.settings.actor,
                action="cleanup.undo",
                detail={"cleanup_id": cleanup_id, "rows": rows},
            )
    return UndoReport(tenant.slug, cleanup_id, items, rows, round(perf_counter() - started, 3))


def _undoable(fleet: Fleet, tenant: Tenant, cleanup_id: str) -> list[TrashTable]:
    known = trash_tables(fleet, tenant)
    tables = [table for table in known if str(table.id) == cleanup_id]
    if not tables:
        others = ", ".join(dict.fromkeys(str(table.id) for table in known if table.lies_there))
        raise InputError(
            f"there is no cleanup {cleanup_id!r}.",
            where=f"tenant {tenant.slug}",
            fix=f"It can undo: {others}." if others else "Nothing of this tenant lies in the trash.",
        )
    if not tables[0].lies_there:
        done = "undone" if tables[0].undone_at else "purged for good"
        raise InputError(f"cleanup {cleanup_id} was {done} already.", where=f"tenant {tenant.slug}")
    return tables


def _restore(
    connection: psycopg.Connection, tenant: Tenant, tables: Sequence[TrashTable]
) -> tuple[RestoredItem, ...]:
    trash = read_structure(connection, tenant.stage_schema)
    there = [table for table in tables if table.place in trash.columns]
    if not there:
        raise OperationFailed(
            "nothing of it lies in the trash any more; a restore replaces the trash as well.",
            where=f"tenant {tenant.slug}",
            fix="Restore the safety copy taken before the cleanup under another tenant id instead.",
        )
    items = [
        RestoredItem(table.dataset, "rows" if table.holds_rows else "links", 0, table.rows)
        for table in tables
        if table not in there
    ]
    for schema in sorted({table.schema(tenant) for table in there}):
        structure = read_structure(connection, schema)
        here = [table for table in there if table.schema(tenant) == schema]
        rows = {table.dataset: table for table in here if table.holds_rows}
        for dataset in reversed(structure.children_first(rows)):
            place = rows[dataset].place
            items.append(_put_back(connection, tenant, structure, dataset, place, trash.columns[place]))
        items += [
            _link_again(connection, tenant, structure, table.dataset, table.place, trash.columns[table.place])
            for table in here
            if not table.holds_rows
        ]
    return tuple(items)


def _put_back(
    connection: psycopg.Connection,
    tenant: Tenant,
    structure: Structure,
    dataset: str,
    place: str,
    columns: Sequence[str],
) -> RestoredItem:
    gone = sorted(set(columns) - set(structure.columns.get(dataset, ())))
    if gone:
        raise OperationFailed(
            f"{dataset} has lost {', '.join(gone)} since; its rows cannot come back as they were.",
            where=f"tenant {tenant.slug}",
            fix=f"They lie in {tenant.stage_schema}.{place} until it expires.",
        )
    name = sql.Identifier(tenant.stage_schema, place)
    names = [sql.Identifier(column) for column in columns]
    size = count_rows(connection, tenant, place)
    restored = connection.execute(
        sql.SQL(
            """
            INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS r WHERE {}
            ON CONFLICT DO NOTHING
            """
        ).format(
            sql.Identifier(structure.schema, dataset),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join(sql.SQL("r.{}").format(column) for column in names),
            name,
            _parents_are_there(structure, dataset, name),
        )
    ).rowcount
    if restored == size:
        drop_tables(connection, tenant, [place])
    return RestoredItem(dataset, "rows", restored, size - restored)


def _parents_are_there(structure: Structure, dataset: str, place: sql.Composable) -> sql.Composable:
    row, parent = sql.Identifier("r"), sql.Identifier("p")
    conditions: list[sql.Composable] = [sql.SQL("true")]
    for ref in structure.references:
        if ref.child != dataset:
            continue
        homes = [sql.Identifier(structure.schema, ref.parent), *([place] if ref.parent == dataset else [])]
        conditions.append(
            sql.SQL("(({}) IS NULL OR {})").format(
                sql.SQL(" || ").join(
                    sql.SQL("r.{}::text").format(sql.Identifier(column)) for column in ref.child_columns
                ),
                sql.SQL(" OR ").join(
                    sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {})").format(home, ref.matches(row, parent))
                    for home in homes
                ),
            )
        )
    return sql.SQL(" AND ").join(conditions)


def _link_again(
    connection: psycopg.Connection,
    tenant: Tenant,
    structure: Structure,
    child: str,
    place: str,
    columns: Sequence[str],
) -> RestoredItem:
    key = [column for column in columns if column in structure.keys.get(child, ())]
    saved = [column for column in columns if column not in key]
    ref = _reference(structure, child, saved)
    name = sql.Identifier(tenant.stage_schema, place)
    size = count_rows(connection, tenant, place)
    restored = connection.execute(
        sql.SQL(
            """
            UPDATE {} AS c SET {} FROM {} AS s
            WHERE {} AND {} AND EXISTS (SELECT FROM {} AS p WHERE {})
            """
        ).format(
            sql.Identifier(structure.schema, child),
            sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(column)) for column in saved),
            name,
            sql.SQL(" AND ").join(sql.SQL("c.{0} = s.{0}").format(sql.Identifier(column)) for column in key),
            sql.SQL(" AND ").join(sql.SQL("c.{} IS NULL").format(sql.Identifier(column)) for column in saved),
            sql.Identifier(structure.schema, ref.parent),
            ref.matches(sql.Identifier("s"), sql.Identifier("p")),
        )
    ).rowcount
    if restored == size:
        drop_tables(connection, tenant, [place])
    return RestoredItem(f"{child}.{', '.join(saved)}", "links", restored, size - restored)


def _reference(structure: Structure, child: str, columns: Sequence[str]) -> Reference:
    for ref in structure.references:
        if ref.child == child and set(ref.child_columns) == set(columns):
            return ref
    raise OperationFailed(
        f"{child} no longer refers to anything by {', '.join(columns)}.", where=structure.schema
    )
