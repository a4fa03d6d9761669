"""The second step of a load: good staged rows into the live table, all in one transaction.

Here: the order of the merge, what it refuses, and its counts. Not here: which rows are good (`checking.py`,
`violations.py`), the SQL that moves them (`statements.py`), rows that a full load removes (`replacing.py`).

What becomes of a staged row, under each strategy (a row equal to the one that is there is never written):

| | its key is not there | the row that is there equals it | it differs |
| --- | --- | --- | --- |
| `fail` | inserted | nothing is merged | nothing is merged |
| `skip` | inserted | skipped | skipped |
| `overwrite`, `merge` | inserted | unchanged | updated, unless there is nothing to fill in |
| `newest` | inserted | unchanged | updated when it is later, else skipped |
| `keep-both` | inserted | unchanged | quarantined |

Of staged rows with one key all but one are quarantined; under `newest` they are skipped, for a history is
what that strategy is for. So staged = inserted + updated + unchanged + skipped + those quarantined here.
"""

from time import perf_counter
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops import backups
from tenant_ops.audit import record
from tenant_ops.datasets import ConflictStrategy, Dataset, Mode
from tenant_ops.loading import ledger
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.lookups import resolve
from tenant_ops.loading.quarantine import Findings, findings
from tenant_ops.loading.quarantine.replay import settle_replayed
from tenant_ops.loading.refusals import in_sentences
from tenant_ops.loading.replacing import Leaving, Removed, Replacement
from tenant_ops.loading.reports import DatasetPlan, LoadPlan, MergeReport, checks
from tenant_ops.loading.stages import VIOLATION, count_staged, drop_stage, latest_cursor, stage_table
from tenant_ops.loading.statements import Statements, plan_for_whole_sets
from tenant_ops.loading.violations import SUPERSEDED, mark_violations
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.platform.reports import as_document
from tenant_ops.platform.retry import retrying
from tenant_ops.tenants import Fleet, SafetyCopy, Tenant

# All that a full load looks at is as of one moment.
_SNAPSHOT = psycopg.IsolationLevel.REPEATABLE_READ


def merge(
    fleet: Fleet,
    tenant: Tenant,
    plan: LoadPlan,
    dataset_name: str,
    *,
    safety_copy: SafetyCopy | None = None,
) -> MergeReport:
    """Move what is staged of one dataset into its live table; bad rows go to the quarantine.

    Nothing staged is nothing to do. Errors that pass by themselves are waited for. After any other failure
    the stage is still there: merge again once the cause is gone, or with another conflict strategy.

    In mode full the rows that are not in the files are removed first, after a backup: `tenant-ops backup
    restore` brings them back. Readers see the table as it was, or as it is when all is done.

    Args:
        fleet: The fleet.
        tenant: Whose tables.
        plan: What the load was planned to be.
        dataset_name: Of which dataset.
        safety_copy: Takes the backup before rows are removed, and returns its id; None is the usual one.

    Raises:
        InputError: (strategy `fail`) rows are there already; (mode full) rows that would be removed are still
            needed, or may be in the files after all. Nothing was merged.
        OperationFailed: more rows are bad than the plan allows, Postgres refused a row, the stage was lost in
            a crash, or rows were written while the backup was taken; nothing was merged.
    """
    begun: list[UUID] = []

    def attempt(_: int) -> MergeReport:
        return _attempt(fleet, tenant, plan, dataset_name, safety_copy, begun)

    return retrying(attempt, f"merge {dataset_name} of {tenant.slug}")


def _attempt(
    fleet: Fleet,
    tenant: Tenant,
    plan: LoadPlan,
    dataset_name: str,
    safety_copy: SafetyCopy | None,
    begun: list[UUID],
) -> MergeReport:
    """Merge, unless one of the loads that earlier attempts `begun` to merge was: a lost COMMIT may be one."""
    started = perf_counter()
    dataset = fleet.catalog.incoming(dataset_name, plan.of(dataset_name).upcasts)
    isolation = _SNAPSHOT if plan.mode is Mode.FULL else None
    with in_sentences(tenant, dataset), fleet.lock(tenant, "load"):
        with fleet.session(tenant, isolation=isolation) as connection:
            for load_id in begun:
                if report := ledger.merged_report(connection, tenant, load_id):
                    return report
            load = ledger.open_load(connection, tenant, dataset)
            if load is None:
                return _unchanged(connection, tenant, dataset, plan, started)
            begun.append(load.id)
            _check_stage(connection, tenant, dataset, plan, load)
            plan_for_whole_sets(connection)
            resolve(connection, tenant, dataset)
            leaving = _judge(fleet, connection, tenant, dataset, plan, load)
            found = findings(connection, tenant, load.id)
        # The quarantine is committed by now: what is too bad to be merged can be looked at.
        _check_limits(tenant, dataset, plan, load, found)
        backup = None
        if leaving is not None and leaving.count:
            leaving.check(tenant, dataset, force=plan.force)
            backup = (safety_copy or backups.safety_copy(fleet, "full load"))(tenant)
        with fleet.session(tenant) as connection:
            return _merge(fleet, connection, tenant, dataset, plan, load, found, leaving, backup, started)


