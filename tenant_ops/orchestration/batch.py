"""One run, many tenants: the loop inside every per-tenant asset and check.

Here: which tenants a run works on, doing the work for each with its failures kept to itself, telling
Dagster the outcome of each tenant, and failing the run at its end with a list and a way to retry.
Not here: what is done for a tenant (the domain packages), what an asset's metadata looks like
(`metadata.py`), the partitions definition (`partitions.py`).

How one failing tenant leaves the others alone. A step that fails makes Dagster skip everything after it,
for all tenants. So a step succeeds as long as a later step of the run has tenants left to work on: it logs
a materialisation for each tenant that succeeded and a failed `AssetObservation`, with the reason, for each
that did not. The next step reads those from the event log (so it works across processes), leaves these
tenants out and says so. The last step raises one `Failure` for all of them; Dagster then shows as failed
each partition the run had planned and did not materialise.
"""

import json
import shlex
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import dagster as dg
from pydantic import Field

from tenant_ops.orchestration.instance import (
    LOGGED_BY_THE_STEP,
    latest_materializations,
    leads_to_partitions,
    log_events,
    log_planned,
    version_tags,
)
from tenant_ops.orchestration.partitions import TENANTS, named, partition_keys
from tenant_ops.platform.errors import InputError, TenantOpsError

# A job's tag with the command that runs it, `tenant-ops load-fixtures`, to which tenants are added.
COMMAND_TAG = "tenant_ops/command"
OUTCOME, REASON, FAILED_AT = "tenant_ops/outcome", "reason", "failed at"

# Outcomes are written to the event log in groups, which cost little more than one: as many as this, or all
# that came in so many seconds. It is what a run that is killed forgets.
GROUP, GROUP_SECONDS = 50, 5.0
# Beyond this a list of tenants is for the run's page, not for a sentence, a table or a command line.
MOST_NAMED, MOST_LISTED = 20, 500

T = TypeVar("T")
Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
Metadata = Mapping[str, Any]
Judged = tuple[tuple[dg.AssetCheckSpec, dg.AssetCheckResult], ...]
Events = Iterator[Any]


@dataclass(frozen=True)
class Outcome:
    """What happened to one tenant in one step: it succeeded unless there is a `reason`."""

    tenant: str
    reason: str = ""
    failed_at: str = ""  # the asset of the run where it failed; empty: in this step
    trace: str = ""
    metadata: Metadata = field(default_factory=dict)
    checks: Judged = ()
    version: str = ""
    seconds: float = 0.0


