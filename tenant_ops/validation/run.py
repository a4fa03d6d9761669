"""Validating a tenant: plan which rules, examine, fix if asked, report.

Here: `plan_validation`, `execute_validation`, and the same for many tenants. Not here: how rules are checked
(`examination.py`), what they are (`levels/`), how fixes work (`fixing/`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from time import perf_counter

from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.tenants import Fleet, State, Tenant
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.examination import Examined, examine
from tenant_ops.validation.fixing import execute_fixes, plan_fixes
from tenant_ops.validation.incremental import Since, go_on, kept_rules, remember
from tenant_ops.validation.own_rules import known_rules
from tenant_ops.validation.profiles.keeping import keep_profile, read_profiles
from tenant_ops.validation.profiles.values import Profile
from tenant_ops.validation.report import (
    Finding,
    FixReport,
    Outcome,
    ValidationPlan,
    ValidationReport,
    explain,
    outcome,
    score,
    worst_first,
)
from tenant_ops.validation.rules import LEVELS, Level, Rule
from tenant_ops.validation.sampling import Sampling
from tenant_ops.validation.tracking import MutedFinding, Recorded, in_force, record_run

STATEMENT_TIMEOUT_S = 60.0
SAMPLES = 5
HUGE_TABLES = Sampling()
BATCH = 50
"""Tenants the catalogs are read for at once: more saves little, and makes what was read older."""


def plan_validation(
    fleet: Fleet,
    tenant: Tenant,
    *,
    types: Sequence[str] | None = None,
    rules: Sequence[Rule | str] = (),
    auto_fix: bool = False,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    samples: int = SAMPLES,
    trust_constraints: bool = True,
    sampling: Sampling | None = HUGE_TABLES,
    incremental: bool = False,
) -> ValidationPlan:
    """Look at which rules would be checked on the tenant, changing nothing.

    Args:
        fleet: The fleet; its catalog says which datasets there are.
        tenant: Whose data.
        types: Levels; all five when None or empty.
        rules: Rules of your own, or modules of them, beside the shipped ones, those of installed packages
            and those of the modules in TENANT_OPS_RULES.
        auto_fix: Whether to apply the safe fixes and validate again.
        statement_timeout_s: Longest single query in seconds.
        samples: Most rows named per finding.
        trust_constraints: Whether a NOT NULL, CHECK or unique constraint that is sound is believed, or its
            rows are read all the same (`vouching.py`). Foreign keys are never believed.
        sampling: When a part of a table is read (`sampling.py`); None: never.
        incremental: Whether rules the tenant kept at the last such validation are checked on what its
            journal says changed since (`incremental.py`).

    Raises:
        InputError: a level is unknown, a module of rules cannot be used, or a rule of it; see `known_rules`.
    """
    levels = _levels(types)
    known = known_rules(fleet.catalog, fleet.settings.rules, rules)
    return ValidationPlan(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        version=tenant.version,
        types=levels,
        rules=tuple(one.rule for one in known if one.rule.level in levels),
        auto_fix=auto_fix,
        statement_timeout_s=statement_timeout_s,
        samples=samples,
        trust_constraints=trust_constraints,
        sampling=sampling,
        incremental=incremental,
    )


def execute_validation(fleet: Fleet, plan: ValidationPlan) -> ValidationReport:
    """Check every rule of the plan and report what was found; writes only when the plan says auto-fix.

    Tables stay free for others: each level, and in the data level each table, is a short read-only
    transaction of its own.

    Raises:
        InputError: the tenant is gone, or in a state without tables.
        OperationFailed: the server went away.
    """
    tenant = _fit(fleet.registry.get(plan.tenant), plan)
    return _validate(fleet, plan, Background.gather(fleet, tenant))


def execute_validations(
    fleet: Fleet, plans: Sequence[ValidationPlan], *, batch: int = BATCH
) -> Iterator[tuple[ValidationPlan, ValidationReport | TenantOpsError]]:
    """Validate many tenants, one after the other, each as `execute_validation` does.

    What the control plane and the server's catalogs say is read for `batch` tenants at once, so it may be as
    old as the first of them. A tenant that cannot be validated stops no other: its error stands for a report.
    """
    for start in range(0, len(plans), batch):
        some = plans[start : start + batch]
        tenants = {tenant.slug: tenant for tenant in fleet.registry.find([plan.tenant for plan in some])}
        backgrounds = Background.gather_all(fleet, list(tenants.values()))
        for plan in some:
            try:
                tenant = _fit(tenants.get(plan.tenant) or fleet.registry.get(plan.tenant), plan)
                yield plan, _validate(fleet, plan, backgrounds[tenant.id])
            except TenantOpsError as error:
                yield plan, error


_FIT = (State.ACTIVE, State.SUSPENDED, State.QUARANTINED)


def _fit(tenant: Tenant, plan: ValidationPlan) -> Tenant:
    """The tenant, when it is the one the plan was made for and has tables."""
    tenant.require(*_FIT)
    if str(tenant.id) != plan.tenant_id:
        raise InputError(
            "the plan was made for an earlier tenant of that name.", where=f"tenant {plan.tenant}"
        )
    return tenant


def _validate(fleet: Fleet, plan: ValidationPlan, background: Background) -> ValidationReport:
    started_at, clock = fleet.clock(), perf_counter()
    tenant = background.tenant
    background = _with_past(fleet, plan, background)
    going_on = go_on(fleet, tenant) if plan.incremental else None
    examined = _examine(fleet, background, plan, going_on.since if going_on else None)
    fixes: FixReport | None = None
    if plan.auto_fix:
        fixes = execute_fixes(fleet, plan, plan_fixes(fleet, plan, examined.findings))
        if any(step.done for step in fixes.outcomes):
            background = _with_past(fleet, plan, Background.gather(fleet, tenant))
            examined = _examine(fleet, background, plan)
    if going_on:
        remember(fleet, tenant, going_on, kept_rules(background, plan.rules, examined))
    if background.profiled:
        keep_profile(fleet, tenant, Profile(background.now, background.profiled))
    recorded = _record(fleet, tenant, plan, examined, started_at)
    muted = _set_apart_muted(fleet, tenant, examined, started_at)
    levels = _level_outcomes(plan, examined)
    findings = worst_first(examined.findings)
    coverages = [level.checked / level.rules for level in levels if level.rules]
    return ValidationReport(
        tenant=tenant.slug,
        tenant_id=str(tenant.id),
        version=tenant.version,
        score=score(findings, min(coverages, default=0.0)),
        coverage=round(sum(coverages) / max(1, len(coverages)), 4),
        levels=levels,
        datasets=_dataset_outcomes(fleet, plan, examined),
        findings=tuple(replace(one, seen=recorded.seen.get(one.key)) for one in findings),
        unchecked=tuple(examined.unchecked),
        explanation=explain(findings),
        fixes=fixes,
        started_at=started_at.isoformat(),
        seconds=round(perf_counter() - clock, 4),
        sampled=tuple(examined.sampled),
        muted=muted,
        mended=recorded.mended,
        previous=recorded.previous,
        saved=going_on.told(examined, plan.rules) if going_on else None,
    )


def _record(fleet: Fleet, tenant: Tenant, plan: ValidationPlan, examined: Examined, at: datetime) -> Recorded:
    # What a sample does not show may still be there.
    unsure = {one.rule for one in (*examined.unchecked, *examined.sampled)}
    checked = [rule.id for rule in plan.rules if rule.id not in unsure]
    return record_run(fleet, tenant, examined.findings, at=at, checked=checked)


def _set_apart_muted(
    fleet: Fleet, tenant: Tenant, examined: Examined, at: datetime
) -> tuple[MutedFinding, ...]:
    """Take the findings that do not count out of those examined."""
    if not examined.findings:
        return ()
    with fleet.control.transaction() as connection:
        mutes = in_force(connection, [tenant.id], at)[tenant.id]
    muted: list[MutedFinding] = []
    counting: list[Finding] = []
    for one in examined.findings:
        held = next((mute for mute in mutes if mute.covers(one.key, one.rule, one.severity)), None)
        if held is None:
            counting.append(one)
        else:
            muted.append(
                MutedFinding(
                    one.key, one.rule, one.level, one.severity, one.dataset, one.subject, one.message,
                    one.count, held.reason, held.muted_by, held.until,
                )
            )  # fmt: skip
    examined.findings = counting
    return tuple(muted)


def _with_past(fleet: Fleet, plan: ValidationPlan, background: Background) -> Background:
    """What the data looked like before, where the plan has rules that compare with it."""
    if "data" not in plan.types:
        return background
    return replace(background, profiles=read_profiles(fleet, background.tenant))


def _examine(
    fleet: Fleet, background: Background, plan: ValidationPlan, since: Since | None = None
) -> Examined:
    tenant = background.tenant
    examined = Examined()
    groups: dict[tuple[str, str | None], list[Rule]] = {}
    for rule in plan.rules:
        table = rule.dataset if rule.level in {"data", "business"} else None
        groups.setdefault((rule.level, table), []).append(rule)
    for rules in groups.values():
        with fleet.session(tenant, "owner", statement_timeout_s=plan.statement_timeout_s) as connection:
            connection.execute("SET TRANSACTION READ ONLY")
            examine(
                Evidence(background, connection),
                rules,
                samples=plan.samples,
                into=examined,
                trust_constraints=plan.trust_constraints,
                sampling=plan.sampling,
                since=since,
            )
    background.keep_surveys(fleet)
    return examined


def _level_outcomes(plan: ValidationPlan, examined: Examined) -> tuple[Outcome, ...]:
    unchecked = {one.rule for one in examined.unchecked}
    vouched, sampled = set(examined.vouched), {one.rule for one in examined.sampled}
    return tuple(
        outcome(
            level,
            [rule for rule in plan.rules if rule.level == level],
            unchecked,
            [finding for finding in examined.findings if finding.level == level],
            vouched=vouched,
            sampled=sampled,
        )
        for level in plan.types
    )


def _dataset_outcomes(fleet: Fleet, plan: ValidationPlan, examined: Examined) -> tuple[Outcome, ...]:
    unchecked = {one.rule for one in examined.unchecked}
    vouched, sampled = set(examined.vouched), {one.rule for one in examined.sampled}
    return tuple(
        outcome(
            dataset.name,
            [rule for rule in plan.rules if rule.dataset == dataset.name],
            unchecked,
            [finding for finding in examined.findings if finding.dataset == dataset.name],
            examined.rows.get(dataset.name),
            vouched,
            sampled,
        )
        for dataset in fleet.catalog
    )


def _levels(types: Sequence[str] | None) -> tuple[Level, ...]:
    unknown = sorted(set(types or ()) - set(LEVELS))
    if unknown:
        raise InputError(
            f"there is no validation type {unknown[0]!r}.", fix=f"Choose from: {', '.join(LEVELS)}."
        )
    return tuple(level for level in LEVELS if not types or level in types)
