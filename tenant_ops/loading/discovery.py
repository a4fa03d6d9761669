"""Which files of a source hold rows of which dataset.

Here: names, formats, sizes and hashes. Not here: what is in the files, or whether they were loaded before.

A file belongs to the dataset its name begins with (`users.csv`, `users.2024-06.ndjson.gz`) or whose folder
it is in (`users/part-1.parquet`); those a pattern matches may lie in any folder. A zip archive is a folder;
its members may also go by the archive's own name. A JSON object of arrays, a SQLite file and a database hold
several datasets, under their names.
"""

import glob
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from uuid import uuid4
from zipfile import ZipInfo

from tenant_ops.datasets import Catalog
from tenant_ops.loading.reports import Format, Reading, SourceFile
from tenant_ops.loading.sources import parts_of
from tenant_ops.loading.sources.archives import check_member, hash_member, members_of, open_member
from tenant_ops.loading.sources.databases import tables_in
from tenant_ops.loading.sources.stores import list_objects
from tenant_ops.loading.sources.streams import unreadable
from tenant_ops.loading.sources.urls import Location, is_location, locate
from tenant_ops.loading.spool import Spool
from tenant_ops.platform.errors import InputError

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".sqlite": "sqlite",
}
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
ARCHIVE = ".zip"
ENDINGS = (*FORMATS, *(f"{ending}{packed}" for ending in FORMATS for packed in COMPRESSIONS), ARCHIVE)

_READ_OUT_OF_ORDER = {".parquet", ".sqlite"}
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class _Entry:
    """One data file of a source.

    Attributes:
        inside: Its path there.
        alone: Whether it was asked for by its own name, or by a pattern.
        fetch: Gives its place on this machine.
        member: What it is in the zip archive at that place.
        archive: How many parts of `inside` are the archive's path.
    """

    inside: PurePath
    alone: bool
    fetch: Callable[[], Path]
    member: ZipInfo | None = None
    archive: int = 0

    @property
    def name(self) -> str:
        """The path as text that is safe to print and to store, whatever bytes it is made of."""
        name = self.inside.as_posix().encode(errors="backslashreplace").decode()
        return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in name)

    @property
    def stems(self) -> list[str]:
        """The names it may go by, first things first."""
        parts = self.inside.parts
        chosen = [parts[self.archive], parts[-1], parts[0]] if self.archive else [parts[0]]
        if self.alone:
            chosen.append(parts[-1])
        return [part.split(".")[0] for part in chosen]


def find_files(
    catalog: Catalog, source: Path | str, wanted: set[str], *, reading: Reading, spool: Path
) -> dict[str, list[SourceFile]]:
    """The files of each wanted dataset, in name order.

    Args:
        catalog: The datasets there are.
        source: A folder or a file; as text also a pattern with `*`, the URL of an object store or a database,
            or `env:NAME` for a URL that is kept in an environment variable.
        wanted: Names of the datasets whose files are fetched, hashed and returned.
        reading: How text and databases are read.
        spool: The folder fetched files are kept in.

    Raises:
        InputError: the source is missing or unreadable, a file belongs to no dataset or leads out of the
            folder, or there is no data file at all.
        OperationFailed: a store or database cannot be reached.
    """
    location = locate(source) if isinstance(source, str) and is_location(source) else None
    if location is not None and location.kind == "database":
        return _find_tables(catalog, location, wanted, reading)
    if reading.query:
        raise InputError("only a database can be asked a query.", where=str(source), fix="Leave it out.")
    found: dict[str, list[SourceFile]] = {name: [] for name in wanted}
    some = False
    kept = Spool(spool)
    for entry in _entries(source, location, kept):
        some = _sort_in(entry, catalog, found, reading, kept) or some
    if not some:
        raise InputError(
            "there are no data files.",
            where=location.shown if location else str(source),
            fix=f"Name them after datasets, ending in {', '.join(FORMATS)}, or these and .gz or .zst.",
        )
    return found