class Batch(dg.ConfigurableResource):
    """Works through the tenants of a run: its partition (one, or several as `acme,globex`) or its range."""

    # Half the default pool: an operation holds up to two connections, and none may wait for another's.
    threads: int = Field(default=4, ge=1, le=64, description="Tenants worked on at once.")

    def run(
        self,
        context: dg.AssetExecutionContext,
        work: Callable[[str], T],
        *,
        metadata: Callable[[T], Metadata] | None = None,
        checks: Callable[[T], Iterable[dg.AssetCheckResult]] | None = None,
        version: Callable[[T], str] | None = None,
    ) -> dg.MaterializeResult:
        """Materialise the asset for every tenant of the run; the asset's function returns what this returns.

        A tenant whose `work` raises, or one of whose blocking checks fails, is not materialised: it shows
        as failed with the reason, later assets of the run leave it out, and the run fails at its end.

        Args:
            context: The asset's context.
            work: Does the work for the tenant with the given slug. Called from `threads` threads at once.
            metadata: Describes a result for the tenant's materialisation; called like `work`.
            checks: Judges a result, once for each check spec of the asset; called like `work`.
            version: A checksum of what the result left behind; assets after it are out of date only when
                it changes. Without it they are after every materialisation.
        """
        (key,) = context.selected_asset_keys  # one asset: a multi-asset has no one result per tenant
        step = _Step(context, [key], _selected_specs(context), version_tags(context, key))

        def attempt(tenant: str) -> Outcome:
            result = work(tenant)
            described = dg.AssetObservation(key, metadata=metadata(result) if metadata else {})
            return Outcome(
                tenant,
                metadata=described.metadata,  # as Dagster takes it: a value it refuses fails this tenant here
                checks=step.judged(checks(result) if checks else ()),
                version=version(result) if version else "",
            )

        def results() -> Events:
            yield from self._work_through(step, attempt)
            yield dg.MaterializeResult(asset_key=key, metadata=LOGGED_BY_THE_STEP)

        # Dagster takes a generator wherever it takes a result, but accepts no such annotation on an asset.
        return cast(dg.MaterializeResult, results())

    def check(
        self,
        context: dg.AssetCheckExecutionContext,
        verdict: Callable[[str], dg.AssetCheckResult | Iterable[dg.AssetCheckResult]],
        tenants: Sequence[str] | None = None,
    ) -> dg.AssetCheckResult:
        """Evaluate checks declared on their own, with `partitions_def=TENANTS`, for every tenant of the run.

        The asset is materialised already. Where a blocking check fails, or cannot be evaluated, later
        assets of the run leave the tenant out and the run fails at its end.

        Args:
            context: The check's context.
            verdict: Judges the tenant with the given slug. Called from `threads` threads at once.
            tenants: Whom to judge when not those the run names: the UI's `Execute` names none.
        """
        specs = _selected_specs(context)
        step = _Step(context, sorted({key.asset_key for key in specs}), specs)

        def attempt(tenant: str) -> Outcome:
            found = verdict(tenant)
            return Outcome(
                tenant, checks=step.judged([found] if isinstance(found, dg.AssetCheckResult) else found)
            )

        return cast(dg.AssetCheckResult, self._work_through(step, attempt, tenants))

    def _work_through(
        self, step: "_Step", attempt: Callable[[str], Outcome], tenants: Sequence[str] | None = None
    ) -> Events:
        tenants = tenants_of(step.context) if tenants is None else tenants
        log_planned(step.context, step.keys, tenants)
        blocked = _failed_before(step)
        failed = [blocked[tenant] for tenant in tenants if tenant in blocked]
        yield from step.written(failed)
        for group in self._attempts(attempt, [tenant for tenant in tenants if tenant not in blocked]):
            yield from step.written(group)
            failed += [outcome for outcome in group if outcome.reason]
        for key in step.specs:
            yield dg.Output(None, output_name=step.context.job_def.asset_layer.get_op_output_name(key))
        here = [outcome for outcome in failed if not outcome.failed_at]
        for outcome in here[:MOST_NAMED]:
            step.context.log.error(f"{outcome.tenant}: {outcome.reason}\n{outcome.trace}".rstrip())
        if len(tenants) > 1:
            step.context.log.info(
                f"{len(tenants) - len(failed)} of {len(tenants)} tenants succeeded, {len(here)} failed, "
                f"{len(failed) - len(here)} had failed before and were left out."
            )
        if failed and (len(failed) == len(tenants) or not leads_to_partitions(step.context, TENANTS)):
            raise failure(step, tenants, failed)

    def _attempts(self, attempt: Callable[[str], Outcome], tenants: list[str]) -> Iterator[list[Outcome]]:
        """The outcomes as they come, in groups; of a run that is stopped, those that came before."""
        with ThreadPoolExecutor(self.threads, "tenant") as pool:
            jobs = [pool.submit(copy_context().run, _isolated, attempt, tenant) for tenant in tenants]
            left, done, flushed = set(jobs), [], time.monotonic()
            try:
                for job in as_completed(jobs):
                    left.remove(job)
                    done.append(job.result())
                    if not left or len(done) >= GROUP or time.monotonic() - flushed > GROUP_SECONDS:
                        yield done
                        done, flushed = [], time.monotonic()
            except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
                pool.shutdown(wait=True, cancel_futures=True)
                yield [*done, *(job.result() for job in left if not job.cancelled())]
                raise


