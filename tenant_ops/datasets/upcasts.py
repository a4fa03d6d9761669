"""Source files of an older version, brought up to the catalog's: what each release changed in them.

Here: the declaration, which of them a file needs, and whether they are in order. Not here: the transforms
they are made of (`transforms.py`), how the version of a source is known (`loading/source_versions.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tenant_ops.datasets.transforms import Transform
from tenant_ops.platform.errors import InputError


@dataclass(frozen=True)
class Upcast:
    """What a release changed in the source files of one dataset.

    Attributes:
        version: The release: files older than it need this.
        dataset: Whose files.
        transforms: Make of an older file's columns those of this version. A renamed column is
            `Derive("new", "{old}")`, one that is gone `Drop("old")`.
    """

    version: str
    dataset: str
    transforms: tuple[Transform, ...]


def order_of(version: str) -> tuple[int, ...]:
    """What versions are compared by; a part that is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def needed(upcasts: Iterable[Upcast], dataset: str, source_version: str) -> tuple[str, ...]:
    """The versions, oldest first, that files of `source_version` have to be brought through."""
    return tuple(
        upcast.version
        for upcast in upcasts
        if upcast.dataset == dataset and order_of(source_version) < order_of(upcast.version)
    )


def check_upcasts(upcasts: tuple[Upcast, ...], datasets: Iterable[str], version: str) -> None:
    """Refuse upcasts that are out of order, too new, or of a dataset there is not.

    Raises:
        InputError: names the version and the dataset.
    """
    known = set(datasets)
    latest: dict[str, tuple[int, ...]] = {}
    for upcast in upcasts:
        where = f"upcast to {upcast.version} of {upcast.dataset}"
        if upcast.dataset not in known:
            raise InputError(f"there is no dataset {upcast.dataset!r}.", where=where)
        if order_of(upcast.version) > order_of(version):
            raise InputError(f"the catalog is only at version {version}.", where=where)
        if order_of(upcast.version) <= latest.get(upcast.dataset, ()):
            raise InputError(
                "another of this or a later version stands before it.",
                where=where,
                fix="Put them in the order of their versions, one for each dataset.",
            )
        latest[upcast.dataset] = order_of(upcast.version)
