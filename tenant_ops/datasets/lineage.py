"""Where the values of a dataset's columns come from: columns of source files, and of datasets it refers to.

Here: the answer, as names. Not here: how it is shown (`orchestration/metadata.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tenant_ops.datasets.definition import Dataset
from tenant_ops.datasets.transforms import Default, Lookup


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