def _isolated(attempt: Callable[[str], Outcome], tenant: str) -> Outcome:
    started = time.perf_counter()
    try:
        outcome = attempt(tenant)
    except TenantOpsError as error:
        outcome = Outcome(tenant, str(error).removeprefix(f"{tenant}: "))
    except (Exception, SystemExit) as error:  # any crash is this tenant's alone
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        frames = "".join(traceback.format_tb(error.__traceback__)[-8:])
        outcome = Outcome(tenant, f"{type(error).__name__}: {first_line}", trace=frames)
    reason = outcome.reason or _refusal(outcome.checks)
    return replace(outcome, reason=reason, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Step:
    """One step of a run: what it materialises or checks. A step that only checks has no `tags`."""

    context: Context
    keys: list[dg.AssetKey]
    specs: Mapping[dg.AssetCheckKey, dg.AssetCheckSpec]
    tags: Mapping[str, str] | None = None

    def judged(self, results: Iterable[dg.AssetCheckResult]) -> Judged:
        """Each result with the check it belongs to; a lone check need not name itself."""
        names: dict[dg.AssetKey, set[str]] = {}
        for key in self.specs:
            names.setdefault(key.asset_key, set()).add(key.name)
        return tuple((self.specs[result.resolve_target_check_key(names)], result) for result in results)

    def written(self, outcomes: Sequence[Outcome]) -> Events:
        """Tell Dagster how these tenants fared."""
        if self.tags is not None:
            good = [outcome for outcome in outcomes if not outcome.reason]
            yield from log_events(self.context, [self._materialization(outcome) for outcome in good])
        evaluations = [evaluation for key in self.keys for evaluation in self._evaluations(key, outcomes)]
        blocking = self.tags is not None or any(spec.blocking for spec in self.specs.values())
        bad = [outcome for outcome in outcomes if outcome.reason] if blocking else []
        yield from log_events(self.context, [*evaluations, *_observations(bad, self.keys)])

    def _materialization(self, outcome: Outcome) -> dg.AssetMaterialization:
        own = {"dagster/data_version": outcome.version, "dagster/data_version_is_user_provided": "true"}
        return dg.AssetMaterialization(
            self.keys[0],
            partition=outcome.tenant,
            metadata={"seconds": round(outcome.seconds, 4), **outcome.metadata},
            tags={**(self.tags or {}), **(own if outcome.version else {})},
        )

    def _evaluations(
        self, key: dg.AssetKey, outcomes: Sequence[Outcome]
    ) -> Iterator[dg.AssetCheckEvaluation]:
        judged = [outcome for outcome in outcomes if any(spec.asset_key == key for spec, _ in outcome.checks)]
        if not judged:
            return
        targets = latest_materializations(self.context, key, [outcome.tenant for outcome in judged])
        for outcome in judged:
            for spec, result in outcome.checks:
                if spec.asset_key == key:
                    yield dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=spec.name,
                        passed=result.passed,
                        metadata=result.metadata,
                        target_materialization_data=targets.get(outcome.tenant),
                        severity=result.severity,
                        description=result.description,
                        blocking=spec.blocking,
                        partition=outcome.tenant,
                    )


def failure(step: "_Step", tenants: Sequence[str], outcomes: Iterable[Outcome]) -> dg.Failure:
    """The one failure of a run: who failed, why, and the command that retries exactly these tenants."""
    failed = sorted(outcomes, key=lambda outcome: tenants.index(outcome.tenant))
    retry = "\n  ".join(retry_commands(step.context, [outcome.tenant for outcome in failed]))
    here = ", ".join(key.to_user_string() for key in step.keys)
    reasons = "".join(f"\n  {o.tenant} at {o.failed_at or here}: {o.reason}" for o in failed[:MOST_NAMED])
    more = f"\n  and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
    rows = [
        dg.TableRecord({"tenant": o.tenant, "failed at": o.failed_at or here, "reason": o.reason})
        for o in failed[:MOST_LISTED]
    ]
    return dg.Failure(
        f"{len(failed)} of {len(tenants)} tenants failed:{reasons}{more}\nRetry:\n  {retry}",
        metadata={
            "failed": dg.MetadataValue.table(rows),
            "tenants": dg.MetadataValue.text(",".join(outcome.tenant for outcome in failed)),
            "retry": dg.MetadataValue.md(f"```\n{retry}\n```"),
        },
        # Work retries what is worth retrying itself; Dagster would repeat it for every tenant.
        allow_retries=False,
    )


