"""What a comparison says."""

from dataclasses import dataclass
from typing import Literal

Change = Literal["added", "removed", "changed"]
"""Seen from the left: `added` is only on the right."""


@dataclass(frozen=True)
class SchemaDifference:
    """An object of the schema that is not the same on both sides.

    Attributes:
        object: Its kind and name.
        change: What became of it from left to right.
        left: The statements that make it there, with stand-ins for the tenant's own names.
        right: The same for the other side.
    """

    object: str
    change: Change
    left: str
    right: str


@dataclass(frozen=True)
class TableComparison:
    """One table on both sides.

    Attributes:
        table: Its name.
        rows_left: How many; -1 where the table is missing, None where a backup does not know.
        rows_right: The same for the other side.
        equal: Whether the rows are; None where that is not known.
        added: Rows only on the right, when they were compared one by one.
        removed: Rows only on the left.
        changed: Rows with the same key and other values; None for a table without a key.
    """

    table: str
    rows_left: int | None
    rows_right: int | None
    equal: bool | None
    added: int | None = None
    removed: int | None = None
    changed: int | None = None


@dataclass(frozen=True)
class FileDifference:
    """A file that is not the same on both sides."""

    path: str
    change: Change


@dataclass(frozen=True)
class Comparison:
    """Two sides' schema, rows and files.

    Attributes:
        left: A tenant's or a backup's id.
        right: The same.
        schema: Objects that differ.
        tables: Every table of either side.
        files: Files that differ.
        files_equal: Whether none does.
        unknown: Tables of which a side does not know the rows; comparing row by row tells.
        equal: Whether everything is known to be the same.
        rows: Of the left side, as far as they are known.
        seconds: What it took.
    """

    left: str
    right: str
    schema: tuple[SchemaDifference, ...]
    tables: tuple[TableComparison, ...]
    files: tuple[FileDifference, ...]
    files_equal: bool
    unknown: tuple[str, ...]
    equal: bool
    rows: int
    seconds: float
