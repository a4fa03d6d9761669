"""How the rows of a catalog are laid out: how many, and which columns keep them apart.

Here: row counts, and for every unique set of columns the numbers that make it unique by construction.
Not here: the values themselves (`rows.py`).

A set of columns is kept unique by writing the row's number (scattered over the range) as a mixed-radix
number whose digits choose the columns' values. So uniqueness costs no memory and holds across chunks; where a
set has fewer combinations than rows are wanted, there are fewer rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import TypeVar

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import Column, Dataset, ForeignKey
from tenant_ops.datasets.synthesis import domains, samples
from tenant_ops.datasets.synthesis.domains import Calendar, Domain
from tenant_ops.datasets.synthesis.randomness import Index
from tenant_ops.datasets.synthesis.samples import Sample
from tenant_ops.platform.errors import InputError

_Number = TypeVar("_Number", int, Index)
ORDERED_TYPES = {"integer", "bigint", "numeric", "double", "date", "timestamptz"}
Slot = ForeignKey | str  # what takes one digit: a foreign key's parent row, or a column's value


@dataclass(frozen=True)
class Place:
    """Where a slot finds its digit in the row's number.

    Attributes:
        purpose: Names the scatter; slots of one set share it.
        divisor: Combinations of the digits behind this one.
        size: Values this digit has.
        combinations: Combinations of the whole set.
        scattered: Whether the row's number is scattered first; otherwise rows count upwards.
    """

    purpose: str
    divisor: int
    size: int
    combinations: int
    scattered: bool


@dataclass
class Layout:
    """How one dataset's rows are made; see the module.

    Attributes:
        dataset: The dataset.
        rows: How many rows it gets.
        required: Columns that are never empty, whatever the definition allows.
        owner: For each column of a foreign key, the key that decides its value.
        samples: Parsed recipes by column.
        domains: By column, for those without recipe and foreign key.
        copies: Columns that take another column's value.
        places: Slots that take a digit of the row's number.
        scales: Decimals of the columns that take their values from another dataset.
    """

    dataset: Dataset
    rows: int
    required: frozenset[str]
    owner: Mapping[str, ForeignKey]
    samples: Mapping[str, Sample]
    domains: dict[str, Domain] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    places: dict[Slot, Place] = field(default_factory=dict)
    scales: dict[str, int] = field(default_factory=dict)

    def slot(self, column: str) -> Slot:
        """What decides the column's value."""
        return self.owner.get(self.copies.get(column, column)) or self.copies.get(column, column)

    def scale(self, column: str) -> int:
        """How many decimals the column's values have: those of the column they are taken from."""
        return self.scales.get(column, domains.scale(self.dataset.by_name[column]))

    def is_fixed(self, column: str) -> bool:
        """Whether the column's value may not be moved to obey an order."""
        return (
            column in self.samples or column in self.owner or column in self.copies or column in self.places
        )

    @cached_property
    def sampled_keys(self) -> Mapping[ForeignKey, Sample]:
        """The recipe of each foreign key that has one, on whichever of its columns it stands."""
        return {key: self.samples[name] for name, key in self.owner.items() if name in self.samples}


def plan(catalog: Catalog, rows: int, calendar: Calendar) -> dict[str, Layout]:
    """The layout of every dataset, parents first.

    Args:
        catalog: The datasets.
        rows: Rows of the biggest dataset.
        calendar: The time the rows fall in.

    Raises:
        InputError: a definition contradicts itself, or needs a recipe it does not have.
    """
    layouts: dict[str, Layout] = {}
    for dataset in catalog:
        volume = dataset.volume
        wanted = min(rows, max(volume.least, round(rows * volume.share)), volume.most or rows)
        required = {
            name for key in _references_to(catalog, dataset) for name in key.target if name in dataset.by_name
        }
        layout = Layout(
            dataset,
            max(1, wanted),
            frozenset({*dataset.key, *required}),
            _owners(catalog, dataset),
            {c.name: sample for c in dataset.columns if (sample := samples.parse(c)) is not None},
        )
        layouts[dataset.name] = layout
        own_last = sorted(layout.owner.items(), key=lambda pair: pair[1].references == dataset.name)
        for name, key in own_last:
            layout.scales[name] = layouts[key.references].scale(key.target[key.columns.index(name)])
        try:
            _find_domains(layout, calendar)
            _find_places(layout, layouts)
        except InputError as error:
            raise InputError(
                error.problem, fix=error.fix, where=f"dataset {dataset.name!r} {error.where}".strip()
            ) from error
    return layouts