def retry_commands(context: Context, tenants: Sequence[str]) -> list[str]:
    """Command lines that run this run's job, or its assets, again for `tenants` alone: as a rule, one."""
    keys, job = partition_keys(tenants), context.run.job_name
    if command := context.run.tags.get(COMMAND_TAG):
        return [f"{command} --tenant-id {shlex.quote(key)}" for key in keys]
    if not job.startswith("__"):  # Dagster's own jobs cannot be named on a command line
        execute = f"dagster job execute -m tenant_ops.definitions -j {job} --tags"
        return [f"{execute} {shlex.quote(json.dumps({'dagster/partition': key}))}" for key in keys]
    chosen = sorted(context.job_def.asset_layer.selected_asset_keys)
    assets = shlex.quote(",".join(key.to_user_string() for key in chosen))
    materialize = f"dagster asset materialize -m tenant_ops.definitions --select {assets} --partition"
    return [f"{materialize} {shlex.quote(key)}" for key in keys]


def tenants_of(context: Context) -> list[str]:
    """The tenants `context`'s run works on, in order.

    Raises:
        UnknownTenantPartition: one of them does not exist.
        InputError: the run names no tenant.
    """
    tags = context.run.tags
    partition = tags.get("dagster/partition", "")
    first, last = (tags.get(f"dagster/asset_partition_range_{end}", partition) for end in ("start", "end"))
    if not named(first):
        raise InputError(
            "the run names no tenant.", fix="Give it a partition: one slug, or several as a,b,c."
        )
    with dg.partition_loading_context(dynamic_partitions_store=context.instance):
        return list(TENANTS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))


def _selected_specs(context: Context) -> dict[dg.AssetCheckKey, dg.AssetCheckSpec]:
    asset = isinstance(context, dg.AssetExecutionContext)
    specs = context.assets_def.check_specs if asset else context.check_specs
    return {spec.key: spec for spec in specs if spec.key in context.selected_asset_check_keys}


def _refusal(checks: Judged) -> str:
    """Why a tenant may not go on: its blocking checks that failed as errors, or nothing."""
    return "; ".join(
        f"check {spec.name} failed" + (f" ({result.description})" if result.description else "")
        for spec, result in checks
        if spec.blocking and not result.passed and result.severity == dg.AssetCheckSeverity.ERROR
    )


def _observations(outcomes: Iterable[Outcome], keys: Iterable[dg.AssetKey]) -> list[dg.AssetObservation]:
    return [
        dg.AssetObservation(
            key,
            partition=outcome.tenant,
            description=outcome.reason,
            metadata={
                **outcome.metadata,
                OUTCOME: "skipped" if outcome.failed_at else "failed",
                REASON: outcome.reason,
                FAILED_AT: outcome.failed_at or key.to_user_string(),
            },
        )
        for outcome in outcomes
        if outcome.reason
        for key in keys
    ]


def _failed_before(step: _Step) -> dict[str, Outcome]:
    """Which tenants may not be worked on: they failed in this run at an asset this step builds on.

    A re-execution from failure leaves the assets before it to the run it repeats, so what failed there
    counts; of several such runs the nearest that included the asset decides.
    """
    context, wanted = step.context, set(step.keys)
    if step.tags is not None:
        graph = context.job_def.asset_layer.asset_graph
        wanted = {parent for key in step.keys for parent in graph.get(key).parent_keys} - wanted
    blocked: dict[str, Outcome] = {}
    run: dg.DagsterRun | None = context.run
    while run is not None and wanted:
        planned = context.instance.get_asset_keys_for_run(
            run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        )
        for key, outcome in _failures_of(context.instance, run.run_id):
            if key in wanted:
                blocked.setdefault(outcome.tenant, outcome)
        wanted -= planned
        run = context.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return blocked


def _failures_of(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[dg.AssetKey, Outcome]]:
    observed = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    for record in observed.records:
        event = record.event_log_entry.get_dagster_event()
        observation = event.asset_observation_data.asset_observation
        known = observation.metadata
        if OUTCOME in known and observation.partition:
            reason, asset = str(known[REASON].value), str(known[FAILED_AT].value)
            yield observation.asset_key, Outcome(observation.partition, reason, failed_at=asset)
