"""Fix: of rows that share what should tell them apart keep one, and lead what refers to the others to it.

Here: which row stays, by policy; references; deleting. Not here: what counts as a duplicate (the rule).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import InputError
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import SAMPLES, Change, Foreseen
from tenant_ops.validation.fixing.images import Keeper, Refused, TableColumns, read_columns
from tenant_ops.validation.rules import Duplicates
from tenant_ops.validation.samples import name_row


@dataclass(frozen=True)
class Referrer:
    """A foreign key that leads to a table."""

    child: str
    columns: tuple[str, ...]
    target: tuple[str, ...]


@dataclass(frozen=True)
class DropDuplicates(Change):
    """Delete all but one of each group of rows that share these columns."""

    dataset: Dataset
    columns: tuple[str, ...]
    nulls_alike: bool
    policy: Duplicates

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Count the rows that would go, and those that would refer to another row."""
        words = f"of rows of {self.dataset.name} alike in ({', '.join(self.columns)}) {self.policy}"
        try:
            ranked = self._ranked(evidence)
        except (Refused, InputError) as error:
            return Foreseen(words, refusal=str(error))
        row = evidence.connection.execute(
            sql.SQL("""
                SELECT count(*), (
                    SELECT json_agg(k) FROM (SELECT json_build_object({key}) AS k FROM ({ranked}) r
                                             WHERE fix_rank > 1 ORDER BY {order} LIMIT {limit}) s)
                FROM ({ranked}) r WHERE fix_rank > 1
            """).format(
                key=sql.SQL(", ").join(
                    sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name))
                    for name in self.dataset.key
                ),
                order=sql.SQL(", ").join(map(sql.Identifier, self.dataset.key)),
                ranked=ranked,
                limit=sql.Literal(SAMPLES),
            )
        ).fetchone()
        assert row is not None
        touches = tuple(
            (referrer.child, count)
            for referrer in referrers(evidence, self.dataset)
            if (count := self._referring(evidence, ranked, referrer))
        )
        sample = tuple(f"{name_row(evidence.catalog, self.dataset.name, key)} goes" for key in row[1] or ())
        return Foreseen(words, row[0], touches, sample)

    def lock(self, evidence: Evidence) -> int | None:
        """Let nobody else write the table, and nobody refer to a row that goes."""
        table = sql.Identifier(self.dataset.name)
        evidence.connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
        row = evidence.connection.execute(
            sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE ctid IN ({}) FOR UPDATE) gone").format(
                table, self._places(self._ranked(evidence))
            )
        ).fetchone()
        return row[0] if row else 0

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Lead references to the rows that stay, then delete the others."""
        ranked = self._ranked(evidence)
        for referrer in referrers(evidence, self.dataset):
            if not self._referring(evidence, ranked, referrer):
                continue
            child = read_columns(evidence.connection, referrer.child)
            keeper.rewrite(
                child,
                sql.SQL("true"),
                {
                    name: sql.SQL("found.{}").format(sql.Identifier(f"fix_new_{number}"))
                    for number, name in enumerate(referrer.columns)
                },
                beside=sql.SQL("JOIN ({}) fix_led ON {}").format(
                    _led(ranked, referrer), _match(child.name, referrer)
                ),
                carried=sql.SQL("").join(
                    sql.SQL(", fix_led.{}").format(sql.Identifier(f"fix_new_{number}"))
                    for number in range(len(referrer.columns))
                ),
            )
        columns = read_columns(evidence.connection, self.dataset.name, self.dataset.key)
        keeper.delete(columns, self._places(ranked), beside=set(self.columns) <= set(columns.key))
        return sum(keeper.rows.values())

    def _ranked(self, evidence: Evidence) -> sql.Composed:
        """Every row with its place in its group: the first stays."""
        columns = read_columns(evidence.connection, self.dataset.name, self.dataset.key)
        names = [name for name in columns.types if name in self.dataset.column_names]
        table, same = columns.table, sql.SQL(", ").join(map(columns.column, self.columns))
        targets = sorted({name for one in referrers(evidence, self.dataset) for name in one.target})
        window = sql.SQL("PARTITION BY {} ORDER BY {}").format(same, self._order(columns))
        carried = (
            sql.SQL(", first_value({}) OVER fix_group AS {}").format(
                columns.column(name), sql.Identifier(f"fix_kept_{name}")
            )
            for name in targets
        )
        filled = sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT NULL").format(columns.column(name)) for name in self.columns
        )
        return sql.SQL(
            "SELECT {names}, {table}.ctid AS fix_place, row_number() OVER fix_group AS fix_rank {carried} "
            "FROM {table} WHERE {filled} WINDOW fix_group AS ({window})"
        ).format(
            names=sql.SQL(", ").join(map(columns.column, names)),
            table=table,
            carried=sql.SQL("").join(carried),
            filled=sql.SQL("true") if self.nulls_alike else filled,
            window=window,
        )

    def _order(self, columns: TableColumns) -> sql.Composed:
        key = sql.SQL(", ").join(map(columns.column, self.dataset.key))
        ties = sql.SQL("{}, {}").format(key, sql.Identifier(columns.name, "ctid"))
        match self.policy:
            case "keep-first":
                return ties
            case "keep-last":
                last = (sql.SQL("{} DESC").format(columns.column(name)) for name in self.dataset.key)
                return sql.SQL("{}, {} DESC").format(
                    sql.SQL(", ").join(last), sql.Identifier(columns.name, "ctid")
                )
            case "keep-newest":
                return sql.SQL("{} DESC NULLS LAST, {}").format(columns.column(self._newest_by()), ties)
            case "keep-complete":
                filled = sql.SQL(", ").join(map(columns.column, columns.types))
                return sql.SQL("num_nulls({}), {}").format(filled, ties)

    def _newest_by(self) -> str:
        times = [column.name for column in self.dataset.columns if column.type == "timestamptz"]
        past = [name for name in times if self.dataset.by_name[name].past]
        chosen = self.dataset.newest_by or next(iter([*past, *times]), None)
        if chosen is None:
            raise Refused(f"No column of {self.dataset.name} says which of two rows is newer.")
        return chosen

    def _places(self, ranked: sql.Composed) -> sql.Composed:
        return sql.SQL("SELECT fix_place FROM ({}) r WHERE fix_rank > 1").format(ranked)

    def _referring(self, evidence: Evidence, ranked: sql.Composed, referrer: Referrer) -> int:
        row = evidence.connection.execute(
            sql.SQL("SELECT count(*) FROM {} JOIN ({}) fix_led ON {}").format(
                sql.Identifier(referrer.child), _led(ranked, referrer), _match(referrer.child, referrer)
            )
        ).fetchone()
        return row[0] if row else 0


def _led(ranked: sql.Composed, referrer: Referrer) -> sql.Composed:
    """What rows that go are referred to by, and what by instead, where that differs."""
    old = (
        sql.SQL("{} AS {}").format(sql.Identifier(name), sql.Identifier(f"fix_old_{number}"))
        for number, name in enumerate(referrer.target)
    )
    new = (
        sql.SQL("{} AS {}").format(sql.Identifier(f"fix_kept_{name}"), sql.Identifier(f"fix_new_{number}"))
        for number, name in enumerate(referrer.target)
    )
    return sql.SQL("SELECT {} FROM ({}) r WHERE fix_rank > 1 AND ROW({}) IS DISTINCT FROM ROW({})").format(
        sql.SQL(", ").join([*old, *new]),
        ranked,
        sql.SQL(", ").join(map(sql.Identifier, referrer.target)),
        sql.SQL(", ").join(sql.Identifier(f"fix_kept_{name}") for name in referrer.target),
    )


def _match(child: str, referrer: Referrer) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = fix_led.{}").format(sql.Identifier(child, name), sql.Identifier(f"fix_old_{number}"))
        for number, name in enumerate(referrer.columns)
    )


def referrers(evidence: Evidence, dataset: Dataset) -> list[Referrer]:
    """Every foreign key to a dataset's table, those of tables no definition has included."""
    return list(dict.fromkeys([*_live_referrers(evidence, dataset), *_defined(evidence, dataset)]))


