"""How work is measured: in a process of its own, and by what it wrote."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg


@dataclass(frozen=True)
class Measured:
    """What some work took.

    Attributes:
        seconds: Without starting Python and importing.
        cpu: CPU seconds of its process in that time.
        memory: Peak MB of its process, libraries included.
        result: What it returned.
    """

    seconds: float
    memory: float
    result: Any = None
    cpu: float = 0.0


@dataclass(frozen=True)
class Written:
    """What was written to a table since some moment: rows, and MB of write-ahead log of the whole server."""

    rows: int
    wal: float


def in_own_process(
    work: Callable[..., Any], *arguments: Any, imports: tuple[str, ...] = (), **options: Any
) -> Measured:
    """Do the work in a process that does nothing else, once its modules and `imports` are there."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(there, partial(work, *arguments, **options), imports))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} failed, see above") from None
    finally:
        process.join()


def _measure(pipe: Any, work: Callable[[], Any], imports: tuple[str, ...]) -> None:
    for module in imports:
        import_module(module)
    started, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text().split()
    pipe.send(Measured(seconds, int(status[status.index("VmHWM:") + 1]) / 1024, result, cpu))


class Table:
    """A table that is filled again and again.

    Args:
        url: Of its database, in which nobody else works.
        name: With its schema, as SQL.
        ledger: What remembers loads into it, and is to forget them when the table is emptied.
    """

    def __init__(self, url: str, name: str, ledger: str | None = None) -> None:
        self.name = name
        self._url = url
        self._ledger = ledger
        self._before = (0, "0/0")

    def empty(self) -> None:
        """Back to the start, with nothing left for the server to write."""
        self._run(f"TRUNCATE {self.name}")
        if self._ledger:
            self._run(f"TRUNCATE {self._ledger}")
        self._run("CHECKPOINT")

    def digest(self) -> Any:
        """The same for the same rows, in any order."""
        return self._run(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {self.name} t")

    def settle(self) -> None:
        """Have the server's chores after a big load done now: they write, too."""
        self._run(f"VACUUM (ANALYZE) {self.name}")
        self._run("CHECKPOINT")

    def written(self) -> Written:
        """What was written since this was asked last."""
        before, self._before = self._before, self._counters()
        rows, position = self._before
        wal = self._run(f"SELECT pg_wal_lsn_diff('{position}', '{before[1]}') / 1e6")
        return Written(rows - before[0], float(wal[0]))

    def _counters(self) -> tuple[int, str]:
        # A connection's counts arrive when it is gone.
        others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        while self._run(others)[0] > 1:
            time.sleep(0.05)
        return self._run(
            "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint, pg_current_wal_lsn()::text "
            f"FROM pg_stat_user_tables WHERE relid = '{self.name}'::regclass"
        )

    def _run(self, statement: str) -> Any:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchone() if cursor.description else None
