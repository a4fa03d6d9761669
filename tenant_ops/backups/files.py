"""A tenant's files: packed into members, and put back.

Here: walking the directory, tar packs with an index, extracting into a fresh directory. Not here: where the
directory is (`Fleet.files`), sealing (`archive.py`).

Packs are plain tar streams of about 64 MiB, so stock tools open them; the index says where each file is, its
mode, time and hash, so a later backup can refer to it. Only regular files and directories are carried: links
and devices are listed as not carried, and refused when an archive claims to hold one.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tenant_ops.backups import records
from tenant_ops.backups.archive import ArchiveWriter, MemberWriter
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import NotCarried
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.errors import OperationFailed

PACK_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """One file or directory.

    Attributes:
        path: Below the tenant's directory, with `/` between names.
        mode: Permission bits.
        mtime_ns: When it was last changed, nanoseconds since 1970.
        size: Bytes; 0 for a directory.
        sha256: Of its content; None for a directory.
        pack: The member that holds it; None for a directory.
    """

    path: str
    mode: int
    mtime_ns: int
    size: int
    sha256: str | None
    pack: str | None


@dataclass(frozen=True)
class PackedFiles:
    """What was packed."""

    files: int
    total_bytes: int
    not_carried: tuple[NotCarried, ...]


def count_files(folder: Path) -> tuple[int, int]:
    """How many files would be packed, and their bytes."""
    sizes = [status.st_size for _, status in _walk(folder, []) if stat.S_ISREG(status.st_mode)]
    return len(sizes), sum(sizes)


def pack_files(folder: Path, archive: ArchiveWriter) -> PackedFiles:
    """Write everything below `folder` into the archive.

    Files may grow while they are read (the bytes present at the start are taken); one that shrinks is an
    error, because what would be stored was never its content.

    Raises:
        OperationFailed: a file cannot be read, or shrank; it is named.
    """
    entries: list[FileEntry] = []
    refused: list[NotCarried] = []
    found = list(_walk(folder, refused))
    files = [(path, status) for path, status in found if stat.S_ISREG(status.st_mode)]
    for number, pack in enumerate(_packs(files), 1):
        with archive.member(f"files/{number:04}.tar", "files") as member:
            packed = list(_write_pack(folder, pack, member))
        name = archive.members[-1].path
        entries += [replace(entry, pack=name) for entry in packed]
    entries += [_directory(path, status) for path, status in found if stat.S_ISDIR(status.st_mode)]
    if entries:
        entries.sort(key=lambda entry: entry.path)
        archive.add("files/index.json", "files-index", json.dumps([asdict(e) for e in entries]).encode())
    return PackedFiles(len(files), sum(entry.size for entry in entries), tuple(refused))


def unpack_files(archive: Archive, target: Path) -> int:
    """Recreate the files in `target`, which must not exist; how many there are.

    Raises:
        DamagedBackup: an entry points outside `target`, is no file, or is not what the index says.
    """
    target.mkdir(parents=True, mode=0o700)
    index = read_index(archive)
    waiting = {entry.path: entry for entry in index if entry.pack is not None}
    for member in archive.manifest.members:
        if member.kind == "files":
            with archive.content(member) as content:
                _extract(cast(IO[bytes], content), target, waiting, member.path)
    if waiting:
        raise DamagedBackup(
            f"files of the index are in no pack: {sorted(waiting)[:5]}.", where="files/index.json"
        )
    for entry in sorted(index, key=lambda entry: entry.path, reverse=True):
        path = target / entry.path
        if entry.pack is None:
            path.mkdir(parents=True, exist_ok=True)
        path.chmod(entry.mode & 0o777)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
    return sum(entry.pack is not None for entry in index)


def read_index(archive: Archive) -> tuple[FileEntry, ...]:
    """What the archive's files are, every path checked to stay below the tenant's directory."""
    member = next((member for member in archive.manifest.members if member.kind == "files-index"), None)
    if member is None:
        return ()
    index = records.decode(tuple[FileEntry, ...], archive.read(member), member.path)
    seen: set[str] = set()
    for entry in index:
        check_path(entry.path, member.path)
        if entry.path in seen:
            raise DamagedBackup(f"{entry.path!r} is there twice.", where=member.path)
        seen.add(entry.path)
    return index


def check_path(path: str, where: str) -> None:
    """Refuse a path that is not a plain relative one.

    Raises:
        DamagedBackup: it is absolute, climbs, names a drive, or holds a NUL or backslash.
    """
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    if not plain or "\0" in path or "\\" in path or ":" in parts[0]:
        raise DamagedBackup(f"{path!r} is not a path below the tenant's directory.", where=where)


def _walk(folder: Path, refused: list[NotCarried], below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted(path.name for path in (folder / below).iterdir())
    except FileNotFoundError:
        return
    for name in names:
        path = f"{below}/{name}" if below else name
        try:
            status = os.lstat(folder / path)
        except FileNotFoundError:
            continue  # deleted since the listing: it is no part of this moment
        if stat.S_ISDIR(status.st_mode):
            yield path, status
            yield from _walk(folder, refused, path)
        elif stat.S_ISREG(status.st_mode) and _portable(path):
            yield path, status
        else:
            refused.append(NotCarried(f"file {path}", _why_refused(status)))


def _portable(path: str) -> bool:
    try:
        check_path(path, "")
    except DamagedBackup:
        return False
    return True


def _why_refused(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "symbolic links may point outside the tenant's directory"
    if stat.S_ISREG(status.st_mode):
        return "its name cannot be restored safely everywhere"
    return "it is neither a file nor a directory"


def _packs(files: list[tuple[str, os.stat_result]]) -> Iterator[list[tuple[str, os.stat_result]]]:
    pack: list[tuple[str, os.stat_result]] = []
    size = 0
    for path, status in files:
        pack.append((path, status))
        size += status.st_size
        if size >= PACK_BYTES:
            yield pack
            pack, size = [], 0
    if pack:
        yield pack


def _write_pack(
    folder: Path, pack: list[tuple[str, os.stat_result]], member: MemberWriter
) -> Iterator[FileEntry]:
    with tarfile.open(fileobj=cast(IO[bytes], member), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path, _ in pack:
            try:
                descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # deleted since the listing
            except OSError as error:
                raise OperationFailed(
                    f"it cannot be read: {error.strerror}.", where=str(folder / path)
                ) from error
            with os.fdopen(descriptor, "rb") as file:
                yield _add(tar, path, file, str(folder / path))


def _add(tar: tarfile.TarFile, path: str, file: IO[bytes], where: str) -> FileEntry:
    status = os.fstat(file.fileno())
    header = tarfile.TarInfo(path)
    header.size, header.mode, header.mtime = status.st_size, status.st_mode & 0o777, status.st_mtime
    content = _Hashed(file, status.st_size)
    try:
        tar.addfile(header, cast(IO[bytes], content))
    except OSError as error:
        if content.short:
            raise OperationFailed(
                "it shrank while it was being read.", where=where, fix="Run the backup again."
            ) from error
        raise
    return FileEntry(path, header.mode, status.st_mtime_ns, status.st_size, content.sha256.hexdigest(), None)


def _directory(path: str, status: os.stat_result) -> FileEntry:
    return FileEntry(path, status.st_mode & 0o777, status.st_mtime_ns, 0, None, None)


class _Hashed:
    """Reads exactly `size` bytes of a file, hashing them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self.sha256 = hashlib.sha256()
        self.short = False

    def read(self, size: int) -> bytes:
        piece = self._file.read(min(size, self._left))
        self.short = len(piece) < min(size, self._left)
        self._left -= len(piece)
        self.sha256.update(piece)
        return piece


def _extract(content: IO[bytes], target: Path, waiting: dict[str, FileEntry], where: str) -> None:
    try:
        with tarfile.open(fileobj=content, mode="r|") as tar:
            for header in tar:
                entry = waiting.pop(header.name, None)
                if not header.isreg() or entry is None or header.size != entry.size:
                    raise DamagedBackup(f"{header.name!r} is not in the index as it is here.", where=where)
                check_path(str(PurePosixPath(header.name)), where)
                source = tar.extractfile(header)
                assert source is not None  # a regular file has content
                _write(source, target / entry.path, entry, where)
    except tarfile.TarError as error:
        raise DamagedBackup(f"it is not a tar stream: {error}.", where=where) from None


def _write(source: IO[bytes], path: Path, entry: FileEntry, where: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != entry.sha256:
        raise DamagedBackup(f"{entry.path} is not the file that was backed up.", where=where)
