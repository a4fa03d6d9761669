"""Rows named in reports: by key, with personal data masked.

Here: the one place where a value of a tenant's row becomes text of a report.
Not here: masks (`platform/masking.py`).
"""

from collections.abc import Mapping
from typing import Any

from tenant_ops.datasets import Catalog
from tenant_ops.platform.masking import HIDDEN, mask

LONGEST = 60


def name_row(catalog: Catalog, dataset: str | None, key: Mapping[str, Any]) -> str:
    """`user_id=0f3c..., position=3`: personal data is masked, and so is what no definition vouches for."""
    return ", ".join(f"{name}={_shown(catalog, dataset, name, value)}" for name, value in key.items())


def _shown(catalog: Catalog, dataset: str | None, name: str, value: Any) -> str:
    column = catalog[dataset].by_name.get(name) if dataset and dataset in catalog else None
    if column is None:
        return HIDDEN
    text = str(mask(value, column.privacy) if column.privacy else value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
