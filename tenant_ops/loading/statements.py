"""The SQL that moves staged rows into a live table, and the settings it runs under.

Here: statements over whole sets. Not here: when which of them runs (`merging.py`), which rows are good
(`violations.py`), rows that go (`replacing.py`).

Two statements rather than one upsert: an `UPDATE` of the rows that differ and an `INSERT` of those that are
not there. A row that is there already, unchanged, is not written: loading a million such rows again takes
2.8 s and no WAL this way, 4.4 s and 236 MB with `ON CONFLICT DO UPDATE ... WHERE ... IS DISTINCT FROM`.
"""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from tenant_ops.datasets import ConflictStrategy, Dataset
from tenant_ops.loading.checking import FILE, LINE
from tenant_ops.loading.stages import VIOLATION, stage_table
from tenant_ops.tenants import Tenant

WORK_MEM = "128MB"
"""For one sort or hash of a load's statements; a million keys fit, and loads are bounded by the pool."""

GOOD = sql.SQL("s.{} IS NULL").format(sql.Identifier(VIOLATION))
"""The condition that a row of the stage, called `s`, is to be merged."""


def plan_for_whole_sets(connection: psycopg.Connection) -> None:
    """Let Postgres hash what is joined, in this transaction.

    A live table that was analysed while it was empty makes it loop: a million rows into such a table walk
    over the growing table once per row, and did not end in ten minutes instead of ten seconds.
    """
    connection.execute(
        "SELECT set_config('work_mem', %s, true), set_config('enable_nestloop', 'off', true)", (WORK_MEM,)
    )


def later(newest_by: str) -> sql.Composed:
    """The condition that the staged row `s` is newer than the live row `l`; never null.

    A row without a value is older than every row with one.
    """
    return sql.SQL("coalesce(s.{0} > l.{0}, s.{0} IS NOT NULL AND l.{0} IS NULL)").format(
        sql.Identifier(newest_by)
    )


def differs(columns: Sequence[str]) -> sql.Composed:
    """The condition that the staged row `s` and the live row `l` differ in one of the columns."""
    return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(listed("l", columns), listed("s", columns))


def equal(alias: str, theirs: Sequence[str], ours: Sequence[str]) -> sql.Composed:
    """The condition that columns of the row called `alias` equal those of the staged row `s`."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(alias, their), sql.Identifier("s", our))
        for their, our in zip(theirs, ours, strict=True)
    )


def listed(alias: str, columns: Sequence[str]) -> sql.Composed:
    """The columns of the row called `alias`, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)


class Statements:
    """The statements of one merge; the stage is called `s`, the live table `l`.

    Args:
        tenant: Whose tables.
        dataset: What is merged.
        columns: Those the files have; the others keep their values in rows that are there.
    """

    def __init__(self, tenant: Tenant, dataset: Dataset, columns: Sequence[str]) -> None:
        self._columns = columns
        self._others = tuple(name for name in columns if name not in dataset.key)
        self._parts: dict[str, sql.Composable] = {
            "stage": stage_table(tenant, dataset),
            "live": sql.Identifier(tenant.schema_name, dataset.name),
            "good": GOOD,
            "same": equal("l", dataset.key, dataset.key),
            "file": sql.Identifier(FILE),
            "line": sql.Identifier(LINE),
        }

    def insert(self) -> sql.Composed:
        """Add the rows whose key is not there."""
        return sql.SQL(
            "INSERT INTO {live} ({columns}) SELECT {values} FROM {stage} s "
            "WHERE {good} AND NOT EXISTS (SELECT FROM {live} l WHERE {same})"
        ).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, self._columns)),
            values=listed("s", self._columns),
            **self._parts,
        )

    def update(self, conflict: ConflictStrategy, newest_by: str | None) -> sql.Composed | None:
        """Change the rows that differ, as the strategy says; None when it or the columns change nothing."""
        changing = (ConflictStrategy.OVERWRITE, ConflictStrategy.MERGE, ConflictStrategy.NEWEST)
        if not self._others or conflict not in changing:
            return None
        incoming = "coalesce(s.{0}, l.{0})" if conflict is ConflictStrategy.MERGE else "s.{0}"
        new = [sql.SQL(incoming).format(sql.Identifier(name)) for name in self._others]
        sets = [
            sql.SQL("{} = {}").format(sql.Identifier(name), value)
            for name, value in zip(self._others, new, strict=True)
        ]
        statement = sql.SQL(
            "UPDATE {live} l SET {sets} FROM {stage} s "
            "WHERE {same} AND {good} AND ROW({old}) IS DISTINCT FROM ROW({new})"
        ).format(
            sets=sql.SQL(", ").join(sets),
            old=listed("l", self._others),
            new=sql.SQL(", ").join(new),
            **self._parts,
        )
        if conflict is ConflictStrategy.NEWEST and newest_by:
            statement += sql.SQL(" AND {}").format(later(newest_by))
        return statement

    def existing(self) -> sql.Composed:
        """The place of the first staged row whose key is there, and how many such rows there are."""
        return sql.SQL(
            "SELECT s.{file}, s.{line}, count(*) OVER () FROM {stage} s JOIN {live} l ON {same} "
            "WHERE {good} ORDER BY s.{file}, s.{line} LIMIT 1"
        ).format(**self._parts)
