"""What a dataset is: one definition that everything else is derived from.

Here: columns, keys, rules, privacy classes and retention as plain frozen values. Not here: several datasets
together (`catalog.py`), the derivations (`tables.py` for Postgres, `frames.py` for pandera), the shipped
datasets (`music/`), loading or checking them (`loading/`, `validation/`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from tenant_ops.datasets.fitting import check_formats, check_transforms
from tenant_ops.datasets.intake import ConflictStrategy, Drift
from tenant_ops.datasets.transforms import Hash, Transform, applies, given_inputs, made_columns
from tenant_ops.platform.errors import InputError

ColumnType = Literal[
    "uuid",
    "text",
    "integer",
    "bigint",
    "numeric",
    "double",
    "boolean",
    "date",
    "timestamptz",
    "jsonb",
    "inet",
]
PrivacyClass = Literal["name", "email", "phone", "ip", "free_text", "secret"]

NAME_PATTERN = re.compile(r"^[a-z][a-z0-9_]{0,47}$")


@dataclass(frozen=True)
class Between:
    """The value lies between two bounds, both allowed; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self, self.low, self.high)


@dataclass(frozen=True)
class OneOf:
    """The value is one of a closed set."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Matches:
    """The whole value matches a regular expression written in the dialect Python and Postgres share."""

    pattern: str


@dataclass(frozen=True)
class Length:
    """The text has between `low` and `high` characters."""

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        _check_bounds(self, self.low or None, self.high)


Rule = Between | OneOf | Matches | Length


@dataclass(frozen=True)
class Column:
    """One column of a dataset.

    Attributes:
        name: Name in Postgres and in the frame.
        type: Its type in Postgres.
        description: What it holds, for the catalog and the database comment.
        nullable: Whether it may be empty.
        unique: Whether no two rows may share a value.
        rules: What every non-empty value must satisfy.
        privacy: What kind of personal data it holds; such values are masked wherever they are shown.
        default: SQL default for rows that do not name it.
        source: The name it has in fixture files, when that differs.
        sample: Recipe for a lifelike value (`synthesis/recipes.py`); without one, type and rules decide.
        formats: How source files write its dates or times, tried in order (`formats.py`); without any, in ISO
            spelling.
        zone: Whose clocks its times without a zone are read from (`Europe/Berlin`); without one, UTC.
        past: Whether it is the time of something that happened: stored rows must not be later than now.
        shape: What a document must be, when it may not be any JSON.
    """

    name: str
    type: ColumnType
    description: str = ""
    nullable: bool = False
    unique: bool = False
    rules: tuple[Rule, ...] = ()
    privacy: PrivacyClass | None = None
    default: str | None = None
    source: str | None = None
    sample: str | None = None
    formats: tuple[str, ...] = ()
    zone: str | None = None
    past: bool = False
    shape: Literal["object", "array"] | None = None

    @property
    def source_name(self) -> str:
        """The name this column has in fixture files."""
        return self.source or self.name

    @property
    def plain(self) -> "Column":
        """The column as its values are spelled once they were read: without formats and zone."""
        return replace(self, formats=(), zone=None)


@dataclass(frozen=True)
class ForeignKey:
    """Columns whose values must exist as the key of another dataset."""

    columns: tuple[str, ...]
    references: str
    target: tuple[str, ...]
    on_delete: Literal["cascade", "set null", "restrict"] = "cascade"


@dataclass(frozen=True)
class Order:
    """A row rule: when both columns are filled, `first` is not after (or above) `then`."""

    first: str
    then: str


@dataclass(frozen=True)
class Retention:
    """How long rows are kept: `days` after `column`; None keeps them for ever."""

    column: str
    days: int | None = None


@dataclass(frozen=True)
class Volume:
    """How many rows the generator makes: `share` of the biggest dataset's, within `least` and `most`."""

    share: float = 0.1
    least: int = 1
    most: int | None = None


