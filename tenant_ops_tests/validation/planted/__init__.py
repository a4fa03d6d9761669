"""What an operator's hand did to a sound tenant, level by level, and every finding it must lead to.

Each case: its name, statements run as the operator in the tenant's schema, and `rule/subject` with how many
rows are found. `$own`, `$app`, `$schema` and the like stand for the tenant's names,
`$their_own` and so on for those of another tenant.
"""

from collections.abc import Mapping

from tenant_ops_tests.validation.planted.business import BUSINESS
from tenant_ops_tests.validation.planted.data import DATA
from tenant_ops_tests.validation.planted.performance import PERFORMANCE
from tenant_ops_tests.validation.planted.schema import SCHEMA
from tenant_ops_tests.validation.planted.security import SECURITY

Faults = Mapping[str, tuple[list[str], dict[str, int]]]
PLANTED: dict[str, Faults] = {
    "schema": SCHEMA,
    "data": DATA,
    "business": BUSINESS,
    "performance": PERFORMANCE,
    "security": SECURITY,
}
