"""The sets in the root `fixtures` folder: how many rows, which seed, which formats.

Here: the one list they are made from, and the function that makes them again. Not here: the generator.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tenant_ops.datasets.catalog import Catalog
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
    """A set of the `fixtures` folder.

    Attributes:
        name: The tier it is for.
        rows: Rows of the biggest dataset.
        seed: Of the generator.
        integrations: Kinds of integration in it, those its tier includes; all when empty.
    """

    name: str
    rows: int
    seed: int
    integrations: tuple[str, ...] = ()


SETS = (
    ShippedSet("starter", rows=120, seed=1, integrations=("spotify", "webhook")),
    ShippedSet("professional", rows=400, seed=2, integrations=("spotify", "lastfm", "slack", "webhook")),
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
        narrowed = _with_integrations(catalog, each.integrations)
        write_fixtures(narrowed, folder / each.name, rows=each.rows, seed=each.seed, formats=FORMATS)
    with TemporaryDirectory() as sound:
        plain = {name: suffix.partition(".")[0] for name, suffix in FORMATS.items()}
        write_fixtures(catalog, Path(sound), rows=FAULTY.rows, seed=FAULTY.seed, formats=plain)
        corrupt(catalog, Path(sound), folder / FAULTY.name)
    return tuple(folder / each.name for each in (*SETS, FAULTY))


def _with_integrations(catalog: Catalog, kinds: tuple[str, ...]) -> Catalog:
    """The catalog, its generated integrations of these kinds only."""
    if not kinds or "integrations" not in catalog:
        return catalog
    columns = tuple(
        replace(column, sample=f"choice {' '.join(kinds)}") if column.name == "kind" else column
        for column in catalog["integrations"].columns
    )
    narrowed = replace(catalog["integrations"], columns=columns)
    datasets = tuple(narrowed if one.name == narrowed.name else one for one in catalog.datasets)
    return Catalog(catalog.name, catalog.version, datasets)
