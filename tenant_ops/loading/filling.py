"""Filling a stage: a file's pieces, chunk by chunk, each with its bad rows and its place in the ledger.

Here: one file. Not here: how pieces come about (`pieces.py`), the load a file belongs to (`staging.py`).

A chunk is one transaction: COPY of its good rows, its bad rows into quarantine, the file's entry in the
ledger as its last statement. An interrupted load goes on after the last chunk that was committed: what was
staged is read again, but neither checked nor written. While Postgres takes one piece the next is checked.

Commits do not wait for the disk: the stage is unlogged and empty after a crash of the server, whatever the
ledger says of it, and merging waits for all that was written before.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from threading import Lock
from types import TracebackType
from typing import ParamSpec, TypeVar

import psycopg
from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.loading import ledger
from tenant_ops.loading.checking import FILE, LINE, extra_columns
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.pieces import Piece, Pieces
from tenant_ops.loading.quarantine import Quarantine
from tenant_ops.loading.reports import FileReport, SourceFile
from tenant_ops.loading.stages import ROW, delete_file, stage_table
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import Progress
from tenant_ops.tenants import Fleet, Tenant

T = TypeVar("T")
P = ParamSpec("P")
Opener = Callable[[SourceFile, int, int], AbstractContextManager[Pieces]]
"""Opens a file, given its place in the load and the most rows of a piece."""

NOT_REPEATABLE = frozenset({"database", "quarantine"})
"""Formats that need not give the same rows in the same order when they are read again."""


class Stopped(Exception):
    """Another file of the load failed; this one stays as far as it is."""


@dataclass(frozen=True)
class Target:
    """Where files are staged; several threads may, each one file at a time.

    Attributes:
        load: The load they belong to, as it was when it was opened.
        batch_rows: Rows of a chunk, of files nothing is staged of yet.
        progress: Told of every piece.
        stopped: Says whether to stop after the piece at hand.
        quarantining: Held while bad rows are written: the entries of one row follow one another.
    """

    fleet: Fleet
    tenant: Tenant
    dataset: Dataset
    load: Load
    batch_rows: int
    progress: Progress
    stopped: Callable[[], bool]
    quarantining: Lock = field(default_factory=Lock)


def fill(target: Target, file: SourceFile, number: int, opener: Opener) -> FileReport:
    """Stage a file from where it was left, to its end.

    Raises:
        InputError: it cannot be used as a whole, or changed while it was read: nothing of it stays.
        Stopped: as asked.
    """
    filling = _Filling(target, file, number)
    counted = file.bytes if file.format in {"csv", "tsv", "json", "ndjson"} else None
    target.progress.start(filling.task, size=counted)
    try:
        if filling.entry.batches and file.format in NOT_REPEATABLE:
            filling.take_back()
        if not filling.go_on(opener):
            filling.take_back()
            filling.go_on(opener)
    except InputError:
        if filling.entry.batches:
            filling.take_back()
        raise
    finally:
        target.progress.finish(filling.task)
    return filling.entry


class _Filling:
    """One file on its way into the stage; `entry` is what the ledger has of it."""

    def __init__(self, target: Target, file: SourceFile, number: int) -> None:
        self.entry = target.load.files[number]
        self.task = f"{target.dataset.name} {file.name}"
        self._target = target
        self._file = file
        self._number = number

    def go_on(self, opener: Opener) -> bool:
        """Stage the rest of the file; False when what is staged of it is not its beginning."""
        batch_rows = self.entry.batch_rows or self._target.batch_rows
        with _Ahead(opener(self._file, self._number, batch_rows)) as ahead:
            if self.entry.batches:
                rows, consumed = ahead.skip(self.entry.batches)
                if rows != self.entry.read:
                    return False
                self._target.progress.advance(self.task, rows, bytes=consumed)
            piece = ahead.next()
            while not self.entry.complete:
                piece = self._stage_chunk(piece, ahead, batch_rows)
        return True

    def take_back(self) -> None:
        """Delete what is staged of the file."""
        target = self._target
        with target.fleet.session(target.tenant) as connection:
            delete_file(connection, target.tenant, target.dataset, self._number)
            self.entry = ledger.forget_file(connection, target.tenant, target.load, self._number, self.entry)

    def _stage_chunk(self, piece: Piece | None, ahead: "_Ahead", batch_rows: int) -> Piece | None:
        """Stage pieces until they make a chunk; the piece after it, None at the end of the file."""
        target = self._target
        entry = replace(self.entry, batch_rows=batch_rows, encoding=ahead.pieces.encoding)
        columns: tuple[str, ...] = ()
        with (
            target.fleet.session(target.tenant) as connection,
            Quarantine(target.dataset, "schema") as quarantine,
        ):
            connection.execute("SET LOCAL synchronous_commit TO off")
            with ExitStack() as copying:
                copy = None
                while piece is not None and entry.read - self.entry.read < batch_rows:
                    if target.stopped():
                        raise Stopped
                    if piece.good:
                        if copy is None:
                            columns = piece.columns
                            copy = copying.enter_context(self._copy(connection, columns))
                        elif piece.columns != columns:
                            break
                        copy.write(piece.text)
                    for row in piece.bad:
                        quarantine.add(self._file.name, row)
                    entry = _advanced(entry, piece)
                    target.progress.advance(self.task, piece.read, bytes=piece.bytes)
                    piece = ahead.next()
            if piece is None:
                entry = replace(entry, drift=ahead.pieces.drift, complete=True)
            if quarantine.rows:
                with target.quarantining:
                    quarantine.write(connection, target.tenant, target.load.id, target.fleet.clock())
            own = tuple(name for name in columns if name in target.dataset.by_name)
            ledger.enter_chunk(connection, target.tenant, target.load, self._number, self.entry, entry, own)
        self.entry = entry
        return piece

    def _copy(
        self, connection: psycopg.Connection, columns: Sequence[str]
    ) -> AbstractContextManager[psycopg.Copy]:
        extra = extra_columns(self._target.dataset)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, NULL '', ENCODING 'UTF8')").format(
            stage_table(self._target.tenant, self._target.dataset),
            sql.SQL(", ").join(map(sql.Identifier, (*columns, *extra, FILE, LINE, ROW))),
        )
        return connection.cursor().copy(statement)


class _Ahead:
    """A file's pieces, of which the next is made in the background while the last is being written.

    One thread opens, reads and closes it, because a SQLite connection takes no other.
    """

    def __init__(self, opening: AbstractContextManager[Pieces]) -> None:
        self._opening = opening
        self._iterator: Iterator[Piece] | None = None
        self._pending: Future[Piece | None] | None = None
        self._context = copy_context()
        self._thread = ThreadPoolExecutor(1, "checking")

    def __enter__(self) -> "_Ahead":
        try:
            self.pieces = self._submit(self._opening.__enter__).result()
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._submit(self._opening.__exit__, kind, error, trace).result()
        finally:
            self._thread.shutdown()

    def skip(self, batches: int) -> tuple[int, int]:
        """Pass over pieces; their rows and bytes."""
        return self._submit(self.pieces.skip, batches).result()

    def next(self) -> Piece | None:
        """The next piece, None after the last."""
        pending = self._pending or self._submit(self._advance)
        piece = pending.result()
        self._pending = None if piece is None else self._submit(self._advance)
        return piece

    def _advance(self) -> Piece | None:
        if self._iterator is None:
            self._iterator = iter(self.pieces)
        return next(self._iterator, None)

    def _submit(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Future[T]:
        return self._thread.submit(self._context.run, work, *arguments, **options)


def _advanced(entry: FileReport, piece: Piece) -> FileReport:
    rejected = sum(isinstance(row.raw, str) for row in piece.bad)
    return replace(
        entry,
        read=entry.read + piece.read,
        staged=entry.staged + piece.good,
        quarantined=entry.quarantined + len(piece.bad) - rejected,
        rejected=entry.rejected + rejected,
        passed_over=entry.passed_over + piece.passed_over,
        batches=entry.batches + 1,
    )
