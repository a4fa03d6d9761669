"""What loading says: plans, outcomes of checks, and reports that turn into JSON as they are.

Here: frozen values and the sums that must hold. Not here: how they come about.
"""

from dataclasses import dataclass, field
from typing import Literal

from tenant_ops.datasets import ConflictStrategy, Dataset, Drift, Mode
from tenant_ops.platform.errors import InputError

Format = Literal["csv", "tsv", "json", "ndjson", "parquet", "sqlite", "database", "quarantine"]


@dataclass(frozen=True)
class Reading:
    """How text and databases are read, where the file itself does not say.

    Attributes:
        encoding: `auto` (a byte-order mark decides, else UTF-8), `detect` (guessed from the first bytes), or
            the name of an encoding Python knows.
        delimiter: What separates values in CSV files; None finds it in the header.
        query: SQL whose rows are read, for a database source and exactly one dataset.
        snapshot: Names the moment a source without content hash (a database) is read at: two plans with the
            same one take it to be the same.
    """

    encoding: str = "auto"
    delimiter: str | None = None
    query: str | None = None
    snapshot: str = ""


@dataclass(frozen=True)
class SourceFile:
    """One file (or one table inside a file) with rows of one dataset.

    Attributes:
        name: What it is called in reports: its path inside the source folder.
        path: Where it is on this machine; for a database, its URL or `env:NAME`, never a password.
        format: How it is written.
        compression: `gz`, `zst` or empty.
        part: The member or table inside the file, when it holds several.
        bytes: Its size on disk.
        sha256: Hash of its bytes, in hexadecimal; `snapshot:...` for a database.
        member: The file inside a zip archive that `path` is.
    """

    name: str
    path: str
    format: Format
    compression: str
    part: str | None
    bytes: int
    sha256: str
    member: str | None = None


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
class Drifted:
    """One column of a source that is not as the dataset has it.

    Attributes:
        column: Its name in the source.
        kind: `unknown` to the dataset, or `missing` from the source.
        outcome: What was done about it, as a sentence.
    """

    file: str
    column: str
    kind: Literal["unknown", "missing"]
    outcome: str


@dataclass(frozen=True)
class FileReport:
    """What was read from one file: `read` is `staged` + `quarantined` + `rejected` + `passed_over`.

    Attributes:
        quarantined: Rows with values that cannot be stored, or that break a rule.
        rejected: What stands where a row should be and is none; kept in quarantine as text.
        passed_over: Rows that an incremental load has had before.
        encoding: What its text was read as.
        batches: Batches of it that are staged: where an interrupted load goes on.
        batch_rows: Most rows of those batches.
        complete: Whether it was read to its end.
        drift: Columns it has too many or too few.
    """

    name: str
    format: str
    bytes: int
    sha256: str
    read: int
    staged: int
    quarantined: int
    rejected: int = 0
    passed_over: int = 0
    encoding: str = ""
    batches: int = 0
    batch_rows: int = 0
    complete: bool = True
    drift: tuple[Drifted, ...] = ()


@dataclass(frozen=True)
class StageReport:
    """What a stage holds.

    Attributes:
        state: `staged`; `reused` when it was there already; `unchanged` when nothing was to be staged.
        read: Rows read from the files: `staged` + `quarantined` + `rejected` + `passed_over`.
        reasons: Quarantined and rejected rows by reason; a row with several is counted under the first.
        drift: Columns the files have too many or too few.
        proposals: Migrations that were proposed because of them, by path.
        rows_per_second: `read` over `seconds`; None when nothing was read now.
        mb_per_second: Bytes of the files in 1,000,000 over `seconds`; None when nothing was read now.
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
    rejected: int = 0
    passed_over: int = 0
    drift: tuple[Drifted, ...] = ()
    proposals: tuple[str, ...] = ()
    bytes: int = 0
    rows_per_second: float | None = None
    mb_per_second: float | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether rows were left out or a migration was proposed."""
        return bool(self.quarantined or self.rejected or self.proposals)


@dataclass(frozen=True)
class MergeReport:
    """What became of the rows of a stage.

    Attributes:
        state: `merged`, or `unchanged` when nothing was staged.
        read: Rows read from the files: `inserted` + `updated` + `unchanged` + `skipped` + `quarantined` +
            `rejected` + `passed_over`.
        staged: `inserted` + `updated` + `unchanged` + `skipped` + those quarantined when merging.
        skipped: Rows that were left out because a row with their key stays.
        quarantined: Rows in quarantine after both steps, those of `rejected` not counted.
        rejected: What stood where a row should be and was none; kept in quarantine as text.
        passed_over: Rows that an incremental load had had before.
        reasons: Quarantined and rejected rows by reason.
        deleted: Rows a full load removed because the files do not have them.
        taken_along: Rows of other datasets it removed because they referred to those, by dataset.
        safety_backup: The backup that was taken before they were removed.
        cursor: The latest value of an incremental load's cursor column so far.
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
    rejected: int = 0
    passed_over: int = 0
    deleted: int = 0
    taken_along: dict[str, int] = field(default_factory=dict)
    safety_backup: str | None = None
    cursor: str | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether rows were left out."""
        return bool(self.quarantined or self.rejected)


@dataclass(frozen=True)
class DatasetPlan:
    """What loading would do for one dataset.

    Attributes:
        files: What will be read.
        skipped: Files whose bytes were loaded before and change nothing.
        conflict: What happens to rows that are there already.
        drift: What happens to columns the dataset does not have.
        newest_by: The column that says which of two rows is newer, for strategy `newest`.
        cursor: The column an incremental load goes by; None goes by content hash of the files alone.
        after: The latest value of that column that was loaded; rows before it are passed over.
        upcasts: Versions whose changes the rows are brought through, oldest first.
    """

    dataset: str
    files: tuple[SourceFile, ...]
    skipped: tuple[SourceFile, ...]
    conflict: ConflictStrategy = ConflictStrategy.OVERWRITE
    drift: Drift = Drift.STRICT
    newest_by: str | None = None
    cursor: str | None = None
    after: str | None = None
    upcasts: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadPlan:
    """What a load would do: datasets in foreign-key order, and how.

    Attributes:
        mode: What the rows are to the rows that are there.
        reading: How text and databases are read.
        max_bad_rows: Most bad rows a dataset may have and still be merged; None is no limit.
        max_bad_pct: The same in percent of the rows read.
        validate: Whether rules, keys and references are checked; types always are.
        force: Whether files are loaded that were loaded before.
        parallel_files: Files read at once.
        replaced: Datasets a full load replaces together: rows of one may go with rows of another.
    """

    tenant: str
    source: str
    datasets: tuple[DatasetPlan, ...]
    mode: Mode = Mode.BATCH
    batch_rows: int = 100_000
    reading: Reading = Reading()
    max_bad_rows: int | None = None
    max_bad_pct: float | None = None
    validate: bool = True
    force: bool = False
    parallel_files: int = 1
    replaced: tuple[str, ...] = ()

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
    """A whole load, in foreign-key order.

    Attributes:
        retries: How often it was tried again because of errors that pass by themselves.
    """

    tenant: str
    source: str
    mode: Mode
    datasets: tuple[DatasetLoad, ...]
    read: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    quarantined: int
    seconds: float
    rejected: int = 0
    passed_over: int = 0
    deleted: int = 0
    retries: int = 0
