"""Several statements at once on a schema that is being filled, none in the way of another.

Here: which of them may run together, and running them. Not here: what they do (`loading.py`).

The order of the list is the order of the work: a task waits for those before it that concern the same tables,
unless both only read them. So indexes are built as soon as their table is loaded, two of a table at a time,
and no two statements ever wait for each other in the server.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Task:
    """A piece of work.

    Attributes:
        run: Does it, with the connection it is given.
        changes: The tables it changes; None for all there are.
        reads: Those it needs as they are.
    """

    run: Callable[[psycopg.Connection], None]
    changes: frozenset[str] | None = None
    reads: frozenset[str] = frozenset()

    def waits_for(self, other: "Task") -> bool:
        """Whether the two must not run at once."""
        if self.changes is None or other.changes is None:
            return True
        return bool(self.changes & other.changes or self.changes & other.reads or self.reads & other.changes)


def run_tasks(connections: Sequence[psycopg.Connection], tasks: Sequence[Task]) -> None:
    """Do all of them, as many at once as there are connections.

    The first error ends the work: what runs is cancelled, and the error is raised.
    """
    if len(connections) == 1:
        for task in tasks:
            task.run(connections[0])
        return
    board = _Board(tasks)
    threads = [
        threading.Thread(target=board.work, args=(connection,), name="restore", daemon=True)
        for connection in connections
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:
        board.fail(error)
        for connection in connections:
            connection.cancel_safe()
        for thread in threads:
            thread.join()
        raise
    if board.error is not None:
        raise board.error


class _Board:
    """What is to be done, what is being done, and what went wrong."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting = list(tasks)
        self._running: dict[Task, psycopg.Connection] = {}
        self._changed = threading.Condition()
        self.error: BaseException | None = None

    def work(self, connection: psycopg.Connection) -> None:
        """Take tasks until none is left."""
        while (task := self._next(connection)) is not None:
            try:
                task.run(connection)
            except BaseException as error:
                self.fail(error)
            finally:
                with self._changed:
                    del self._running[task]
                    self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Give up: nothing more is begun, and what runs is cancelled."""
        with self._changed:
            first = self.error is None
            self.error = self.error or error
            self._waiting.clear()
            running = list(self._running.values())
        if first:
            for connection in running:
                connection.cancel_safe()

    def _next(self, connection: psycopg.Connection) -> Task | None:
        with self._changed:
            while self._waiting:
                for at, task in enumerate(self._waiting):
                    before = [*self._running, *self._waiting[:at]]
                    if not any(task.waits_for(other) for other in before):
                        self._running[task] = connection
                        return self._waiting.pop(at)
                self._changed.wait()
        return None
