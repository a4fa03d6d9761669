"""The sets in the root `fixtures` folder: how many rows, which seed, which formats.

Here: the one list they are made from, and the function that makes them again. Not here: the generator.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tenant_ops.datasets.definition import Catalog
from tenant_ops.datasets.synthesis.faults import corrupt
from tenant_ops.datasets.synthesis.files import write_fixtures

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
FAULTY = ShippedSet("faulty", rows=120, seed=4)


def write_shipped(catalog: Catalog, root: Path) -> tuple[Path, ...]:
    """Write every set to `<root>/<catalog version>/<set>/`, the faulty one spoilt; return the folders.

    Args:
        catalog: The catalog the sets are for; sets of other versions are left alone.
        root: The `fixtures` folder.
    """
    folder = root / catalog.version
    for each in SETS:
        write_fixtures(catalog, folder / each.name, rows=each.rows, seed=each.seed, formats=FORMATS)
    with TemporaryDirectory() as sound:
        plain = {name: suffix.partition(".")[0] for name, suffix in FORMATS.items()}
        write_fixtures(catalog, Path(sound), rows=FAULTY.rows, seed=FAULTY.seed, formats=plain)
        corrupt(catalog, Path(sound), folder / FAULTY.name)
    return tuple(folder / each.name for each in (*SETS, FAULTY))
