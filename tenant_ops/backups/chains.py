"""A chain of backups as one: what each says of the journal, and reading it back into rows.

Here: the `journal` part of a manifest, how near a chain comes to a moment, putting base and segments into a
schema. Not here: the journal itself (`journal/`), choosing what a new backup builds on (`parents.py`),
writing it (`taking.py`), everything else a restore does (`restoring.py`).
"""

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.backups import records
from tenant_ops.backups.codec import Source
from tenant_ops.backups.content import copy_in
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.journal import (
    LAST_TICK,
    Anchor,
    Reach,
    ReplayReport,
    Segment,
    SegmentInfo,
    Until,
    WithoutTransaction,
    reach,
    replay,
)
from tenant_ops.backups.layout import MANIFEST, Manifest, SequenceValue, TableContent
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.progress import SILENT, Progress


@dataclass(frozen=True)
class JournalNote:
    """What a manifest says of the journal, in its field `journal`.

    Attributes:
        anchor: What the next backup can go on from; None where no journal was kept.
        segment: What the journal members of a backup that builds on another hold.
    """

    anchor: Anchor | None = None
    segment: SegmentInfo | None = None

    def encoded(self) -> dict[str, Any]:
        """As it stands in a manifest; empty when there is nothing to say."""
        return json.loads(records.encode(self)) if self.anchor else {}


@dataclass(frozen=True)
class ChainRead:
    """What reading a chain came to.

    Attributes:
        report: How far the journal was put back; without one, nothing of it.
        link: The backup at or after the moment that was reached, the last one rows were taken from.
        known: Tables whose rows are known at that moment: what was read must be exactly that.
        sequences: Where sequences stood at or after it; set them at the end, or past what the rows use.
    """

    report: ReplayReport
    link: Archive
    known: tuple[TableContent, ...]
    sequences: tuple[SequenceValue, ...]


def note_of(manifest: Manifest) -> JournalNote:
    """What a manifest says of the journal.

    Raises:
        DamagedBackup: it is no such thing.
    """
    where = f"{manifest.backup_id}, {MANIFEST}"
    return records.checked(JournalNote, manifest.journal, f"{where}: journal")


def reach_of(archive: Archive, until: Until = LAST_TICK) -> Reach:
    """How near a chain, up to this backup, comes to a moment; nothing but manifests is read.

    Raises:
        InputError: the moment lies before the full backup, or the chain does not hold it.
        DamagedBackup: the chain is not one.
    """
    base, segments = _links(archive)
    return reach(base, [segment.info for segment in segments], until)


def read_chain(
    connection: psycopg.Connection,
    archive: Archive,
    schema: str,
    until: Until = LAST_TICK,
    progress: Progress = SILENT,
) -> ChainRead:
    """Fill the empty tables of a schema with the rows a chain holds at a moment, by one connection.

    Args:
        connection: In a transaction that made the tables, as their owner, with `SESSION_FORMAT`.
        archive: The newest backup of the chain that is needed; its members have been checked.
        schema: Holds tables of the definition's `pre` section: neither foreign keys nor triggers.
        until: Which moment; the backup's own when left out.
        progress: Told of each table.

    Raises:
        InputError: the chain does not hold the moment.
        DamagedBackup: a member is not what was written.
        OperationFailed: the journal does not fit the rows.
        psycopg.Error: the server refused rows.
    """
    for table in archive.manifest.tables:
        task = f"restore {table.name}"
        progress.start(task, table.rows)
        try:
            for part in table.parts:
                with archive.content(archive.manifest.member(part)) as content:
                    copy_in(connection, sql.Identifier(schema, table.name), table.columns, content)
            progress.advance(task, table.rows or 0)
        finally:
            progress.finish(task)
    return replay_chain(connection, archive, schema, until)


def replay_chain(
    connection: psycopg.Connection, archive: Archive, schema: str, until: Until = LAST_TICK
) -> ChainRead:
    """The second half of `read_chain`: the schema holds the rows of the chain's full backup already."""
    links = archive.chain()
    base, segments = _links(archive)
    report = replay(connection, schema, base, segments, until)
    used = [segment.info for segment in segments[: report.reach.segments]]
    link = links[len(used)]
    return ChainRead(
        report=report,
        link=link,
        known=tuple(_known(link, used, report)),
        sequences=report.sequences if used else link.manifest.sequences,
    )


def changed_tables(segment: SegmentInfo) -> frozenset[str]:
    """The tables with rows of their own that a segment tells of."""
    told = {*segment.changed, *segment.copied}
    parts = {table.name: {table.name, *table.parts} for table in segment.tables}
    everything = frozenset(part for table in segment.tables for part in table.parts)
    if told - set().union(*parts.values()):
        return everything  # a partition that is partitioned itself: whose rows it had is not told
    found = {part for name, names in parts.items() if name in told for part in names}
    return everything & (found | told)


def rows_in_parts(archive: Archive, table: TableContent) -> bool:
    """Whether the parts of a table hold the rows its manifest tells of.

    Those of a table that changed since the full backup hold what it was then, whether its rows were measured
    since or not.
    """
    base = next((each for each in archive.chain()[0].manifest.tables if each.name == table.name), None)
    return base is not None and (base.rows, base.content_hash) == (table.rows, table.content_hash)


def _known(link: Archive, used: list[SegmentInfo], report: ReplayReport) -> Iterable[TableContent]:
    """Tables that are, at the moment reached, as a manifest says.

    Where transactions were left out of the last segment only what that segment does not tell of is; where
    one was left out of the middle, only what no segment tells of.
    """
    unsure: set[str] = set(report.behind)
    if report.left_out:
        from_the_middle = isinstance(report.reach.until, WithoutTransaction)
        for segment in used if from_the_middle else used[-1:]:
            unsure |= changed_tables(segment)
    for table in link.manifest.tables:
        if table.rows is not None and table.content_hash is not None and table.name not in unsure:
            yield table


def _links(archive: Archive) -> tuple[Anchor, list[Segment]]:
    """The moment a chain begins at, and its segments in order."""
    base, *later = archive.chain()
    anchor = note_of(base.manifest).anchor
    segments = []
    for link in later:
        info = note_of(link.manifest).segment
        if info is None or anchor is None:
            raise DamagedBackup("its chain holds no journal.", where=f"backup {link.id}")
        segments.append(Segment(info, partial(_segment_of, link)))
    return anchor or _own_moment(base.manifest), segments


def _own_moment(manifest: Manifest) -> Anchor:
    """The only moment of a backup that was taken without a journal; nothing goes on from it."""
    server = manifest.server
    return Anchor(
        snapshot=manifest.snapshot,
        taken_at=manifest.taken_at,
        system_identifier=server.get("system_identifier", ""),
        timeline=server.get("timeline", ""),
        fingerprint=manifest.schema_sha256,
        identity="",
    )


@contextmanager
def _segment_of(link: Archive) -> Generator[Source]:
    """The entries of a backup's own segment, whatever number of members they are split over."""
    own = (member for member in link.manifest.members if member.kind == "journal" and member.origin is None)
    with ExitStack() as opened:
        yield _Joined(opened.enter_context(link.content(member)) for member in own)


class _Joined:
    """Several contents, one after the other."""

    def __init__(self, sources: Iterator[Source]) -> None:
        self._sources = sources
        self._source = next(sources, None)

    def read(self, size: int = -1, /) -> bytes:
        while self._source is not None:
            if piece := self._source.read(size):
                return piece
            self._source = next(self._sources, None)
        return b""
