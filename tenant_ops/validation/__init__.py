"""Validation: what is wrong with a tenant, at five levels, how bad it is, and what can safely be mended.

`rules.py` says what a rule is, `levels/` holds the shipped ones, `run.py` validates a tenant, `fixing/`
mends and undoes, `documents.py` writes the report for people.
"""

from tenant_ops.validation.documents import html, markdown, save_html
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing import execute_fixes, find_fixes, list_fixes, plan_fixes, undo_fixes
from tenant_ops.validation.junit import junit
from tenant_ops.validation.levels import shipped_rules
from tenant_ops.validation.own_rules import KnownRule, known_rules
from tenant_ops.validation.report import (
    Finding,
    FixOutcome,
    FixPlan,
    FixRecord,
    FixReport,
    FixStep,
    Outcome,
    Unchecked,
    UndoReport,
    ValidationPlan,
    ValidationReport,
)
from tenant_ops.validation.rule_trials import Trial, try_rules
from tenant_ops.validation.rules import (
    LEVELS,
    SEVERITIES,
    AdvanceSequence,
    Analyze,
    Dedupe,
    FillDefault,
    Frame,
    Joined,
    Level,
    Look,
    Orphans,
    Policies,
    Regrant,
    Reindex,
    Restructure,
    Rewrite,
    Rows,
    Rule,
    Severity,
    Sighting,
    Trust,
    Where,
    rule,
)
from tenant_ops.validation.run import execute_validation, execute_validations, plan_validation
from tenant_ops.validation.sampling import Estimate, Sampled, Sampling

__all__ = [
    "LEVELS",
    "SEVERITIES",
    "AdvanceSequence",
    "Analyze",
    "Dedupe",
    "Estimate",
    "Evidence",
    "FillDefault",
    "Finding",
    "FixOutcome",
    "FixPlan",
    "FixRecord",
    "FixReport",
    "FixStep",
    "Frame",
    "Joined",
    "KnownRule",
    "Level",
    "Look",
    "Orphans",
    "Outcome",
    "Policies",
    "Regrant",
    "Reindex",
    "Restructure",
    "Rewrite",
    "Rows",
    "Rule",
    "Sampled",
    "Sampling",
    "Severity",
    "Sighting",
    "Trial",
    "Trust",
    "Unchecked",
    "UndoReport",
    "ValidationPlan",
    "ValidationReport",
    "Where",
    "execute_fixes",
    "execute_validation",
    "execute_validations",
    "find_fixes",
    "html",
    "junit",
    "known_rules",
    "list_fixes",
    "markdown",
    "plan_fixes",
    "plan_validation",
    "rule",
    "save_html",
    "shipped_rules",
    "try_rules",
    "undo_fixes",
]
