"""A tenant's files: packed into members, and put back.

Here: walking the directory, tar packs with an index, extracting into a fresh directory. Not here: where the
directory is (`Fleet.files`), sealing (`archive.py`).

Packs are plain tar streams of about 64 MiB, so stock tools open them; the index says where each file is, its
mode, time and hash, so a later backup can refer to it. Only regular files and directories are carried: links
and devices are listed as not carried, and refused when an archive claims to hold one.

A backup that builds on another packs what is new or changed; its index is whole. A file counts as unchanged
when its size and time are, as rsync and every backup tool does; one whose time alone differs, or that was
moved, is read and recognised by its hash.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tenant_ops.backups import records
from tenant_ops.backups.archive import ArchiveWriter, MemberWriter
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import Member, NotCarried
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
        packed_as: Its name in the pack, where that is another: it was packed before it was moved there.
    """

    path: str
    mode: int
    mtime_ns: int
    size: int
    sha256: str | None
    pack: str | None
    packed_as: str | None = None

    @property
    def place(self) -> tuple[str | None, str]:
        """Where its content lies: the pack, and its name there."""
        return self.pack, self.packed_as or self.path


@dataclass(frozen=True)
class PackedFiles:
    """What a backup holds of the files.

    Attributes:
        files: How many there are.
        total_bytes: Their size.
        not_carried: What cannot be in a backup.
        referenced: The packs of earlier backups that hold some of them.
    """

    files: int
    total_bytes: int
    not_carried: tuple[NotCarried, ...]
    referenced: frozenset[str] = frozenset()


def count_files(folder: Path) -> tuple[int, int]:
    """How many files would be packed, and their bytes."""
    sizes = [status.st_size for _, status in _walk(folder, []) if stat.S_ISREG(status.st_mode)]
    return len(sizes), sum(sizes)


def count_changed(folder: Path, known: Sequence[FileEntry]) -> tuple[int, int]:
    """How many files a backup that builds on these would have to read, and their bytes."""
    before = {entry.path: entry for entry in known}
    sizes = [
        status.st_size
        for path, status in _walk(folder, [])
        if stat.S_ISREG(status.st_mode) and not _looks_like(before.get(path), status)
    ]
    return len(sizes), sum(sizes)


def pack_files(
    folder: Path, archive: ArchiveWriter, known: Sequence[FileEntry] = (), first: int = 1
) -> PackedFiles:
    """Write what is below `folder` and not yet `known` into the archive, and an index of everything.

    Files may grow while they are read (the bytes present at the start are taken); one that shrinks is an
    error, because what would be stored was never its content.

    Args:
        folder: The tenant's.
        archive: Where to.
        known: The index of the backup this one builds on.
        first: Number of the first pack, past those of earlier backups of the chain.

    Raises:
        OperationFailed: a file cannot be read, or shrank; it is named.
    """
    refused: list[NotCarried] = []
    found = list(_walk(folder, refused))
    files = [(path, status) for path, status in found if stat.S_ISREG(status.st_mode)]
    entries = list(_unchanged(folder, files, known))
    referenced = frozenset(entry.pack for entry in entries if entry.pack is not None)
    kept = {entry.path for entry in entries}
    for number, pack in enumerate(_packs([file for file in files if file[0] not in kept]), first):
        with archive.member(f"files/{number:04}.tar", "files") as member:
            packed = list(_write_pack(folder, pack, member))
        name = archive.members[-1].path
        entries += [replace(entry, pack=name) for entry in packed]
    entries += [_directory(path, status) for path, status in found if stat.S_ISDIR(status.st_mode)]
    if entries:
        entries.sort(key=lambda entry: entry.path)
        archive.add("files/index.json", "files-index", json.dumps([asdict(e) for e in entries]).encode())
    count = sum(entry.pack is not None for entry in entries)
    return PackedFiles(count, sum(entry.size for entry in entries), tuple(refused), referenced)


def _unchanged(
    folder: Path, files: list[tuple[str, os.stat_result]], known: Sequence[FileEntry]
) -> Iterator[FileEntry]:
    """The files whose content an earlier backup holds, as they are now called."""
    before = {entry.path: entry for entry in known if entry.pack is not None}
    by_content = {(entry.size, entry.sha256): entry for entry in before.values()}
    sizes = {entry.size for entry in before.values()}
    for path, status in files:
        entry = before.get(path)
        if entry is not None and _looks_like(entry, status):
            yield replace(entry, mode=status.st_mode & 0o777)
        elif status.st_size in sizes and (digest := _hash(folder / path)) is not None:
            same = by_content.get(digest)
            if same is not None:
                pack, name = same.place
                yield FileEntry(
                    path=path,
                    mode=status.st_mode & 0o777,
                    mtime_ns=status.st_mtime_ns,
                    size=same.size,
                    sha256=same.sha256,
                    pack=pack,
                    packed_as=None if name == path else name,
                )


def _looks_like(entry: FileEntry | None, status: os.stat_result) -> bool:
    return entry is not None and (entry.size, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _hash(path: Path) -> tuple[int, str] | None:
    """Size and hash of a file as it is read; None when it cannot be, which packing it will say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except OSError:
        return None


def unpack_files(archive: Archive, target: Path) -> int:
    """Recreate the files in `target`, which must not exist; how many there are.

    Raises:
        DamagedBackup: an entry points outside `target`, is no file, or is not what the index says.
    """
    target.mkdir(parents=True, mode=0o700)
    index = read_index(archive)
    waiting: dict[str, dict[str, list[FileEntry]]] = {}
    for entry in index:
        pack, name = entry.place
        if pack is not None:
            waiting.setdefault(pack, {}).setdefault(name, []).append(entry)
    for member in archive.manifest.members:
        if member.kind == "files":
            with archive.content(member) as content:
                wanted = waiting.get(member.path, {})
                _extract(cast(IO[bytes], content), target, wanted, member)
    missing = sorted(name for names in waiting.values() for name in names)
    if missing:
        raise DamagedBackup(f"files of the index are in no pack: {missing[:5]}.", where="files/index.json")
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
        if entry.packed_as is not None:
            check_path(entry.packed_as, member.path)
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


def _extract(content: IO[bytes], target: Path, waiting: dict[str, list[FileEntry]], member: Member) -> None:
    """Write the files that wait for this pack, under all names they have now.

    The backup's own pack holds nothing else; that of an earlier one may hold files since changed or removed.
    """
    try:
        with tarfile.open(fileobj=content, mode="r|") as tar:
            for header in tar:
                entries = waiting.pop(header.name, [])
                if not entries and member.origin is not None:
                    continue
                if not entries or not header.isreg() or any(header.size != entry.size for entry in entries):
                    raise DamagedBackup(
                        f"{header.name!r} is not in the index as it is here.", where=member.path
                    )
                check_path(str(PurePosixPath(header.name)), member.path)
                source = tar.extractfile(header)
                assert source is not None  # a regular file has content
                first, *others = entries
                _write(source, target / first.path, first, member.path)
                for entry in others:
                    with (target / first.path).open("rb") as written:
                        _write(written, target / entry.path, entry, member.path)
    except tarfile.TarError as error:
        raise DamagedBackup(f"it is not a tar stream: {error}.", where=member.path) from None


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
