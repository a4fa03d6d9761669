"""Running a migration plan on one tenant: one transaction per release, or nothing of it.

Here: `execute_migration`. Not here: which steps (`planning.py`), many tenants in waves.

A release's precheck, up, verify, its history row, the tenant's version and the audit event are one
transaction, so there is no moment at which they disagree; after a crash the same plan is made again and goes
on where the last commit was.
"""

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from time import perf_counter

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.datasets.structure import fingerprint, live_structure
from tenant_ops.migrations.history import HistoryEntry, add_entry
from tenant_ops.migrations.planning import Direction, MigrationPlan, PlannedStep, plan_migration
from tenant_ops.migrations.releases import Release, Step, load_releases
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, SafetyCopy, Tenant

# A lock that is not free within lock_timeout means a long transaction of the tenant: waiting longer would
# queue everybody behind us, so we step back and come again after about 0.2, 0.4 and 0.8 s.
ATTEMPTS = 4
FIRST_PAUSE_S = 0.2
_PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        resolved: Whether conflicts its precheck found were resolved as it declares.
    """

    release: str
    name: str
    direction: str
    seconds: float
    resolved: bool = False


@dataclass(frozen=True)
class MigrationReport:
    """What a migration did.

    Attributes:
        to_version: Where the tenant is now.
        executed: Whether anything had to be done.
        steps: What was done, in order.
        backup: The safety copy taken before, if one was.
        warnings: Those of the plan, when it was executed.
        seconds: Wall-clock time.
    """

    tenant: str
    from_version: str
    to_version: str
    executed: bool
    steps: tuple[StepReport, ...]
    backup: str | None
    plan_hash: str
    message: str
    warnings: tuple[str, ...]
    seconds: float


class MigrationFailed(OperationFailed):
    """A release could not be applied and was rolled back; `report` says what had been done before it."""

    def __init__(self, problem: str, *, where: str, fix: str, report: MigrationReport) -> None:
        super().__init__(problem, fix=fix, where=where)
        self.report = report


def execute_migration(
    fleet: Fleet, plan: MigrationPlan, *, safety_copy: SafetyCopy | None = None
) -> MigrationReport:
    """Bring the tenant where the plan says, release by release.

    Args:
        fleet: The fleet.
        plan: What to do; files or a tenant that changed since it was made are refused.
        safety_copy: Takes a backup of the tenant before anything changes and returns its id.

    Raises:
        InputError: the plan no longer holds, or it loses data and there is no safety copy.
        MigrationFailed: a release could not be applied; the tenant is where the last one before it led.
        TenantBusy: another operation holds the tenant.
    """
    started = perf_counter()
    if not plan.steps:
        return _report(plan, [], None, plan.to_version, plan.message, started)
    if plan.needs_backup and safety_copy is None:
        raise InputError(
            "going down loses data, and no backup would be taken.",
            where=f"tenant {plan.tenant}",
            fix="Allow the backup.",
        )
    tenant = fleet.registry.get(plan.tenant).require()
    with fleet.lock(tenant, "migrate"):
        tenant = _still_as_planned(fleet, plan)
        releases = {release.version: release for release in load_releases(plan.folder)}
        backup = safety_copy(tenant) if safety_copy else None
        done: list[StepReport] = []
        version = plan.from_version
        for number, planned in groupby(plan.steps, key=lambda step: step.release):
            release = releases[number]
            job = _Release(fleet, tenant, plan, release, tuple(planned), version)
            started_at = fleet.clock()
            try:
                done += job.run()
            except _StepFailed as failure:
                raise _failed(job, failure, done, backup, started, started_at) from failure
            version = job.leads_to
    message = f"{plan.tenant} went {plan.steps[0].direction} from {plan.from_version} to {version}."
    return _report(plan, done, backup, version, message, started)


class _StepFailed(Exception):
    """A step cannot go on; the transaction around it must be rolled back."""

    def __init__(self, step: str, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.passing = passing


@dataclass(frozen=True)
class _Release:
    """One release on its way into, or out of, one tenant."""

    fleet: Fleet
    tenant: Tenant
    plan: MigrationPlan
    release: Release
    planned: tuple[PlannedStep, ...]
    version: str

    @property
    def direction(self) -> Direction:
        return self.planned[0].direction

    @property
    def leads_to(self) -> str:
        return self.release.version if self.direction == "up" else self.release.starts_from

    def run(self) -> list[StepReport]:
        """Apply it in one transaction, again while a lock is in the way."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._apply()
            except _StepFailed as failure:
                if not failure.passing or attempt == ATTEMPTS:
                    raise
            except psycopg.Error as error:
                raise _StepFailed(self.planned[-1].name, f"the commit: {_words(error)}") from error
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError("unreachable")

    def _apply(self) -> list[StepReport]:
        started_at = self.fleet.clock()
        with self.fleet.session(self.tenant, "owner") as connection:
            before = fingerprint(live_structure(connection, self.tenant.schema_name))
            steps = {step.name: step for step in self.release.steps}
            reports = [self._step(connection, steps[planned.name]) for planned in self.planned]
            after = fingerprint(live_structure(connection, self.tenant.schema_name))
            with self.fleet.control_within(self.tenant, connection) as control:
                self._move(control)
                add_entry(control, self.entry("applied", started_at, before=before, after=after))
                self.audit(control, "tenant.migrate")
        return reports

    def _step(self, connection: psycopg.Connection, step: Step) -> StepReport:
        started, resolved = perf_counter(), False
        connection.execute(
            "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
            (f"{step.lock_timeout_ms}ms", f"{step.statement_timeout_s}s"),
        )
        if self.direction == "down":
            self._file(connection, step, "down")
        else:
            conflicts = self._file(connection, step, "precheck")
            if conflicts and self.plan.auto_resolve and "resolve" in step.sql:
                self._file(connection, step, "resolve")
                conflicts, resolved = self._file(connection, step, "precheck"), True
            if conflicts:
                raise _StepFailed(step.name, f"precheck.sql found {_rows(conflicts)} in the way")
            self._file(connection, step, "up")
            left = self._file(connection, step, "verify")
            if left:
                raise _StepFailed(step.name, f"verify.sql found {_rows(left)} that should not be")
        seconds = round(perf_counter() - started, 4)
        return StepReport(self.release.version, step.name, self.direction, seconds, resolved)

    def _file(self, connection: psycopg.Connection, step: Step, name: str) -> int:
        """Run one file of the step, if it has it; how many rows its queries returned."""
        text = step.sql.get(name)
        if text is None:
            return 0
        try:
            # Files are code that passed the lint; no input reaches them.
            cursor = connection.execute(sql.SQL(text))  # pyright: ignore[reportArgumentType]
            rows = cursor.rowcount if cursor.description else 0
            while cursor.nextset():
                rows += cursor.rowcount if cursor.description else 0
            stands = connection.execute(
                "SELECT current_user = %s AND current_schemas(false) = ARRAY[%s]::name[]",
                (self.tenant.role("owner"), self.tenant.schema_name),
            ).fetchone()
        except psycopg.Error as error:
            reason = f"{name}.sql{_line(error, text)}: {_words(error)}"
            raise _StepFailed(step.name, reason, passing=isinstance(error, _PASSING)) from error
        if stands != (True,):
            raise _StepFailed(step.name, f"{name}.sql changed the role or the search path")
        return rows

    def _move(self, control: psycopg.Connection) -> None:
        moved = control.execute(
            """
            UPDATE tenant_ops.tenant SET version = %s, updated_at = %s
            WHERE id = %s AND version = %s AND state = 'active'
            """,
            (self.leads_to, self.fleet.clock(), self.tenant.id, self.version),
        ).rowcount
        if moved != 1:
            raise _StepFailed(self.planned[-1].name, "somebody else moved the tenant meanwhile")

    def entry(
        self,
        outcome: str,
        started_at: datetime,
        *,
        reason: str = "",
        before: str | None = None,
        after: str | None = None,
    ) -> HistoryEntry:
        """The history row of this release."""
        return HistoryEntry(
            tenant_id=self.tenant.id,
            release=self.release.version,
            direction=self.direction,
            steps={step.name: step.checksum for step in self.planned},
            outcome=outcome,
            reason=reason,
            plan_hash=self.plan.hash,
            fingerprint_before=before,
            fingerprint_after=after,
            started_at=started_at,
            finished_at=self.fleet.clock(),
        )

    def audit(self, control: psycopg.Connection, action: str, **more: str) -> None:
        """The audit event of this release, inside the caller's transaction."""
        detail = {"release": self.release.version, "direction": self.direction, "plan": self.plan.hash}
        record(
            control,
            chain=str(self.tenant.id),
            at=self.fleet.clock(),
            actor=self.fleet.settings.actor,
            action=action,
            detail=detail | more,
        )