def _judge(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    load: Load,
) -> Leaving | None:
    """Mark the staged rows that are not merged; in mode full, find the live rows that leave."""
    if plan.mode is not Mode.FULL:
        mark_violations(fleet, connection, tenant, dataset, load, plan)
        return None
    replacement = Replacement(fleet, connection, tenant, dataset, plan, load)
    replacement.find()
    mark_violations(fleet, connection, tenant, dataset, load, plan, replacement.table)
    leaving = replacement.weigh()
    replacement.clear()
    return leaving


def _merge(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    load: Load,
    found: Findings,
    leaving: Leaving | None,
    backup: str | None,
    started: float,
) -> MergeReport:
    plan_for_whole_sets(connection)
    part = plan.of(dataset.name)
    statements = Statements(tenant, dataset, load.columns)
    if part.conflict is ConflictStrategy.FAIL:
        _refuse_existing(connection, tenant, dataset, load, statements)
    # First, for what is unique in rows that leave may be taken by others.
    removed = _remove(fleet, connection, tenant, dataset, plan, load, leaving)
    # Then what is new: rows that are there may refer to it once they are updated.
    inserted = connection.execute(statements.insert()).rowcount if load.columns else 0
    superseded = _count_superseded(connection, tenant, dataset)
    there = load.staged - (found.count() - found.count("schema")) - superseded - inserted
    update = statements.update(part.conflict, part.newest_by) if there else None
    updated = removed.updated + (connection.execute(update).rowcount if update else 0)
    skipped = there if part.conflict is ConflictStrategy.SKIP else 0
    rejected = sum(file.rejected for file in load.files)
    report = MergeReport(
        tenant=tenant.slug,
        dataset=dataset.name,
        state="merged",
        conflict=part.conflict,
        load_id=str(load.id),
        files=tuple(file.name for file in load.files),
        read=sum(file.read for file in load.files),
        staged=load.staged,
        inserted=inserted,
        updated=updated,
        unchanged=there - updated - skipped,
        skipped=skipped + superseded,
        quarantined=found.count() - rejected,
        reasons=found.reasons(),
        checks=tuple(found.outcome(check) for check in checks(dataset) if check != "schema"),
        total=_count(connection, tenant, dataset),
        seconds=round(perf_counter() - started, 4),
        rejected=rejected,
        passed_over=sum(file.passed_over for file in load.files),
        deleted=removed.rows.pop(dataset.name, 0),
        taken_along=removed.rows,
        safety_backup=backup,
        cursor=_cursor(connection, tenant, dataset, part, load),
    )
    document = {
        **as_document(report),
        "mode": str(plan.mode),
        "cursor_column": part.cursor,
        "upcasts": part.upcasts,
        "version": fleet.catalog.version,
    }
    ledger.finish(connection, tenant, load, part.conflict, document, fleet.clock())
    settle_replayed(connection, tenant, load)
    drop_stage(connection, tenant, dataset)
    _record(fleet, connection, tenant, plan, report)
    return report


def _cursor(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, part: DatasetPlan, load: Load
) -> str | None:
    if part.cursor is None or part.cursor not in load.columns:
        return part.after
    return latest_cursor(connection, tenant, dataset, part.cursor, part.after)


def _remove(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    plan: LoadPlan,
    load: Load,
    leaving: Leaving | None,
) -> Removed:
    if leaving is None or not leaving.count:
        return Removed({}, 0)
    replacement = Replacement(fleet, connection, tenant, dataset, plan, load)
    replacement.lock([name for name, count in leaving.rows.items() if count])
    replacement.find()
    removed = replacement.remove(leaving)
    replacement.clear()
    return removed


