"""Filling a schema beside the live one from a backup, by several sessions, and comparing what it holds.

Here: the order of a load, rows, sequences, the comparison with the manifest. Not here: statements
(`statements.py`), what is replaced and how it is exchanged (`executing.py`, `swapping.py`).

A load is many transactions: each table is emptied and filled in one (COPY FREEZE), each index built in one.
Nothing reads the schema until it takes the live one's place; one that was left half full is dropped by
whoever comes next.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

import psycopg
from psycopg import sql

from tenant_ops.backups.chains import ChainRead, replay_chain
from tenant_ops.backups.content import SESSION_FORMAT, copy_in, copy_out
from tenant_ops.backups.ddl import Statement
from tenant_ops.backups.journal import LAST_TICK, Until
from tenant_ops.backups.layout import SequenceValue, TableContent
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.restoring.sentences import without_rows
from tenant_ops.backups.restoring.statements import (
    before_rows,
    read_statements,
    run_all,
    run_rights,
    settle_texts,
    units,
)
from tenant_ops.backups.restoring.tasks import Task, run_tasks
from tenant_ops.platform.errors import OperationFailed, first_line
from tenant_ops.platform.progress import SILENT, Progress

_TRANSACTION = ("SET LOCAL search_path = ''", *SESSION_FORMAT)


@dataclass(frozen=True)
class Loaded:
    """What a schema was filled with.

    Attributes:
        reached: The moment its rows are of, ISO 8601.
        exact: Whether that is the moment asked for.
        tables: Name and rows of each.
        verified: Tables whose rows and hash are those a manifest knows.
        behind: Tables that are as of an earlier moment, because they are only kept whole.
        left_out: Transactions that were not put back.
        skipped: Statements that could not apply here, each with its reason.
        sequences: Where sequences stood then or later.
    """

    reached: str
    exact: bool
    tables: tuple[tuple[str, int], ...]
    verified: tuple[str, ...]
    behind: tuple[str, ...]
    left_out: tuple[int, ...]
    skipped: tuple[str, ...]
    sequences: tuple[SequenceValue, ...]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(rows for _, rows in self.tables)


def load(
    connections: Sequence[psycopg.Connection],
    archive: Archive,
    schema: str,
    names: Mapping[str, str],
    *,
    until: Until = LAST_TICK,
    complete: bool = True,
    progress: Progress = SILENT,
) -> Loaded:
    """Fill the empty `schema` with what a chain of backups holds at a moment.

    Args:
        connections: As the tenant's owner role, with an empty search path, from `owner_sessions`; or a single
            one in a transaction, which then holds all of it.
        archive: The newest backup that is needed; every member of its chain has been checked.
        schema: Where to load.
        names: What to put into the statements; see `names_for`.
        until: The moment; that of the backup when left out.
        complete: Also make what needs the rows or reacts to them: keys, indexes, views, triggers, rights.
        progress: Told of each table.

    Raises:
        InputError: the chain does not hold the moment.
        OperationFailed: a statement failed, or what was loaded is not what was backed up; it is named.
        DamagedBackup: a member, or a statement, is not what a backup has.
    """
    with without_rows():
        return _Load(connections, archive, schema, names, until, complete, progress).run()


@dataclass
class _Load:
    """One load: what it works with, and what it has come to."""

    connections: Sequence[psycopg.Connection]
    archive: Archive
    schema: str
    names: Mapping[str, str]
    until: Until
    complete: bool
    progress: Progress
    read: ChainRead | None = None
    verified: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    skipped: tuple[str, ...] = ()

    def run(self) -> Loaded:
        """Do it."""
        statements = read_statements(self.archive)
        first, later = before_rows(statements)
        with self._transaction(self.connections[0]) as connection:
            run_all(connection, first, self.names)
            trees = _trees(connection, self.schema)
        made = units(later, self.names, trees) if self.complete else []
        making = [Task(partial(self._make, unit.statements), unit.changes, unit.reads) for unit in made]
        # Comparing fills the time in which a session has no table of its own to build an index on.
        at = next((at for at, unit in enumerate(made) if not unit.is_of_one_table), len(made))
        tasks = [*self._filling(), *making[:at], *self._comparing(), *making[at:]]
        run_tasks(self.connections, tasks)
        if self.complete:
            with self._transaction(self.connections[0]) as connection:
                set_sequences(connection, self.schema, self._read.sequences)
            run_tasks(self.connections, [*self._analyzing()])
            with self._transaction(self.connections[0]) as connection:
                settle_texts(connection, statements, self.names)
                self.skipped = tuple(run_rights(connection, statements, self.names))
        report = self._read.report
        return Loaded(
            reached=report.reach.reached,
            exact=report.reach.exact,
            tables=tuple((table.name, self.counted[table.name]) for table in self.archive.manifest.tables),
            verified=tuple(sorted(self.verified)),
            behind=report.behind,
            left_out=report.left_out,
            skipped=(*sorted(self.unchecked), *self.skipped),
            sequences=self._read.sequences,
        )

    @property
    def _read(self) -> ChainRead:
        assert self.read is not None, "the journal was put back first"
        return self.read

    def _filling(self) -> Iterator[Task]:
        """Rows of the full backup, the largest tables first, and what the journal makes of them."""
        for table in sorted(self.archive.manifest.tables, key=self._bytes, reverse=True):
            if table.parts:
                yield Task(partial(self._fill, table), frozenset({table.name}))
        if self.archive.parent is None:
            self._replay(self.connections[0])  # there is nothing to put back: nobody waits for it
        else:
            yield Task(self._replay)

    def _comparing(self) -> Iterator[Task]:
        for table in self.archive.manifest.tables:
            yield Task(partial(self._compare, table), frozenset(), frozenset({table.name}))

    def _analyzing(self) -> Iterator[Task]:
        for name, rows in self.counted.items():
            if rows:
                yield Task(partial(self._analyze, name), frozenset({name}))

    def _fill(self, table: TableContent, connection: psycopg.Connection) -> None:
        task = f"restore {table.name}"
        self.progress.start(task, table.rows, size=self._bytes(table))
        try:
            with self._transaction(connection):
                name = sql.Identifier(self.schema, table.name)
                # What this transaction made or emptied may be stored as seen by everyone (FREEZE).
                connection.execute(sql.SQL("TRUNCATE ONLY {}").format(name))
                for part in table.parts:
                    member = self.archive.manifest.member(part)
                    with self.archive.content(member) as content:
                        copy_in(connection, name, table.columns, content)
                    self.progress.advance(task, bytes=member.raw_bytes)
        except psycopg.errors.QueryCanceled:
            raise
        except psycopg.Error as error:
            raise OperationFailed(
                f"the rows of {table.name} could not be loaded: {first_line(error)}.",
                where="restore",
                fix="Nothing was changed.",
            ) from error
        finally:
            self.progress.finish(task)

    def _replay(self, connection: psycopg.Connection) -> None:
        with self._transaction(connection):
            self.read = replay_chain(connection, self.archive, self.schema, self.until)

    def _compare(self, table: TableContent, connection: psycopg.Connection) -> None:
        """Read everything back: only what is equal row for row takes the live schema's place."""
        known = next((each for each in self._read.known if each.name == table.name), None)
        name = sql.Identifier(self.schema, table.name)
        with self._transaction(connection):
            if known is None:
                count = sql.SQL("SELECT count(*) FROM ONLY {}").format(name)
                row = connection.execute(count).fetchone()
                assert row is not None
                self.counted[table.name] = row[0]
                return
            found = copy_out(connection, name, known.columns)
        if (found.rows, found.content_hash) != (known.rows, known.content_hash):
            raise OperationFailed(
                f"table {table.name} has {found.rows} rows after loading, not the {known.rows} backed up, "
                "or others.",
                where=f"backup {self.archive.id}",
                fix="Nothing was changed. Verify the backup with level full.",
            )
        self.counted[table.name] = found.rows
        self.verified.append(table.name)

    def _make(self, statements: tuple[Statement, ...], connection: psycopg.Connection) -> None:
        with self._transaction(connection):
            self.unchecked.extend(run_all(connection, statements, self.names))

    def _analyze(self, table: str, connection: psycopg.Connection) -> None:
        """Without statistics the first queries after a restore can be very slow."""
        with self._transaction(connection):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self.schema, table)))

    @contextmanager
    def _transaction(self, connection: psycopg.Connection) -> Generator[psycopg.Connection]:
        """As the owner, with the settings COPY text is read by, whatever code of the backup set before."""
        with connection.transaction():
            connection.execute(self._settings)
            yield connection

    @cached_property
    def _settings(self) -> bytes:
        owner = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(self.names["owner"])).as_string()
        return "; ".join([owner, *_TRANSACTION]).encode()

    def _bytes(self, table: TableContent) -> int:
        return sum(self.archive.manifest.member(part).raw_bytes for part in table.parts)


