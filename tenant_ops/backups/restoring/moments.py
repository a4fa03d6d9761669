"""Which backups lead to a moment, and how near to it they come.

Here: choosing the chain and its last backup. Not here: how far a given chain leads (`journal/until.py`),
reading it (`chains.py`).

A chain is as good as how near it comes to the moment from before; among equals the one with the least to put
back is taken, which is the one from the newest full backup.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import reach_of
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.journal import (
    AsSeenBy,
    AtTime,
    BeforeTransaction,
    LastTick,
    Reach,
    Until,
    WithoutTransaction,
)
from tenant_ops.backups.journal.until import sees
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, State, Tenant

_CHAINS_TRIED = 3


@dataclass(frozen=True)
class Moment:
    """The backup to restore, and up to where.

    Attributes:
        backup: The newest of its chain that is needed.
        until: The moment, as the journal takes it.
        fresh: No backup reaches the moment yet: an incremental after `backup` has to be taken first.
    """

    backup: BackupRecord
    until: Until
    fresh: bool = False


def parse_time(text: str, where: str = "--to") -> datetime:
    """A moment from ISO 8601 with a time zone.

    Raises:
        InputError: it is no such time, or says no time zone: 14:03 in which country is nobody's to guess.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{text!r} is no time.", where=where, fix="Write it as 2026-11-20T14:03:00Z."
        ) from None
    if at.tzinfo is None:
        raise InputError(
            f"{text!r} has no time zone.",
            where=where,
            fix=f"Add Z for UTC, as in {at.isoformat()}Z, or an offset, as in {at.isoformat()}+01:00.",
        )
    return at.astimezone(UTC)


def find_time(fleet: Fleet, source: Tenant, at: datetime) -> Moment:
    """The backups that come nearest to a time from before.

    Raises:
        InputError: the time lies before the first backup, or in the future, or there is no backup.
    """
    if at > fleet.clock():
        raise InputError(f"{at.isoformat()} lies in the future.", where=f"tenant {source.slug}")
    usable = _usable(fleet, source)
    before = [record for record in usable if _time(record) <= at]
    if not before:
        raise InputError(
            f"{at.isoformat()} lies before its first backup: the first moment that can be restored is "
            f"{usable[-1].taken_at}.",
            where=f"tenant {source.slug}",
            fix="Ask for that moment or a later one.",
        )
    newest = before[0]
    after_all = newest is usable[0] and at > _time(newest)
    # Without times of commits an incremental would tell of nothing but its own moment, which is later.
    if after_all and _can_go_on(source, newest) and _keeps_times(fleet, source):
        return Moment(newest, AtTime(at), fresh=True)
    return _nearest(fleet, list(_candidates(usable, at)), AtTime(at), newest)


def find_transaction(fleet: Fleet, source: Tenant, xid: int) -> Moment:
    """The backups that hold the moment before a transaction was committed.

    Raises:
        InputError: no chain holds it.
    """
    usable = _usable(fleet, source)
    bases = {record.id: record for record in usable if record.type == "full" and record.anchor}
    for record in reversed(usable):  # the earliest that sees it, from the newest full backup that does not
        base = bases.get(record.base_id or "")
        if (
            base is not None
            and record.anchor
            and not sees(base.anchor["snapshot"], xid)  # type: ignore[index]
            and sees(record.anchor["snapshot"], xid)
        ):
            return Moment(record, BeforeTransaction(xid))
    newest = usable[0]
    if newest.anchor and not sees(newest.anchor["snapshot"], xid) and _can_go_on(source, newest):
        return Moment(newest, BeforeTransaction(xid), fresh=True)
    raise InputError(
        f"no chain of backups holds the moment transaction {xid} was committed.",
        where=f"tenant {source.slug}",
        fix="Look at `tenant-ops backup list --tree`, and restore to a time instead: --to.",
    )


