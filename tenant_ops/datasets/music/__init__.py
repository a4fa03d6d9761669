"""The shipped domain: an AI agent that lives in a music-streaming service.

One module per dataset, each with one `DATASET`. A module put beside them is part of the catalog.
"""

from importlib import import_module
from pkgutil import iter_modules

from tenant_ops.datasets.catalog import Catalog

VERSION = "1.0.0"

MUSIC = Catalog(
    name="music",
    version=VERSION,
    datasets=tuple(import_module(f"{__name__}.{module.name}").DATASET for module in iter_modules(__path__)),
)
