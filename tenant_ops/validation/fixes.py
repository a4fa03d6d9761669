"""Fixing what rules found: planned, safe, in a transaction, and undone by id.

Here: the plan, the changes, the rows as they were, undoing. Not here: which rule offers a fix (`levels/`).

Only fixes that lose nothing exist so far: blanks around labels are trimmed, statistics are taken. What needs
a decision (duplicates, orphans, grants) is left to people.

A step is rolled back when it touches another number of rows than planned, when Postgres refuses it, or when
any rule of the dataset finds more afterwards than before. Rows as they were are kept in the tenant's stage
schema, which its logins cannot enter.
"""

from collections.abc import Iterable
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.examination import Examined, examine
from tenant_ops.validation.report import (
    Finding,
    FixOutcome,
    FixPlan,
    FixReport,
    FixStep,
    UndoReport,
    ValidationPlan,
)
from tenant_ops.validation.rules import Analyze, Joined, Rewrite, Rows, Rule, Where

UNDO_TABLE = "fix_undo"


def plan_fixes(fleet: Fleet, plan: ValidationPlan, findings: Iterable[Finding]) -> FixPlan:
    """Look at which of the findings have a safe fix and what it would change.

    Args:
        fleet: The fleet.
        plan: The plan the findings were made by.
        findings: What validation found.
    """
    rules = {rule.id: rule for rule in plan.rules}
    steps: list[FixStep] = []
    for finding in findings:
        rule = rules[finding.rule]
        if finding.dataset is None or finding.dataset not in fleet.catalog:
            continue
        match rule.fix:
            case Rewrite(column, expression):
                change = f"set {finding.dataset}.{column} to {expression}"
                steps.append(
                    FixStep(rule.id, finding.dataset, change, finding.count, finding.sample, undoable=True)
                )
            case Analyze():
                steps.append(
                    FixStep(rule.id, finding.dataset, f"analyze {finding.dataset}", 0, (), undoable=False)
                )
            case None:
                pass
    return FixPlan(plan.tenant, plan.tenant_id, tuple(steps))


def execute_fixes(fleet: Fleet, plan: ValidationPlan, fixes: FixPlan) -> FixReport:
    """Apply the steps, each on its own: what one cannot do leaves the others done.

    Raises:
        InputError: the tenant is gone or not active.
        TenantBusy: another operation holds it.
    """
    tenant = fleet.registry.get(fixes.tenant).require()
    if not fixes.steps:
        return FixReport(tenant.slug, None, ())
    fix_id = uuid4()
    rules = {rule.id: rule for rule in plan.rules}
    with fleet.lock(tenant, "validate-data"):
        background = Background.gather(fleet, tenant)
        with fleet.session(tenant, "owner", statement_timeout_s=plan.statement_timeout_s) as connection:
            evidence = Evidence(background, connection)
            _ensure_undo_table(connection, tenant)
            outcomes = [_apply(evidence, step, rules, fix_id) for step in fixes.steps]
            with fleet.control_within(tenant, connection) as control:
                _record(fleet, control, tenant, fix_id, outcomes)
    kept = any(one.done and one.rows for one in outcomes)
    return FixReport(tenant.slug, str(fix_id) if kept else None, tuple(outcomes))


def undo_fixes(fleet: Fleet, tenant: Tenant, fix_id: str) -> UndoReport:
    """Give the rows of a fix their earlier text back, except those changed since.

    Raises:
        InputError: there is no such fix, or it was undone already.
        TenantBusy: another operation holds the tenant.
    """
    restored = 0
    with fleet.lock(tenant, "validate-data"), fleet.session(tenant, "owner") as connection:
        kept = _kept(connection, tenant, fix_id)
        for dataset, column in kept:
            restored += _restore(connection, tenant, fleet.catalog[dataset], column, fix_id)
        undo = sql.Identifier(tenant.stage_schema, UNDO_TABLE)
        left = connection.execute(
            sql.SQL("DELETE FROM {} WHERE fix_id = %s").format(undo), (fix_id,)
        ).rowcount
        with fleet.control_within(tenant, connection) as control:
            record(
                control,
                chain=str(tenant.id),
                at=fleet.clock(),
                actor=fleet.settings.actor,
                action="tenant.fix_undone",
                detail={"fix_id": fix_id, "restored": restored, "changed_since": left},
            )
    return UndoReport(tenant.slug, fix_id, restored, left)


class _Refused(Exception):
    """A step must be rolled back; the reason is for the report."""


def _apply(evidence: Evidence, step: FixStep, rules: dict[str, Rule], fix_id: UUID) -> FixOutcome:
    dataset, rule = evidence.catalog[step.dataset], rules[step.rule]
    try:
        with evidence.connection.transaction():
            if isinstance(rule.fix, Analyze):
                evidence.connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(dataset.name)))
                return FixOutcome(rule.id, dataset.name, 0, done=True)
            before = _counts(evidence, dataset, rules)
            rows = _rewrite(evidence, dataset, rule, fix_id)
            if rows != step.rows:
                raise _Refused(f"{rows:,} rows instead of {step.rows:,} would change: plan again.")
            after = _counts(evidence, dataset, rules)
            worse = sorted(key for key, count in after.items() if count > before.get(key, 0))
            if worse:
                raise _Refused(f"It would break {worse[0]}.")
            return FixOutcome(rule.id, dataset.name, rows, done=True)
    except _Refused as error:
        return FixOutcome(rule.id, dataset.name, 0, done=False, reason=str(error))
    except psycopg.Error as error:
        if evidence.connection.closed:
            raise OperationFailed("the server went away.", where=f"tenant {evidence.tenant.slug}") from error
        constraint = error.diag.constraint_name
        reason = f"Postgres refused it ({constraint or type(error).__name__})."
        return FixOutcome(rule.id, dataset.name, 0, done=False, reason=reason)


