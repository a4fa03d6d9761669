"""How live tables differ from those of a backup that lie beside, and making the difference go away.

Here: the SQL, for one table and for all at once. Not here: the order of a merge (`merging.py`), whether rows
would refer to nothing (`references.py`).

Rows are matched by key, as composite values: an operator looked up by name would be another one for types of
extensions, with the search path empty. They differ when their images do, so that 1.0 is not 1.00. Rows of a
table without a key are matched by their text, equal ones counted.

All changes of all tables are one statement. The server checks foreign keys at the end of a statement, so
neither the order of tables matters nor circles among them, and no constraint has to be deferred or dropped.
Of one table rows are deleted before others are updated and created: a unique value may have moved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from tenant_ops.backups.restoring.reports import TableDifference

_SAMPLE = 5
PREFIX = "tenant_ops merge"


@dataclass(frozen=True)
class Column:
    """A column both sides have and store.

    Attributes:
        name: Its name.
        type: Of the live column, as SQL.
        fixed: An identity that is always generated: it can be inserted, not updated.
        same: Whether the other side has the very same type; otherwise values go by their text.
    """

    name: str
    type: str
    fixed: bool
    same: bool


@dataclass(frozen=True)
class Compared:
    """A live table and the one beside, or the rows a merge set aside.

    Attributes:
        number: Tells its scratch tables from others'.
        live: The live schema.
        beside: The schema beside, which the scratch tables lie in too.
        name: The table's, in both.
        partitioned: Then its partitions are compared through it; otherwise only its own rows are.
        columns: Those compared.
        key: Columns that tell rows apart; empty when there are none.
    """

    number: int
    live: str
    beside: str
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def table(self) -> sql.Composed:
        """The live table with the rows that are compared."""
        return self._from(self.live)

    @property
    def diff(self) -> sql.Identifier:
        """The rows that differ: where they are, what they are, what they should be."""
        return self._scratch("diff")

    def prepare(self, connection: psycopg.Connection) -> None:
        """Make the types rows and keys are compared as: tables without rows."""
        row = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} LIMIT 0")
        connection.execute(row.format(self._scratch("row"), _names(self._column_names), self.table))
        if self.key:
            connection.execute(row.format(self._scratch("key"), _names(self.key), self.table))
        else:
            key = sql.SQL('CREATE UNLOGGED TABLE {} (body text COLLATE "C", number bigint)')
            connection.execute(key.format(self._scratch("key")))

    def compare(self, connection: psycopg.Connection, words: Sequence[str]) -> TableDifference:
        """Find what differs and may be changed."""
        query = sql.SQL("CREATE UNLOGGED TABLE {} AS {}").format(self.diff, self._differing(words))
        connection.execute(query)
        connection.execute(sql.SQL("ANALYZE {}").format(self.diff))
        return self.counted(connection)

    def left(self, connection: psycopg.Connection, words: Sequence[str]) -> int:
        """How many rows differ now."""
        query = sql.SQL("SELECT count(*) FROM ({}) d").format(self._differing(words))
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]

    def set_aside(self, connection: psycopg.Connection, rows: sql.Identifier) -> None:
        """Keep what rows are and what they become, as text that needs no type to be kept."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} SELECT {}, CASE WHEN NOT creates THEN was::text END, "
                "CASE WHEN NOT deletes THEN became::text END FROM {}"
            ).format(rows, sql.Literal(self.name), self.diff)
        )

    def compare_aside(
        self, connection: psycopg.Connection, rows: sql.Identifier
    ) -> tuple[TableDifference, int]:
        """Find what takes a merge back; and how many rows it changed that are no longer as it left them."""
        again = sql.SQL("l.at IS NULL") if self.key else sql.SQL("true")
        connection.execute(
            sql.SQL(
                """
                CREATE UNLOGGED TABLE {diff} AS
                SELECT CASE WHEN NOT a.deleted THEN l.part END AS part,
                       CASE WHEN NOT a.deleted THEN l.at END AS at,
                       l.r AS was, a.was_r AS became, a.deleted AS creates, a.created AS deletes
                FROM ({aside}) a LEFT JOIN ({live}) l ON l.k OPERATOR(pg_catalog.=) a.k
                WHERE (a.deleted AND {again})
                   OR (NOT a.deleted AND l.r OPERATOR(pg_catalog.*=) a.became_r)
                """
            ).format(diff=self.diff, aside=self._aside(rows), live=self._side(self.live, "t"), again=again)
        )
        connection.execute(sql.SQL("ANALYZE {}").format(self.diff))
        found = self.counted(connection)
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE tbl = %s").format(rows), (self.name,)
        ).fetchone()
        assert row is not None
        return found, row[0] - found.create - found.update - found.delete

    def counted(self, connection: psycopg.Connection) -> TableDifference:
        """How many rows are to be created, updated and deleted, and some of their keys."""
        row = connection.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE creates), "
                "count(*) FILTER (WHERE NOT creates AND NOT deletes), "
                "count(*) FILTER (WHERE deletes) FROM {}"
            ).format(self.diff)
        ).fetchone()
        assert row is not None
        sample: list[Any] = []
        if self.key:
            row_of = sql.SQL("CASE WHEN d.deletes THEN d.was ELSE d.became END")
            fields = sql.SQL(", ").join(
                sql.SQL("(x.r).{}").format(sql.Identifier(column)) for column in self.key
            )
            sample = connection.execute(
                sql.SQL("SELECT ROW({})::text FROM (SELECT {} AS r FROM {} d LIMIT {}) x").format(
                    fields, row_of, self.diff, sql.Literal(_SAMPLE)
                )
            ).fetchall()
        create, update, delete = row
        keys = tuple(key for (key,) in sample)
        return TableDifference(self.name, create, update, delete, keys, by_key=bool(self.key))

    def changes(self) -> Iterator[sql.Composed]:
        """The parts of the one statement: delete, then update, then create."""
        names = [sql.Identifier(f"{word}{self.number}") for word in ("d", "u", "c")]
        where = sql.SQL("t.tableoid = d.part AND t.ctid = d.at")
        yield sql.SQL("{} AS (DELETE FROM {} t USING {} d WHERE d.deletes AND {} RETURNING 1)").format(
            names[0], self.table, self.diff, where
        )
        assignments = [
            sql.SQL("{0} = (d.became).{0}").format(sql.Identifier(column.name))
            for column in self.columns
            if not column.fixed
        ]
        # Reading how many rows the one before returned makes it run first.
        if assignments and self.key:
            yield sql.SQL(
                "{} AS (UPDATE {} t SET {} FROM {} d WHERE NOT d.deletes AND NOT d.creates AND {} "
                "AND (SELECT count(*) FROM {}) >= 0 RETURNING 1)"
            ).format(names[1], self.table, sql.SQL(", ").join(assignments), self.diff, where, names[0])
        else:
            yield sql.SQL("{} AS (SELECT 1 WHERE (SELECT count(*) FROM {}) < 0)").format(names[1], names[0])
        fields = sql.SQL(", ").join(
            sql.SQL("(d.became).{}").format(sql.Identifier(column)) for column in self._column_names
        )
        yield sql.SQL(
            "{} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} d WHERE d.creates "
            "AND (SELECT count(*) FROM {}) >= 0 RETURNING 1)"
        ).format(
            names[2],
            sql.Identifier(self.live, self.name),
            _names(self._column_names),
            fields,
            self.diff,
            names[1],
        )

    @property
    def _column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def _differing(self, words: Sequence[str]) -> sql.Composed:
        conditions = {
            "create": sql.SQL("l.at IS NULL"),
            "update": sql.SQL("(l.at IS NOT NULL AND b.at IS NOT NULL AND l.r OPERATOR(pg_catalog.*<>) b.r)"),
            "delete": sql.SQL("b.at IS NULL"),
        }
        chosen = sql.SQL(" OR ").join(conditions[word] for word in words)
        return sql.SQL(
            """
            SELECT l.part, l.at, l.r AS was, b.r AS became, l.at IS NULL AS creates, b.at IS NULL AS deletes
            FROM ({live}) l FULL JOIN ({beside}) b ON l.k OPERATOR(pg_catalog.=) b.k
            WHERE {chosen}
            """
        ).format(chosen=chosen, live=self._side(self.live, "t"), beside=self._side(self.beside, "b"))

    def _side(self, schema: str, alias: str) -> sql.Composed:
        """One side's rows with their keys."""
        fields = [
            sql.Identifier(alias, column.name)
            if schema == self.live or column.same
            else sql.SQL("{}::pg_catalog.text::{}").format(
                sql.Identifier(alias, column.name),
                sql.SQL(column.type),  # type: ignore[arg-type]  # as the server writes it
            )
            for column in self.columns
        ]
        rows = sql.SQL(
            "SELECT {a}.tableoid AS part, {a}.ctid AS at, ROW({fields})::{row} AS r FROM {table} {a}"
        ).format(
            a=sql.Identifier(alias),
            fields=sql.SQL(", ").join(fields),
            row=self._scratch("row"),
            table=self._from(schema),
        )
        return sql.SQL("SELECT x.part, x.at, x.r, {} AS k FROM ({} OFFSET 0) x").format(
            self._key("x", "r"), rows
        )

    def _aside(self, rows: sql.Identifier) -> sql.Composed:
        """What a merge set aside of this table, as rows with their keys."""
        return sql.SQL(
            """
            SELECT x.*, {key} AS k FROM (
                SELECT a.was::{row} AS was_r, a.became::{row} AS became_r, a.was IS NULL AS created,
                       a.became IS NULL AS deleted, coalesce(a.became, a.was)::{row} AS r
                FROM {rows} a WHERE a.tbl = {name} OFFSET 0
            ) x
            """
        ).format(key=self._key("x", "r"), row=self._scratch("row"), rows=rows, name=sql.Literal(self.name))

    def _key(self, alias: str, row: str) -> sql.Composed:
        value = sql.Identifier(alias, row)
        if self.key:
            fields = sql.SQL(", ").join(
                sql.SQL("({}).{}").format(value, sql.Identifier(column)) for column in self.key
            )
            return sql.SQL("ROW({})::{}").format(fields, self._scratch("key"))
        return sql.SQL(
            'ROW({value}::pg_catalog.text COLLATE "C", '
            'row_number() OVER (PARTITION BY {value}::pg_catalog.text COLLATE "C"))::{key}'
        ).format(value=value, key=self._scratch("key"))

    def _from(self, schema: str) -> sql.Composed:
        return sql.SQL("{}{}").format(
            sql.SQL("" if self.partitioned else "ONLY "), sql.Identifier(schema, self.name)
        )

    def _scratch(self, what: str) -> sql.Identifier:
        return sql.Identifier(self.beside, f"{PREFIX} {what} {self.number}")


