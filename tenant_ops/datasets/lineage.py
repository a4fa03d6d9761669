"""Where the values of a dataset's columns come from: columns of source files, and of datasets it refers to.

Here: the answer, as names, and what of it may be shown. Not here: showing it (`orchestration/metadata.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tenant_ops.datasets.definition import Dataset, PrivacyClass
from tenant_ops.datasets.transforms import Default, Hash, Lookup, Mask


@dataclass(frozen=True)
class Origin:
    """What one column is made of.

    Attributes:
        sources: Columns of source files, by their names there.
        dataset: The dataset whose rows are looked up, if any are.
        looked_up: The columns of it that are looked at.
    """

    sources: tuple[str, ...]
    dataset: str | None = None
    looked_up: tuple[str, ...] = ()


def lineage(dataset: Dataset) -> Mapping[str, Origin]:
    """What each column is made of, in table order.

    A column that transforms make comes from their inputs; that a file may give it itself is left out.
    """
    sources: dict[str, tuple[str, ...]] = {name: (given,) for given, name in dataset.reads.items()}
    lookups = {each.column: each for each in dataset.transforms if isinstance(each, Lookup)}
    for transform in dataset.transforms:
        used = [one for name in transform.inputs for one in sources[dataset.reads.get(name, name)]]
        if not isinstance(transform, Default):
            made = [dataset.reads.get(name, name) for name in transform.outputs]
            sources.update(dict.fromkeys(made, tuple(dict.fromkeys(used))))
    return {
        name: Origin(
            sources[name],
            lookups[name].references if name in lookups else None,
            (lookups[name].key, *lookups[name].by) if name in lookups else (),
        )
        for name in dataset.column_names
    }


@cache
def privacy_of(dataset: Dataset, name: str) -> PrivacyClass | None:
    """What kind of personal data a column of a batch holds, one that only sources have included.

    That is as private as what is made of it; what nothing is made of may hold anything.
    """
    if name in dataset.by_name:
        return dataset.by_name[name].privacy
    for each in dataset.transforms:
        if isinstance(each, Hash | Mask) and each.column == name:
            return "secret"
    origins = lineage(dataset)
    made = [dataset.by_name[column] for column, origin in origins.items() if name in origin.sources]
    for each in dataset.transforms:
        if isinstance(each, Lookup):
            made += [
                column for column, given in zip(each.natural, each.inputs, strict=False) if given == name
            ]
    return next((column.privacy for column in made if column.privacy), None) if made else "secret"
