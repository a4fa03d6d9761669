"""The datasets of a fleet together, at one version.

Here: what only all of them can decide: that references and lookups lead somewhere, their order, and how files
of older versions are read. Not here: a single dataset (`definition.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from tenant_ops.datasets.definition import Dataset
from tenant_ops.datasets.fitting import bind_lookups
from tenant_ops.datasets.upcasts import Upcast, check_upcasts, needed
from tenant_ops.platform.errors import InputError


@dataclass(frozen=True)
class Catalog:
    """The datasets a fleet's tenants have, at one version.

    Iterates in foreign-key order: what is referenced comes before what refers to it.

    Attributes:
        upcasts: What releases changed in source files, by version; for files that are older than the catalog.

    Raises:
        InputError: two datasets share a name, a reference or a lookup leads nowhere, references form a
            circle, or upcasts cannot work.
    """

    name: str
    version: str
    datasets: tuple[Dataset, ...]
    upcasts: tuple[Upcast, ...] = ()
    _order: tuple[Dataset, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {dataset.name: dataset for dataset in self.datasets}
        if len(by_name) != len(self.datasets):
            raise InputError("two datasets share a name.", where=f"catalog {self.name!r}")
        for dataset in self.datasets:
            for key in dataset.foreign_keys:
                target = by_name.get(key.references)
                if target is None or not set(key.target) <= set(target.column_names):
                    raise InputError(
                        f"the foreign key {key.columns} refers to {key.references}{key.target}, "
                        "which does not exist.",
                        where=f"dataset {dataset.name!r}",
                    )
        by_name = {name: bind_lookups(dataset, by_name) for name, dataset in by_name.items()}
        object.__setattr__(self, "datasets", tuple(by_name.values()))
        check_upcasts(self.upcasts, by_name, self.version)
        for upcast in self.upcasts:
            self.incoming(upcast.dataset, self.upcasts_since(upcast.dataset, ""))
        graph = {
            # a list, not a set: the order must be the same in every process
            dataset.name: [key.references for key in dataset.foreign_keys if key.references != dataset.name]
            for dataset in self.datasets
        }
        try:
            order = tuple(by_name[name] for name in TopologicalSorter(graph).static_order())
        except CycleError as error:
            raise InputError(
                f"foreign keys form a circle: {' -> '.join(error.args[1])}.", where=f"catalog {self.name!r}"
            ) from error
        object.__setattr__(self, "_order", order)

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self.datasets)

    def __contains__(self, name: object) -> bool:
        return any(dataset.name == name for dataset in self.datasets)

    def __getitem__(self, name: str) -> Dataset:
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise InputError(
            f"there is no dataset {name!r}.", fix=f"Known datasets: {', '.join(sorted(self.names))}."
        )

    def upcasts_since(self, dataset: str, source_version: str) -> tuple[str, ...]:
        """The versions, oldest first, that files of a dataset written at `source_version` go through."""
        return needed(self.upcasts, dataset, source_version)

    def incoming(self, name: str, versions: Sequence[str] = ()) -> Dataset:
        """A dataset as files that are to be brought through these versions are read into it.

        Raises:
            InputError: the dataset is unknown, or a transform of an upcast cannot work.
        """
        dataset = self[name]
        brought = [each for each in self.upcasts if each.dataset == name and each.version in versions]
        if not brought:
            return dataset
        transforms = (*(one for upcast in brought for one in upcast.transforms), *dataset.transforms)
        return bind_lookups(
            replace(dataset, transforms=transforms), {each.name: each for each in self.datasets}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Dataset names in foreign-key order."""
        return tuple(dataset.name for dataset in self._order)

    def select(self, names: Sequence[str] | None) -> tuple[Dataset, ...]:
        """The named datasets (all when None or empty) in foreign-key order.

        Raises:
            InputError: a name is unknown.
        """
        if not names:
            return self._order
        wanted = {self[name].name for name in names}
        return tuple(dataset for dataset in self._order if dataset.name in wanted)