def content_hash(file: SourceFile) -> str:
    """What `file.sha256` is when its bytes are what they were; a source without bytes never changes.

    Raises:
        InputError: it cannot be read.
    """
    if file.sha256.startswith("snapshot:"):
        return file.sha256
    if file.member is None:
        return hash_file(Path(file.path), file.name)
    path = Path(file.path)
    info = next((info for info in members_of(path, file.name) if info.filename == file.member), None)
    return hash_member(path, info, file.name) if info else ""


def hash_file(path: Path, name: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(name, error) from error


def _find_tables(
    catalog: Catalog, location: Location, wanted: set[str], reading: Reading
) -> dict[str, list[SourceFile]]:
    snapshot = f"snapshot:{reading.snapshot or uuid4().hex}"
    file = SourceFile(location.shown, location.shown, "database", "", None, 0, snapshot)
    if reading.query:
        if len(wanted) != 1:
            raise InputError(
                "a query gives the rows of one dataset.", where=location.shown, fix="Choose exactly one."
            )
        return {next(iter(wanted)): [replace(file, name=f"{file.name}#query")]}
    tables = tables_in(location.shown, location.shown)
    by_source = {dataset.source_name: dataset.name for dataset in catalog}
    if not any(table in by_source for table in tables):
        raise InputError(
            "no table is named after a dataset.",
            where=location.shown,
            fix=f"Give a query, or name tables: {', '.join(sorted(by_source))}.",
        )
    found: dict[str, list[SourceFile]] = {name: [] for name in wanted}
    for table in tables:
        if by_source.get(table) in found:
            found[by_source[table]].append(replace(file, name=f"{file.name}#{table}", part=table))
    return found


def _sort_in(
    entry: _Entry, catalog: Catalog, found: dict[str, list[SourceFile]], reading: Reading, spool: Spool
) -> bool:
    """Add a file to the datasets it has rows of; says whether it has any, wanted or not."""
    by_source = {dataset.source_name: dataset.name for dataset in catalog}
    named = next((by_source[stem] for stem in entry.stems if stem in by_source), None)
    if named is not None and named not in found:
        return True
    file = _local(entry, spool)
    holds: list[tuple[str, str | None]] = [(named, None)] if named is not None else []
    if named is None:
        holds = _datasets_in(file, by_source, reading, set(found) if entry.alone else set())
    parts = [(dataset, part) for dataset, part in holds if dataset in found]
    if parts:
        info = entry.member if file.member else None
        path = Path(file.path)
        digest = hash_member(path, info, file.name) if info else hash_file(path, file.name)
        for dataset, part in parts:
            name = f"{file.name}#{part}" if part else file.name
            found[dataset].append(replace(file, name=name, part=part, sha256=digest))
    return bool(holds)


def _datasets_in(
    file: SourceFile, by_source: dict[str, str], reading: Reading, given: set[str]
) -> list[tuple[str, str | None]]:
    """The datasets a file of another name has rows of, each with the part of the file they are in.

    None for a JSON object or a database with other things in it: a manifest beside the data, perhaps.
    """
    parts = parts_of(file, reading)
    if parts is not None:
        return [(by_source[part], part) for part in parts if part in by_source]
    if len(given) == 1:
        return [(next(iter(given)), None)]
    raise InputError(
        f"no dataset is called {PurePath(file.name).name.split('.')[0]!r}.",
        where=file.name,
        fix=f"Name the file after its dataset: {', '.join(sorted(by_source))}.",
    )


def _local(entry: _Entry, spool: Spool) -> SourceFile:
    """The file on this machine; a member that must be read out of order is taken out of its archive."""
    path, member = entry.fetch(), entry.member
    suffix, compression = _suffix(entry.inside)
    if member is None:
        size = path.stat().st_size
        return SourceFile(entry.name, str(path), FORMATS[suffix], compression, None, size, "")
    check_member(member, entry.name)
    file = SourceFile(
        entry.name, str(path), FORMATS[suffix], compression, None, member.compress_size, "", member.filename
    )
    if suffix not in _READ_OUT_OF_ORDER:
        return file

    def take_out(place: Path) -> None:
        with open_member(path, member.filename, entry.name) as (packed, _), place.open("wb") as plain:
            try:
                shutil.copyfileobj(packed, plain, 1 << 20)
            except OSError as error:
                raise unreadable(entry.name, error) from error

    place = spool.keep(hash_member(path, member, entry.name), entry.inside.name, take_out)
    return replace(file, path=str(place), bytes=place.stat().st_size, member=None)


def _entries(source: Path | str, location: Location | None, spool: Spool) -> Iterator[_Entry]:
    """Data files with their path inside the source; hidden files and other kinds are passed over."""
    for entry in _plain_entries(source, location, spool):
        if not _is_data(entry.inside):
            if entry.alone:
                raise InputError(
                    "this is no kind of file that can be loaded.",
                    where=str(entry.inside),
                    fix=f"Give one ending in {', '.join(FORMATS)}, these and .gz or .zst, or {ARCHIVE}.",
                )
        elif _suffix(entry.inside)[0] == ARCHIVE:
            yield from _members(entry)
        else:
            yield entry


def _members(archive: _Entry) -> Iterator[_Entry]:
    path = archive.fetch()
    infos = [info for info in members_of(path, archive.name) if _is_data(PurePath(info.filename))]
    for info in infos:
        inside = archive.inside / info.filename
        if not _is_hidden(PurePath(info.filename)) and _suffix(inside)[0] != ARCHIVE:
            alone = archive.alone and len(infos) == 1
            yield _Entry(inside, alone, lambda: path, info, len(archive.inside.parts))


def _plain_entries(source: Path | str, location: Location | None, spool: Spool) -> Iterator[_Entry]:
    if location is not None:
        for found in list_objects(location, ENDINGS):
            if not _is_hidden(PurePath(found.inside)):
                yield _Entry(PurePath(found.inside), found.alone, lambda found=found: found.fetch(spool))
        return
    path = Path(source).expanduser()
    if path.is_file():
        yield _Entry(PurePath(path.name), True, lambda: path)
    elif path.is_dir():
        yield from _files_of(path, sorted(path.rglob("*")), alone=False)
    elif isinstance(source, str) and _MAGIC.search(source):
        yield from _matching(str(path))
    else:
        raise InputError(
            "there is no such folder or file.", where=str(source), fix="Give the path of the files to load."
        )


def _matching(pattern: str) -> Iterator[_Entry]:
    """The files a pattern matches, named relative to its part without one."""
    fixed = Path(_MAGIC.split(pattern)[0].rpartition("/")[0] or ("/" if pattern.startswith("/") else "."))
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - knows **
    if not paths:
        raise InputError("no file matches.", where=pattern, fix="Quote the pattern, and look at its folder.")
    yield from _files_of(fixed, paths, alone=True)


def _files_of(folder: Path, paths: list[Path], *, alone: bool) -> Iterator[_Entry]:
    root = folder.resolve()
    for path in paths:
        inside = path.relative_to(folder)
        if path.is_dir() or _is_hidden(inside) or not _is_data(inside):
            continue
        if not path.resolve().is_relative_to(root):
            raise InputError("the link leads out of the folder.", where=str(path), fix="Copy the file there.")
        if not path.is_file():
            raise InputError("this is not a regular file.", where=str(path), fix="Remove it.")
        yield _Entry(inside, alone, lambda path=path: path)


def _is_hidden(inside: PurePath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in inside.parts)


def _is_data(inside: PurePath) -> bool:
    return _suffix(inside)[0] in {*FORMATS, ARCHIVE}


def _suffix(inside: PurePath) -> tuple[str, str]:
    suffixes = [suffix.lower() for suffix in inside.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    rest = suffixes[:-1] if compression else suffixes
    suffix = rest[-1] if rest else ""
    # Some need to be read out of order, which a compressed file cannot.
    return ("" if compression and suffix in {*_READ_OUT_OF_ORDER, ARCHIVE} else suffix), compression
