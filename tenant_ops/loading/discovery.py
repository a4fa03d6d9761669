"""Which files in a source folder hold rows of which dataset.

Here: names, formats, sizes and hashes. Not here: what is in the files, or whether they were loaded before.

A file belongs to the dataset its name begins with (`users.csv`, `users.2024-06.ndjson.gz`) or whose folder
it is in (`users/part-1.parquet`). A JSON object of arrays and a SQLite database hold several datasets, under
their names.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from tenant_ops.datasets import Catalog
from tenant_ops.loading.reports import Format, SourceFile
from tenant_ops.loading.sources import parts_of
from tenant_ops.loading.sources.streams import unreadable
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


def find_files(catalog: Catalog, source: Path, wanted: set[str]) -> dict[str, list[SourceFile]]:
    """The files of each wanted dataset, in name order.

    Args:
        catalog: The datasets there are.
        source: A folder, or one file.
        wanted: Names of the datasets whose files are hashed and returned.

    Raises:
        InputError: the source is missing or unreadable, a file belongs to no dataset or leads out of the
            folder, or there is no data file at all.
    """
    found: dict[str, list[SourceFile]] = {name: [] for name in wanted}
    some = False
    for path, inside in _data_files(source):
        format_, compression = _format(path)
        file = SourceFile(_shown(inside), str(path), format_, compression, None, path.stat().st_size, "")
        holds = _datasets_in(file, inside, catalog, wanted if path == source else set())
        some = some or bool(holds)
        parts = [(dataset, part) for dataset, part in holds if dataset in wanted]
        if parts:
            digest = hash_file(path, file.name)
            for dataset, part in parts:
                name = f"{file.name}#{part}" if part else file.name
                found[dataset].append(replace(file, name=name, part=part, sha256=digest))
    if not some:
        raise InputError(
            "there are no data files.",
            where=str(source),
            fix=f"Name them after datasets, ending in {', '.join(FORMATS)}, or these and .gz or .zst.",
        )
    return found


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


def _data_files(source: Path) -> Iterator[tuple[Path, PurePath]]:
    """Data files with their path inside the source; hidden files and other kinds are passed over."""
    if source.is_file():
        if not _is_data(source):
            raise InputError(
                "this is no kind of file that can be loaded.",
                where=str(source),
                fix=f"Give one ending in {', '.join(FORMATS)}, or these and .gz or .zst.",
            )
        yield source, PurePath(source.name)
        return
    if not source.is_dir():
        raise InputError(
            "there is no such folder or file.", where=str(source), fix="Give the path of the files to load."
        )
    root = source.resolve()
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts) or not _is_data(path):
            continue
        if not path.resolve().is_relative_to(root):
            raise InputError("the link leads out of the folder.", where=str(path), fix="Copy the file there.")
        if not path.is_file():
            raise InputError("this is not a regular file.", where=str(path), fix="Remove it.")
        yield path, inside


def _datasets_in(
    file: SourceFile, inside: PurePath, catalog: Catalog, given: set[str]
) -> list[tuple[str, str | None]]:
    """The datasets a file has rows of, each with the part of the file they are in.

    None for a JSON object or a database with other things in it: a manifest beside the data, perhaps.
    """
    by_source = {dataset.source_name: dataset.name for dataset in catalog}
    stem = inside.parts[0].split(".")[0]
    if stem in by_source:
        return [(by_source[stem], None)]
    parts = parts_of(Path(file.path), file.format, file.compression, file.name)
    if parts is not None:
        return [(by_source[part], part) for part in parts if part in by_source]
    if len(given) == 1:
        return [(next(iter(given)), None)]
    raise InputError(
        f"no dataset is called {stem!r}.",
        where=file.name,
        fix=f"Name the file after its dataset: {', '.join(sorted(by_source))}.",
    )


def _is_data(path: Path) -> bool:
    return _suffix(path)[0] in FORMATS


def _format(path: Path) -> tuple[Format, str]:
    suffix, compression = _suffix(path)
    return FORMATS[suffix], compression


def _suffix(path: Path) -> tuple[str, str]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    rest = suffixes[:-1] if compression else suffixes
    suffix = rest[-1] if rest else ""
    # Parquet and SQLite need to be read out of order, which a compressed file cannot.
    return ("" if compression and suffix in {".parquet", ".sqlite"} else suffix), compression


def _shown(inside: PurePath) -> str:
    """A file name as text that is safe to print and to store, whatever bytes it is made of."""
    name = inside.as_posix().encode(errors="backslashreplace").decode()
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in name)
