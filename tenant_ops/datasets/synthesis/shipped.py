"""The sets in the root `fixtures` folder: how many rows, which seed, which formats.

Here: the one list they are made from, and the function that makes them again. Not here: the generator.
"""

from dataclasses import dataclass
from pathlib import Path

from tenant_ops.datasets.definition import Catalog
from tenant_ops.datasets.synthesis.files import SynthesisReport, write_fixtures

# One of each kind a loader meets: JSON array, one object per line, compressed; CSV for the rest.
FORMATS = {
    "ai_messages": "ndjson",
    "api_requests": "ndjson",
    "content": "json",
    "listening_events": "csv.gz",
    "tracks": "json",
}


@dataclass(frozen=True)
class ShippedSet:
    """A set of the `fixtures` folder; `rows` are the biggest dataset's."""

    name: str
    rows: int
    seed: int


SETS = (
    ShippedSet("starter", rows=120, seed=1),
    ShippedSet("professional", rows=400, seed=2),
    ShippedSet("enterprise", rows=1_100, seed=3),
)


def write_shipped(catalog: Catalog, root: Path) -> dict[str, SynthesisReport]:
    """Write the sound sets to `<root>/<catalog version>/<set>/`.

    Args:
        catalog: The shipped catalog; the sets of a catalog of another version stand beside these.
        root: The `fixtures` folder.
    """
    folder = root / catalog.version
    return {
        each.name: write_fixtures(
            catalog, folder / each.name, rows=each.rows, seed=each.seed, formats=FORMATS
        )
        for each in SETS
    }
