"""The inbox: files put into `<inbox>/<tenant>/` are picked up once they stand still, each exactly once.

Here: looking, and moving files between folders. Not here: when to look and the runs that load what was
claimed (`orchestration/sensors.py`).

    <inbox>/acme/users.csv                          put here by whoever has the data
    <inbox>/acme/.claimed/<batch>/users.csv         what settled at one look, being loaded
    <inbox>/acme/done/2026-07-01/<batch>/           loaded
    <inbox>/acme/failed/2026-07-01/<batch>/         not loaded; why.txt says why

The folders are all the state there is: every move is one rename, so a file is in exactly one place whenever
the process dies. Folders are opened without following links, each from the one above: whoever may write to
one tenant's folder cannot make this move files of another's.
"""

import fcntl
import os
import re
import stat
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal
from uuid import uuid4

from tenant_ops.datasets import Catalog
from tenant_ops.loading.discovery import find_files
from tenant_ops.loading.reports import Reading

# A writer that pauses longer is taken for finished.
QUIET_S = 10.0
UNFINISHED = (".part", ".tmp", "~")
CLAIMED, DONE, FAILED = ".claimed", "done", "failed"
OPEN = ".open"
Outcome = Literal["done", "failed"]
BATCH = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True)
class Sight:
    """How a file looked, and since when (seconds since 1970) it has looked like that."""

    bytes: int
    modified_ns: int
    inode: int
    since: float