def _still_as_planned(fleet: Fleet, plan: MigrationPlan) -> Tenant:
    """The tenant, when planning again now would give the same plan.

    Raises:
        InputError: it would not.
    """
    tenant = fleet.registry.get(plan.tenant).require()
    if str(tenant.id) != plan.tenant_id:
        raise InputError(
            "the plan was made for an earlier tenant of that name.", where=f"tenant {plan.tenant}"
        )
    again = plan_migration(
        fleet,
        tenant,
        plan.from_version,
        plan.to_version,
        auto_resolve=plan.auto_resolve,
        folder=plan.folder,
    )
    if again.hash != plan.hash:
        raise InputError(
            "the releases changed since the plan was made.", where=str(plan.folder), fix="Plan again."
        )
    return tenant


def _failed(
    job: _Release,
    failure: _StepFailed,
    done: list[StepReport],
    backup: str | None,
    started: float,
    started_at: datetime,
) -> MigrationFailed:
    """Put the failure on record, apart from the transaction that was rolled back, and into words."""
    reason = f"{job.release.version}/{failure.step}: {failure.reason}"
    with suppress(OperationFailed, psycopg.Error), job.fleet.control.transaction() as control:
        add_entry(control, job.entry("failed", started_at, reason=reason))
        job.audit(control, "tenant.migrate_failed", step=failure.step)
    message = f"{job.plan.tenant} is at {job.version}, as before the release that failed."
    fix = (
        "Run it again when the transaction that holds the lock is over."
        if failure.passing
        else "Remove the cause and run it again; what was applied before stays."
    )
    return MigrationFailed(
        f"{reason}. Everything of the release was rolled back; the tenant is at {job.version}.",
        where=f"tenant {job.plan.tenant}",
        fix=fix,
        report=_report(job.plan, done, backup, job.version, message, started),
    )


def _report(
    plan: MigrationPlan,
    done: list[StepReport],
    backup: str | None,
    version: str,
    message: str,
    started: float,
) -> MigrationReport:
    return MigrationReport(
        tenant=plan.tenant,
        from_version=plan.from_version,
        to_version=version,
        executed=bool(done),
        steps=tuple(done),
        backup=backup,
        plan_hash=plan.hash,
        message=message,
        warnings=plan.warnings if done else (),
        seconds=round(perf_counter() - started, 4),
    )


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _line(error: psycopg.Error, text: str) -> str:
    place = error.diag.statement_position
    return f":{text.count(chr(10), 0, int(place) - 1) + 1}" if place else ""


def _words(error: psycopg.Error) -> str:
    """What Postgres says, unless it may quote a value: then only which kind of error it is."""
    diag = error.diag
    if isinstance(error, psycopg.DataError) or diag.message_primary is None:
        return type(error).__name__
    constraint = f" ({diag.constraint_name})" if diag.constraint_name else ""
    return f"{diag.message_primary}{constraint}"
