"""Migrations proposed for columns that sources have and a dataset does not, under the contract `evolve`.

Here: guessing a column's type from its first values, and writing the proposal as a step of a release
(`migrations/releases/README.md`). Not here: finding such columns (`sources/columns.py`), running migrations.

A proposal is a draft: the values of the column were passed over, and it says from how many of them its type
was guessed, and none of them. To take it over, move its folder into the next release, and add the column
to the dataset as the first line of its `up.sql` says.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as arrow
import yaml

from tenant_ops.datasets import Column, Dataset
from tenant_ops.datasets.definition import ColumnType
from tenant_ops.datasets.parsing import parse
from tenant_ops.datasets.tables import sql_type

_TRIED: tuple[ColumnType, ...] = (
    "uuid",
    "integer",
    "bigint",
    "numeric",
    "boolean",
    "date",
    "timestamptz",
    "inet",
    "jsonb",
)
"""Narrow types before wide ones; what is none of them is text."""
_NOT_A_NUMBER = re.compile(r"[+-]?0\d|\+")
_MOST_CHARACTERS = 60


def propose_columns(
    home: Path, version: str, dataset: Dataset, samples: Mapping[str, Sequence[str]]
) -> tuple[Path, ...]:
    """Propose a migration for each column that a source has and the dataset does not.

    A proposal that is there already, whose type takes these values too, stays as it is; several processes
    may propose at once.

    Args:
        home: The installation's home; proposals are in `proposals/<version>` there.
        version: The version the datasets are at.
        dataset: Which lacks the columns.
        samples: The first values of each column, by its name in the source.

    Returns:
        The folders of the proposals, in the order of `samples`.
    """
    folder = home / "proposals" / version
    return tuple(_propose(folder, version, dataset, source, samples[source]) for source in samples)


def proposals_for(home: Path, version: str, dataset: Dataset, columns: Iterable[str]) -> tuple[Path, ...]:
    """The folders of the proposals there are for these columns of sources, in their order."""
    folder = home / "proposals" / version
    return tuple(path for name in columns for path in _there(folder, dataset, _column_name(dataset, name)))


def guess_type(values: Sequence[str]) -> ColumnType:
    """The narrowest type that takes all of these values; text without any.

    Whole numbers with leading zeros are names of something: text. JSON is only what is an object or array.
    """
    if not values or any(map(_NOT_A_NUMBER.match, values)):
        return "text"
    for kind in _TRIED:
        if _takes(kind, values):
            return kind
    return "text"


def _takes(kind: ColumnType, values: Sequence[str]) -> bool:
    if kind == "uuid" and not all("-" in value for value in values):
        return False
    if kind == "jsonb" and not all(value.lstrip()[:1] in {"{", "["} for value in values):
        return False
    return not parse(Column("it", kind), arrow.array(values, arrow.string())).faults


def _propose(folder: Path, version: str, dataset: Dataset, source: str, values: Sequence[str]) -> Path:
    name = _column_name(dataset, source)
    there = _there(folder, dataset, name)
    for path in there:
        kind = _type_of(path)
        if kind == "text" or (kind and _takes(kind, values)):
            return path
    column = Column(name, guess_type(values), nullable=True, source=None if source == name else source)
    path = folder / f"{10 * (len(there) + 1):03}_{_step_name(dataset, name)}"
    draft = folder / f".{uuid4().hex}"
    draft.mkdir(parents=True)
    for file, content in _files(version, dataset, column, len(values)).items():
        (draft / file).write_text(content, encoding="utf-8")
    try:
        draft.rename(path)
    except OSError:
        shutil.rmtree(draft)
        if not path.is_dir():
            raise
        # Another process was first, perhaps with other values.
        return _propose(folder, version, dataset, source, values)
    return path


def _files(version: str, dataset: Dataset, column: Column, seen: int) -> dict[str, str]:
    guessed = f"{column.type}, guessed from {seen} values" if seen else "text, for it had no values"
    about = {
        "from": version,
        "description": f"{dataset.name} have {column.source_name!r} in their sources ({guessed}).",
        "reversible": "lossy",
    }
    source = f", source={column.source!r}" if column.source else ""
    line = f'Column("{column.name}", "{column.type}", nullable=True{source})'
    table = f'ALTER TABLE "{dataset.name}"'
    return {
        "migration.yaml": yaml.safe_dump(about, sort_keys=False, width=1000),
        "up.sql": f'-- {line}\n{table} ADD COLUMN "{column.name}" {sql_type(column)};\n',
        "down.sql": f'{table} DROP COLUMN "{column.name}";\n',
    }


def _there(folder: Path, dataset: Dataset, column: str) -> list[Path]:
    return sorted(folder.glob(f"[0-9][0-9][0-9]_{_step_name(dataset, column)}"))


def _type_of(proposal: Path) -> ColumnType | None:
    """The type a proposal gives its column; None when somebody rewrote it."""
    found = re.match(r'-- Column\("\w+", "(\w+)"', (proposal / "up.sql").read_text(encoding="utf-8"))
    kinds: tuple[ColumnType, ...] = (*_TRIED, "text")
    return next((kind for kind in kinds if found and found[1] == kind), None)


def _step_name(dataset: Dataset, column: str) -> str:
    return _short(f"add_{dataset.name}_{column}", _MOST_CHARACTERS)


def _column_name(dataset: Dataset, source: str) -> str:
    """A name a column may have that says what the source calls it, and is not taken."""
    words = re.sub(r"[^a-z0-9]+", "_", source.lower()).strip("_")
    name = words if words[:1].isalpha() else f"column_{words}".rstrip("_")
    if name in dataset.by_name:
        name = f"{name}_of_source"
    return _short(name, 48)


def _short(name: str, most: int) -> str:
    """The name, or its beginning and a hash of it."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
