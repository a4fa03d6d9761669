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

# Twelve of each level that can be there together: none takes what another needs, or is found by its rule too.
SIDE_BY_SIDE: Mapping[str, tuple[str, ...]] = {
    "schema": (
        "a dropped table",
        "a table of nobody",
        "a dropped column",
        "a column too many",
        "another type",
        "empty allowed",
        "a default",
        "no primary key",
        "no foreign key",
        "no unique key",
        "a weaker check",
        "an unusable index",
    ),
    "performance": (
        "two indexes alike",
        "an index that begins another",
        "a foreign key without index",
        "what a cut CREATE INDEX CONCURRENTLY leaves",
        "a sequence near its end",
        "a column too narrow for its sequence",
        "a table nobody analyzed",
        "a table that is mostly empty",
        "rows too old to stay unfrozen",
        "multixacts too old",
        "pages left empty",
        "autovacuum switched off",
    ),
    "data": (
        "an empty required value",
        "out of range",
        "not in the set",
        "a pattern no table checks",
        "blanks around",
        "times the wrong way round",
        "a reference to nothing",
        "two of one kind and label",
        "a character that was lost",
        "an address in capitals",
        "an artist twice, written otherwise",
        "a time that has not come",
    ),
    "business": (
        "no administrator",
        "invited, yet seen",
        "a sign-in before the account",
        "signed in after being last seen",
        "more heard than there is",
        "completed half way",
        "played before it was released",
        "somebody else's sign-in",
        "a play before the account",
        "tokens that do not add up",
        "a message lost",
        "the agent speaks first",
    ),
    "security": (
        "everybody may read",
        "everybody may enter",
        "another tenant may read one column",
        "the tenant's login sees quarantined rows",
        "a viewer who writes",
        "an editor locked out",
        "another tenant in the group",
        "the login in a powerful group",
        "a login above row security",
        "a group that logs in",
        "no connection limit",
        "a function that trusts its caller",
    ),
}
