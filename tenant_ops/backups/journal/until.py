"""Up to where a chain is put back, and how near to that it can come.

Here: the targets, which segments they need, what will be reached. Not here: doing it (`replay.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tenant_ops.backups.journal.chain import Anchor
from tenant_ops.backups.journal.tick import SegmentInfo
from tenant_ops.platform.errors import InputError


@dataclass(frozen=True)
class LastTick:
    """The end of the last segment."""


@dataclass(frozen=True)
class AtTime:
    """What was committed up to a time (with a time zone), by the server's clock."""

    at: datetime


@dataclass(frozen=True)
class BeforeTransaction:
    """What was committed before this transaction was."""

    xid: int


@dataclass(frozen=True)
class WithoutTransaction:
    """The end of the last segment without this transaction, and without all that may have built on it."""

    xid: int


@dataclass(frozen=True)
class AsSeenBy:
    """What a snapshot sees: a value of `pg_current_snapshot()` that somebody noted down."""

    snapshot: str


Until = LastTick | AtTime | BeforeTransaction | WithoutTransaction | AsSeenBy
LAST_TICK = LastTick()


@dataclass(frozen=True)
class Reach:
    """How far towards a target the segments of a chain lead.

    Attributes:
        segments: How many of them, from the first, are put back.
        until: What to put back of the last of them.
        exact: Whether that is the target itself; otherwise it is the nearest tick before it, because the
            server did not keep the times of commits or the chain ends there.
        reached: The time of it, ISO 8601.
    """

    segments: int
    until: Until
    exact: bool
    reached: str


def reach(base: Anchor, segments: Sequence[SegmentInfo], until: Until = LAST_TICK) -> Reach:
    """Look how near a chain comes to a target; nothing is read.

    Raises:
        InputError: the target lies before the base, or names a transaction the chain does not hold.
    """
    ticks = [base, *(segment.anchor for segment in segments)]
    if isinstance(until, AtTime):
        return _at_time(ticks, segments, until)
    if isinstance(until, AsSeenBy):
        return _as_seen_by(ticks, until)
    if isinstance(until, BeforeTransaction):
        at = _tick_of(ticks, until.xid)
        if segments[at - 1].commit_times:
            return Reach(at, until, True, ticks[at].taken_at)
        return Reach(at - 1, LAST_TICK, False, ticks[at - 1].taken_at)
    if isinstance(until, WithoutTransaction):
        _tick_of(ticks, until.xid)
    return Reach(len(segments), until, True, ticks[-1].taken_at)


def sees(snapshot: str, xid: int) -> bool:
    """Whether a snapshot sees what a transaction did, once it was committed."""
    _, end, running = parse_snapshot(snapshot)
    return xid < end and xid not in running


def parse_snapshot(snapshot: str) -> tuple[int, int, frozenset[int]]:
    """The oldest running transaction, the first not yet begun, and those running in between.

    Raises:
        InputError: it is no snapshot.
    """
    try:
        oldest, end, running = snapshot.split(":")
        return int(oldest), int(end), frozenset(map(int, filter(None, running.split(","))))
    except ValueError:
        raise InputError(
            f"{snapshot!r} is no snapshot.", where="target", fix="Give what pg_current_snapshot() returned."
        ) from None


def _at_time(ticks: list[Anchor], segments: Sequence[SegmentInfo], until: AtTime) -> Reach:
    if until.at.tzinfo is None:
        raise InputError("the time has no time zone.", where="target", fix="Add Z or an offset.")
    times = [datetime.fromisoformat(tick.taken_at) for tick in ticks]
    if until.at < times[0]:
        raise InputError(
            f"it lies before the base of {ticks[0].taken_at}.", where="target", fix="Use an earlier base."
        )
    later = next((at for at, time in enumerate(times) if time > until.at), None)
    if later is None:
        return Reach(len(segments), LAST_TICK, until.at == times[-1], ticks[-1].taken_at)
    if segments[later - 1].commit_times or not segments[later - 1].entries:
        return Reach(later, until, True, until.at.astimezone(UTC).isoformat())
    return Reach(later - 1, LAST_TICK, until.at == times[later - 1], ticks[later - 1].taken_at)


def _as_seen_by(ticks: list[Anchor], until: AsSeenBy) -> Reach:
    if not _covers(until.snapshot, ticks[0].snapshot):
        raise InputError("it was taken before the base.", where="target", fix="Use an earlier base.")
    at = next((at for at, tick in enumerate(ticks) if _covers(tick.snapshot, until.snapshot)), None)
    if at is None:
        return Reach(len(ticks) - 1, LAST_TICK, False, ticks[-1].taken_at)
    return Reach(at, until, True, ticks[at].taken_at)


def _tick_of(ticks: list[Anchor], xid: int) -> int:
    """The first tick that sees a transaction."""
    if sees(ticks[0].snapshot, xid):
        raise InputError(
            f"the base already holds transaction {xid}.", where="target", fix="Use an earlier base."
        )
    for at, tick in enumerate(ticks):
        if sees(tick.snapshot, xid):
            return at
    raise InputError(f"the chain ends before transaction {xid} does.", where="target")


def _covers(snapshot: str, other: str) -> bool:
    """Whether a snapshot sees everything the other one sees."""
    _, end, running = parse_snapshot(snapshot)
    _, other_end, other_running = parse_snapshot(other)
    # Ids at or past an end are not seen; those between the two ends must all be running in the other.
    unseen = {xid for xid in running if xid < other_end and xid not in other_running}
    return not unseen and all(xid in other_running for xid in range(end, other_end))
