"""A tick: one moment of the tenant, and everything that was committed since an earlier one.

Here: writing it out, noting which backups are kept, pruning the journal. Not here: whether a tick may follow
another (`chain.py`), putting a segment back (`replay.py`).

A segment holds the entries of exactly those transactions the earlier snapshot did not see and this one does,
as pgq's batches do. A watermark on `seq` would lose rows: a lower number may be committed after a higher one
was read (in 195 of 199 ticks under six writers). What a snapshot sees of the journal is what it sees of the
tables, so only the first half needs a condition.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.backups.content import read_rows
from tenant_ops.backups.journal.capture import owner_session
from tenant_ops.backups.journal.chain import (
    Anchor,
    ChainBroken,
    Reason,
    check_beginning,
    check_chain,
    read_moment,
)
from tenant_ops.backups.journal.functions import JOURNAL, KEPT
from tenant_ops.backups.journal.status import OpenTransaction, open_transactions, tells_times
from tenant_ops.backups.journal.tables import Unit, Way
from tenant_ops.backups.layout import SequenceValue
from tenant_ops.backups.snapshot import Snapshot
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Fleet, Tenant

Write = Callable[[bytes, int], object]

# Entries are read in the order of the table, which is nearly that of `seq`: the sort is a merge of few runs.
_SORT_MEMORY = "SET LOCAL work_mem = '64MB'"
_REFUSED: dict[str, Reason] = {"x": "written unseen", "l": "row too large"}


@dataclass(frozen=True)
class FollowedTable:
    """How a segment tells of a table: enough to put it back without the server it came from.

    Attributes:
        name: As entries name it.
        way: `state` or `rows` by entries, `copy` or `always` whole.
        columns: Of a row's text, in order.
        key: Of the text of a key.
        parts: Tables that hold its rows: itself, or its partitions.
    """

    name: str
    way: Way
    columns: tuple[str, ...]
    key: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class SegmentInfo:
    """What is known of a segment beside its entries; a backup keeps it in its manifest.

    Attributes:
        since: The snapshot it starts from.
        anchor: The moment it ends with, for the segment after it.
        entries: Lines written.
        bytes: Bytes written, before compression.
        transactions: How many were committed in it.
        commit_times: Whether every entry tells when it was committed.
        tables: How each table is followed.
        changed: Those that entries tell of, as entries name them; all others are as they were.
        copied: Tables that are in it whole.
        sequences: Where they stood at its end.
        open: Transactions it could not see the end of.
    """

    since: str
    anchor: Anchor
    entries: int
    bytes: int
    transactions: int
    commit_times: bool
    tables: tuple[FollowedTable, ...]
    changed: tuple[str, ...]
    copied: tuple[str, ...]
    sequences: tuple[SequenceValue, ...]
    open: tuple[OpenTransaction, ...]


def read_anchor(snapshot: Snapshot, tenant: Tenant) -> Anchor:
    """What a base leaves for the segments after it; read it inside the base's own snapshot.

    Raises:
        ChainBroken: the journal is not installed, or does not follow every table.
    """
    moment = read_moment(snapshot, tenant)
    check_beginning(tenant, moment)
    return moment.anchor


def write_segment(snapshot: Snapshot, tenant: Tenant, since: Anchor, write: Write) -> SegmentInfo:
    """Write what was committed between an anchor and the held moment.

    The bytes are COPY text, one entry a line, in the order of `seq`: `seq`, `xid`, `committed_at`, `tbl`,
    `op`, `body`. `docs/journal.md` tells what they mean.

    Args:
        snapshot: The moment, from `hold_snapshot`.
        tenant: Whose.
        since: Where the segment starts: the anchor of a backup that was kept (`keep`).
        write: Takes pieces of whole lines, and the number of lines in each; never called for an idle tenant.

    Raises:
        ChainBroken: something may have changed unseen since then; nothing that was written can be used.
    """
    connection = snapshot.connection
    moment = read_moment(snapshot, tenant)
    check_chain(connection, tenant, since, moment)
    journal = sql.Identifier(tenant.stage_schema, JOURNAL)
    summary = summary_of(connection, tenant, journal, since.snapshot)
    copied = _changed(connection, moment.health.units, summary.noted)
    count = _Counted(write)
    if summary.entries:
        connection.execute(_SORT_MEMORY)
        _pass_on(connection, _entries(journal, since.snapshot, times=summary.times), count)
    for unit in copied:
        _pass_on(connection, _whole(snapshot, unit), count)
    return SegmentInfo(
        since=since.snapshot,
        anchor=moment.anchor,
        entries=count.lines,
        bytes=count.bytes,
        transactions=summary.transactions,
        commit_times=summary.times,
        tables=tuple(
            FollowedTable(
                name=unit.name,
                way=unit.way,
                columns=unit.columns,
                key=unit.key.columns if unit.key else (),
                parts=unit.leaves,
            )
            for unit in moment.health.units
        ),
        changed=tuple(sorted(summary.tables)),
        copied=tuple(unit.name for unit in copied),
        sequences=snapshot.sequences(),
        open=open_transactions(connection, moment.health.units, moment.anchor.snapshot),
    )


def foresee_segment(snapshot: Snapshot, tenant: Tenant, since: Anchor) -> tuple[int, int]:
    """Entries a segment would hold, and their bytes; tables that are copied whole are not counted.

    Raises:
        ChainBroken: as `write_segment`.
    """
    connection = snapshot.connection
    check_chain(connection, tenant, since, read_moment(snapshot, tenant))
    journal = sql.Identifier(tenant.stage_schema, JOURNAL)
    summary = summary_of(connection, tenant, journal, since.snapshot)
    row = connection.execute(
        sql.SQL("SELECT coalesce(sum(octet_length(body) + 50), 0)::bigint FROM {} WHERE {}").format(
            journal, unseen(since.snapshot)
        )
    ).fetchone()
    assert row is not None
    return summary.entries, row[0]


def keep(fleet: Fleet, tenant: Tenant, anchor: Anchor) -> None:
    """Note that a backup has this anchor: segments may start from it once it is stored.

    Noted before it is: a backup that is published and was not noted could be the parent of none, while a note
    without a backup does no harm. A server that was put back to an earlier state has forgotten the note, and
    so refuses to go on from a moment it no longer knows.
    """
    with owner_session(fleet, tenant) as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (snapshot, taken_at) VALUES (%s, %s::timestamptz) ON CONFLICT DO NOTHING"
            ).format(sql.Identifier(tenant.stage_schema, KEPT)),
            (anchor.snapshot, anchor.taken_at),
        )


def prune(fleet: Fleet, tenant: Tenant, oldest: Anchor) -> int:
    """Forget what no segment will need that starts from `oldest` or later; the number of entries removed.

    Only transactions that had ended before `oldest` was taken go: one that was open then is in the next
    segment, however low its id.

    Raises:
        OperationFailed: `oldest` was never kept.
    """
    with owner_session(fleet, tenant) as connection:
        kept = sql.Identifier(tenant.stage_schema, KEPT)
        known = connection.execute(
            sql.SQL("SELECT taken_at FROM {} WHERE snapshot = %s").format(kept),
            (oldest.snapshot,),
        ).fetchone()
        if known is None:
            raise OperationFailed(
                "the journal does not know the backup it should be pruned to.", where=f"tenant {tenant.slug}"
            )
        connection.execute(sql.SQL("DELETE FROM {} WHERE taken_at < %s").format(kept), known)
        return connection.execute(
            sql.SQL("DELETE FROM {} WHERE xid < pg_snapshot_xmin(%s)").format(
                sql.Identifier(tenant.stage_schema, JOURNAL)
            ),
            (oldest.snapshot,),
        ).rowcount


@dataclass(frozen=True)
class Summary:
    """What a look at the entries between two snapshots tells before they are written."""

    entries: int
    transactions: int
    times: bool
    tables: frozenset[str]
    noted: frozenset[str]


class _Counted:
    """Passes pieces on and counts them."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.lines = 0
        self.bytes = 0

    def __call__(self, batch: list[bytes]) -> None:
        piece = b"".join(batch)
        self.lines += len(batch)
        self.bytes += len(piece)
        self._write(piece, len(batch))


