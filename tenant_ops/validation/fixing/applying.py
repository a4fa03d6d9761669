"""Applying a plan of fixes: one transaction, a savepoint per step, and no rule worse off afterwards.

Here: locking, counting again, re-validating, the record of it. Not here: the changes, undoing (`undoing.py`).

All rows a step would change are locked and counted before the first step, so that what others write meanwhile
either came first and is counted, or waits and then finds the row as it is. Steps that set one column are done
together, with the other safe ones there are for it, until nothing is left for any: what one takes away may
lay bare what another mends. When that fails, each is tried by itself.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import count, groupby
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.fixing.changes import Change
from tenant_ops.validation.fixing.images import (
    FIX,
    IMAGE,
    Keeper,
    Refused,
    ensure_tables,
    pin_spelling,
)
from tenant_ops.validation.fixing.planning import change_of
from tenant_ops.validation.fixing.worsening import Judge
from tenant_ops.validation.fixing.writing import SetColumn
from tenant_ops.validation.own_rules import known_rules
from tenant_ops.validation.report import FixOutcome, FixPlan, FixReport, FixStep, ValidationPlan
from tenant_ops.validation.rules import Rewrite, Rule, Where

LOCK_TIMEOUT_S = 5
KEEP_DAYS = 30
ROUNDS = 4

Work = tuple[int, FixStep, Change, int | None]
"""A step with its number, its change, and the rows that were locked for it."""


def execute_fixes(fleet: Fleet, plan: ValidationPlan, fixes: FixPlan) -> FixReport:
    """Apply the steps: what one cannot do leaves the others done.

    Reviewed steps are applied only when their rule was asked for when planning.

    Raises:
        InputError: the tenant is gone or not active.
        TenantBusy: another operation holds it.
        OperationFailed: the server went away; nothing was changed.
    """
    tenant = fleet.registry.get(fixes.tenant).require()
    if str(tenant.id) != fixes.tenant_id:
        raise InputError(
            "the plan was made for an earlier tenant of that name.", where=f"tenant {tenant.slug}"
        )
    if not fixes.steps:
        return FixReport(tenant.slug, None, ())
    fix_id = uuid4()
    rules = {rule.id: rule for rule in (*_all_rules(fleet), *plan.rules)}
    with fleet.lock(tenant, "fixes"):
        background = Background.gather(fleet, tenant)
        with fleet.session(tenant, "owner", statement_timeout_s=plan.statement_timeout_s) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_S}s",))
            pin_spelling(connection)
            ensure_tables(connection, tenant)
            _open(fleet, connection, tenant, fix_id)
            application = _Application(background, connection, rules, fix_id)
            outcomes = application.run(fixes)
            undoable = any(
                one.done and step.undoable for step, one in zip(fixes.steps, outcomes, strict=True)
            )
            if not undoable:
                _forget(connection, tenant, fix_id)
            with fleet.control_within(tenant, connection) as control:
                _record(fleet, control, tenant, fix_id, outcomes)
    return FixReport(tenant.slug, str(fix_id) if undoable else None, tuple(outcomes))


class _Application:
    """One run over the steps of a plan."""

    def __init__(
        self, background: Background, connection: psycopg.Connection, rules: dict[str, Rule], fix_id: UUID
    ) -> None:
        self._background = background
        self._connection = connection
        self._rules = rules
        self._fix_id = fix_id
        self._judge = Judge(rules.values())
        self._touched: set[str] = set()
        self._numbers = count(1)
        self._more = count(1_000_000)

    def run(self, fixes: FixPlan) -> list[FixOutcome]:
        """Do what can be done; one outcome per step, in their order."""
        outcomes: dict[int, FixOutcome] = {}
        works: list[Work] = []
        for number, step in enumerate(fixes.steps):
            prepared = self._prepare(number, step, fixes.asked)
            if isinstance(prepared, FixOutcome):
                outcomes[number] = prepared
            else:
                works.append(prepared)
        for _, group in groupby(works, key=_together):
            for work, outcome in self._attempt(list(group)):
                outcomes[work[0]] = outcome
        return [outcomes[number] for number in range(len(fixes.steps))]

    def _evidence(self) -> Evidence:
        """What is cached of the tenant goes out of date with every step."""
        return Evidence(self._background, self._connection)

    def _prepare(self, number: int, step: FixStep, asked: Sequence[str]) -> Work | FixOutcome:
        if step.refusal:
            return _not_done(step, step.refusal)
        if step.trust != "safe" and step.rule not in asked:
            return _not_done(step, "It is applied only when its rule is named.")
        evidence = self._evidence()
        try:
            with self._connection.transaction():
                found = change_of(evidence, self._rules[step.rule], step.dataset, step.subject, step.policies)
                if found is None or found[1] != step.trust:
                    raise Refused("It is no longer the fix that was planned: plan again.")
                locked = found[0].lock(evidence)
                if locked is not None and locked != step.rows:
                    raise Refused(_other_count(locked, step.rows))
                return number, step, found[0], locked
        except (Refused, psycopg.Error) as error:
            return _not_done(step, self._reason(error))

    def _attempt(self, group: list[Work]) -> list[tuple[Work, FixOutcome]]:
        try:
            with self._connection.transaction():
                done = self._apply(group)
        except (Refused, psycopg.Error) as error:
            reason = self._reason(error)
            if len(group) == 1:
                return [(group[0], _not_done(group[0][1], reason))]
            return [pair for work in group for pair in self._attempt([work])]
        self._touched |= {name for keeper in done for name in keeper.rows}
        return [
            (work, FixOutcome(work[1].rule, work[1].dataset, keeper.rows.get(work[1].dataset, 0), done=True))
            for work, keeper in zip(group, done, strict=True)
        ]

    def _apply(self, group: list[Work]) -> list[Keeper]:
        evidence = self._evidence()
        doing = [
            (change, Keeper(evidence, self._fix_id, number, self._numbers)) for number, _, change, _ in group
        ]
        keepers = [keeper for _, keeper in doing]
        step, change = group[0][1], group[0][2]
        concerned = self._judge.concerned(change, step) if step.undoable else []
        before = self._judge.counts(evidence, concerned)
        if len(group) == 1:
            change.apply(evidence, keepers[0])
            self._check_count(group[0], keepers[0])
        if isinstance(change, SetColumn):
            self._finish_column(evidence, change, group, doing)
        for work, keeper in zip(group, keepers, strict=True):
            keeper.write_down(work[1].rule, work[1].change, sum(keeper.rows.values()))
        self._judge.compare(self._evidence(), concerned, before, [work[1] for work in group])
        return keepers

    def _finish_column(
        self, evidence: Evidence, column: SetColumn, group: list[Work], doing: list[tuple[Change, Keeper]]
    ) -> None:
        """Do the steps again until nothing is left, with the other safe ones of the column between them."""
        planned = {work[1].rule for work in group}
        others = [
            (rule, SetColumn(column.dataset, column.column, rule.fix.expression, rule.find.condition))
            for rule in self._rules.values()
            if rule.dataset == column.dataset.name
            and rule.id not in planned
            and isinstance(rule.find, Where)
            and isinstance(rule.fix, Rewrite)
            and rule.fix.column == column.column
        ]
        beside = [
            (rule, change, Keeper(evidence, self._fix_id, next(self._more), self._numbers))
            for rule, change in others
        ]
        every = [*doing, *((change, keeper) for _, change, keeper in beside)]
        for _ in range(ROUNDS):
            if not sum(change.apply(evidence, keeper) for change, keeper in every):
                break
        for rule, change, keeper in beside:
            if rows := sum(keeper.rows.values()):
                keeper.write_down(rule.id, f"{change.words}, which came to light", rows)

    def _check_count(self, work: Work, keeper: Keeper) -> None:
        """The rows are those that were planned; unless an earlier step changed some of the same table."""
        _, step, _, locked = work
        if locked is None or self._touched & {step.dataset, *(name for name, _ in step.touches)}:
            return
        planned = {step.dataset: step.rows}
        for name, rows in step.touches:
            planned[name] = planned.get(name, 0) + rows
        for name in {*planned, *keeper.rows}:
            if keeper.rows.get(name, 0) != planned.get(name, 0):
                raise Refused(_other_count(keeper.rows.get(name, 0), planned.get(name, 0)))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, Refused):
            return str(error)
        if self._connection.closed:
            raise OperationFailed(
                "the server went away; nothing was changed.", where=f"tenant {self._background.tenant.slug}"
            ) from error
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return f"Somebody else held rows it needs for more than {LOCK_TIMEOUT_S} s: try again."
        constraint = error.diag.constraint_name if isinstance(error, psycopg.Error) else None
        return f"Postgres refused it ({constraint or type(error).__name__})."


def _together(work: Work) -> tuple:
    number, step, change, _ = work
    return (step.dataset, change.column) if isinstance(change, SetColumn) else (number,)


def _other_count(found: int, planned: int) -> str:
    return f"{found:,} rows instead of {planned:,} would change: plan again."


def _not_done(step: FixStep, reason: str) -> FixOutcome:
    return FixOutcome(step.rule, step.dataset, 0, done=False, reason=reason)


def _all_rules(fleet: Fleet) -> Iterable[Rule]:
    """Every rule there is, whatever the validation asked for: a fix must break none."""
    return (known.rule for known in known_rules(fleet.catalog, fleet.settings.rules, ()))


def _open(fleet: Fleet, connection: psycopg.Connection, tenant: Tenant, fix_id: UUID) -> None:
    """Enter the fix, and let go of what was kept of those older than `KEEP_DAYS`."""
    now = fleet.clock()
    names = {name: sql.Identifier(tenant.stage_schema, name) for name in (FIX, IMAGE)}
    old = now - timedelta(days=KEEP_DAYS)
    connection.execute(
        sql.SQL("DELETE FROM {fix_image} i USING {fix} f WHERE f.id = i.fix_id AND f.fixed_at < %s").format(
            **names
        ),
        (old,),
    )
    connection.execute(sql.SQL("DELETE FROM {fix} WHERE fixed_at < %s").format(**names), (old,))
    connection.execute(
        sql.SQL("INSERT INTO {fix} (id, fixed_at, actor) VALUES (%s, %s, %s)").format(**names),
        (fix_id, now, fleet.settings.actor),
    )


def _forget(connection: psycopg.Connection, tenant: Tenant, fix_id: UUID) -> None:
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(tenant.stage_schema, FIX)), (fix_id,)
    )


def _record(
    fleet: Fleet, control: psycopg.Connection, tenant: Tenant, fix_id: UUID, outcomes: list[FixOutcome]
) -> None:
    record(
        control,
        chain=str(tenant.id),
        at=fleet.clock(),
        actor=fleet.settings.actor,
        action="tenant.fix",
        detail={
            "fix_id": str(fix_id),
            "steps": [{"rule": one.rule, "rows": one.rows, "done": one.done} for one in outcomes],
        },
    )