def granularity(until: Until, reach: Reach) -> str:
    """How near a restore comes to what was asked, in words."""
    if isinstance(until, LastTick):
        return f"exactly the backup of {reach.reached}"
    if reach.exact:
        return f"exactly {_asked(until)}"
    if isinstance(until, AtTime):
        short = (until.at - datetime.fromisoformat(reach.reached)).total_seconds()
        return f"as of the tick at {reach.reached}, {short:.1f} s before"
    return f"as of the tick at {reach.reached}, before {_asked(until)}"


def used_links(archive: Archive, segments: int) -> tuple[Archive, ...]:
    """The backups of a chain that are read, the full one first, when so many segments are put back."""
    return archive.chain()[: segments + 1]


def read_size(archive: Archive, segments: int) -> int:
    """Bytes a restore reads, before compression: the rows and files, and the journal that is put back."""
    links = used_links(archive, segments)
    content = sum(member.raw_bytes for member in archive.manifest.members if member.kind == "data")
    rest = sum(
        member.raw_bytes for member in links[-1].manifest.members if member.kind not in ("data", "journal")
    )
    own = (
        m.raw_bytes
        for link in links
        for m in link.manifest.members
        if m.kind == "journal" and m.origin is None
    )
    return content + rest + sum(own)


def _usable(fleet: Fleet, source: Tenant) -> list[BackupRecord]:
    """Its backups that are there and sound, newest moment first."""
    found = [r for r in catalog.list_backups(fleet, source) if r.present and r.damaged_at is None]
    if not found:
        raise InputError(
            "it has no backup.", where=f"tenant {source.slug}", fix="Name one with --backup-path."
        )
    return sorted(found, key=_time, reverse=True)


def _candidates(usable: Sequence[BackupRecord], at: datetime) -> Iterator[BackupRecord]:
    """Backups whose chains may come nearest: of each chain the last before the time and the first after."""
    chains: dict[str, list[BackupRecord]] = {}
    for record in usable:
        chains.setdefault(record.base_id or record.id, []).append(record)
    reaching = [chain for chain in chains.values() if any(_time(record) <= at for record in chain)]
    for chain in reaching[:_CHAINS_TRIED]:
        after = [record for record in chain if _time(record) > at and record.depth]
        # A differential has no ticks between its full backup and itself, so it may be the wrong one.
        yield from after[-1:]
        yield from [record for record in after if record.type == "incremental"][-1:]
        yield next(record for record in chain if _time(record) <= at)


def _nearest(fleet: Fleet, candidates: list[BackupRecord], until: AtTime, fallback: BackupRecord) -> Moment:
    best: tuple[datetime, int, Moment] | None = None
    problem: Exception | None = None
    for record in {record.id: record for record in candidates}.values():
        try:
            reach = reach_of(catalog.open_backup(fleet, record), until)
        except (InputError, DamagedBackup) as error:
            problem = error  # its base lies after the moment, or it cannot be read: another may do
            continue
        rank = (datetime.fromisoformat(reach.reached), -reach.segments)
        if best is None or rank > best[:2]:
            best = (*rank, Moment(record, until))
        if reach.exact:
            break
    if best is None:
        raise problem or InputError("no backup can be read.", where=f"tenant {fallback.tenant}")
    return best[2]


def _can_go_on(source: Tenant, newest: BackupRecord) -> bool:
    """Whether an incremental after a backup could be taken now."""
    return newest.anchor is not None and source.state in (State.ACTIVE, State.SUSPENDED)


def _keeps_times(fleet: Fleet, source: Tenant) -> bool:
    with fleet.database(source).transaction() as connection:
        row = connection.execute("SHOW track_commit_timestamp").fetchone()
    return row == ("on",)


def _time(record: BackupRecord) -> datetime:
    return datetime.fromisoformat(record.taken_at)


def _asked(until: Until) -> str:
    match until:
        case AtTime(at):
            return at.astimezone(UTC).isoformat()
        case BeforeTransaction(xid):
            return f"transaction {xid}"
        case WithoutTransaction(xid):
            return f"the newest backup without transaction {xid}"
        case AsSeenBy(snapshot):
            return f"what the snapshot {snapshot} sees"
        case _:
            return "the newest backup"
