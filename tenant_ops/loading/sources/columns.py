"""A source's columns against a dataset's: which are read, and what is said about the others.

Here: the contract a dataset has with its sources, whatever their format. Not here: values, types, and what is
proposed because of columns nobody knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tenant_ops.datasets import Dataset, Drift
from tenant_ops.loading.reports import Drifted
from tenant_ops.loading.sources.batch import spell
from tenant_ops.platform.errors import InputError

SAMPLES = 20
"""Values kept of a column the dataset does not have, for whoever has to guess its type."""


class Columns:
    """The columns of one source while it is read.

    Attributes:
        dataset: What the rows are rows of.
        samples: The first values of each column that was passed over, by its name.
    """

    def __init__(self, dataset: Dataset, file: str, drift: Drift | str) -> None:
        self.dataset = dataset
        self.samples: dict[str, list[str]] = {}
        self._file = file
        self._drift = Drift(drift)
        self._found: set[str] = set()
        self._missing: dict[str, str] = {}

    def match(self, found: Sequence[str], where: str) -> dict[str, str | None]:
        """Which column of a batch each column of a header is, in its order; None for one that is passed over.

        Raises:
            InputError: a column is named twice or not at all, is unknown and the contract strict, or a
                required one is missing.
        """
        for position, name in enumerate(found, 1):
            place = f"{where}, column {position}"
            if not name.strip():
                raise InputError("the column has no name.", where=place, fix="Name it in the header.")
            if name in found[: position - 1]:
                raise InputError(f"the column {name!r} is there twice.", where=place, fix="Keep one of them.")
            self._meet(name, place)
        reads = self.dataset.reads
        absent = [name for name in reads if name not in found]
        required = self.dataset.lacking(found)
        if required:
            raise InputError(
                f"the columns {', '.join(required)} of {self.dataset.name} are missing.",
                where=where,
                fix=f"The header has: {', '.join(found)}.",
            )
        self._missing = dict.fromkeys(absent, "new rows take its default or are empty, others keep theirs")
        return {name: reads.get(name) for name in found}

    def see(self, row: Mapping[str, Any], line: int) -> None:
        """Take note of the members of one object, and of the line it begins on.

        Raises:
            InputError: one is unknown and the contract strict.
        """
        if not row.keys() <= self._found:
            for name in row:
                self._meet(name, f"{self._file}, line {line}")
        for name in self.samples.keys() & row.keys():
            self.sample(name, [row[name]])

    def sample(self, name: str, values: Iterable[Any]) -> None:
        """Keep the first values of a column that is passed over, as text."""
        kept = self.samples[name]
        for value in values:
            if len(kept) == SAMPLES:
                return
            kept += [text for text in spell([value], as_json=False) if text is not None]

    def end(self) -> None:
        """The objects are read: a member none of them had is missing."""
        if self._found:
            absent = [name for name in self.dataset.reads if name not in self._found]
            self._missing = dict.fromkeys(absent, "empty in every row")

    @property
    def drift(self) -> tuple[Drifted, ...]:
        """What was found that is not as the dataset has it; complete once every row was read."""
        proposed = ", and a migration that adds it is proposed" if self._drift is Drift.EVOLVE else ""
        unknown = [Drifted(self._file, name, "unknown", f"passed over{proposed}") for name in self.samples]
        missing = [Drifted(self._file, name, "missing", outcome) for name, outcome in self._missing.items()]
        return (*unknown, *missing)

    def _meet(self, name: str, where: str) -> None:
        self._found.add(name)
        if name in self.dataset.reads:
            return
        if self._drift is Drift.STRICT:
            raise InputError(
                f"{self.dataset.name} has no column {name!r}.",
                where=where,
                fix="Remove it, or load with unknown columns ignored. "
                f"Known columns: {', '.join(self.dataset.reads)}.",
            )
        self.samples.setdefault(name, [])
