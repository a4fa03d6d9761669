"""Files of a backup merged into a tenant's directory, so that they can be taken out again.

Here: how the two differ, moving files, moving them back. Not here: rows (`merging.py`), unpacking
(`backups/files.py`).

What is to be put in lies in one directory, what was there is moved to another, beside a note of the whole
plan; every step is a renaming that can be told to have been done. So whoever finds the two directories after
a kill finishes the work by doing it again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tenant_ops.backups import records
from tenant_ops.backups.files import check_path, read_index, unpack_files
from tenant_ops.backups.reading import Archive

_NOTE = "merge.json"
_WAS = "was"


@dataclass(frozen=True)
class FileChanges:
    """What is done to files: paths, and the hash of what is put there.

    Attributes:
        create: Only the backup has them.
        update: Both have them, and they differ.
        delete: Only the tenant has them.
    """

    create: dict[str, str]
    update: dict[str, str]
    delete: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many of each."""
        return len(self.create), len(self.update), len(self.delete)


def file_changes(archive: Archive, files: Path, words: Iterable[str]) -> FileChanges:
    """How a backup's files differ from those of a directory, as far as the words allow to change it."""
    wanted = {entry.path: entry for entry in read_index(archive) if entry.pack is not None}
    found = {path.relative_to(files).as_posix(): path for path in _walk(files)}
    create = {path: entry.sha256 or "" for path, entry in wanted.items() if path not in found}
    update = {
        path: entry.sha256 or ""
        for path, entry in wanted.items()
        if path in found and not _is(found[path], entry.sha256 or "", entry.size)
    }
    delete = sorted(found.keys() - wanted.keys())
    return FileChanges(
        create if "create" in words else {},
        update if "update" in words else {},
        tuple(delete) if "delete" in words else (),
    )


def stage_files(archive: Archive, changes: FileChanges, staged: Path, aside: Path) -> None:
    """Lay ready what is to be put in, and note what will be done; the tenant's directory is only read."""
    aside.mkdir(parents=True, mode=0o700)
    (aside / _NOTE).write_text(json.dumps(asdict(changes)))
    unpack_files(archive, staged)


def finish_merged_files(files: Path, staged: Path, aside: Path) -> None:
    """Do, or go on with, what was laid ready; what was there is kept aside."""
    changes = _note(aside)
    for path in (*changes.create, *changes.update):
        if (staged / path).exists():
            _move_once(files / path, aside / _WAS / path)
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).rename(files / path)
    for path in changes.delete:
        _move_once(files / path, aside / _WAS / path)
    shutil.rmtree(staged)


def take_back_files(files: Path, aside: Path) -> int:
    """Bring back what a merge changed; the number of files left as they are because they changed since."""
    if not (aside / _NOTE).exists():
        return 0
    changes, kept = _note(aside), 0
    for path, digest in (changes.create | changes.update).items():
        was = aside / _WAS / path
        if not (files / path).exists() or _is(files / path, digest):
            (files / path).unlink(missing_ok=True)
            _move_once(was, files / path)
        else:
            kept += was.exists() or path in changes.create
    for path in changes.delete:
        kept += (files / path).exists() and (aside / _WAS / path).exists()
        _move_once(aside / _WAS / path, files / path)
    return kept


def _note(aside: Path) -> FileChanges:
    document = json.loads((aside / _NOTE).read_bytes())
    changes = records.checked(FileChanges, document, _NOTE)
    for path in (*changes.create, *changes.update, *changes.delete):
        check_path(path, _NOTE)
    return changes


def _move_once(source: Path, target: Path) -> None:
    """Move a file where none is yet: one that is there was moved before."""
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        source.rename(target)


def _walk(files: Path) -> Iterable[Path]:
    return (path for path in files.rglob("*") if path.is_file() and not path.is_symlink())


def _is(path: Path, digest: str, size: int | None = None) -> bool:
    if size is not None and path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