def converted(value: _Number, layout: Layout, source: str, target: str, *, up: bool) -> _Number:
    """A value of column `source` as column `target` counts, rounded up or down where it falls between two."""
    here, there = _ticks(layout, source), _ticks(layout, target)
    if here % there == 0:
        return value * (here // there)
    ratio = there // here
    return -(-value // ratio) if up else value // ratio


def _ticks(layout: Layout, name: str) -> int:
    """How much one counted unit of the column is worth, so that columns of an order can be compared."""
    kind = layout.dataset.by_name[name].type
    if kind == "date":
        return domains.DAY_MS
    return 1 if kind == "timestamptz" else 10 ** (9 - layout.scale(name))


def _references_to(catalog: Catalog, dataset: Dataset) -> Sequence[ForeignKey]:
    return [key for other in catalog for key in other.foreign_keys if key.references == dataset.name]


def _owners(catalog: Catalog, dataset: Dataset) -> dict[str, ForeignKey]:
    """Which foreign key decides each column: of two on one column, the one the other follows from."""
    owner: dict[str, ForeignKey] = {}
    for key in sorted(dataset.foreign_keys, key=lambda key: -catalog.names.index(key.references)):
        free = [
            name
            for name, target in zip(key.columns, key.target, strict=True)
            if name not in owner and not (key.references == dataset.name and name == target)
        ]
        if len(free) < len(key.columns) and key.references != dataset.name:
            if free or not any(_follows(catalog, key, owner[name]) for name in key.columns):
                raise InputError(
                    f"the foreign keys on {key.columns} share columns, and neither follows from the other.",
                    where=f"dataset {dataset.name!r}",
                    fix="Sample data can be made when the columns refer to one parent.",
                )
            continue
        owner |= dict.fromkeys(free, key)
    return owner


def _follows(catalog: Catalog, key: ForeignKey, given: ForeignKey) -> bool:
    """Whether `key` holds whenever `given` does: their columns end in the same rows."""
    if not set(key.columns) <= set(given.columns):
        return False
    renamed = dict(zip(given.columns, given.target, strict=True))
    through = tuple(renamed[name] for name in key.columns)
    if (given.references, through) == (key.references, key.target):
        return True
    return any(
        _follows(catalog, ForeignKey(through, key.references, key.target), parent)
        for parent in catalog[given.references].foreign_keys
        if parent.references != given.references
    )


def _find_domains(layout: Layout, calendar: Calendar) -> None:
    dataset = layout.dataset
    apart = {name for columns in _unique_sets(dataset) for name in columns}
    for column in dataset.columns:
        if column.name not in layout.samples and column.name not in layout.owner:
            distinct = layout.rows if column.name in apart else None
            layout.domains[column.name] = domains.domain(column, calendar, distinct)
    _refuse_circles(dataset)
    for component in _order_components(layout):
        _find_copies(layout, component, apart)
    for _ in dataset.orders:  # as often as the longest chain
        for order in dataset.orders:
            first, then = (layout.copies.get(name, name) for name in (order.first, order.then))
            if first != then:
                _clip(layout, first, then)


def _refuse_circles(dataset: Dataset) -> None:
    before: dict[str, list[str]] = {}
    for order in dataset.orders:
        before.setdefault(order.then, []).append(order.first)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        raise InputError(f"its orders form a circle: {' <= '.join(error.args[1])}.") from error


def _clip(layout: Layout, first: str, then: str) -> None:
    """Leave `first` no value above all of `then`, and `then` none below all of `first`."""
    low, high = layout.domains.get(first), layout.domains.get(then)
    if low is None or high is None or low.low is None or high.high is None:
        return
    least = converted(low.low, layout, first, then, up=True)
    most = converted(high.high, layout, then, first, up=False)
    if low.low > most or high.high < least:
        raise InputError(f"every {first!r} its rules allow is above every {then!r}.")
    layout.domains[first] = low.clipped(None, most)
    layout.domains[then] = high.clipped(least, None)


def _find_copies(layout: Layout, component: list[str], apart: set[str]) -> None:
    """Where columns of an order cannot move past each other, all take the value of one of them."""
    by_name = layout.dataset.by_name
    free = [name for name in component if name in layout.domains]
    ordered = all(layout.domains[name].low is not None for name in free)
    stuck = [name for name in free if name in apart] if ordered else free
    if len(stuck) < 2:
        return
    leader = next((name for name in stuck if name in apart), stuck[0])
    for name in stuck:
        same_unit = (by_name[name].type, layout.scale(name)) == (by_name[leader].type, layout.scale(leader))
        if not same_unit or not (ordered or _alike(by_name, name, leader)):
            raise InputError(
                f"no rows can be made that obey the order of {name!r} and {leader!r}.",
                fix="Give one of them a `sample` recipe.",
            )
        mine, theirs = layout.domains[leader], layout.domains[name]
        layout.domains[leader] = mine.clipped(theirs.low, theirs.high)
        if name != leader:
            layout.copies[name] = leader
    for name in set(free) - set(stuck):
        if _leads(layout, stuck, [name]) and _leads(layout, [name], stuck):
            _squeeze(layout, leader, name)


def _squeeze(layout: Layout, leader: str, between: str) -> None:
    """Leave the copies of a column only values that a column between two of them can take as well."""
    mine, theirs = layout.domains[leader], layout.domains[between]
    if mine.low is None or theirs.low is None or theirs.high is None:
        return
    low = converted(theirs.low, layout, between, leader, up=True)
    high = converted(theirs.high, layout, between, leader, up=False)
    # An integer between two decimals leaves them whole numbers.
    layout.domains[leader] = mine.clipped(low, high).thinned(
        _ticks(layout, between) // _ticks(layout, leader)
    )


def _leads(layout: Layout, starts: Sequence[str], ends: Sequence[str]) -> bool:
    """Whether orders lead from one of the columns to one of the others."""
    reached = {order.then for order in layout.dataset.orders if order.first in starts}
    return bool(reached & set(ends)) or (bool(reached) and _leads(layout, sorted(reached), ends))


def _alike(by_name: Mapping[str, Column], name: str, leader: str) -> bool:
    return by_name[name].rules == by_name[leader].rules


def _order_components(layout: Layout) -> list[list[str]]:
    """Columns that are tied by orders, group by group, in column order."""
    groups: list[set[str]] = []
    for order in layout.dataset.orders:
        tied = {order.first, order.then}
        tied = tied.union(*(group for group in groups if group & tied))
        groups = [group for group in groups if not group & tied] + [tied]
    return [[name for name in layout.dataset.column_names if name in group] for group in groups]


def _unique_sets(dataset: Dataset) -> list[tuple[str, ...]]:
    singles = [(column.name,) for column in dataset.columns if column.unique]
    return sorted({dataset.key, *dataset.unique, *singles}, key=lambda columns: (len(columns), columns))


def _find_places(layout: Layout, layouts: Mapping[str, Layout]) -> None:
    kept_apart: list[set[Slot]] = []
    sets = _unique_sets(layout.dataset)
    leaders = [
        (name,) for name in dict.fromkeys(layout.copies.values()) if any(name in each for each in sets)
    ]
    for columns in [*leaders, *sets]:
        slots = _telling_slots(layout, columns, layouts)
        if any(group <= set(slots) for group in kept_apart):
            continue
        recipes = [slot for slot in slots if _has_recipe(layout, slot)]
        free = [slot for slot in slots if slot not in layout.places and slot not in recipes]
        if not free and recipes:
            continue  # a recipe answers for the uniqueness of the sets it is part of
        if not free:  # a part of a foreign key's columns need not tell its parents apart
            layout.rows = 1
            continue
        chosen = _enough(free, layout, layouts)
        sizes = [_size(slot, layout, layouts) for slot in chosen]
        layout.rows = min(layout.rows, prod(sizes))
        scattered = any(isinstance(slot, ForeignKey) for slot in chosen)
        for number, slot in enumerate(chosen):
            layout.places[slot] = Place(
                "/".join((layout.dataset.name, *columns)),
                prod(sizes[number + 1 :]),
                sizes[number],
                prod(sizes),
                scattered or len(chosen) == 1,
            )
        kept_apart.append(set(chosen))


def _telling_slots(layout: Layout, columns: Sequence[str], layouts: Mapping[str, Layout]) -> list[Slot]:
    """What decides the columns and can be told from their values."""
    slots: list[Slot] = []
    for slot in dict.fromkeys(layout.slot(name) for name in columns):
        if isinstance(slot, ForeignKey):
            pairs = zip(slot.columns, slot.target, strict=True)
            seen = {target for name, target in pairs if name in columns}
            parent = layouts[slot.references].dataset
            if not any(seen.issuperset(each) for each in _unique_sets(parent)):
                continue
        slots.append(slot)
    return slots


def _enough(free: list[Slot], layout: Layout, layouts: Mapping[str, Layout]) -> list[Slot]:
    """As few of the slots, biggest first, as have a combination for every row; in the given order."""
    chosen: list[Slot] = []
    for slot in sorted(free, key=lambda slot: -_size(slot, layout, layouts)):
        if chosen and prod(_size(each, layout, layouts) for each in chosen) >= layout.rows:
            break
        chosen.append(slot)
    return [slot for slot in free if slot in chosen]


def _size(slot: Slot, layout: Layout, layouts: Mapping[str, Layout]) -> int:
    if isinstance(slot, ForeignKey):
        return layouts[slot.references].rows
    return layout.domains[slot].size


def _has_recipe(layout: Layout, slot: Slot) -> bool:
    return slot in layout.sampled_keys if isinstance(slot, ForeignKey) else slot in layout.samples