def _live_referrers(evidence: Evidence, dataset: Dataset) -> Iterator[Referrer]:
    rows = evidence.connection.execute(
        """
        SELECT k.conrelid::regclass::text, c.relname::text,
               (SELECT array_agg(a.attname::text ORDER BY n.place) FROM unnest(k.conkey)
                WITH ORDINALITY n (number, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.number),
               (SELECT array_agg(a.attname::text ORDER BY n.place) FROM unnest(k.confkey)
                WITH ORDINALITY n (number, place)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.number),
               c.relnamespace = current_schema()::regnamespace
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = to_regclass(quote_ident(%s))
        ORDER BY 1, k.conname
        """,
        (dataset.name,),
    )
    for shown, child, columns, target, own in rows:
        if not own:
            raise Refused(f"{shown} refers to {dataset.name} from outside the tenant's schema.")
        yield Referrer(child, tuple(columns), tuple(target))


def _defined(evidence: Evidence, dataset: Dataset) -> Iterator[Referrer]:
    """What definitions say, for a foreign key may be missing while its rows still refer."""
    tables = {part.table for part in evidence.live}
    for other in evidence.catalog:
        for key in other.foreign_keys:
            if key.references == dataset.name and other.name in tables:
                yield Referrer(other.name, key.columns, key.target)
