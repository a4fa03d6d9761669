"""What a profile is: values, and their way to JSON and back.

Not here: measuring (`measuring.py`), keeping (`keeping.py`).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True)
class DatasetProfile:
    """What the rows of a dataset looked like.

    Attributes:
        rows: How many there were.
        filled: By column that may be empty, in how many rows it was not.
        values: By column with a closed set of values, how often each was there.
        means: By number column, mean and standard deviation.
        newest: The newest time of something that happened.
    """

    rows: int
    filled: dict[str, int] = field(default_factory=dict)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    means: dict[str, tuple[float, float]] = field(default_factory=dict)
    newest: datetime | None = None

    def document(self) -> dict[str, Any]:
        """As JSON is kept."""
        kept: dict[str, Any] = {"rows": self.rows, "filled": self.filled, "values": self.values}
        return kept | {
            "means": {name: list(pair) for name, pair in self.means.items()},
            "newest": self.newest.isoformat() if self.newest else None,
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """What `document` gave."""
        return cls(
            document["rows"],
            document["filled"],
            document["values"],
            {name: (pair[0], pair[1]) for name, pair in document["means"].items()},
            datetime.fromisoformat(document["newest"]) if document["newest"] else None,
        )


@dataclass(frozen=True)
class Profile:
    """What a tenant's data looked like at a time, by dataset."""

    at: datetime
    datasets: dict[str, DatasetProfile]
