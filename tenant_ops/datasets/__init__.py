"""Datasets: what a tenant's data is, defined once.

`definition.py` says what a dataset is, `catalog.py` which of them belong together, `transforms.py` what is
done to the text of source files on the way in, `music/` holds the shipped ones; the other modules derive
tables, frames, masks and sample data from a definition.
"""

from tenant_ops.datasets.catalog import Catalog
from tenant_ops.datasets.definition import (
    Between,
    Column,
    Dataset,
    ForeignKey,
    Length,
    Matches,
    OneOf,
    Order,
    Retention,
    Volume,
)
from tenant_ops.datasets.intake import ConflictStrategy, Drift, Mode
from tenant_ops.datasets.music import MUSIC
from tenant_ops.datasets.tables import create_statements, metadata
from tenant_ops.datasets.transforms import (
    Clean,
    Compute,
    Default,
    Derive,
    Drop,
    Hash,
    Lookup,
    MapValues,
    Mask,
    Number,
    Split,
    Transform,
)
from tenant_ops.datasets.upcasts import Upcast

__all__ = [
    "MUSIC",
    "Between",
    "Catalog",
    "Clean",
    "Column",
    "Compute",
    "ConflictStrategy",
    "Dataset",
    "Default",
    "Derive",
    "Drift",
    "Drop",
    "ForeignKey",
    "Hash",
    "Length",
    "Lookup",
    "MapValues",
    "Mask",
    "Matches",
    "Mode",
    "Number",
    "OneOf",
    "Order",
    "Retention",
    "Split",
    "Transform",
    "Upcast",
    "Volume",
    "create_statements",
    "metadata",
]
