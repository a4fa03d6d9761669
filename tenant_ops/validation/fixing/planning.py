"""Which fixes a tenant's findings allow, and what each would do.

Here: from finding to step. Not here: the changes themselves, applying them (`applying.py`).
"""

from collections.abc import Iterable, Iterator, Sequence

import psycopg

from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, State
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.examination import Examined, examine
from tenant_ops.validation.fixing.changes import Change
from tenant_ops.validation.fixing.duplicates import DropDuplicates
from tenant_ops.validation.fixing.images import Refused
from tenant_ops.validation.fixing.orphans import HandleOrphans
from tenant_ops.validation.fixing.rights import RestoreRights
from tenant_ops.validation.fixing.structure import PutBack, kind_of
from tenant_ops.validation.fixing.upkeep import AnalyzeTable, MoveSequence, RebuildIndex
from tenant_ops.validation.fixing.writing import SetColumn
from tenant_ops.validation.levels.data.wording import quoted
from tenant_ops.validation.report import Finding, FixPlan, FixStep, ValidationPlan
from tenant_ops.validation.rules import (
    AdvanceSequence,
    Analyze,
    Dedupe,
    FillDefault,
    Orphans,
    Policies,
    Regrant,
    Reindex,
    Restructure,
    Rewrite,
    Rule,
    Trust,
    Where,
)

_ORDER = (
    DropDuplicates,
    HandleOrphans,
    SetColumn,
    PutBack,
    RestoreRights,
    RebuildIndex,
    MoveSequence,
    AnalyzeTable,
)
"""Rows first, for constraints need rows that allow them; statistics last, of what is there then."""


def plan_fixes(
    fleet: Fleet,
    plan: ValidationPlan,
    findings: Iterable[Finding],
    *,
    rules: Sequence[str] | None = None,
    policies: Policies = Policies(),  # noqa: B008 - frozen
    offer_reviewed: bool = False,
) -> FixPlan:
    """Look at which of the findings have a fix and what it would change, changing nothing.

    Args:
        fleet: The fleet.
        plan: The plan the findings were made by.
        findings: What validation found.
        rules: Only the fixes of these rules, reviewed ones too; None: every safe fix.
        policies: What is decided for reviewed fixes.
        offer_reviewed: Whether the reviewed ones are in the plan without being asked for, to be looked at;
            they are not applied.

    Raises:
        InputError: a rule that is asked for is not in the plan, or offers no fix.
    """
    by_id = {rule.id: rule for rule in plan.rules}
    _check_asked(by_id, rules or ())
    chosen = [
        (by_id[finding.rule], finding)
        for finding in findings
        if _wanted(by_id[finding.rule], rules, offer_reviewed)
    ]
    if not chosen:
        return FixPlan(plan.tenant, plan.tenant_id, (), tuple(rules or ()))
    tenant = fleet.registry.get(plan.tenant).require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED)
    background = Background.gather(fleet, tenant)
    with fleet.session(tenant, "owner", statement_timeout_s=plan.statement_timeout_s) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        evidence = Evidence(background, connection)
        steps = [step for rule, finding in chosen for step in _steps(evidence, rule, finding, policies)]
    merged = {(step.change, step.dataset): step for step in reversed(steps)}
    kept = (step for step in merged.values() if step.trust == "safe" or rules is not None or offer_reviewed)
    ordered = sorted(kept, key=lambda step: (step.place, step.rule, step.subject))
    return FixPlan(plan.tenant, plan.tenant_id, tuple(ordered), tuple(rules or ()))


def find_fixes(
    fleet: Fleet,
    plan: ValidationPlan,
    *,
    rules: Sequence[str] | None = None,
    policies: Policies = Policies(),  # noqa: B008 - frozen
    offer_reviewed: bool = False,
) -> FixPlan:
    """Check the rules that have a fix, and plan what mends their findings; nothing is written anywhere.

    Args:
        fleet: The fleet.
        plan: Which rules, of which tenant.
        rules: Only the fixes of these rules, reviewed ones too; None: every safe fix.
        policies: What is decided for reviewed fixes.
        offer_reviewed: Whether reviewed ones are shown besides.

    Raises:
        InputError: a rule that is asked for is not in the plan, or offers no fix.
    """
    by_id = {rule.id: rule for rule in plan.rules}
    _check_asked(by_id, rules or ())
    chosen = [rule for rule in plan.rules if _wanted(rule, rules, offer_reviewed)]
    tenant = fleet.registry.get(plan.tenant).require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED)
    background, examined = Background.gather(fleet, tenant), Examined()
    with fleet.session(tenant, "owner", statement_timeout_s=plan.statement_timeout_s) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        examine(Evidence(background, connection), chosen, samples=0, into=examined)
    return plan_fixes(
        fleet, plan, examined.findings, rules=rules, policies=policies, offer_reviewed=offer_reviewed
    )


