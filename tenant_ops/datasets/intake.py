"""How rows of a dataset are taken in: what happens to rows that are there, and to columns nobody knows.

Here: the choices, by name. A dataset may make them (`Dataset.conflict`, `Dataset.drift`), a load may override
them. Not here: carrying them out (`loading/`).
"""

from enum import StrEnum


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
    NEWEST = "newest"
    """The row whose `newest_by` column is later stays; of rows in the files, too."""
    KEEP_BOTH = "keep-both"
    """The row that is there stays; an incoming one that differs from it goes into the quarantine."""


class Drift(StrEnum):
    """What happens when a source has columns the dataset does not have."""

    STRICT = "strict"
    """The file is refused."""
    IGNORE = "ignore"
    """They are passed over, and reported."""
    EVOLVE = "evolve"
    """They are passed over, and a migration that adds them is proposed."""


class Mode(StrEnum):
    """What the rows of a load are to the rows that are there."""

    BATCH = "batch"
    """Some rows: those that are there and not in the files stay."""
    FULL = "full"
    """All rows: those that are not in the files are deleted, in the same transaction."""
    INCREMENTAL = "incremental"
    """Rows changed since the last load: those before its latest cursor value are passed over."""
