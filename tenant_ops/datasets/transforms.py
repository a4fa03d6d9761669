"""What is done to the text of source files before it is read as typed values: transformations, declared.

Here: the declarations as plain frozen values, and what each needs and makes. Not here: whether they fit a
dataset (`fitting.py`), doing it (`transforming.py`), reading dates and times in declared formats
(`Column.formats`), finding what a `Lookup` looks for (`loading/lookups.py`).

Transforms are applied in their order. One names a column of the dataset, a column an earlier transform made,
or else a column of the source by its name there. What it makes replaces what the source gave in rows where it
makes something; in the others the source's own value stays. Without its inputs in the source it does nothing.

There is none that renames: `Column(..., source="E-Mail")` does, and `Derive("email", "{mail}")` where a file
has one name or the other.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from string import Formatter
from types import CodeType
from typing import TYPE_CHECKING, Any, Literal

from tenant_ops.platform.errors import InputError

if TYPE_CHECKING:
    import pyarrow as arrow

    from tenant_ops.datasets.definition import Column, PrivacyClass


@dataclass(frozen=True)
class _InPlace:
    """A transform of one column's text into other text of the same column."""

    column: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (self.column,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns it makes."""
        return (self.column,)


@dataclass(frozen=True)
class Clean(_InPlace):
    """White space around the text is cut; when told so, letters become small, and empty text null."""

    strip: bool = True
    lower: bool = False
    empty_as_null: bool = False


@dataclass(frozen=True)
class Number(_InPlace):
    """Numbers written with other signs than `-1234.5` become that; a row with one it cannot read is bad.

    Thousands are separated everywhere or nowhere: `1.234.567,8` and `1234567,8`, not `1234.567,8`.
    """

    decimal: str = ","
    thousands: str = "."


@dataclass(frozen=True)
class MapValues(_InPlace):
    """Whole values become others.

    Attributes:
        values: New value by old one; None empties.
        otherwise: What becomes of a value that is not among them: it is kept, emptied, or makes its row bad.
    """

    values: Mapping[str, str | None] = field(hash=False)
    otherwise: Literal["keep", "null", "refuse"] = "keep"


@dataclass(frozen=True)
class Hash(_InPlace):
    """The value is replaced by its HMAC-SHA-256 in hexadecimal, under a key only this tenant has.

    Equal values stay equal within a tenant, in every column and load, and mean nothing elsewhere.
    """


@dataclass(frozen=True)
class Mask(_InPlace):
    """The value is replaced by its mask (`platform/masking.py`): of this privacy class, or the column's."""

    privacy: "PrivacyClass | None" = None


@dataclass(frozen=True)
class Default(_InPlace):
    """A value for rows that have none, and for files without the column; text, as a file would spell it."""

    value: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column itself, which need not be there."""
        return (self.column,)


@dataclass(frozen=True)
class Derive:
    """A column made of others by a template like `{first} {last}`; null where one of them is."""

    column: str
    template: str

    def __post_init__(self) -> None:
        try:
            list(Formatter().parse(self.template))
        except ValueError as error:
            raise InputError(
                f"the template {self.template!r} cannot be read: {error}.", where=f"column {self.column}"
            ) from error

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """The template as pairs of text and the column that follows it, None after the last."""
        return tuple((text, name) for text, name, _, _ in Formatter().parse(self.template))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns its template names."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The column it makes."""
        return (self.column,)


@dataclass(frozen=True)
class Compute:
    """A column made by a Python function.

    Attributes:
        inputs: Columns; one the source does not have is all null, and without any it is not called.
        function: Takes one array of text for each input and returns an array of as many values, without
            looking at anything else. Its code is part of what decides whether a file is loaded again.
    """

    column: str
    inputs: tuple[str, ...]
    function: "Callable[..., arrow.Array]"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The column it makes."""
        return (self.column,)


@dataclass(frozen=True)
class Split:
    """A column's parts between `by` become columns of their own, the last of them with all that is left.

    Attributes:
        into: The columns, in order; those without a part are null.
        exact: Whether a row with fewer parts is bad.
    """

    column: str
    into: tuple[str, ...]
    by: str = " "
    exact: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column that is split."""
        return (self.column,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of its parts."""
        return self.into


@dataclass(frozen=True)
class Drop:
    """A column of the source that is known, and passed over."""

    column: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Lookup:
    """A foreign key is found by what people call the row it leads to, when rows are merged.

    A row whose inputs lead to no row is bad; one with an empty input keeps the key it was given.

    Attributes:
        column: A foreign key of one column.
        references: The dataset it leads to.
        by: Columns of that dataset that are unique together, each with the input it is compared to.
        natural: Those columns; the catalog fills them in.
        key: The column of that dataset the foreign key leads to; the catalog fills it in.
    """

    column: str
    references: str
    by: Mapping[str, str] = field(hash=False)
    natural: "tuple[Column, ...]" = field(default=(), compare=False, repr=False)
    key: str = field(default="", compare=False, repr=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns whose values are looked up."""
        return tuple(self.by.values())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The foreign key."""
        return (self.column,)


Transform = Clean | Number | MapValues | Hash | Mask | Default | Derive | Compute | Split | Drop | Lookup


def applies(transform: Transform, present: Collection[str]) -> bool:
    """Whether a transform does something for a source with these of its inputs."""
    match transform:
        case Default():
            return True
        case Compute(_, inputs):
            return any(name in present for name in inputs)
        case _:
            return all(name in present for name in transform.inputs)


def given_inputs(transforms: Iterable[Transform], columns: Sequence[str]) -> tuple[str, ...]:
    """The inputs that are neither columns of the dataset nor made by a transform: those the source gives."""
    made = {*columns}
    given: dict[str, None] = {}
    for transform in transforms:
        given.update((name, None) for name in transform.inputs if name not in made)
        made.update(transform.outputs)
    return tuple(given)


def made_columns(transforms: Iterable[Transform]) -> frozenset[str]:
    """What transforms make that the source need not have."""
    return frozenset(
        name
        for transform in transforms
        if isinstance(transform, Derive | Compute | Split | Lookup | Default)
        for name in transform.outputs
    )


def spelled(transforms: Iterable[Transform]) -> tuple[Any, ...]:
    """The transforms as plain values that are equal in every process when the transforms are."""
    return tuple(
        (type(each).__name__, *(_spelled(getattr(each, one.name)) for one in fields(each) if one.compare))
        for each in transforms
    )


def _spelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    if callable(value):
        return _identity(value)
    return value


def _identity(function: Callable[..., Any]) -> tuple[str, str, str]:
    """Where a function is, and a hash of what it does as far as its own code tells."""
    code = getattr(function, "__code__", None)
    digest = hashlib.sha256(repr(_code(code)).encode()).hexdigest() if code else ""
    return function.__module__, getattr(function, "__qualname__", repr(type(function))), digest


def _code(code: CodeType) -> tuple[Any, ...]:
    """Code without the paths and line numbers in it, which say nothing about what it does."""
    return code.co_code, tuple(map(_constant, code.co_consts)), code.co_names, code.co_varnames


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    # The order of a set of texts is another one in every process.
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