def apply(connection: psycopg.Connection, tables: Sequence[Compared]) -> None:
    """Make all the differences go away, in one statement."""
    if not tables:
        return
    parts = [part for table in tables for part in table.changes()]
    counts = [
        sql.SQL("(SELECT count(*) FROM {})").format(sql.Identifier(f"c{table.number}")) for table in tables
    ]
    connection.execute(
        sql.SQL("WITH {} SELECT {}").format(sql.SQL(", ").join(parts), sql.SQL(" + ").join(counts))
    )


def read_compared(connection: psycopg.Connection, live: str, beside: str) -> dict[str, Compared]:
    """The tables both schemas have, by name; of a partitioned one only itself."""
    ours, theirs = _columns(connection, live), _columns(connection, beside)
    keys = _keys(connection, live)
    found = {}
    for number, name in enumerate(sorted(ours.keys() & theirs.keys())):
        other = {row.column: row.type_id for row in theirs[name] if not row.generated}
        columns = tuple(
            Column(row.column, row.type, row.identity == "a", row.type_id == other[row.column])
            for row in ours[name]
            if row.column in other and not row.generated
        )
        known = {column.name for column in columns}
        key = next((key for key in keys.get(name, []) if known.issuperset(key)), ())
        if columns:
            partitioned = ours[name][0].relkind == "p"
            found[name] = Compared(number, live, beside, name, partitioned, columns, tuple(key))
    return found


