"""Which rows of a tenant go: those past their time, and those that would go with them.

Here: the conditions, as SQL, and counting by them. Not here: moving the rows (`rows.py`).

A row is *doomed* when its own retention says so or a row it refers to by ON DELETE CASCADE is doomed. It is
*held* when a row that stays refers to it by ON DELETE RESTRICT: held rows stay, and so does whatever could
only go together with them. All conditions are EXISTS over keys: an IN list of a million doomed parents would
not fit the server's working memory and be searched once per row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from itertools import count

import psycopg
from psycopg import sql

from tenant_ops.cleanup.references import Reference, Structure
from tenant_ops.platform.errors import InputError

TRUE, FALSE = sql.SQL("true"), sql.SQL("false")
Condition = Callable[[str, sql.Composable], sql.Composable]


@dataclass(frozen=True)
class Limit:
    """Rows whose `column` lies before `cutoff` are past their time."""

    column: str
    cutoff: datetime


@dataclass(frozen=True)
class Counted:
    """How many rows of one table are doomed, and why.

    Attributes:
        rows: All of them.
        cascaded: Those not past a time of their own, which go with a row they refer to.
        held: Rows past their time that stay, because rows that stay need them.
        bytes: Size of the doomed rows, without indexes.
        oldest: Earliest value of the column that decides; None when the table has none or no row goes.
        newest: Latest value of that column.
    """

    rows: int
    cascaded: int
    held: int
    bytes: int
    oldest: datetime | None
    newest: datetime | None


class Selection:
    """The doomed rows of one schema.

    Args:
        structure: The schema.
        limits: By table; a table or column that is not there is left out.

    Raises:
        InputError: a foreign key cannot be followed exactly.
    """

    def __init__(self, structure: Structure, limits: Mapping[str, Limit]) -> None:
        self.structure = structure
        self.limits = {
            table: limit
            for table, limit in limits.items()
            if limit.column in structure.columns.get(table, ())
        }
        self._numbers = count(1)
        for table in self.tables:
            self._refuse_inexact(table)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Every table that may lose rows, children first."""
        reached, added = set(self.limits), set(self.limits)
        while added:
            added = {ref.child for table in added for ref in self.structure.to(table, "cascade")} - reached
            reached |= added
        return self.structure.children_first(reached)

    def links(self, table: str) -> tuple[Reference, ...]:
        """The references that become empty when rows of `table` go."""
        return self.structure.to(table, "set null")

    def name(self, table: str) -> sql.Composable:
        """The table's full name."""
        return sql.Identifier(self.structure.schema, table)

    def doomed(self, table: str, row: sql.Composable) -> sql.Composable:
        """The condition that the row of `table` under the alias `row` goes."""
        own = [ref for ref in self.structure.to(table, "cascade") if ref.child == table]
        return self._descends(table, row, own[0]) if own else self._doomed_itself(table, row)

    def free(self, table: str, row: sql.Composable) -> sql.Composable:
        """The condition that deleting the row under `row` takes no other row along and is not refused.

        Rows of one table that refer to each other in a ring are never free.
        """

        def another(child_table: str, child: sql.Composable) -> sql.Composable:
            if child_table != table:
                return TRUE
            place = sql.SQL("({0}.tableoid, {0}.ctid)")
            return sql.SQL("{} <> {}").format(place.format(child), place.format(row))

        needed = [
            self._exists(ref.child, partial(ref.matches, parent=row), another)
            for ref in self.structure.to(table, "cascade", "restrict")
        ]
        return _not(_any(needed)) if needed else TRUE

    def count_rows(self, connection: psycopg.Connection, table: str) -> Counted:
        """Count the doomed rows of one table."""
        row, limit = sql.Identifier("t"), self.limits.get(table)
        moment = sql.SQL("t.{}::timestamptz").format(sql.Identifier(limit.column)) if limit else sql.NULL
        found = connection.execute(
            sql.SQL(
                """
                SELECT count(*), count(*) FILTER (WHERE {unaged}), min({moment}), max({moment}),
                       coalesce(sum(pg_column_size(t.*)), 0)::bigint
                FROM {table} AS t WHERE {doomed}
                """
            ).format(
                unaged=_not(self._past(table, row)),
                moment=moment,
                table=self.name(table),
                doomed=self.doomed(table, row),
            )
        ).fetchone()
        assert found is not None
        rows, cascaded, oldest, newest, size = found
        held = self._held(table, row)
        held_rows = self._count(connection, table, _all([self._past(table, row), held])) if held else 0
        return Counted(rows, cascaded, held_rows, size, oldest, newest)

    def count_links(self, connection: psycopg.Connection, ref: Reference) -> int:
        """Count the references from rows that stay to rows that go."""
        row = sql.Identifier("t")
        stays = _not(self.doomed(ref.child, row)) if ref.child in self.tables else TRUE
        gone = self._exists(ref.parent, partial(ref.matches, row), self.doomed)
        return self._count(connection, ref.child, _all([stays, gone]))

    def _count(self, connection: psycopg.Connection, table: str, condition: sql.Composable) -> int:
        found = connection.execute(
            sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(self.name(table), condition)
        ).fetchone()
        assert found is not None
        return found[0]

    def _doomed_itself(self, table: str, row: sql.Composable) -> sql.Composable:
        causes = [self._past(table, row)] if table in self.limits else []
        causes += [
            self._exists(ref.parent, partial(ref.matches, row), self.doomed)
            for ref in self.structure.references
            if ref.child == table != ref.parent and ref.on_delete == "cascade" and ref.parent in self.tables
        ]
        held = self._held(table, row)
        return _all([_any(causes), _not(held)]) if held else _any(causes)

    def _held(self, table: str, row: sql.Composable) -> sql.Composable | None:
        causes = [
            self._exists(ref.child, partial(ref.matches, parent=row), self._stays)
            for ref in self.structure.to(table, "restrict")
        ]
        for ref in self.structure.to(table, "cascade"):
            if ref.child != table and self._held(ref.child, row):
                matches = partial(ref.matches, parent=row)
                causes.append(self._exists(ref.child, matches, self._is_held))
        return _any(causes) if causes else None

    def _is_held(self, table: str, row: sql.Composable) -> sql.Composable:
        return self._held(table, row) or FALSE

    def _stays(self, table: str, row: sql.Composable) -> sql.Composable:
        return _not(self._past(table, row))

    def _past(self, table: str, row: sql.Composable) -> sql.Composable:
        limit = self.limits.get(table)
        if limit is None:
            return FALSE
        return sql.SQL("{}.{} < {}").format(row, sql.Identifier(limit.column), sql.Literal(limit.cutoff))

    def _exists(
        self,
        table: str,
        matches: Callable[[sql.Composable], sql.Composable],
        condition: Condition = lambda _table, _row: TRUE,
    ) -> sql.Composable:
        other = self._alias()
        return sql.SQL("EXISTS (SELECT FROM {} AS {} WHERE {} AND {})").format(
            self.name(table), other, matches(other), condition(table, other)
        )

    def _descends(self, table: str, row: sql.Composable, own: Reference) -> sql.Composable:
        """Doomed in a table that refers to itself: the row, or one above it, is doomed by itself."""
        top, below, line = self._alias(), self._alias(), self._alias()
        key = [sql.Identifier(column) for column in own.parent_columns]
        return sql.SQL(
            """({of_row}) IN (WITH RECURSIVE {line} AS (
                SELECT {of_top} FROM {table} AS {top} WHERE {doomed}
                UNION SELECT {of_below} FROM {table} AS {below} JOIN {line} ON {matches}
            ) SELECT * FROM {line})"""
        ).format(
            of_row=_columns(row, key),
            of_top=_columns(top, key),
            of_below=_columns(below, key),
            line=line,
            table=self.name(table),
            top=top,
            below=below,
            doomed=self._doomed_itself(table, top),
            matches=own.matches(below, line),
        )

    def _alias(self) -> sql.Identifier:
        return sql.Identifier(f"r{next(self._numbers)}")

    def _refuse_inexact(self, table: str) -> None:
        own = [ref for ref in self.structure.to(table, "cascade") if ref.child == table]
        keyless = [ref.child for ref in self.links(table) if not self.structure.keys.get(ref.child)]
        if len(own) > 1:
            problem = f"table {table} refers to itself by more than one ON DELETE CASCADE."
        elif self.structure.to(table, "set default"):
            problem = f"a foreign key to {table} is ON DELETE SET DEFAULT."
        elif keyless:
            problem = f"table {keyless[0]} refers to {table} by ON DELETE SET NULL and has no primary key."
        else:
            return
        raise InputError(
            f"{problem[:-1]}, which cleanup could not undo exactly.",
            where=f"schema {self.structure.schema}",
            fix="Change that foreign key, or leave the table's dataset out.",
        )


def _columns(row: sql.Composable, names: list[sql.Identifier]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(row, name) for name in names)


def _any(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions)) if conditions else FALSE


def _all(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))


def _not(condition: sql.Composable) -> sql.Composable:
    # A condition over an empty column is neither true nor false; such a row is not doomed.
    return sql.SQL("({}) IS NOT TRUE").format(condition)
