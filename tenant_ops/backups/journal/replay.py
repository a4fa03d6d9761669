"""Putting segments of the journal back onto their base: to the last tick, or to a moment between two.

Here: which entries count. Not here: how near a target can be met (`until.py`), how a table is brought to
where they leave it (`settling.py`).

It runs in a schema that holds the rows of the base and nothing that reacts to changes of rows: no foreign
keys, no triggers, the capture least of all, which fires whatever the session's role. Restores load rows
before they make those, and making a foreign key then validates what was put back.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.backups.codec import Source
from tenant_ops.backups.content import SESSION_FORMAT
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.journal.chain import Anchor
from tenant_ops.backups.journal.settling import Scratch, Settled
from tenant_ops.backups.journal.tick import SegmentInfo
from tenant_ops.backups.journal.until import (
    LAST_TICK,
    AsSeenBy,
    AtTime,
    BeforeTransaction,
    Reach,
    Until,
    WithoutTransaction,
    reach,
)
from tenant_ops.backups.layout import SequenceValue
from tenant_ops.platform.errors import InputError, OperationFailed, first_line

_PIECE_BYTES = 1 << 20
# 600,000 changed rows take 6.4 s, and 9.7 s when what is sorted and joined does not fit into memory.
_SESSION = (
    "SET LOCAL search_path = ''",
    "SET LOCAL row_security = off",
    "SET LOCAL work_mem = '128MB'",
    "SET LOCAL jit = off",
)


@dataclass(frozen=True)
class Segment:
    """A segment as it is stored: what is known of it, and how to open its entries for reading."""

    info: SegmentInfo
    open: Callable[[], AbstractContextManager[Source]]


@dataclass(frozen=True)
class ReplayReport:
    """What was put back.

    Attributes:
        reach: How many segments, and how near to the target.
        entries: Read from them.
        left_out: Transactions that were not put back: those after the target, or the one to be left out and
            those that may have built on it.
        behind: Tables that are whole in segments only, and could not be had as of the target: they are as of
            an earlier tick.
        sequences: Where sequences stood at the tick at or after the target; set them at the end, or past
            what the rows use.
    """

    reach: Reach
    entries: int
    left_out: tuple[int, ...]
    behind: tuple[str, ...]
    sequences: tuple[SequenceValue, ...]


def replay(
    connection: psycopg.Connection,
    schema: str,
    base: Anchor,
    segments: Sequence[Segment],
    until: Until = LAST_TICK,
) -> ReplayReport:
    """Bring a schema from its base to the target; exact for every key and row the segments tell of.

    Args:
        connection: In a transaction, as the owner of the schema's tables.
        schema: Holds the rows of the base, and neither foreign keys nor triggers.
        base: The anchor of the base.
        segments: Those after it, in order, without a gap.
        until: Where to stop.

    Raises:
        InputError: the target lies before the base, or the chain does not hold it.
        DamagedBackup: a segment does not follow the one before it, or is not whole.
        OperationFailed: an entry does not fit the schema or the base.
    """
    _check_order(base, segments)
    aim = reach(base, [segment.info for segment in segments], until)
    used = segments[: aim.segments]
    if not used:
        return ReplayReport(aim, 0, (), (), ())
    for setting in (*_SESSION, *SESSION_FORMAT):
        connection.execute(setting)  # type: ignore[arg-type]
    scratch = Scratch(schema)
    try:
        entries = _stage(connection, scratch, used)
        changed = _changed(connection, scratch, used[-1].info)
        for table in changed:
            table.prepare()
        _leave_out(connection, scratch, aim, changed)
        for table in changed:
            if table.table.way in ("state", "rows"):
                table.settle()
        behind = tuple(_replace_copies(connection, scratch, changed))
        left_out = connection.execute(
            sql.SQL("SELECT xid::text::bigint FROM {} ORDER BY 1").format(scratch.left_out)
        ).fetchall()
        scratch.drop(connection)
    except psycopg.Error as error:
        raise OperationFailed(
            f"the journal does not fit the schema it is put back into: {first_line(error)}.", where="journal"
        ) from error
    return ReplayReport(aim, entries, tuple(row[0] for row in left_out), behind, used[-1].info.sequences)


def _check_order(base: Anchor, segments: Sequence[Segment]) -> None:
    before = base
    for number, segment in enumerate(segments, 1):
        after = segment.info.anchor
        if segment.info.since != before.snapshot or (
            (after.system_identifier, after.timeline, after.fingerprint, after.identity)
            != (before.system_identifier, before.timeline, before.fingerprint, before.identity)
        ):
            raise DamagedBackup("it does not follow the one before it.", where=f"journal segment {number}")
        before = after


def _stage(connection: psycopg.Connection, scratch: Scratch, segments: Sequence[Segment]) -> int:
    connection.execute(
        sql.SQL(
            "CREATE UNLOGGED TABLE {} (part int, seq bigint, xid xid8, committed_at timestamptz, tbl text, "
            'op "char", body text)'
        ).format(scratch.entries)
    )
    for part, segment in enumerate(segments, 1):
        connection.execute(
            sql.SQL("ALTER TABLE {} ALTER part SET DEFAULT {}").format(scratch.entries, sql.Literal(part))
        )
        query = sql.SQL("COPY {} (seq, xid, committed_at, tbl, op, body) FROM STDIN").format(scratch.entries)
        with segment.open() as source, connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                while piece := source.read(_PIECE_BYTES):
                    copy.write(piece)
            if cursor.rowcount != segment.info.entries:
                raise DamagedBackup(
                    f"it has {cursor.rowcount} entries, not {segment.info.entries}.",
                    where=f"journal segment {part}",
                )
    connection.execute(sql.SQL("ANALYZE {}").format(scratch.entries))
    return sum(segment.info.entries for segment in segments)


def _changed(connection: psycopg.Connection, scratch: Scratch, last: SegmentInfo) -> list[Settled]:
    names = {
        row[0] for row in connection.execute(sql.SQL("SELECT DISTINCT tbl FROM {}").format(scratch.entries))
    }
    return [
        Settled(connection, scratch, table, number)
        for number, table in enumerate(last.tables)
        if table.name in names or names & set(table.parts)
    ]


def _leave_out(connection: psycopg.Connection, scratch: Scratch, aim: Reach, tables: list[Settled]) -> None:
    """Find the transactions that do not count.

    Those after a moment need no more: what built on one of them was committed later still. Leaving out one
    of the middle leaves out what may have built on it.
    """
    connection.execute(sql.SQL("CREATE UNLOGGED TABLE {} (xid xid8 PRIMARY KEY)").format(scratch.left_out))
    which = _after(connection, scratch, aim)
    if which is None:
        return
    added = connection.execute(
        sql.SQL("INSERT INTO {} SELECT DISTINCT e.xid FROM {} e WHERE e.xid IS NOT NULL AND {}").format(
            scratch.left_out, scratch.entries, which
        )
    ).rowcount
    followed = [table for table in tables if table.table.way in ("state", "rows")]
    if isinstance(aim.until, WithoutTransaction):
        while added:
            added = sum(table.builders() for table in followed)
    elif added and any(table.contradicted() for table in followed):
        raise OperationFailed(
            "the times of commits are not in the order in which rows were written: the server's clock was "
            "set back.",
            where="target",
            fix="Restore to a tick, or to a time that does not lie there.",
        )


def _after(connection: psycopg.Connection, scratch: Scratch, aim: Reach) -> sql.Composable | None:
    """The condition on entries that lie past the target; those of earlier segments all lie before it."""
    until = aim.until
    last = sql.SQL("e.part = {} AND ").format(sql.Literal(aim.segments))
    if isinstance(until, AtTime):
        return last + sql.SQL("e.committed_at > {}").format(sql.Literal(until.at))
    if isinstance(until, AsSeenBy):
        return last + sql.SQL("NOT pg_visible_in_snapshot(e.xid, {})").format(sql.Literal(until.snapshot))
    if isinstance(until, WithoutTransaction):
        return sql.SQL("e.xid = {}").format(sql.Literal(str(until.xid)))
    if isinstance(until, BeforeTransaction):
        row = connection.execute(
            sql.SQL("SELECT committed_at FROM {} WHERE xid = %s LIMIT 1").format(scratch.entries),
            (str(until.xid),),
        ).fetchone()
        if row is None:
            raise InputError(f"transaction {until.xid} wrote nothing of this tenant.", where="target")
        return last + sql.SQL("(e.xid = {} OR e.committed_at > {})").format(
            sql.Literal(str(until.xid)), sql.Literal(row[0])
        )
    return None


def _replace_copies(connection: psycopg.Connection, scratch: Scratch, tables: list[Settled]) -> list[str]:
    """Put in the newest copies that hold nothing left out; the names of tables that are behind for it."""
    behind = []
    for table in tables:
        if table.table.way not in ("copy", "always"):
            continue
        # A copy tells of all that was committed at its tick. Which transactions changed the table is known
        # from their notes; of one that changes unnoticed it is not.
        row = connection.execute(
            sql.SQL(
                """
                WITH left_out AS (
                    SELECT min(e.part) AS part FROM {entries} e JOIN {left_out} l USING (xid)
                    WHERE e.op = 'c' OR {unnoticed}
                )
                SELECT max(e.part) FILTER (WHERE e.part < coalesce(o.part, 1 << 30)), max(e.part)
                FROM {entries} e, left_out o WHERE e.tbl = {name} AND e.op = 'w'
                """
            ).format(
                entries=scratch.entries,
                left_out=scratch.left_out,
                unnoticed=sql.Literal(table.table.way == "always"),
                name=sql.Literal(table.table.name),
            )
        ).fetchone()
        assert row is not None
        usable, newest = row
        if usable is not None:
            table.replace(usable)
        if usable != newest:
            behind.append(table.table.name)
    return behind