def _pass_on(connection: psycopg.Connection, query: sql.Composed, count: _Counted) -> None:
    with closing(read_rows(connection, query)) as batches:
        for batch in batches:
            count(batch)


def unseen(since: str) -> sql.Composed:
    """The condition on entries of transactions that a snapshot does not see; the first half is cheap."""
    return sql.SQL("xid >= pg_snapshot_xmin({since}) AND NOT pg_visible_in_snapshot(xid, {since})").format(
        since=sql.Literal(since)
    )


def summary_of(
    connection: psycopg.Connection, tenant: Tenant, journal: sql.Identifier, since: str
) -> Summary:
    """What the entries that a snapshot does not see amount to.

    Raises:
        ChainBroken: the journal says that it missed some.
    """
    kinds = connection.execute(
        sql.SQL("SELECT DISTINCT op::text, tbl FROM {} WHERE {}").format(journal, unseen(since))
    ).fetchall()
    for op, table in kinds:
        if op in _REFUSED:
            raise ChainBroken(_REFUSED[op], tenant.slug, f"table {table}.")
    row = connection.execute(
        sql.SQL(
            """
            SELECT coalesce(sum(entries), 0)::bigint, count(*),
                   coalesce(bool_and({time} IS NOT NULL), false)
            FROM (SELECT xid, count(*) AS entries FROM {journal} WHERE {unseen} GROUP BY xid) AS x
            """
        ).format(time=_commit_time(known=tells_times(connection)), journal=journal, unseen=unseen(since))
    ).fetchone()
    assert row is not None
    entries, transactions, times = row
    tables = frozenset(table for _, table in kinds)
    return Summary(entries, transactions, times, tables, frozenset(name for op, name in kinds if op == "c"))


