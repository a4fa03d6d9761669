"""Performance level: what makes this tenant's tables slow, or will, as far as the server can say.

By theme: indexes (`indexes.py`), what is kept about tables (`upkeep.py`), space and age (`space.py`),
sequences (`sequences.py`), what runs now and what ran (`activity.py`), settings (`tuning.py`). Each reads the
tenant's own objects by their numbers, so that its cost does not grow with other tenants. Not here: samples
over time (`monitoring/`).
"""

from tenant_ops.validation.levels.performance.activity import ACTIVITY_RULES
from tenant_ops.validation.levels.performance.indexes import INDEX_RULES
from tenant_ops.validation.levels.performance.sequences import SEQUENCE_RULES
from tenant_ops.validation.levels.performance.space import SPACE_RULES
from tenant_ops.validation.levels.performance.tuning import TUNING_RULES
from tenant_ops.validation.levels.performance.upkeep import UPKEEP_RULES
from tenant_ops.validation.rules import Rule

PERFORMANCE_RULES: tuple[Rule, ...] = (
    *INDEX_RULES,
    *UPKEEP_RULES,
    *SPACE_RULES,
    *SEQUENCE_RULES,
    *ACTIVITY_RULES,
    *TUNING_RULES,
)