@dataclass(frozen=True)
class Dataset:
    """One dataset: the single source of truth for its table, its checks and its privacy.

    Attributes:
        name: Table name, asset name, and file stem in fixture folders.
        description: What the rows are.
        columns: In table order.
        key: Primary key columns.
        foreign_keys: References to other datasets.
        unique: Further unique column sets.
        alike: Column sets people know a row by: rows alike but for case, blanks and accents are suspicious.
        indexes: Column sets that queries filter on.
        orders: Row rules over two columns.
        retention: When rows may be cleaned up.
        volume: How many rows generated sample data has.
        source: The name its rows have in source files (stem, JSON member, table), when that differs.
        conflict: What happens to rows that are there already, when a load does not say.
        drift: What happens to columns it does not have, when a load does not say.
        newest_by: The column that says which of two rows with one key is newer.
        cursor: The column that says how far an incremental load has come, when a load does not say.
        transforms: What is done to the text of source files before it is read, in order.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    orders: tuple[Order, ...] = ()
    retention: Retention | None = None
    volume: Volume = Volume()
    source: str | None = None
    conflict: ConflictStrategy = ConflictStrategy.OVERWRITE
    drift: Drift = Drift.STRICT
    newest_by: str | None = None
    cursor: str | None = None
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.column_names):
            if not NAME_PATTERN.match(name):
                raise InputError(
                    f"{name!r} is not a usable name.",
                    where=f"dataset {self.name!r}",
                    fix="Use lower-case letters, digits and _, starting with a letter, 48 at most.",
                )
        duplicates = {name for name in self.column_names if self.column_names.count(name) > 1}
        if duplicates:
            raise InputError(f"columns named twice: {sorted(duplicates)}.", where=f"dataset {self.name!r}")
        mentioned = {
            *self.key,
            *(name for key in self.foreign_keys for name in key.columns),
            *(name for columns in (*self.unique, *self.alike, *self.indexes) for name in columns),
            *(name for order in self.orders for name in (order.first, order.then)),
            *((self.retention.column,) if self.retention else ()),
            *(name for name in (self.newest_by, self.cursor) if name),
        }
        unknown = mentioned - set(self.column_names)
        if unknown:
            raise InputError(
                f"keys or rules name unknown columns {sorted(unknown)}.", where=f"dataset {self.name!r}"
            )
        if not self.key:
            raise InputError(
                "no primary key; rows could not be merged or compared.", where=f"dataset {self.name!r}"
            )
        check_formats(self)
        check_transforms(self)

    @property
    def source_name(self) -> str:
        """The name its rows have in source files: a file's stem, a JSON member, a table."""
        return self.source or self.name

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Column names in table order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def reads(self) -> Mapping[str, str]:
        """What source files may have: each column's name there, and what it is called from then on.

        Those of the dataset's columns, and what its transforms take from the source besides, as it is.
        """
        names = {column.source_name: column.name for column in self.columns}
        given = given_inputs(self.transforms, (*self.column_names, *names))
        return {**names, **{name: name for name in given}}

    @cached_property
    def required(self) -> frozenset[str]:
        """What source files must have, by its name there: what neither may be null nor is made."""
        made = {self.reads.get(name, name) for name in made_columns(self.transforms)}
        return frozenset(
            column.source_name
            for column in self.columns
            if not column.nullable and column.default is None and column.name not in made
        )

    def lacking(self, found: Iterable[str]) -> tuple[str, ...]:
        """Columns that must be filled and cannot be when files have only these, by their names there."""
        there = {self.reads[name] for name in found if name in self.reads}
        for transform in self.transforms:
            if applies(transform, {name for name in transform.inputs if self.reads.get(name, name) in there}):
                there.update(self.reads.get(name, name) for name in transform.outputs)
        return tuple(
            column.source_name
            for column in self.columns
            if not column.nullable and column.default is None and column.name not in there
        )

    @cached_property
    def rewritten(self) -> tuple[str, ...]:
        """Columns of a source whose text is not what is stored: it is changed or used up on the way."""
        changed = {
            self.reads.get(name, name)
            for transform in self.transforms
            for name in (*transform.inputs, *transform.outputs)
        }
        changed.update(column.name for column in self.columns if column.formats or column.zone)
        return tuple(name for name in self.reads.values() if name in changed)

    def source_of(self, name: str) -> str:
        """What a column of a batch is called in source files."""
        column = self.by_name.get(name)
        return column.source_name if column else name

    @property
    def tenant_dependent(self) -> bool:
        """Whether the same file gives different rows for different tenants."""
        return any(isinstance(transform, Hash) for transform in self.transforms)

    @property
    def private_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold personal data or secrets."""
        return tuple(column.name for column in self.columns if column.privacy)


def _check_bounds(rule: Between | Length, low: float | None, high: float | None) -> None:
    if low is None and high is None:
        raise InputError("the rule allows everything.", where=str(rule), fix="Give it a bound, or drop it.")
    if low is not None and high is not None and low > high:
        raise InputError("the rule allows nothing.", where=str(rule), fix="Put the smaller bound first.")