@dataclass(frozen=True)
class Look:
    """What one look at a tenant's folder found; names are paths inside it.

    Attributes:
        settled: Files that have not changed for long enough.
        refused: Links and other things that are no files, settled likewise.
        waiting: Files that may still be written.
        seen: How everything looked, for the next look to compare with.
    """

    tenant: str
    settled: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    seen: Mapping[str, Sight] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Files of one tenant that were claimed together."""

    id: str
    tenant: str
    inbox: Path

    @property
    def folder(self) -> Path:
        """Where they are until they are finished."""
        return self.inbox / self.tenant / CLAIMED / self.id


@contextmanager
def held(inbox: Path) -> Generator[bool]:
    """Whether nobody else is at work on this inbox, who then finds it held until the block ends.

    The lock dies with its process.
    """
    lock = os.open(inbox / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def folders(inbox: Path, tenants: Collection[str]) -> tuple[list[str], list[str]]:
    """The folders of these tenants, and the names of others, which are left alone."""
    with os.scandir(inbox) as entries:
        shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        known = [e.name for e in shown if e.name in tenants and e.is_dir(follow_symlinks=False)]
        return known, [e.name for e in shown if e.name not in known and (e.is_dir() or e.is_symlink())]


def settled(
    inbox: Path, tenant: str, seen: Mapping[str, Sight], *, now: datetime, quiet_s: float = QUIET_S
) -> Look:
    """Look at a tenant's folder, changing nothing.

    A file is settled when its size, its time and itself are those of a look at least `quiet_s` seconds ago.
    Hidden files and folders are passed over, and those whose name says they are unfinished.

    Args:
        inbox: The folder with a folder for each tenant.
        tenant: Whose.
        seen: What the look before this one saw.
        now: The moment of this look.
        quiet_s: How long a file must not have changed, in seconds.
    """
    moment = now.timestamp()
    sights: dict[str, Sight] = {}
    kinds: dict[str, list[str]] = {"settled": [], "refused": [], "waiting": []}
    with _opened(inbox / tenant) as top:
        for path, subfolders, files, folder in os.fwalk(
            ".", dir_fd=top, follow_symlinks=False, onerror=_unless_gone
        ):
            inside = PurePosixPath(path)
            subfolders[:] = [name for name in subfolders if _may_be_taken(inside / name)]
            links = [name for name in subfolders if _is_link(name, folder)]
            for name in filter(lambda name: _may_be_taken(inside / name), sorted([*files, *links])):
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    shown = str(inside / name)
                    sights[shown] = sight = _sight(found, seen.get(shown), moment)
                    kind = "settled" if stat.S_ISREG(found.st_mode) else "refused"
                    kinds[kind if moment - sight.since >= quiet_s else "waiting"].append(shown)
    return Look(tenant, **{kind: tuple(names) for kind, names in kinds.items()}, seen=sights)


def claim(inbox: Path, look: Look, names: Collection[str], *, now: datetime) -> Batch | None:
    """Move what a look found into a batch of its own; None when nothing of it was left to move.

    What was changed or taken since the look stays where it is. A claim that was interrupted is gone on with:
    files that settled together are loaded together. The caller holds the inbox.

    Args:
        inbox: The folder with a folder for each tenant.
        look: What was found.
        names: Which of it.
        now: The moment; the batch is named after it.
    """
    with _opened(inbox / look.tenant) as top:
        if not names and CLAIMED not in _names(top):
            return None
        with _below(top, (CLAIMED,), make=True) as claims:
            begun = min((name for name in _names(claims) if name.endswith(OPEN)), default="")
            if not begun and not names:
                return None
            name = begun or f"{now:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}{OPEN}"
            with _below(claims, (name,), make=True) as batch:
                for file in names:
                    _move(top, batch, PurePosixPath(file), look.seen[file])
                empty = not _names(batch)
            if empty:
                os.rmdir(name, dir_fd=claims)
                return None
            os.rename(name, name.removesuffix(OPEN), src_dir_fd=claims, dst_dir_fd=claims)
    return Batch(name.removesuffix(OPEN), look.tenant, inbox)


def claimed(inbox: Path, tenant: str) -> tuple[Batch, ...]:
    """The batches of a tenant that are not finished, oldest first."""
    with _opened(inbox / tenant) as top:
        if CLAIMED not in _names(top):
            return ()
        with _below(top, (CLAIMED,)) as claims:
            return tuple(
                Batch(name, tenant, inbox) for name in sorted(_names(claims)) if BATCH.fullmatch(name)
            )


def contents(batch: Batch, catalog: Catalog, spool: Path) -> tuple[str, ...]:
    """The names of the datasets a batch has files of; `spool` is where parts of archives are unpacked.

    Raises:
        InputError: it holds something that cannot be loaded: the whole batch stays out.
    """
    found = find_files(catalog, batch.folder, set(catalog.names), reading=Reading(), spool=spool)
    return tuple(name for name in catalog.names if found[name])


def finish(batch: Batch, outcome: Outcome, *, now: datetime, why: str = "") -> Path:
    """Move a batch to where its tenant finds it, and say where that is. Nothing is ever overwritten.

    Args:
        batch: What was loaded, or not.
        outcome: Which of the two.
        now: The moment; its day names the folder.
        why: The reason, which is put beside the files as `why.txt`.
    """
    day = f"{now:%Y-%m-%d}"
    with (
        _opened(batch.inbox / batch.tenant) as top,
        _below(top, (CLAIMED,)) as claims,
        _below(top, (outcome, day), make=True) as finished,
    ):
        if why:
            with _below(claims, (batch.id,)) as folder:
                new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                note = os.open(_free("why.txt", folder), new, 0o644, dir_fd=folder)
                with os.fdopen(note, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{why}\n")
        name = _free(batch.id, finished)
        os.rename(batch.id, name, src_dir_fd=claims, dst_dir_fd=finished)
    return batch.inbox / batch.tenant / outcome / day / name


def _may_be_taken(inside: PurePosixPath) -> bool:
    name = inside.name
    reserved = len(inside.parts) == 1 and name in {DONE, FAILED}
    return not reserved and not name.startswith(".") and not name.lower().endswith(UNFINISHED)


def _is_link(name: str, folder: int) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _sight(found: os.stat_result, before: Sight | None, moment: float) -> Sight:
    looks = Sight(found.st_size, found.st_mtime_ns, found.st_ino, moment)
    # A clock that was set back starts the wait again.
    same = before and replace(looks, since=before.since) == before and before.since <= moment
    return before if before and same else looks


def _move(top: int, batch: int, path: PurePosixPath, before: Sight) -> None:
    """Move one file into the batch, unless it is gone or changed by now, or the batch has one of its name."""
    folder, name = path.parts[:-1], path.name
    with suppress(FileNotFoundError, NotADirectoryError), _below(top, folder) as source:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if _sight(found, before, before.since) is not before:
            return
        with _below(batch, folder, make=True) as target:
            if _free(name, target) == name:
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    for depth in range(len(folder), 0, -1):
        with suppress(OSError), _below(top, folder[: depth - 1]) as above:
            os.rmdir(folder[depth - 1], dir_fd=above)


def _free(name: str, folder: int) -> str:
    """The name, with a number when the folder has something of that name already."""
    taken = _names(folder)
    stem, dot, suffix = name.partition(".")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{dot}{suffix}"
    return free


def _names(folder: int) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _opened(folder: Path) -> Generator[int]:
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _below(folder: int, path: tuple[str, ...], *, make: bool = False) -> Generator[int]:
    """A folder inside another, made when asked; no part of the path may be a link."""
    descriptor = os.dup(folder)
    try:
        for name in path:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700 if name == CLAIMED else 0o777, dir_fd=descriptor)
            below = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)
