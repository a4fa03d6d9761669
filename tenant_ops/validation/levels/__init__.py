"""The five levels: one module each, and the rules they hold for a catalog."""

from functools import cache

from tenant_ops.datasets import Catalog
from tenant_ops.validation.levels.business import business_rules
from tenant_ops.validation.levels.data import data_rules
from tenant_ops.validation.levels.performance import PERFORMANCE_RULES
from tenant_ops.validation.levels.schema import schema_rules
from tenant_ops.validation.levels.security import SECURITY_RULES
from tenant_ops.validation.rules import Rule


@cache
def shipped_rules(catalog: Catalog) -> tuple[Rule, ...]:
    """Every rule that makes sense for this catalog, by level."""
    return tuple(
        rule
        for rules in (
            schema_rules(),
            data_rules(catalog),
            business_rules(catalog),
            PERFORMANCE_RULES,
            SECURITY_RULES,
        )
        for rule in rules
        if applies(rule, catalog)
    )


def applies(rule: Rule, catalog: Catalog) -> bool:
    """Whether the catalog has every dataset the rule reads."""
    return all(name in catalog for name in (*rule.needs, *((rule.dataset,) if rule.dataset else ())))
