"""Which rows of a tenant go: those past their time, and those that would go with them.

Here: the conditions, as SQL, and counting by them. Not here: moving the rows (`rows.py`).

A row is *doomed* when its own retention says so or a row it refers to by ON DELETE CASCADE is doomed, unless
it is *kept*. A row keeps what it refers to by ON DELETE RESTRICT when its own retention lets it stay, even if
it could go with another row, and a kept row keeps what it refers to by CASCADE or RESTRICT. So which rows are
doomed does not change while they go, table by table: no row is kept by one that goes. Conditions are EXISTS
over keys: an IN list of a million doomed parents would not fit the server's working memory and be searched
once per row.
"""

from collections.abc import Callable, Mapping, Sequence
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
        return self._falls(table, row, self.doomed, self._kept)

    def free(self, table: str, row: sql.Composable) -> sql.Composable:
        """The condition that deleting the row under `row` takes no other row along and is not refused.

        Rows of one table that refer to each other in a ring are never free.
        """

        def another(child_table: str, child: sql.Composable) -> sql.Composable:
            return _differ(child, row) if child_table == table else TRUE

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
        kept = self._kept(table, row)
        held_rows = self._count(connection, table, _all([self._past(table, row), kept])) if kept else 0
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

    def _reached(self, table: str, row: sql.Composable) -> sql.Composable:
        """The row would be doomed if no row were kept."""
        return self._falls(table, row, self._reached, lambda _table, _row: None)

    def _falls(
        self,
        table: str,
        row: sql.Composable,
        parent_falls: Condition,
        stays: Callable[[str, sql.Composable], sql.Composable | None],
    ) -> sql.Composable:
        """The row does not stay, and is past its time or has a parent by CASCADE that falls."""

        def itself(row: sql.Composable) -> sql.Composable:
            causes = [self._past(table, row)] if table in self.limits else []
            causes += [
                self._exists(ref.parent, partial(ref.matches, row), parent_falls)
                for ref in self.structure.references
                if ref.child == table != ref.parent
                and ref.on_delete == "cascade"
                and ref.parent in self.tables
            ]
            staying = stays(table, row)
            return _all([_any(causes), _not(staying)]) if staying else _any(causes)

        own = [ref for ref in self.structure.to(table, "cascade") if ref.child == table]
        return self._in_line(table, row, itself, own, down=True) if own else itself(row)

    def _kept(self, table: str, row: sql.Composable) -> sql.Composable | None:
        """The row is kept; None when none of the table can be."""
        if table not in self._keepers:
            return None
        referring = self.structure.to(table, "cascade", "restrict")
        keeping = [ref for ref in self.structure.references if ref.child == table and self._may_keep(ref)]
        keepers = [ref for ref in referring if ref.child in self._keepers and ref.child != table]

        def itself(row: sql.Composable) -> sql.Composable:
            def reached(parent: str, other: sql.Composable) -> sql.Composable:
                found = self._reached(parent, other)
                return _all([_differ(other, row), found]) if parent == table else found

            needed = [self._exists(ref.parent, partial(ref.matches, row), reached) for ref in keeping]
            keeps = [_all([_not(self._past(table, row)), _any(needed)])] if needed else []
            kept = [
                self._exists(ref.child, partial(ref.matches, parent=row), self._is_kept) for ref in keepers
            ]
            return _any(keeps + kept)

        own = [ref for ref in referring if ref.child == table]
        return self._in_line(table, row, itself, own, down=False) if own else itself(row)

    def _is_kept(self, table: str, row: sql.Composable) -> sql.Composable:
        return self._kept(table, row) or FALSE

    def _may_keep(self, ref: Reference) -> bool:
        return ref.on_delete == "restrict" and ref.parent in self.tables

    @cached_property
    def _keepers(self) -> frozenset[str]:
        """Tables with rows that may be kept."""
        known, added = set(), {ref.child for ref in self.structure.references if self._may_keep(ref)}
        while added - known:
            known |= added
            added = {
                ref.parent
                for ref in self.structure.references
                if ref.child in known and ref.on_delete in {"cascade", "restrict"}
            }
        return frozenset(known)

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

    def _in_line(
        self,
        table: str,
        row: sql.Composable,
        itself: Callable[[sql.Composable], sql.Composable],
        own: Sequence[Reference],
        *,
        down: bool,
    ) -> sql.Composable:
        """In a table that refers to itself: `itself` holds for the row, or one above (`down`) or below."""
        first, following, line = self._alias(), self._alias(), self._alias()
        columns = sorted({c for ref in own for c in (ref.parent_columns if down else ref.child_columns)})
        names = [sql.Identifier(name) for name in ("tableoid", "ctid", *columns)]
        steps = [ref.matches(following, line) if down else ref.matches(line, following) for ref in own]
        return sql.SQL(
            """{place} IN (WITH RECURSIVE {line} AS (
                SELECT {of_first} FROM {table} AS {first} WHERE {itself}
                UNION SELECT {of_following} FROM {table} AS {following} JOIN {line} ON {step}
            ) SELECT tableoid, ctid FROM {line})"""
        ).format(
            place=_place(row),
            of_first=_columns(first, names),
            of_following=_columns(following, names),
            line=line,
            table=self.name(table),
            first=first,
            following=following,
            itself=itself(first),
            step=_any(steps),
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


def _place(row: sql.Composable) -> sql.Composable:
    return sql.SQL("({0}.tableoid, {0}.ctid)").format(row)


def _differ(one: sql.Composable, other: sql.Composable) -> sql.Composable:
    return sql.SQL("{} <> {}").format(_place(one), _place(other))


def _columns(row: sql.Composable, names: list[sql.Identifier]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(row, name) for name in names)


def _any(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions)) if conditions else FALSE


def _all(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))


def _not(condition: sql.Composable) -> sql.Composable:
    # A condition over an empty column is neither true nor false; such a row is not doomed.
    return sql.SQL("({}) IS NOT TRUE").format(condition)
