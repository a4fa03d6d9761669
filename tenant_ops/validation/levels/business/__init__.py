"""Business level: does the data of a music service make sense across datasets, and fit the tenant's tier?

One module per theme. A rule is left out where the catalog lacks a dataset it reads, or has one of that name
with other columns. Not here: what one definition says by itself (`data/`).
"""

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.validation.levels.business.accounts import ACCOUNT_RULES
from tenant_ops.validation.levels.business.analytics import ANALYTICS_RULES
from tenant_ops.validation.levels.business.content import CONTENT_RULES
from tenant_ops.validation.levels.business.conversations import CONVERSATION_RULES
from tenant_ops.validation.levels.business.integrations import INTEGRATION_RULES
from tenant_ops.validation.levels.business.limits import LIMIT_RULES
from tenant_ops.validation.levels.business.listening import LISTENING_RULES
from tenant_ops.validation.rules import Joined, Rule

BUSINESS_RULES: tuple[Rule, ...] = (
    *ACCOUNT_RULES,
    *LISTENING_RULES,
    *CONVERSATION_RULES,
    *CONTENT_RULES,
    *INTEGRATION_RULES,
    *ANALYTICS_RULES,
    *LIMIT_RULES,
)


def business_rules(catalog: Catalog) -> tuple[Rule, ...]:
    """The rules whose datasets the catalog has, with the columns the shipped ones have."""
    alike = {
        dataset.name
        for dataset in MUSIC
        if dataset.name in catalog and set(dataset.column_names) <= set(catalog[dataset.name].column_names)
    }
    return tuple(rule for rule in BUSINESS_RULES if _read_by(rule) <= alike)


def _read_by(rule: Rule) -> set[str]:
    joined = rule.find.to if isinstance(rule.find, Joined) else ()
    return {*rule.needs, *joined, *((rule.dataset,) if rule.dataset else ())}