def column_types(connection: psycopg.Connection, schema: str) -> dict[str, dict[str, str]]:
    """The stored columns of each table of a schema, with their types."""
    return {
        name: {row.column: row.type for row in rows if not row.generated}
        for name, rows in _columns(connection, schema).items()
    }


def _columns(connection: psycopg.Connection, schema: str) -> dict[str, list[Any]]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute(
            """
            SELECT c.relname::text AS table, c.relkind::text AS relkind, a.attname::text AS column,
                   a.atttypid AS type_id, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
                   a.attgenerated <> '' AS generated, a.attidentity::text AS identity
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
              AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY c.relname, a.attnum
            """,
            (schema,),
        ).fetchall()
    found: dict[str, list[Any]] = {}
    for row in rows:
        if not row.table.startswith(PREFIX):
            found.setdefault(row.table, []).append(row)
    return found


def _keys(connection: psycopg.Connection, schema: str) -> dict[str, list[list[str]]]:
    """Columns that tell a table's rows apart, the primary key first."""
    rows = connection.execute(
        """
        SELECT c.relname::text, array_agg(a.attname::text ORDER BY k.at), bool_and(a.attnotnull)
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
          AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
          AND k.at <= i.indnkeyatts
        GROUP BY c.relname, i.indexrelid, i.indisprimary
        ORDER BY c.relname, i.indisprimary DESC, i.indexrelid
        """,
        (schema,),
    ).fetchall()
    found: dict[str, list[list[str]]] = {}
    for name, columns, not_null in rows:
        if not_null:
            found.setdefault(name, []).append(columns)
    return found


def _names(columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