def _trees(connection: psycopg.Connection, schema: str) -> dict[str, frozenset[str]]:
    """For each table that inherits or is inherited from, the tables a statement on one of them may reach."""
    pairs = connection.execute(
        """
        SELECT c.relname::text, p.relname::text
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
        WHERE c.relnamespace = %s::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
        """,
        (sql.Identifier(schema).as_string(),),
    ).fetchall()
    trees: dict[str, frozenset[str]] = {}
    for child, parent in pairs:
        tree = trees.get(child, frozenset({child})) | trees.get(parent, frozenset({parent}))
        trees |= dict.fromkeys(tree, tree)
    return trees


def set_sequences(connection: psycopg.Connection, schema: str, sequences: tuple[SequenceValue, ...]) -> None:
    """Where they stood, or past what the rows already use: a sequence behind its column breaks inserts."""
    owned = owned_columns(connection, schema)
    for sequence in sequences:
        name = sql.Identifier(schema, sequence.name).as_string()
        connection.execute(
            "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)",
            (name, sequence.value, sequence.called),
        )
        if sequence.name in owned:
            table, column, increment = owned[sequence.name]
            furthest = sql.SQL("max" if increment > 0 else "min")
            connection.execute(
                sql.SQL(
                    "SELECT pg_catalog.setval({name}, used.at) "
                    "FROM (SELECT pg_catalog.{furthest}({column})::bigint AS at FROM {table}) AS used "
                    "WHERE used.at {past} {value}"
                ).format(
                    name=sql.Literal(name),
                    furthest=furthest,
                    column=sql.Identifier(column),
                    table=sql.Identifier(schema, table),
                    past=sql.SQL(">" if increment > 0 else "<"),
                    value=sql.Literal(sequence.value),
                )
            )


def owned_columns(connection: psycopg.Connection, schema: str) -> dict[str, tuple[str, str, int]]:
    """The column each sequence of a schema belongs to: table, column, and the step it goes by."""
    rows = connection.execute(
        """
        SELECT s.relname, t.relname, a.attname, q.seqincrement
        FROM pg_catalog.pg_sequence q
        JOIN pg_catalog.pg_class s ON s.oid = q.seqrelid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.objid = s.oid AND d.deptype IN ('a', 'i')
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
        JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE s.relnamespace = %s::pg_catalog.regnamespace
        """,
        (sql.Identifier(schema).as_string(),),
    )
    return {name: (table, column, increment) for name, table, column, increment in rows}
