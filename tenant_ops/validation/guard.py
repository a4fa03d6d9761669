"""Rules of others at work: what their functions may do to a tenant, and what is said when they fail.

Here: the connection a `Look` from outside gets, the reason a failed function leaves. Not here: finding those
rules (`own_rules.py`).

A rule is code its operator chose, and runs in the operator's process: what stands here keeps a mistake from
becoming damage. What a query may reach is decided by Postgres: it runs as the tenant's owner, in a read-only
transaction, declared as a cursor, which nothing but a query can be.
"""

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg.pq import TransactionStatus

from tenant_ops.platform.errors import NotAvailable
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Look, Rule, Sighting


class Unusable(Exception):
    """A rule's function failed; the reason quotes nothing of the tenant's."""


@dataclass(frozen=True)
class Answer:
    """What a query of a rule's function found: its rows, with the few ways a cursor has to hand them out."""

    rows: list[tuple[Any, ...]]
    columns: tuple[str, ...]

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row, if there is one."""
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows."""
        return self.rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)


@dataclass(frozen=True)
class Queries:
    """A connection that takes queries and nothing else."""

    _connection: psycopg.Connection

    def execute(self, query: Any, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Answer:
        """The rows of a query; what is none is refused by Postgres: it cannot be declared as a cursor."""
        with self._connection.cursor(name="own_rule") as cursor:
            cursor.execute(query, params)
            return Answer(cursor.fetchall(), tuple(one.name for one in cursor.description or ()))


@dataclass(frozen=True)
class GuardedEvidence(Evidence):
    """The evidence a function from outside gets: it may look at the tenant as its owner, and only look."""

    @contextmanager
    def as_operator(self) -> Iterator[psycopg.Connection]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Not for rules from outside: the operator sees every tenant."""
        raise NotAvailable("a rule of your own looks as the tenant's owner, not as the operator.")
        yield self.connection


def guarded(rule: Rule) -> Rule:
    """The rule, with its function kept to looking; a rule that is SQL needs no guard."""
    if not isinstance(rule.find, Look) or rule.find.look in _GUARDED:
        return rule
    look, origin = rule.find.look, rule.origin

    @functools.wraps(look)
    def kept_to_looking(evidence: Evidence) -> Iterable[Sighting]:
        return _look(look, origin, evidence)

    _GUARDED.add(kept_to_looking)
    return replace(rule, find=Look(kept_to_looking))


_GUARDED: WeakSet[Any] = WeakSet()


def _look(look: Callable[[Evidence], Iterable[Sighting]], origin: str, evidence: Evidence) -> list[Sighting]:
    """What the function sees with guarded evidence; what it set in the transaction is taken back."""
    connection = evidence.connection
    alone = replace(evidence.background, batch=None)  # which names the tenants examined beside it
    with connection.transaction(force_rollback=True):
        try:
            sightings = list(
                look(GuardedEvidence(alone, Queries(connection)))  # pyright: ignore[reportArgumentType]
            )
        except (NotAvailable, psycopg.Error):
            raise
        except Exception as error:
            raise Unusable(blame(error, look, origin)) from None
        if connection.info.transaction_status is TransactionStatus.INERROR:
            raise Unusable(f"{origin} went on after a query of its had failed.")
    for one in sightings:
        if not isinstance(one, Sighting):
            raise Unusable(f"{origin} yielded {type(one).__name__} instead of a Sighting.")
    return sightings


def blame(error: Exception, function: Callable[..., Any], origin: str) -> str:
    """Which function failed, how and in which line; never the error's text, which may hold a row."""
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    own = [frame for frame in frames if code and frame.filename == code.co_filename] or frames[-1:]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{origin or 'Its function'} raised {type(error).__name__}{place}."
