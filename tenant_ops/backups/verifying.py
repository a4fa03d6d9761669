"""Reading backups back: each against its manifest, with all it builds on.

Here: verification. Not here: reading archives (`reading.py`), row hashes (`content.py`), comparing backups
with each other or with a tenant (`comparing/`).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import perf_counter

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import note_of, rows_in_parts
from tenant_ops.backups.content import Content, content_of
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import Member, TableContent
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord, VerifyReport
from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet

LEVELS = ("own", "quick", "full")
_PIECE_BYTES = 1 << 20


@dataclass
class Memo:
    """What was read back already in one go: of a chain every file is read once, however many build on it.

    Attributes:
        members: Files that were read, each with the backup that holds it, and whether it was decoded.
        contents: Rows of tables, by the files they were read from.
        links: What is wrong with each backup, by its id, its manifest and the level.
    """

    members: set[tuple[str, Member, bool]] = field(default_factory=set)
    contents: dict[tuple[tuple[str, str], ...], Content] = field(default_factory=dict)
    links: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)


def verify_backups(
    fleet: Fleet, backups: Sequence[BackupRecord], *, level: str = "full", progress: Progress = SILENT
) -> tuple[VerifyReport, ...]:
    """Verify several backups; what they share is read once. See `verify_backup`."""
    memo = Memo()
    return tuple(
        verify_backup(fleet, backup, level=level, memo=memo, progress=progress) for backup in backups
    )


def verify_backup(
    fleet: Fleet,
    backup: BackupRecord,
    *,
    level: str = "full",
    memo: Memo | None = None,
    progress: Progress = SILENT,
) -> VerifyReport:
    """Read a backup back with all it builds on, and say what is wrong, if anything; never raises for damage.

    The catalog notes what came out, for every backup of the chain that was read.

    Args:
        fleet: The fleet.
        backup: Which.
        level: `quick` compares the hashes of the stored files; `full` also decrypts and decompresses them
            and counts and hashes every row. `own` is `full` for the files of this backup alone, which is
            what a backup that was just taken needs when those it builds on were read back before.
        memo: Of verifications just before, whose reading needs no repetition.
        progress: Told of each file.

    Raises:
        InputError: no such level.
    """
    if level not in LEVELS:
        raise InputError(f"{level!r} is no level.", where="verify", fix=f"Use one of: {', '.join(LEVELS)}.")
    started = perf_counter()
    memo = memo or Memo()
    problems: list[str] = []
    chain: tuple[Archive, ...] = ()
    try:
        archive = catalog.open_backup(fleet, backup)
    except DamagedBackup as error:
        problems.append(str(error))
        catalog.mark_damaged(fleet, backup.id, str(error))
    except TenantOpsError as error:
        problems.append(str(error))  # not there or not to be opened here is no damage
    else:
        chain = (archive,) if level == "own" else archive.chain()
        for link in chain:
            found = _link_problems(link, level, memo, progress, alone=bool(problems))
            problems += [problem for problem in found if problem not in problems]
            _note(fleet, link, level, found, sound=not problems)
    members = [member for link in chain for member in _own_members(link)]
    return VerifyReport(
        backup_id=backup.id,
        tenant=backup.tenant,
        path=backup.path,
        level=level,
        sound=not problems,
        chain=tuple(link.id for link in chain),
        members=len(members),
        rows=chain[-1].manifest.rows if chain else 0,
        stored_bytes=sum(member.stored_bytes for member in members),
        seconds=round(perf_counter() - started, 4),
        problems=tuple(problems),
    )


def _note(fleet: Fleet, link: Archive, level: str, found: list[str], *, sound: bool) -> None:
    """Tell the catalog; a backup is verified only with all it builds on, damaged only by itself."""
    if found:
        catalog.mark_damaged(fleet, link.id, found[0])
    elif sound and (level != "own" or link.header.parent is None):
        catalog.mark_verified(fleet, link.id, "quick" if level == "quick" else "full")


def _link_problems(link: Archive, level: str, memo: Memo, progress: Progress, *, alone: bool) -> list[str]:
    """What is wrong with one backup of a chain, apart from those it builds on.

    `alone` when one of those is damaged: then rows, which lie in several of them, tell nothing new.
    """
    key = (link.id, link.manifest_sha256, level)
    if key not in memo.links:
        problems = [f"backup {link.id}, {path}: it is in no manifest." for path in link.unexpected()]
        problems += _check_members(link, level, memo, progress)
        if level != "quick" and not problems:
            problems += _check_segment(link)
            problems += [] if alone else _check_rows(link, level, memo, progress)
        memo.links[key] = problems
    return memo.links[key]


def _own_members(link: Archive) -> Iterator[Member]:
    """The files of a backup itself; those it refers to are counted where they lie."""
    return (member for member in link.manifest.members if member.origin is None)


def _check_members(link: Archive, level: str, memo: Memo, progress: Progress) -> list[str]:
    problems = []
    task = f"verify {link.id}"
    progress.start(task)
    for member in link.manifest.members:
        if level == "own" and member.origin is not None:
            continue
        # Rows and journals are decoded once, while they are counted.
        deep = level != "quick" and member.kind not in ("data", "journal")
        key = (member.origin or link.id, replace(member, origin=None), deep)
        if key in memo.members:
            continue  # the backup that holds it was told what is wrong with it
        memo.members.add(key)
        try:
            link.check(member, deep=deep)
        except DamagedBackup as error:
            problems.append(str(error))
        progress.advance(task, bytes=member.stored_bytes)
    progress.finish(task)
    return problems


def _check_rows(link: Archive, level: str, memo: Memo, progress: Progress) -> list[str]:
    problems = []
    for table in link.manifest.tables:
        if table.rows is None or table.content_hash is None or not rows_in_parts(link, table):
            continue  # what journal segments make of it is known only when they are replayed
        if level == "own" and any(link.manifest.member(part).origin for part in table.parts):
            continue
        task = f"verify {table.name}"
        progress.start(task, table.rows)
        try:
            found = _content(link, table, memo)
        except DamagedBackup as error:
            problems.append(str(error))
        else:
            if found != Content(table.rows, table.content_hash):
                problems.append(
                    f"backup {link.id}, table {table.name}: {found.rows} rows are not the {table.rows} "
                    "in the manifest."
                )
        progress.advance(task, table.rows)
        progress.finish(task)
    return problems


def _content(link: Archive, table: TableContent, memo: Memo) -> Content:
    parts = [link.manifest.member(part) for part in table.parts]
    key = tuple((part.origin or link.id, part.path) for part in parts)
    if key not in memo.contents:
        with ExitStack() as opened:
            memo.contents[key] = content_of(*(opened.enter_context(link.content(part)) for part in parts))
    return memo.contents[key]


def _check_segment(link: Archive) -> list[str]:
    """Read the journal of a backup that builds on another, and count its entries."""
    try:
        segment = note_of(link.manifest).segment
        entries = 0
        for member in link.manifest.members:
            if member.kind == "journal" and member.origin is None:
                with link.content(member) as content:
                    while piece := content.read(_PIECE_BYTES):
                        entries += piece.count(b"\n")
    except DamagedBackup as error:
        return [str(error)]
    told = segment.entries if segment else 0
    return (
        []
        if entries == told
        else [f"backup {link.id}: its journal has {entries} entries, {told} were written."]
    )