def _counts(evidence: Evidence, dataset: Dataset, rules: dict[str, Rule]) -> dict[str, int]:
    """What the rules about the dataset's rows find now, by finding."""
    examined = Examined()
    own = [
        rule
        for rule in rules.values()
        if rule.dataset == dataset.name and isinstance(rule.find, Where | Joined | Rows)
    ]
    examine(evidence, own, samples=0, into=examined)
    return {finding.key: finding.count for finding in examined.findings}


def _rewrite(evidence: Evidence, dataset: Dataset, rule: Rule, fix_id: UUID) -> int:
    """Change the rows and keep them as they were, in one statement; how many were changed."""
    assert isinstance(rule.fix, Rewrite) and isinstance(rule.find, Where)
    column = sql.Identifier(rule.fix.column)
    key = sql.SQL(", ").join(map(sql.Identifier, dataset.key))
    query = sql.SQL("""
        WITH found AS (
            SELECT {key}, {column} AS text_before FROM {table} WHERE {condition} FOR UPDATE
        ), changed AS (
            UPDATE {table} t SET {column} = {expression} FROM found WHERE {match}
            RETURNING {key_object} AS key, found.text_before, t.{column} AS text_after
        )
        INSERT INTO {undo} (fix_id, rule, dataset, column_name, key, text_before, text_after, fixed_at)
        SELECT %(fix_id)s, %(rule)s, %(dataset)s, %(column)s, key, text_before, text_after, %(now)s
        FROM changed
    """).format(
        key=key,
        column=column,
        table=sql.Identifier(dataset.name),
        condition=sql.SQL(rule.find.condition),  # pyright: ignore[reportArgumentType] - rules are code
        expression=sql.SQL(rule.fix.expression),  # pyright: ignore[reportArgumentType] - rules are code
        match=sql.SQL(" AND ").join(
            sql.SQL("t.{0} = found.{0}").format(sql.Identifier(name)) for name in dataset.key
        ),
        key_object=_key_object(dataset),
        undo=sql.Identifier(evidence.tenant.stage_schema, UNDO_TABLE),
    )
    named = {"fix_id": fix_id, "rule": rule.id, "dataset": dataset.name, "column": rule.fix.column}
    return evidence.connection.execute(query, {**evidence.facts, **named}).rowcount


def _kept(connection: psycopg.Connection, tenant: Tenant, fix_id: str) -> list[tuple[str, str]]:
    undo = sql.Identifier(tenant.stage_schema, UNDO_TABLE)
    try:
        number = UUID(fix_id)
        with connection.transaction():
            query = sql.SQL("SELECT DISTINCT dataset, column_name FROM {} WHERE fix_id = %s").format(undo)
            kept = connection.execute(query, (number,)).fetchall()
    except (ValueError, psycopg.errors.UndefinedTable):
        kept = []
    if not kept:
        raise InputError(
            f"there is no fix {fix_id!r} to undo; perhaps it was undone already.",
            where=f"tenant {tenant.slug}",
        )
    return kept


def _restore(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, column: str, fix_id: str
) -> int:
    query = sql.SQL("""
        WITH kept AS (
            SELECT * FROM {undo}
            WHERE fix_id = %(fix_id)s AND dataset = %(dataset)s AND column_name = %(column)s
        ), restored AS (
            UPDATE {table} t SET {column} = kept.text_before FROM kept
            WHERE {key_object} = kept.key AND t.{column} = kept.text_after RETURNING kept.key
        )
        DELETE FROM {undo} u USING restored
        WHERE u.fix_id = %(fix_id)s AND u.dataset = %(dataset)s AND u.column_name = %(column)s
        AND u.key = restored.key
    """).format(
        undo=sql.Identifier(tenant.stage_schema, UNDO_TABLE),
        table=sql.Identifier(dataset.name),
        column=sql.Identifier(column),
        key_object=_key_object(dataset),
    )
    return connection.execute(query, {"fix_id": fix_id, "dataset": dataset.name, "column": column}).rowcount


def _key_object(dataset: Dataset) -> sql.Composed:
    pairs = (sql.SQL("{}, t.{}").format(sql.Literal(name), sql.Identifier(name)) for name in dataset.key)
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))


def _ensure_undo_table(connection: psycopg.Connection, tenant: Tenant) -> None:
    connection.execute(
        sql.SQL("""
            CREATE TABLE IF NOT EXISTS {} (
                fix_id      uuid NOT NULL,
                rule        text NOT NULL,
                dataset     text NOT NULL,
                column_name text NOT NULL,
                key         jsonb NOT NULL,
                text_before text,
                text_after  text,
                fixed_at    timestamptz NOT NULL,
                PRIMARY KEY (fix_id, dataset, column_name, key)
            )
        """).format(sql.Identifier(tenant.stage_schema, UNDO_TABLE))
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
