"""What loading says: plans, outcomes of checks, and reports that turn into JSON as they are.

Here: frozen values and the sums that must hold. Not here: how they come about.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import InputError

Format = Literal["csv", "tsv", "json", "ndjson", "parquet", "sqlite"]


class ConflictStrategy(StrEnum):
    """What happens to an incoming row whose key is there already."""

    FAIL = "fail"
    """Nothing of the dataset is merged."""
    SKIP = "skip"
    """The row that is there stays as it is."""
    OVERWRITE = "overwrite"
    """The incoming row replaces it."""
    MERGE = "merge"
    """Incoming values that are not empty replace those that are there."""


class UnknownColumns(StrEnum):
    """What happens to a column of a file that the dataset does not have."""

    REFUSE = "refuse"
    IGNORE = "ignore"


@dataclass(frozen=True)
class SourceFile:
    """One file (or one table inside a file) with rows of one dataset.

    Attributes:
        name: What it is called in reports: its path inside the source folder.
        path: Where it is.
        format: How it is written.
        compression: `gz`, `zst` or empty.
        part: The member or table inside the file, when it holds several.
        bytes: Its size on disk.
        sha256: Hash of its bytes, in hexadecimal.
    """

    name: str
    path: str
    format: Format
    compression: str
    part: str | None
    bytes: int
    sha256: str


@dataclass(frozen=True)
class CheckOutcome:
    """One of the checks of a dataset, decided by a load.

    Attributes:
        name: One of `CHECKS`.
        description: What it makes sure of.
        passed: Whether no row failed it.
        failed_rows: How many did.
        sample: Up to ten of them: file, line, column, masked value, reason.
    """

    name: str
    description: str
    passed: bool
    failed_rows: int
    sample: tuple[dict[str, str | int | None], ...] = ()


CHECKS = {
    "schema": "Every value has its column's type, is there when required, and keeps its rules.",
    "keys": "No two rows share a primary key or a unique value.",
    "references": "Every foreign key leads to a row.",
    "complete": "No row was left in quarantine.",
}
"""The checks a load decides, in order: `schema` when staging, the others when merging."""


def checks(dataset: Dataset) -> dict[str, str]:
    """The names of the checks a load of this dataset decides, with what each makes sure of."""
    return {name: meaning for name, meaning in CHECKS.items() if name != "references" or dataset.foreign_keys}


@dataclass(frozen=True)
class FileReport:
    """What was read from one file. `read` is `staged` plus `quarantined`."""

    name: str
    format: str
    bytes: int
    sha256: str
    read: int
    staged: int
    quarantined: int


@dataclass(frozen=True)
class StageReport:
    """What a stage holds.

    Attributes:
        state: `staged`; `reused` when it was there already; `unchanged` when nothing was to be staged.
        read: Rows read from the files: `staged` plus `quarantined`.
        reasons: Quarantined rows by reason; a row with several is counted under the first.
    """

    tenant: str
    dataset: str
    state: Literal["staged", "reused", "unchanged"]
    load_id: str | None
    files: tuple[FileReport, ...]
    read: int
    staged: int
    quarantined: int
    reasons: dict[str, int]
    checks: tuple[CheckOutcome, ...]
    seconds: float


@dataclass(frozen=True)
class MergeReport:
    """What became of the rows of a stage.

    Attributes:
        state: `merged`, or `unchanged` when nothing was staged.
        read: Rows read from the files: `staged` plus those quarantined when staging.
        staged: `inserted` + `updated` + `unchanged` + `skipped` + those quarantined when merging.
        quarantined: Rows in quarantine after both steps.
        reasons: The same by reason.
        total: Rows in the live table afterwards.
    """

    tenant: str
    dataset: str
    state: Literal["merged", "unchanged"]
    conflict: ConflictStrategy
    load_id: str | None
    files: tuple[str, ...]
    read: int
    staged: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    quarantined: int
    reasons: dict[str, int]
    checks: tuple[CheckOutcome, ...]
    total: int
    seconds: float


@dataclass(frozen=True)
class DatasetPlan:
    """What loading would do for one dataset.

    Attributes:
        files: What will be read.
        skipped: Files whose bytes were loaded before and change nothing.
    """

    dataset: str
    files: tuple[SourceFile, ...]
    skipped: tuple[SourceFile, ...]


@dataclass(frozen=True)
class LoadPlan:
    """What a load would do: datasets in foreign-key order, and how.

    Attributes:
        conflict: What happens to rows that are there already.
        unknown_columns: Whether a column the dataset does not have is refused or ignored.
        max_bad_rows: Most quarantined rows a dataset may have and still be merged; None is no limit.
        max_bad_pct: The same in percent of the rows read.
        validate: Whether rules, keys and references are checked; types always are.
        force: Whether files are loaded that were loaded before.
    """

    tenant: str
    source: str
    datasets: tuple[DatasetPlan, ...]
    conflict: ConflictStrategy = ConflictStrategy.OVERWRITE
    batch_rows: int = 100_000
    unknown_columns: UnknownColumns = UnknownColumns.REFUSE
    max_bad_rows: int | None = None
    max_bad_pct: float | None = None
    validate: bool = True
    force: bool = False

    @property
    def bytes(self) -> int:
        """How much will be read."""
        return sum(file.bytes for plan in self.datasets for file in plan.files)

    def of(self, dataset: str) -> DatasetPlan:
        """The part that concerns one dataset.

        Raises:
            InputError: the plan does not mention it.
        """
        for plan in self.datasets:
            if plan.dataset == dataset:
                return plan
        raise InputError(f"the load was not planned for {dataset!r}.", where=f"tenant {self.tenant}")


@dataclass(frozen=True)
class DatasetLoad:
    """One dataset of a load: how it was staged, and what was merged."""

    dataset: str
    stage: StageReport
    merge: MergeReport


@dataclass(frozen=True)
class LoadReport:
    """A whole load, in foreign-key order."""

    tenant: str
    source: str
    conflict: ConflictStrategy
    datasets: tuple[DatasetLoad, ...]
    read: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    quarantined: int
    seconds: float
