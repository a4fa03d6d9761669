"""What is noticed by itself: tenants that were registered, files that were put into the inbox.

Here: polling that registers or requests. Not here: fixed times (`schedules.py`), how files are claimed and
moved (`loading/inbox.py`). Both run from the start: the first starts no runs, the second only for files that
somebody put there to be loaded.
https://docs.dagster.io/guides/automate/sensors
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from tenant_ops.audit import reports_of_run
from tenant_ops.loading import inbox
from tenant_ops.orchestration.partitions import TENANTS, sync
from tenant_ops.orchestration.resources import FleetParam
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.tenants import Fleet, Tenant

INBOX_TAG = "tenant_ops/inbox"
# Dagster ends a tick after 60 s; what is not looked into by then is by a later one.
MOST_LOOKING = timedelta(seconds=20)
MOST_NAMED = 10
PARTITION_TAG, WILL_RETRY_TAG = "dagster/partition", "dagster/will_retry"
FAILED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dg.sensor(
    name="tenant_discovery",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def tenant_discovery(context: dg.SensorEvaluationContext, fleet: FleetParam) -> dg.SkipReason:
    """Mirrors the tenant registry into Dagster's partitions; requests no runs."""
    changed = sync(context.instance, fleet.registry.slugs())
    return dg.SkipReason(
        f"{len(changed.added)} tenants added, {len(changed.removed)} removed, {changed.left} to remove next."
    )


@dg.sensor(
    name="fixture_inbox",
    job_name="load_fixtures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
)
def fixture_inbox(context: dg.SensorEvaluationContext, fleet: FleetParam) -> dg.SensorResult | dg.SkipReason:
    """Loads files put into the inbox, `fixtures/inbox/<tenant id>/`, and moves them to `done/` or `failed/`.

    Running from the start: without that folder a tick costs nothing but asking for it, and a file that lies
    there was put there to be loaded.
    """
    root = fleet.settings.inbox_path
    if not root.is_dir():
        return dg.SkipReason(f"Files put into {root}/<tenant id>/ would be loaded; there is no such folder.")
    with inbox.held(root) as free:
        if not free:
            return dg.SkipReason("Another process is at work on the inbox.")
        return _Tick(context, fleet, root, fleet.clock()).run()


