"""Rows as they were: every row a fix is about to change, kept in the tenant's stage schema, all of it.

Here: the tables, changing and deleting rows while keeping them. Not here: bringing them back (`undoing.py`).

A row is kept as the text of each of its values, which every type reads back exactly; settings that change how
values are spelled are pinned for the transaction. Logins cannot enter the stage schema.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tenant_ops.tenants import Tenant
from tenant_ops.validation.evidence import Evidence

FIX, STEP, IMAGE = "fix", "fix_step", "fix_image"


class Refused(Exception):
    """A step must be rolled back; the reason is for the report."""


@dataclass(frozen=True)
class TableColumns:
    """What rows of a live table are made of.

    Attributes:
        types: The type of each stored column; generated ones follow from the others.
        key: The columns of its primary key; none when it has none.
    """

    name: str
    types: Mapping[str, str]
    key: tuple[str, ...]

    @property
    def table(self) -> sql.Identifier:
        """Its name as SQL."""
        return sql.Identifier(self.name)

    def column(self, name: str) -> sql.Identifier:
        """A column's name as SQL, with that of the table."""
        return sql.Identifier(self.name, name)

    def image(self, names: tuple[str, ...] = ()) -> sql.Composed:
        """A row, or these columns of it, as a JSON object of texts."""
        chosen = names or tuple(self.types)
        return sql.SQL("jsonb_object(ARRAY[{}], ARRAY[{}]::text[])").format(
            sql.SQL(", ").join(map(sql.Literal, chosen)),
            sql.SQL(", ").join(sql.SQL("{}::text").format(self.column(name)) for name in chosen),
        )

    def typed(self, source: str, name: str) -> sql.Composed:
        """A column's value out of a kept row."""
        kind = sql.SQL(self.types[name])  # pyright: ignore[reportArgumentType] - from format_type
        return sql.SQL("({}->>{})::{}").format(sql.SQL(source), sql.Literal(name), kind)  # pyright: ignore[reportArgumentType]


def read_columns(connection: psycopg.Connection, table: str, key: tuple[str, ...] = ()) -> TableColumns:
    """The columns of a live table.

    Args:
        connection: A session of the tenant's.
        table: Its bare name.
        key: What rows are told apart by when the table has no primary key.

    Raises:
        Refused: there is no such table.
    """
    row = connection.execute(
        """
        SELECT array_agg(a.attname::text ORDER BY a.attnum),
               array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
               (SELECT array_agg(k.attname::text ORDER BY k.attnum) FROM pg_index x
                JOIN pg_attribute k ON k.attrelid = x.indrelid AND k.attnum = ANY (x.indkey)
                WHERE x.indrelid = c.oid AND x.indisprimary)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = to_regclass(quote_ident(%s)) AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' GROUP BY c.oid
        """,
        (table,),
    ).fetchone()
    if row is None:
        raise Refused(f"There is no table {table}.")
    return TableColumns(table, dict(zip(row[0], row[1], strict=True)), tuple(row[2] or key))


def pin_spelling(connection: psycopg.Connection) -> None:
    """Let values be spelled alike in every transaction that keeps rows or brings them back."""
    connection.execute(
        """
        SELECT set_config('DateStyle', 'ISO, YMD', true), set_config('IntervalStyle', 'postgres', true),
               set_config('TimeZone', 'UTC', true), set_config('bytea_output', 'hex', true),
               set_config('extra_float_digits', '1', true), set_config('xmloption', 'content', true)
        """
    )


