"""Which errors of a database pass by themselves, and trying again until they do.

Here: the verdict on an error, by its SQLSTATE, and the waiting. Not here: what makes work safe to repeat,
which is the matter of whoever is retried.

Waits grow exponentially with full jitter: each is drawn between nothing and a bound that doubles, so that
those whom one restarted server threw out do not all come back at once (M. Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015).
"""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from random import SystemRandom
from typing import ParamSpec, TypeVar

import psycopg
import tenacity

from tenant_ops.platform.errors import InputError, TenantBusy, first_line
from tenant_ops.platform.logs import logger
from tenant_ops.platform.masking import mask_text

T = TypeVar("T")
P = ParamSpec("P")

_PASSING = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53300",  # too_many_connections
    "55P03",  # lock_not_available
    "57P01",  # admin_shutdown, which is also what pg_terminate_backend says
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now: starting up or shutting down
}
_CONNECTION_CLASS = "08"
_AFTER_ANOTHER = {"25P02"}  # in_failed_sql_transaction: the error before it decides
# Servers tell a SQLSTATE when they refuse a connection, but libpq passes on only the words.
_REFUSED = re.compile(r"authentication failed|does not exist|pg_hba\.conf|permission denied|not permitted")

_RETRYING: ContextVar[bool] = ContextVar("retrying", default=False)
_random = SystemRandom().uniform


@dataclass(frozen=True)
class Patience:
    """How long to go on.

    Attributes:
        attempts: Most attempts, the first included.
        first_s: Bound of the first wait in seconds; each further bound is twice the one before.
        longest_s: The bound no wait exceeds.
        total_s: No attempt begins later than so many seconds after the first.
    """

    attempts: int = 10
    first_s: float = 0.2
    longest_s: float = 10.0
    total_s: float = 120.0


PATIENT = Patience()
"""Outlasts a server's restart: nine waits of 20 seconds together on average, 50 at most."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when it is done again.

    Decided by the database error nearest to `error` among its causes. Lost connections, restarts, deadlocks
    and exhausted connections pass; full disks, bad passwords, missing tables and refused rows do not. An
    `InputError`, or a tenant somebody else holds, never does, whatever led to it.
    """
    if isinstance(error, InputError | TenantBusy):
        return False
    for link in _chain(error):
        if isinstance(link, psycopg.Error) and link.sqlstate not in _AFTER_ANOTHER:
            return _passes(link)
    return False


def retrying(
    work: Callable[[int], T],
    what: str,
    *,
    patience: Patience = PATIENT,
    transient: Callable[[BaseException], bool] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[float, float], float] = _random,
) -> T:
    """Do the work, again as long as it fails for reasons that pass; then its last error is raised.

    Work on databases that is called inside other such work is not repeated by itself: only the outermost
    stands outside the locks whose connection may be the one that was lost.

    Args:
        work: Told how often it was tried before; must be safe to repeat.
        what: Names it in the log.
        patience: When to give up.
        transient: The verdict on an error of something else than a database; None is `is_transient`.
        sleep: Waits so many seconds.
        random: Draws between two bounds.
    """
    if transient is None and _RETRYING.get():
        return work(0)

    def is_worth_it(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if transient is not None:
            return error is not None and transient(error)
        # Once a connection was lost, the tenant may be held by what is left of it on the server.
        is_ghost = isinstance(error, TenantBusy) and state.attempt_number > 1
        return error is not None and (is_ghost or is_transient(error))

    def wait(state: tenacity.RetryCallState) -> float:
        bound = patience.first_s * 2 ** (state.attempt_number - 1)
        return random(0.0, min(bound, patience.longest_s))

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger(__name__).warning(
            "trying again",
            what=what,
            retries=state.attempt_number,
            in_s=round(state.upcoming_sleep, 2),
            because=mask_text(first_line(error)) if error else "",
        )

    patiently = tenacity.Retrying(
        retry=is_worth_it,
        stop=tenacity.stop_any(
            tenacity.stop_after_attempt(patience.attempts), tenacity.stop_before_delay(patience.total_s)
        ),
        wait=wait,
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
    tried = itertools.count()
    token = _RETRYING.set(_RETRYING.get() or transient is None)
    try:
        return patiently(lambda: work(next(tried)))
    finally:
        _RETRYING.reset(token)


def retried(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that is safe to repeat: it is, as `retrying` does."""

    def decorate(work: Callable[P, T]) -> Callable[P, T]:
        @wraps(work)
        def patient(*arguments: P.args, **options: P.kwargs) -> T:
            return retrying(lambda _: work(*arguments, **options), what)

        return patient

    return decorate


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, nearest first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _passes(error: psycopg.Error) -> bool:
    if error.sqlstate is not None:
        return error.sqlstate in _PASSING or error.sqlstate.startswith(_CONNECTION_CLASS)
    # libpq knows no SQLSTATE for a connection that was cut or never came about, nor a pool for its timeout.
    return isinstance(error, psycopg.OperationalError) and not _REFUSED.search(str(error))