@dataclass
class _Tick:
    """One look at the inbox: claims what has settled, requests runs, and clears away after those that ended.

    Nothing is remembered but how unsettled files looked. What was claimed is in the folders, what became of
    it is in the runs, so wherever a tick is interrupted the next one goes on.
    """

    context: dg.SensorEvaluationContext
    fleet: Fleet
    root: Path
    started: datetime
    requests: list[dg.RunRequest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> dg.SensorResult:
        """All of it."""
        tenants = {tenant.slug: tenant for tenant in self.fleet.registry.all()}
        known, others = inbox.folders(self.root, tenants)
        if others:
            self._note(f"No active tenant: {', '.join(others[:MOST_NAMED])}; left alone.")
        before, waiting = json.loads(self.context.cursor or "{}"), {}
        batches: list[inbox.Batch] = []
        for slug in known:
            try:
                look = self._look(slug, before.get(slug, {}))
                batches += inbox.claimed(self.root, slug)
            except OSError as error:
                self._note(f"{slug}: {error}.")
                continue
            if look.waiting:
                waiting[slug] = {name: astuple(look.seen[name]) for name in look.waiting}
        runs = self._runs(batches)
        for batch in batches:
            self._attend(tenants[batch.tenant], batch, runs.get((batch.tenant, batch.id)))
        self._note(f"{sum(map(len, waiting.values()))} files still settling, {len(batches)} batches claimed.")
        if self.requests:  # a tick that requests runs has no room for words but its log
            self.context.log.info("\n".join(self.notes))
        return dg.SensorResult(
            run_requests=self.requests,
            skip_reason=None if self.requests else " ".join(self.notes),
            cursor=json.dumps(waiting),
            dynamic_partitions_requests=self._partitions(),
        )

    def _look(self, slug: str, before: dict[str, list]) -> inbox.Look:
        seen = {name: inbox.Sight(*sight) for name, sight in before.items()}
        look = inbox.settled(self.root, slug, seen, now=self.fleet.clock())
        inbox.claim(self.root, look, look.settled, now=self.fleet.clock())
        refused = inbox.claim(self.root, look, look.refused, now=self.fleet.clock())
        if refused:
            self._finish(refused, "failed", f"not a regular file: {', '.join(look.refused)}.")
        return look

    def _runs(self, batches: Sequence[inbox.Batch]) -> dict[tuple[str, str], dg.DagsterRun]:
        """The newest run of each batch that has one."""
        if not batches:
            return {}
        found = self.context.instance.get_runs(dg.RunsFilter(tags={INBOX_TAG: [b.id for b in batches]}))
        newest_last = reversed(found)
        return {(run.tags.get(PARTITION_TAG, ""), run.tags[INBOX_TAG]): run for run in newest_last}

    def _attend(self, tenant: Tenant, batch: inbox.Batch, run: dg.DagsterRun | None) -> None:
        if run is None:
            self._request(batch)
        elif run.status is dg.DagsterRunStatus.SUCCESS:
            self._finish(batch, "done")
        elif run.status in FAILED and run.tags.get(WILL_RETRY_TAG) != "true":
            self._finish(batch, "failed", f"{self._reason(tenant, run)}\nRun {run.run_id}.")

    def _request(self, batch: inbox.Batch) -> None:
        if self.fleet.clock() - self.started > MOST_LOOKING:
            return
        try:
            datasets = inbox.contents(batch, self.fleet.catalog, self.fleet.settings.home / "spool")
        except OSError as error:
            self._note(f"{batch.folder}: {error}.")
            return
        except Exception as error:  # whatever a file makes of its reader, it stops no other tenant
            self._finish(batch, "failed", str(error) if isinstance(error, TenantOpsError) else repr(error))
            return
        self.requests.append(
            dg.RunRequest(
                run_key=batch.id,
                partition_key=batch.tenant,
                tags={INBOX_TAG: batch.id},
                run_config={"resources": {"load_options": {"config": {"source_path": str(batch.folder)}}}},
                asset_selection=[
                    dg.AssetKey([group, name]) for group in ("fixtures", "datasets") for name in datasets
                ],
            )
        )

    def _partitions(self) -> list[dg.AddDynamicPartitionsRequest]:
        """For tenants that were registered since `tenant_discovery` looked."""
        slugs = {request.partition_key for request in self.requests if request.partition_key}
        return [TENANTS.build_add_request(sorted(slugs))] if slugs else []

    def _finish(self, batch: inbox.Batch, outcome: inbox.Outcome, why: str = "") -> None:
        hint = f"\nPut what is mended into {self.root / batch.tenant} again." if why else ""
        try:
            place = inbox.finish(batch, outcome, now=self.fleet.clock(), why=f"{why}{hint}")
        except OSError as error:
            self._note(f"{batch.folder}: {error}.")
        else:
            self._note(f"{outcome}: {place}. {why}".rstrip())

    def _note(self, text: str) -> None:
        """Something to tell, as text that can be stored, whatever bytes a file's name is made of."""
        self.notes.append("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))

    def _reason(self, tenant: Tenant, run: dg.DagsterRun) -> str:
        """Why a run failed: what its reports say of the tenant, or else what Dagster says."""
        if run.status is dg.DagsterRunStatus.CANCELED:
            return "the run was canceled."
        with self.fleet.control.transaction() as connection:
            reports = reports_of_run(connection, run.run_id)
        errors = [
            report.body["error"]
            for report in reports
            if report.outcome == "failed" and report.tenant_id == tenant.id and "error" in report.body
        ]
        if not errors:
            ended = self.context.instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE
            )
            errors = [record.event_log_entry.message or "the run failed." for record in ended.records]
        return "\n".join(dict.fromkeys(errors))


SENSORS = [tenant_discovery, fixture_inbox]
