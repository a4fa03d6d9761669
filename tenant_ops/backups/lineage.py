"""What builds on what, as the catalog knows it, and which moments a chain covers.

Here: questions about records. Not here: opening chains (`reading.py`), putting them back (`chains.py`), what
follows for retention (`retention/deciding.py`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tenant_ops.backups.reports import BackupRecord


@dataclass(frozen=True)
class ChainLink:
    """A backup in its chain.

    Attributes:
        backup: Which.
        level: How many it builds on; 0 for the first.
        problem: Why it cannot be read as far as the catalog knows; None when nothing speaks against it.
    """

    backup: BackupRecord
    level: int
    problem: str | None


@dataclass(frozen=True)
class ChainView:
    """A full backup and everything that builds on it.

    Attributes:
        base_id: The backup it begins with, which may be missing.
        links: Each after what it builds on; of those that build on the same the older first.
        covers_from: The first moment that can be restored; None when none can.
        covers_to: The last. Between the two every moment can be where the chain has a journal.
        continuous: Whether it has.
        stored_bytes: Size of all of it.
    """

    base_id: str
    tenant: str
    tenant_id: str
    links: tuple[ChainLink, ...]
    covers_from: str | None
    covers_to: str | None
    continuous: bool
    stored_bytes: int


def moment(backup: BackupRecord) -> datetime:
    """The moment a backup holds, in UTC."""
    at = datetime.fromisoformat(backup.taken_at)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def ancestors(backup: BackupRecord, known: Mapping[str, BackupRecord]) -> Iterator[BackupRecord | str]:
    """What a backup builds on, nearest first; the id of a link nobody knows ends it."""
    seen = {backup.id}
    while backup.parent is not None and backup.parent not in seen:
        seen.add(backup.parent)
        if backup.parent not in known:
            yield backup.parent
            return
        backup = known[backup.parent]
        yield backup


def why_unreadable(backup: BackupRecord, known: Mapping[str, BackupRecord]) -> str | None:
    """Why a backup cannot be read as far as the catalog knows; None when nothing speaks against it."""
    last: BackupRecord | str = backup
    for last in (backup, *ancestors(backup, known)):
        name = last if isinstance(last, str) else last.id
        said = "it" if last is backup else f"{name}, which it builds on,"
        if isinstance(last, str) or not last.present:
            return f"{said} is missing"
        if last.damage is not None:
            return f"{said} is damaged"
    if isinstance(last, BackupRecord) and last.parent is not None:
        return "its chain runs in a circle"
    return None


def tips_first(backups: Sequence[BackupRecord]) -> tuple[BackupRecord, ...]:
    """In the order they may be removed: none before what builds on it, older chains before newer ones."""
    known = {backup.id: backup for backup in backups}
    depth: dict[str, int] = {}
    newest_of: dict[str, datetime] = {}
    for backup in backups:
        below = [link for link in ancestors(backup, known) if isinstance(link, BackupRecord)]
        depth[backup.id] = len(below)
        for link in (backup, *below):
            newest_of[link.id] = max(moment(backup), newest_of.get(link.id, moment(backup)))
    return tuple(sorted(backups, key=lambda backup: (newest_of[backup.id], -depth[backup.id], backup.id)))


def chains(backups: Sequence[BackupRecord]) -> tuple[ChainView, ...]:
    """The chains of some tenants, newest first; one whose beginning is missing is named after what is."""
    known = {backup.id: backup for backup in backups}
    members: dict[str, list[BackupRecord]] = defaultdict(list)
    for backup in backups:
        links = [link if isinstance(link, str) else link.id for link in (backup, *ancestors(backup, known))]
        in_circle = links[-1] in known and known[links[-1]].parent is not None
        members[min(links) if in_circle else links[-1]].append(backup)
    views = [_view(base_id, links, known) for base_id, links in members.items()]
    return tuple(
        sorted(views, key=lambda view: max(moment(link.backup) for link in view.links), reverse=True)
    )


def _view(base_id: str, backups: Sequence[BackupRecord], known: Mapping[str, BackupRecord]) -> ChainView:
    children: dict[str, list[BackupRecord]] = defaultdict(list)
    for backup in sorted(backups, key=lambda backup: (moment(backup), backup.id)):
        children[backup.parent or ""].append(backup)
    first = known.get(base_id)
    links = tuple(_descend([first] if first else children[base_id], children, known))
    readable = [link.backup for link in links if link.problem is None]
    ends = [backup.journal_to or backup.taken_at for backup in readable]
    return ChainView(
        base_id=base_id,
        tenant=backups[0].tenant,
        tenant_id=backups[0].tenant_id,
        links=links,
        covers_from=readable[0].taken_at if readable else None,
        covers_to=max(ends, key=datetime.fromisoformat) if ends else None,
        continuous=len(readable) > 1 and all(backup.journal_from for backup in readable[1:]),
        stored_bytes=sum(backup.stored_bytes for backup in backups),
    )


def _descend(
    roots: Sequence[BackupRecord],
    children: Mapping[str, Sequence[BackupRecord]],
    known: Mapping[str, BackupRecord],
) -> Iterator[ChainLink]:
    seen: set[str] = set()
    waiting = [(backup, 0) for backup in reversed(roots)]
    while waiting:
        backup, level = waiting.pop()
        if backup.id in seen:
            continue
        seen.add(backup.id)
        yield ChainLink(backup, level, why_unreadable(backup, known))
        waiting += [(child, level + 1) for child in reversed(children.get(backup.id, ()))]