def _count_superseded(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE {} = {}").format(
            stage_table(tenant, dataset), sql.Identifier(VIOLATION), sql.Literal(SUPERSEDED)
        )
    ).fetchone()
    assert row is not None
    return row[0]


def _refuse_existing(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, load: Load, statements: Statements
) -> None:
    first = connection.execute(statements.existing()).fetchone()
    if first is not None:
        file, line, count = first
        raise InputError(
            f"{count} rows have a {' and '.join(dataset.key)} that is there already, "
            f"the first on line {line} of {load.files[file].name}; nothing was merged.",
            where=f"tenant {tenant.slug}, dataset {dataset.name}",
            fix="Choose what should happen to them: skip, overwrite or merge.",
        )


def _check_stage(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, plan: LoadPlan, load: Load
) -> None:
    where = f"tenant {tenant.slug}, dataset {dataset.name}"
    if not load.complete or count_staged(connection, tenant, dataset) != load.staged:
        raise OperationFailed(
            "its stage is not complete, because loading was interrupted or the server crashed.",
            where=where,
            fix="Load its files again; what is still staged is not read twice.",
        )
    part = plan.of(dataset.name)
    if plan.mode is Mode.FULL:
        staged = sorted((file.name, file.sha256) for file in load.files)
        if staged != sorted((file.name, file.sha256) for file in part.files):
            raise InputError(
                "other files are staged than those that are to replace its rows; nothing was merged.",
                where=where,
                fix="Stage the files of this load first.",
            )
    if part.conflict is ConflictStrategy.NEWEST and load.columns and part.newest_by not in load.columns:
        raise InputError(
            f"the files have no column {part.newest_by}, which says which of two rows is newer.",
            where=where,
            fix="Load files that have it, or choose another conflict strategy or column.",
        )


def _check_limits(tenant: Tenant, dataset: Dataset, plan: LoadPlan, load: Load, found: Findings) -> None:
    read, bad = sum(file.read for file in load.files), found.count()
    percent = 100 * bad / read if read else 0.0
    too_many = plan.max_bad_rows is not None and bad > plan.max_bad_rows
    too_large = plan.max_bad_pct is not None and percent > plan.max_bad_pct
    if too_many or too_large:
        limit = f"{plan.max_bad_rows} rows" if too_many else f"{plan.max_bad_pct:g} %"
        reasons = [f"{reason} ({count})" for reason, count in found.reasons().items()]
        more = f", and {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
        raise OperationFailed(
            f"{bad} of {read} rows ({percent:.2g} %) are bad, more than the {limit} allowed; "
            f"nothing was merged. Most often: {', '.join(reasons[:3])}{more}.",
            where=f"tenant {tenant.slug}, dataset {dataset.name}",
            fix="Look at them with: tenant-ops quarantine list. Repair the files and load again.",
        )


def _record(
    fleet: Fleet, connection: psycopg.Connection, tenant: Tenant, plan: LoadPlan, report: MergeReport
) -> None:
    deleted = {report.dataset: report.deleted, **report.taken_along}
    replaced = {"mode": str(plan.mode), "deleted": deleted, "safety_backup": report.safety_backup}
    with fleet.control_within(tenant, connection) as control:
        record(
            control,
            chain=str(tenant.id),
            at=fleet.clock(),
            actor=fleet.settings.actor,
            action="data.load",
            detail={
                "dataset": report.dataset,
                "load": report.load_id,
                "inserted": report.inserted,
                "updated": report.updated,
                "quarantined": report.quarantined,
                **(replaced if plan.mode is Mode.FULL else {}),
            },
        )


def _unchanged(
    connection: psycopg.Connection, tenant: Tenant, dataset: Dataset, plan: LoadPlan, started: float
) -> MergeReport:
    nothing: Any = dict.fromkeys(
        ("read", "staged", "inserted", "updated", "unchanged", "skipped", "quarantined"), 0
    )
    return MergeReport(
        tenant=tenant.slug,
        dataset=dataset.name,
        state="unchanged",
        conflict=plan.of(dataset.name).conflict,
        load_id=None,
        files=(),
        reasons={},
        checks=tuple(Findings.none().outcome(check) for check in checks(dataset) if check != "schema"),
        total=_count(connection, tenant, dataset),
        seconds=round(perf_counter() - started, 4),
        **nothing,
    )


def _count(connection: psycopg.Connection, tenant: Tenant, dataset: Dataset) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(tenant.schema_name, dataset.name))
    ).fetchone()
    assert row is not None
    return row[0]
