"""Bringing one table to where the entries of the journal leave it.

Here: the SQL for each way a table is followed. Not here: which entries count (`replay.py`).

Keys are compared as composite values, by the equality of their types' default operator class: an operator
looked up by name would be another one for types of extensions, with the search path empty.

Everything is done to sets of rows: the last entry of each key replaces the row with that key, the sums of
rows added and taken away are added and taken away. Only TRUNCATE interrupts that: what was logged before the
last one of a table is settled first, then the table is emptied. No earlier entry can be of a transaction that
ended after it, because TRUNCATE waits for all that write to the table, and they for it.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.backups.journal.tick import FollowedTable
from tenant_ops.platform.errors import OperationFailed

PREFIX = "tenant_ops replay"

# Transactions that count and wrote a key after one that does not.
_LATER_STATES = """
SELECT DISTINCT e.xid
FROM (SELECT k, min(seq) AS first FROM {states} JOIN {left_out} USING (xid) GROUP BY k) l
JOIN {states} e ON e.k = l.k AND e.seq > l.first
WHERE NOT EXISTS (SELECT FROM {left_out} o WHERE o.xid = e.xid)
"""


@dataclass(frozen=True)
class Scratch:
    """Names of the tables a replay makes for itself in the schema it fills, and drops at its end.

    They are ordinary tables: not every role may make temporary ones.
    """

    schema: str

    @property
    def entries(self) -> sql.Identifier:
        """The entries of all segments, as they were written."""
        return self._name("entries")

    @property
    def left_out(self) -> sql.Identifier:
        """The transactions that do not count."""
        return self._name("left out")

    def row(self, number: int) -> sql.Identifier:
        """An empty table with the columns of a row of the unit: its row type reads the text of one."""
        return self._name(f"row {number}")

    def key(self, number: int) -> sql.Identifier:
        """The same for the columns of its key."""
        return self._name(f"key {number}")

    def states(self, number: int) -> sql.Identifier:
        """The entries of a unit followed by state, with their keys as values."""
        return self._name(f"states {number}")

    def last(self, number: int) -> sql.Identifier:
        """The last of them for each key."""
        return self._name(f"last {number}")

    def drop(self, connection: psycopg.Connection) -> None:
        """Drop all of them."""
        rows = connection.execute(
            "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(%s)) "
            "AND starts_with(c.relname::text, %s) AND c.relkind = 'r' ORDER BY c.oid DESC",
            (self.schema, f"{PREFIX} "),
        ).fetchall()
        for (name,) in rows:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(self.schema, name)))

    def _name(self, what: str) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{PREFIX} {what}")


@dataclass(frozen=True)
class Settled:
    """One table of the schema, being settled.

    Attributes:
        connection: In the replay's transaction.
        scratch: Where the entries are.
        table: How it is followed.
        number: Tells its scratch tables from others'.
    """

    connection: psycopg.Connection
    scratch: Scratch
    table: FollowedTable
    number: int

    @property
    def name(self) -> sql.Identifier:
        """The table itself."""
        return sql.Identifier(self.scratch.schema, self.table.name)

    def prepare(self) -> None:
        """Read what the entries say as values of the table's own types."""
        self._run(
            "CREATE UNLOGGED TABLE {row} AS SELECT {columns} FROM {table} LIMIT 0",
            columns=_list(self.table.columns),
        )
        if self.table.way != "state":
            return
        self._run(
            """
            CREATE UNLOGGED TABLE {key} AS SELECT {keys} FROM {table} LIMIT 0;
            CREATE UNLOGGED TABLE {states} (seq bigint, xid xid8, k {key}, r {row})
            """,
            keys=_list(self.table.key),
        )
        self._run(
            """
            INSERT INTO {states}
            SELECT e.seq, e.xid, ROW({keys})::{key}, p.r FROM {entries} e
            CROSS JOIN LATERAL (SELECT e.body::{row} AS r OFFSET 0) p
            WHERE e.tbl = {literal} AND e.op = 's'
            UNION ALL
            SELECT e.seq, e.xid, e.body::{key}, NULL FROM {entries} e
            WHERE e.tbl = {literal} AND e.op = 'd'
            """,
            keys=_fields(self.table.key),
        )
        self._run("ANALYZE {states}")

    def builders(self) -> int:
        """Leave out transactions that may have built on one left out; how many were added.

        They wrote a key after it did, took away a row like one it added, or either truncated the table. Of
        rows without a key, and of partitions, that is more than need be: which of equal rows was meant is
        not known.
        """
        added = self._run(
            """
            INSERT INTO {left_out}
            SELECT DISTINCT e.xid FROM {entries} e
            WHERE (e.tbl = {literal} OR e.tbl = ANY({parts})) AND (
                e.seq > (SELECT min(t.seq) FROM {entries} t JOIN {left_out} USING (xid)
                         WHERE t.op = 't' AND t.tbl = ANY({parts}))
                OR e.op = 't' AND e.seq > (SELECT min(t.seq) FROM {entries} t JOIN {left_out} USING (xid)
                                           WHERE t.tbl = {literal})
            )
            ON CONFLICT DO NOTHING
            """,
            parts=sql.Literal(list(self.table.parts)),
        )
        if self.table.way == "state":
            return added + self._run(f"INSERT INTO {{left_out}} {_LATER_STATES} ON CONFLICT DO NOTHING")
        return added + self._run(
            """
            INSERT INTO {left_out}
            SELECT DISTINCT e.xid
            FROM (SELECT body, min(seq) AS first FROM {entries} JOIN {left_out} USING (xid)
                  WHERE tbl = {literal} AND op = '+' GROUP BY body) l
            JOIN {entries} e ON e.tbl = {literal} AND e.op = '-' AND e.body = l.body AND e.seq > l.first
            ON CONFLICT DO NOTHING
            """
        )

    def contradicted(self) -> bool:
        """Whether a transaction that counts wrote a key after one that does not; locks do not allow that."""
        return self.table.way == "state" and self._run(f"{_LATER_STATES} LIMIT 1") > 0

    def settle(self) -> None:
        """Bring the table to where the entries that count leave it.

        Raises:
            OperationFailed: the entries take rows away that the table does not have.
        """
        start = 0
        for end, part in self._truncated():
            self._settle_between(start, end)
            self._run("TRUNCATE ONLY {part}", part=sql.Identifier(self.scratch.schema, part))
            start = end
        self._settle_between(start, (1 << 63) - 1)

    def replace(self, part: int) -> None:
        """Put the copy of the table that is in a segment in the place of its rows."""
        self._run("TRUNCATE ONLY {table}")
        self._run(
            """
            INSERT INTO {table} {target} SELECT {fields} FROM {entries} e
            CROSS JOIN LATERAL (SELECT e.body::{row} AS r OFFSET 0) p
            WHERE e.tbl = {literal} AND e.part = {number} AND e.op = 'r'
            """,
            target=self._target(),
            fields=_fields(self.table.columns),
            number=sql.Literal(part),
        )

    def _settle_between(self, start: int, end: int) -> None:
        if self.table.way == "state":
            self._settle_states(start, end)
        else:
            self._settle_rows(start, end)

    def _settle_states(self, start: int, end: int) -> None:
        self._run(
            """
            CREATE UNLOGGED TABLE {last} AS
            SELECT ROW({fields})::{key} AS k, max(seq) AS seq FROM {states} s
            WHERE seq > {start} AND seq < {end} AND NOT EXISTS (SELECT FROM {left_out} l WHERE l.xid = s.xid)
            GROUP BY {fields}
            """,
            fields=_fields(self.table.key, "s", "k"),
            start=sql.Literal(start),
            end=sql.Literal(end),
        )
        self._run("ANALYZE {last}")
        self._run(
            "DELETE FROM {table} t USING {last} l WHERE ROW({keys})::{key} = l.k",
            keys=sql.SQL(", ").join(sql.Identifier("t", column) for column in self.table.key),
        )
        self._run(
            """
            INSERT INTO {table} {target} SELECT {fields} FROM {states} p JOIN {last} USING (seq)
            WHERE p.r IS DISTINCT FROM NULL
            """,
            target=self._target(),
            fields=_fields(self.table.columns),
        )
        self._run("DROP TABLE {last}")

    def _settle_rows(self, start: int, end: int) -> None:
        self._run(
            """
            CREATE UNLOGGED TABLE {last} AS
            SELECT body COLLATE "C" AS body, sum(CASE op WHEN '+' THEN 1 ELSE -1 END)::bigint AS n
            FROM {entries} e
            WHERE tbl = {literal} AND op IN ('+', '-') AND seq > {start} AND seq < {end}
              AND NOT EXISTS (SELECT FROM {left_out} l WHERE l.xid = e.xid)
            GROUP BY 1 HAVING sum(CASE op WHEN '+' THEN 1 ELSE -1 END) <> 0
            """,
            start=sql.Literal(start),
            end=sql.Literal(end),
        )
        row = self.connection.execute(
            sql.SQL("SELECT coalesce(-sum(n), 0) FROM {} WHERE n < 0").format(self.scratch.last(self.number))
        ).fetchone()
        assert row is not None
        if row[0]:
            gone = self._run(
                """
                DELETE FROM {table} t USING (
                    SELECT f.o, f.c FROM (
                        SELECT tableoid AS o, ctid AS c, body,
                               row_number() OVER (PARTITION BY body) AS number
                        FROM (SELECT f.tableoid, f.ctid, ROW({columns})::text COLLATE "C" AS body
                              FROM {table} f) f
                    ) f JOIN {last} l ON l.body = f.body AND f.number <= -l.n
                ) g WHERE t.tableoid = g.o AND t.ctid = g.c
                """,
                columns=sql.SQL(", ").join(sql.Identifier("f", column) for column in self.table.columns),
            )
            if gone != row[0]:
                raise OperationFailed(
                    f"{row[0]} rows of {self.table.name} should go, {gone} of them are there.",
                    where="journal",
                    fix="The segments do not fit the base; nothing was changed.",
                )
        self._run(
            """
            INSERT INTO {table} {target} SELECT {fields} FROM {last} l
            CROSS JOIN LATERAL (SELECT l.body::{row} AS r OFFSET 0) p
            CROSS JOIN LATERAL generate_series(1, l.n) WHERE l.n > 0
            """,
            target=self._target(),
            fields=_fields(self.table.columns),
        )
        self._run("DROP TABLE {last}")

    def _truncated(self) -> list[tuple[int, str]]:
        """The last TRUNCATE of each part, in order: what an earlier one left is gone with the later one."""
        return self.connection.execute(
            sql.SQL(
                """
                SELECT max(seq), tbl FROM {} e WHERE op = 't' AND tbl = ANY(%s)
                AND NOT EXISTS (SELECT FROM {} l WHERE l.xid = e.xid) GROUP BY tbl ORDER BY 1
                """
            ).format(self.scratch.entries, self.scratch.left_out),
            (list(self.table.parts),),
        ).fetchall()

    def _target(self) -> sql.Composable:
        if not self.table.columns:
            return sql.SQL("")
        return sql.SQL("({}) OVERRIDING SYSTEM VALUE").format(_list(self.table.columns))

    def _run(self, query: str, **names: sql.Composable) -> int:
        known = {
            "table": self.name,
            "literal": sql.Literal(self.table.name),
            "entries": self.scratch.entries,
            "left_out": self.scratch.left_out,
            "row": self.scratch.row(self.number),
            "key": self.scratch.key(self.number),
            "states": self.scratch.states(self.number),
            "last": self.scratch.last(self.number),
        }
        composed = sql.SQL(query).format(**known, **names)  # type: ignore[arg-type]
        return self.connection.execute(composed).rowcount


def _list(columns: tuple[str, ...]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _fields(columns: tuple[str, ...], source: str = "p", value: str = "r") -> sql.Composable:
    """Columns of a composite value; that of `p`, a subquery not merged into its parent, is read once."""
    return sql.SQL(", ").join(
        sql.SQL("({}).{}").format(sql.Identifier(source, value), sql.Identifier(column)) for column in columns
    )
