"""Validation: what is wrong with a tenant, at five levels, how bad it is, and what can safely be mended.

`rules.py` says what a rule is, `levels/` holds the shipped ones, `run.py` validates a tenant, `fixes.py`
mends and undoes, `documents.py` writes the report for people.
"""

from tenant_ops.validation.documents import html, markdown, save_html
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixes import execute_fixes, plan_fixes, undo_fixes
from tenant_ops.validation.levels import shipped_rules
from tenant_ops.validation.report import (
    Finding,
    FixOutcome,
    FixPlan,
    FixReport,
    FixStep,
    Outcome,
    Unchecked,
    UndoReport,
    ValidationPlan,
    ValidationReport,
)
from tenant_ops.validation.rules import (
    LEVELS,
    SEVERITIES,
    Analyze,
    Level,
    Look,
    Rewrite,
    Rows,
    Rule,
    Severity,
    Sighting,
    Where,
    rule,
)
from tenant_ops.validation.run import execute_validation, plan_validation
from tenant_ops.validation.sampling import Estimate, Sampled, Sampling

__all__ = [
    "LEVELS",
    "SEVERITIES",
    "Analyze",
    "Estimate",
    "Evidence",
    "Finding",
    "FixOutcome",
    "FixPlan",
    "FixReport",
    "FixStep",
    "Level",
    "Look",
    "Outcome",
    "Rewrite",
    "Rows",
    "Rule",
    "Sampled",
    "Sampling",
    "Severity",
    "Sighting",
    "Unchecked",
    "UndoReport",
    "ValidationPlan",
    "ValidationReport",
    "Where",
    "execute_fixes",
    "execute_validation",
    "html",
    "markdown",
    "plan_fixes",
    "plan_validation",
    "rule",
    "save_html",
    "shipped_rules",
    "undo_fixes",
]