def ensure_tables(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Make the tables of this module in the tenant's stage schema, as its owner, where they are not yet."""
    names = {name: sql.Identifier(tenant.stage_schema, name) for name in (FIX, STEP, IMAGE)}
    connection.execute(
        sql.SQL("""
            CREATE TABLE IF NOT EXISTS {fix} (
                id        uuid PRIMARY KEY,
                fixed_at  timestamptz NOT NULL,
                actor     text NOT NULL,
                undone_at timestamptz
            );
            CREATE TABLE IF NOT EXISTS {fix_step} (
                fix_id  uuid NOT NULL REFERENCES {fix} ON DELETE CASCADE,
                step    integer NOT NULL,
                begin   integer NOT NULL,
                rule    text NOT NULL,
                change  text NOT NULL,
                rows    bigint NOT NULL,
                undo    jsonb NOT NULL,
                PRIMARY KEY (fix_id, step)
            );
            CREATE TABLE IF NOT EXISTS {fix_image} (
                id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                fix_id  uuid NOT NULL,
                step    integer NOT NULL,
                part    integer NOT NULL,
                dataset text NOT NULL,
                beside  boolean NOT NULL,
                row_key jsonb NOT NULL,
                before  jsonb NOT NULL,
                after   jsonb
            );
            CREATE INDEX IF NOT EXISTS fix_image_fix_id_idx ON {fix_image} (fix_id, part);
        """).format(**names)
    )


@dataclass
class Keeper:
    """Changes rows for one step of a fix, and keeps them as they were.

    Attributes:
        step: Which step of the fix.
        numbers: Count what the whole fix does, in the order it is done; undoing goes backwards.
        rows: How many were changed or deleted, by table.
        undo: Statements that take back what is no row, in the order they are to be run; with each, whether it
            takes the operator's rights.
    """

    evidence: Evidence
    fix_id: UUID
    step: int
    numbers: Iterator[int]
    rows: dict[str, int] = field(default_factory=dict)
    undo: list[tuple[bool, str]] = field(default_factory=list)
    begin: int = 0

    def __post_init__(self) -> None:
        self.begin = next(self.numbers)

    def rewrite(
        self,
        columns: TableColumns,
        condition: sql.Composable,
        values: Mapping[str, sql.Composable],
        *,
        beside: sql.Composable | None = None,
        carried: sql.Composable | None = None,
    ) -> int:
        """Set columns in the rows the condition is true for; how many.

        Args:
            columns: The table.
            condition: Names its columns barely or by the table.
            values: An expression per column; what `carried` selects is called by its name there.
            beside: A join that is put after the table.
            carried: What is selected of the join, for the values.
        """
        if not columns.key:
            raise Refused(f"{columns.name} has no primary key to tell its rows apart: put it back first.")
        query = sql.SQL("""
            WITH found AS MATERIALIZED (
                SELECT {table}.tableoid AS fix_table, {table}.ctid AS fix_place,
                       {image} AS fix_before {carried}
                FROM {table} {beside} WHERE {condition}
            ), changed AS (
                UPDATE {table} SET {values} FROM found
                WHERE {table}.ctid = found.fix_place AND {table}.tableoid = found.fix_table
                RETURNING {key} AS row_key, found.fix_before, {image} AS fix_after
            )
            INSERT INTO {images} (fix_id, step, part, dataset, beside, row_key, before, after)
            SELECT %(fix_id)s, %(fix_step)s, %(fix_part)s, %(fix_dataset)s, false, row_key,
                   fix_before, fix_after
            FROM changed
        """).format(
            table=columns.table,
            image=columns.image(),
            key=columns.image(columns.key),
            condition=condition,
            carried=carried or sql.SQL(""),
            beside=beside or sql.SQL(""),
            values=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()
            ),
            images=sql.Identifier(self.evidence.tenant.stage_schema, IMAGE),
        )
        return self._keep(columns, query)

    def delete(self, columns: TableColumns, places: sql.Composable, *, beside: bool = False) -> int:
        """Delete the rows at these places, a query for ctids; how many.

        Args:
            columns: The table.
            places: Which rows.
            beside: Whether another row with the same key stays, so that its being there means nothing later.
        """
        query = sql.SQL("""
            WITH gone AS (
                DELETE FROM {table} WHERE ctid IN ({places}) RETURNING {key} AS row_key, {image} AS before
            )
            INSERT INTO {images} (fix_id, step, part, dataset, beside, row_key, before)
            SELECT %(fix_id)s, %(fix_step)s, %(fix_part)s, %(fix_dataset)s, {kept}, row_key, before FROM gone
        """).format(
            table=columns.table,
            places=places,
            key=columns.image(columns.key),
            image=columns.image(),
            kept=sql.Literal(beside),
            images=sql.Identifier(self.evidence.tenant.stage_schema, IMAGE),
        )
        return self._keep(columns, query)

    def write_down(self, rule: str, change: str, rows: int) -> None:
        """Enter the step in the list of what was done."""
        self.evidence.connection.execute(
            sql.SQL(
                "INSERT INTO {} (fix_id, step, begin, rule, change, rows, undo) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)"
            ).format(sql.Identifier(self.evidence.tenant.stage_schema, STEP)),
            (self.fix_id, self.step, self.begin, rule, change, rows, Jsonb(self.undo)),
        )

    def _keep(self, columns: TableColumns, query: sql.Composed) -> int:
        about = {"fix_id": self.fix_id, "fix_step": self.step, "fix_part": next(self.numbers)}
        done = self.evidence.connection.execute(
            query, {**self.evidence.facts, **about, "fix_dataset": columns.name}
        ).rowcount
        self.rows[columns.name] = self.rows.get(columns.name, 0) + done
        return done
