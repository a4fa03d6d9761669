"""Datasets: what a tenant's data is, defined once.

`definition.py` says what a dataset is, `music/` holds the shipped ones, the other modules derive
tables, frames, masks and sample data from a definition.
"""

from tenant_ops.datasets.definition import (
    Between,
    Catalog,
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

__all__ = [
    "MUSIC",
    "Between",
    "Catalog",
    "Column",
    "ConflictStrategy",
    "Dataset",
    "Drift",
    "ForeignKey",
    "Length",
    "Matches",
    "Mode",
    "OneOf",
    "Order",
    "Retention",
    "Volume",
    "create_statements",
    "metadata",
]
