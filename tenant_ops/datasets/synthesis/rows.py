"""The values of any rows of any dataset, worked out when asked.

Here: keys, references, orders and empty values, for a world (catalog, seed, size) and an array of row
numbers.
Not here: row counts and what keeps rows apart (`layout.py`), lifelike values (`recipes.py`).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import Column, Dataset, ForeignKey
from tenant_ops.datasets.synthesis import layout as layouts
from tenant_ops.datasets.synthesis import randomness, recipes
from tenant_ops.datasets.synthesis.domains import Calendar, Values, arrow, pc
from tenant_ops.datasets.synthesis.layout import Layout, Slot, converted
from tenant_ops.datasets.synthesis.randomness import Bits, Index
from tenant_ops.datasets.synthesis.samples import Sample
from tenant_ops.platform.errors import InputError

DEFAULT_NULL_SHARE = 0.1
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """All rows there are, without having made one.

    Attributes:
        catalog: The datasets.
        seed: Everything random follows from it.
        calendar: The time the rows fall in.
        layouts: How each dataset is laid out.
        remembered: What recipes summed up over whole datasets.
    """

    catalog: Catalog
    seed: int
    calendar: Calendar
    layouts: dict[str, Layout]
    remembered: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: Catalog, rows: int, seed: int, calendar: Calendar) -> "World":
        """The world of `rows` rows in the biggest dataset.

        Raises:
            InputError: a definition contradicts itself or misuses a recipe.
        """
        world = cls(catalog, seed, calendar, layouts.plan(catalog, rows, calendar))
        for layout in world.layouts.values():
            for name, sample in layout.samples.items():
                known = recipes.PICKS if name in layout.owner else recipes.RECIPES
                if sample.recipe not in known:
                    raise InputError(
                        f"there is no recipe {sample.recipe!r} for this column.",
                        where=f"{layout.dataset.name}.{name}",
                        fix=f"Recipes: {', '.join(sorted(known))}.",
                    )
        return world

    def rows(self, dataset: str, index: Index) -> "Rows":
        """The rows with these numbers."""
        return Rows(self, self.layouts[dataset], index)

    def count(self, dataset: str) -> int:
        """How many rows the dataset has."""
        return self.layouts[dataset].rows


class Rows:
    """Some rows of a dataset; every value is worked out once, when first asked for."""

    def __init__(self, world: World, layout: Layout, index: Index) -> None:
        self.world = world
        self.layout = layout
        self.index = index
        self._values: dict[str, Values] = {}
        self._parents: dict[ForeignKey, Rows] = {}
        self._being_made: set[str] = set()

    @property
    def dataset(self) -> Dataset:
        """What the rows are."""
        return self.layout.dataset

    @property
    def count(self) -> int:
        """How many rows the whole dataset has."""
        return self.layout.rows

    def bits(self, *purpose: str) -> Bits:
        """Hashed bits for a purpose within the dataset."""
        return randomness.bits(self.world.seed, "/".join((self.dataset.name, *purpose)), self.index)

    def values(self, name: str) -> Values:
        """The column's values; where `missing` says so they are not shown, but other values may rest on them.

        Raises:
            InputError: the value rests on itself.
        """
        if name not in self._values:
            if name in self._being_made:
                raise InputError("its values rest on themselves.", where=f"{self.dataset.name}.{name}")
            if name not in self.dataset.by_name:
                raise InputError(f"a recipe names an unknown column {name!r}.", where=self.dataset.name)
            self._being_made.add(name)
            self._values[name] = self._make(name)
        return self._values[name]

    def look_up(self, reference: str) -> Values:
        """The values of `column`, or with `foreign_key_column.column` those of the row it refers to."""
        first, dot, rest = reference.partition(".")
        return self.parent(first).look_up(rest) if dot else self.values(first)

    def key_of(self, column: str) -> ForeignKey:
        """The foreign key that decides a column.

        Raises:
            InputError: there is none.
        """
        if column not in self.layout.owner:
            raise InputError("its recipe takes it for a foreign key.", where=f"{self.dataset.name}.{column}")
        return self.layout.owner[column]

    def parent(self, column: str) -> "Rows":
        """The rows a foreign key's column refers to, one for each row."""
        key = self.key_of(column)
        if key not in self._parents:
            self._parents[key] = self.world.rows(key.references, self._pick(key))
        return self._parents[key]

    def missing(self, name: str) -> Mask:
        """Where the column is empty."""
        column, key = self.dataset.by_name[name], self.layout.owner.get(name)
        nobody = np.zeros(len(self.index), np.bool_)
        if not column.nullable or name in self.layout.required:
            return nobody
        sample = self.layout.samples.get(name)
        if sample is None:
            share = DEFAULT_NULL_SHARE
        elif ":" in sample.null:
            other, _, value = sample.null.partition(":")
            return np.asarray(pc.equal(arrow(self.values(other)), value))
        else:
            share = float(sample.null or 0)
        empty = randomness.unit(self.bits(name, "null")) < share
        if key is not None and key.references == self.dataset.name and key not in self.layout.places:
            empty |= self.index == 0  # the root of a tree has no parent
        return empty

    def _pick(self, key: ForeignKey) -> Index:
        sample = self.layout.sampled_keys.get(key)
        if sample is not None:
            return recipes.PICKS[sample.recipe](self, key, sample)
        if key.references == self.dataset.name:
            return self._earlier(key)
        if key in self.layout.places:
            return self._digit(key)
        return randomness.below(self.bits(*key.columns), self.world.count(key.references))

    def _earlier(self, key: ForeignKey) -> Index:
        """A row before each row, so that rows load in order; the row itself where the key must be unique."""
        alone = key in self.layout.places or set(key.columns) & set(key.target)
        if alone or any(name in self.layout.owner for name in key.target):
            return self.index
        return randomness.below(self.bits(*key.columns), np.maximum(self.index, 1))

    def _make(self, name: str) -> Values:
        column, key = self.dataset.by_name[name], self.layout.owner.get(name)
        if key is not None:
            target = key.target[key.columns.index(name)]
            return self.parent(name).values(target)
        if name in self.layout.copies:
            return self.values(self.layout.copies[name])
        sample = self.layout.samples.get(name)
        if sample is not None:
            return self._by_recipe(column, sample)
        domain = self.layout.domains[name]
        if name in self.layout.places:
            return domain.at(self._digit(name))
        drawn = domain.at(randomness.below(self.bits(name), domain.size))
        return self._in_order(column, drawn) if domain.low is not None else drawn

    def _by_recipe(self, column: Column, sample: Sample) -> Values:
        try:
            return recipes.RECIPES[sample.recipe](self, column, sample)
        except InputError as error:
            if error.where != column.name:
                raise
            where = f"{self.dataset.name}.{column.name}"
            raise InputError(error.problem, fix=error.fix, where=where) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"the recipe {column.sample!r} cannot be followed: {error!r}.",
                where=f"{self.dataset.name}.{column.name}",
                fix=f"It is meant so: {recipes.RECIPES[sample.recipe].__doc__}",
            ) from error

    def _digit(self, slot: Slot) -> Index:
        place = self.layout.places[slot]
        number = self.index
        if place.scattered:
            number = randomness.permuted(self.world.seed, place.purpose, number, place.combinations)
        return number // place.divisor % place.size

    def _in_order(self, column: Column, drawn: Values) -> Values:
        """The drawn numbers, moved as little as the dataset's orders ask."""
        if self.layout.is_fixed(column.name):
            return drawn
        by_name = self.dataset.by_name
        numbers = np.asarray(drawn)
        for order in self.dataset.orders:
            if order.then == column.name and by_name[order.first].type in layouts.ORDERED_TYPES:
                first = np.asarray(self.values(order.first))
                least = converted(first, self.layout, order.first, column.name, up=True)
                numbers = np.maximum(numbers, least)
        for name in self._ceilings(column.name):
            then = np.asarray(self.values(name))
            numbers = np.minimum(numbers, converted(then, self.layout, name, column.name, up=False))
        return numbers

    def _ceilings(self, name: str) -> list[str]:
        """The columns that cannot move and must not be passed, directly or through columns that can."""
        found: list[str] = []
        for order in self.dataset.orders:
            if order.first == name:
                fixed = self.layout.is_fixed(order.then)
                found += [order.then] if fixed else self._ceilings(order.then)
        return found