def change_of(
    evidence: Evidence, rule: Rule, dataset: str, subject: str, policies: Policies
) -> tuple[Change, Trust] | None:
    """The change a rule's fix means for one finding; None when it does not apply to it.

    Args:
        evidence: The tenant.
        rule: The rule, with a fix.
        dataset: The dataset, or the table, the finding is about.
        subject: The thing within it.
        policies: What is decided for reviewed fixes.
    """
    name = subject.rpartition(".")[2]
    if isinstance(rule.fix, Regrant):
        return RestoreRights(), "reviewed"
    if isinstance(rule.fix, Reindex):
        return RebuildIndex(name), "safe"
    if isinstance(rule.fix, AdvanceSequence):
        return MoveSequence(dataset or subject.partition(".")[0], name), "safe"
    if isinstance(rule.fix, Restructure):
        return _structure(evidence, rule, subject)
    if isinstance(rule.fix, Analyze):
        return AnalyzeTable(dataset), "safe"
    change = _of_rows(evidence, rule, dataset, policies)
    return (change, rule.fix.trust) if change and rule.fix else None


def _of_rows(evidence: Evidence, rule: Rule, dataset: str, policies: Policies) -> Change | None:
    if dataset not in evidence.catalog:
        return None
    about = evidence.catalog[dataset]
    match rule.fix:
        case Rewrite(column, expression) if isinstance(rule.find, Where):
            return SetColumn(about, column, expression, rule.find.condition)
        case FillDefault(column) if fallback := about.by_name[column].default:
            return SetColumn(about, column, fallback.replace("%", "%%"), f"{quoted(column)} IS NULL")
        case Dedupe(columns, nulls_alike):
            return DropDuplicates(about, columns, nulls_alike, policies.duplicates)
        case Orphans(columns):
            keys = [key for key in about.foreign_keys if key.columns == columns]
            return HandleOrphans(about, keys[0], policies.orphans) if keys else None
        case _:
            return None


def _structure(evidence: Evidence, rule: Rule, subject: str) -> tuple[Change, Trust] | None:
    kind = kind_of(rule.id)
    if kind is None:
        return None
    change = PutBack(kind, subject)
    invalid = change.invalid_index(evidence)
    return (RebuildIndex(invalid), "safe") if invalid else (change, "reviewed")


def _steps(evidence: Evidence, rule: Rule, finding: Finding, policies: Policies) -> Iterator[FixStep]:
    dataset = finding.dataset or ""
    found = change_of(evidence, rule, dataset, finding.subject, policies)
    if found is None:
        return
    change, trust = found
    try:
        with evidence.connection.transaction():
            foreseen = change.foresee(evidence)
    except Refused as error:
        foreseen, refusal = None, str(error)
    except psycopg.Error as error:
        foreseen, refusal = None, f"Postgres refused it ({type(error).__name__})."
    else:
        refusal = foreseen.refusal
    yield FixStep(
        rule=rule.id,
        dataset=dataset,
        change=foreseen.change if foreseen else "cannot be planned",
        rows=foreseen.rows if foreseen else 0,
        sample=foreseen.sample if foreseen else (),
        undoable=bool(foreseen and foreseen.undoable),
        trust=trust,
        subject=finding.subject,
        touches=foreseen.touches if foreseen else (),
        policies=policies,
        ends_chain=bool(foreseen and foreseen.ends_chain),
        refusal=refusal,
        place=_ORDER.index(type(change)),
    )


def _wanted(rule: Rule, rules: Sequence[str] | None, offer_reviewed: bool) -> bool:
    if rule.fix is None:
        return False
    if rules is not None:
        return rule.id in rules
    # A rule whose fix is reviewed may still lead to a safe step: an index that is only unusable.
    return rule.fix.trust == "safe" or isinstance(rule.fix, Restructure) or offer_reviewed


def _check_asked(by_id: dict[str, Rule], asked: Sequence[str]) -> None:
    for name in asked:
        if name not in by_id:
            raise InputError(
                f"there is no rule {name!r}.", where="--rules", fix="`tenant-ops fixes plan` lists them."
            )
        if by_id[name].fix is None:
            raise InputError(f"the rule {name} has no fix: {by_id[name].remediation}", where="--rules")