def _commit_time(*, known: bool) -> sql.SQL:
    if known:
        return sql.SQL("pg_xact_commit_timestamp(xid::xid)")
    return sql.SQL("NULL::timestamptz")  # the function fails where the server does not keep them


def _entries(journal: sql.Identifier, since: str, *, times: bool) -> sql.Composed:
    return sql.SQL(
        "COPY (SELECT seq, xid, {}, tbl, op, body FROM {} WHERE {} ORDER BY seq) TO STDOUT"
    ).format(_commit_time(known=times), journal, unseen(since))


def _whole(snapshot: Snapshot, unit: Unit) -> sql.Composed:
    """One line that says the table comes whole, then its rows."""
    columns = sql.SQL(", ").join(sql.Identifier("t", column) for column in unit.columns)
    return sql.SQL(
        "COPY (SELECT NULL, NULL, NULL, {name}, 'w', NULL "
        "UNION ALL SELECT NULL, NULL, NULL, {name}, 'r', ROW({columns})::text FROM ONLY {table} t) TO STDOUT"
    ).format(name=sql.Literal(unit.name), columns=columns, table=snapshot.table(unit.name))


def _changed(connection: psycopg.Connection, units: tuple[Unit, ...], noted: frozenset[str]) -> list[Unit]:
    """The units to copy: those that change unnoticed, and those a statement may have reached."""
    reached = {unit.oid for unit in units if unit.name in noted}
    if reached:
        rows = connection.execute(
            """
            WITH RECURSIVE reached AS (
                SELECT unnest(%s::oid[]) AS oid
                UNION SELECT i.inhrelid FROM pg_inherits i, reached r WHERE i.inhparent = r.oid
            )
            SELECT oid FROM reached
            """,
            (list(reached),),
        )
        reached = {row[0] for row in rows}
    return [unit for unit in units if unit.way == "always" or (unit.way == "copy" and unit.oid in reached)]
