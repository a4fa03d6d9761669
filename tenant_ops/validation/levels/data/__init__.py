"""Data level: do the stored rows keep the rules of their dataset definitions?

Here: rules derived from columns, keys and orders: of single values (`columns.py`), of how texts are written
(`texts.py`), over several rows (`keys.py`); and those that compare with the tenant's own past (`history.py`).
Not here: rules across datasets (`levels/business/`), incoming rows (`loading/`).

What NOT NULL, CHECK and unique constraints forbid is not looked for again as long as they are there and
sound: Postgres enforces them at every write (`vouching.py`). A constraint that was dropped, changed or added
NOT VALID says nothing, and the rows are read. Orphans are always looked for: a replica-mode load passes
foreign keys over.
"""

from collections.abc import Iterator

from tenant_ops.datasets import Catalog, Dataset
from tenant_ops.validation.levels.data.columns import column_rules, order_rule
from tenant_ops.validation.levels.data.history import HISTORY_RULES
from tenant_ops.validation.levels.data.keys import key_rules
from tenant_ops.validation.levels.data.texts import text_rules
from tenant_ops.validation.rules import Rule


def data_rules(catalog: Catalog) -> tuple[Rule, ...]:
    """Every rule the catalog's definitions imply for stored rows, and those of the tenant's own past."""
    return (*(rule for dataset in catalog for rule in _dataset_rules(dataset)), *HISTORY_RULES)


def _dataset_rules(dataset: Dataset) -> Iterator[Rule]:
    for column in dataset.columns:
        yield from column_rules(dataset, column)
        yield from text_rules(dataset, column)
    for order in dataset.orders:
        yield order_rule(dataset, order)
    yield from key_rules(dataset)
