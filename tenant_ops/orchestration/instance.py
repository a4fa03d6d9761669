"""The Dagster instance of this project: Postgres storage with nothing to configure.

Here: where Dagster keeps runs, events and schedules, how it connects, and every use of a private Dagster
API in the project (`dagster._core` moves between minor versions: one module to read after an upgrade).
Not here: the tenants' own connections (`platform/database.py`), what the events mean (`batch.py`).
https://docs.dagster.io/deployment/oss/dagster-yaml
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEventBatchMetadata,
    generate_event_batch_id,
)
from dagster._core.execution.plan.step import ExecutionStep

Step = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED

# A step output with this metadata key produces no automatic materialisation (Dagster uses it for source
# assets, which log their own events, `_core/execution/plan/execute_step.py`). It lets a step succeed
# while only the tenants that succeeded become green.
LOGGED_BY_THE_STEP = {"__source_asset_observation__": True}


def log_events(
    context: Step,
    events: Sequence[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation],
) -> Iterator[dg.DagsterEvent]:
    """Write `events` to the event log in as few round trips as the storage allows; yield what was written."""
    step = context.get_step_execution_context()
    batch, last = generate_event_batch_id(), len(events) - 1
    for index, event in enumerate(events):
        place = DagsterEventBatchMetadata(batch, index == last)
        if isinstance(event, dg.AssetMaterialization):
            yield dg.DagsterEvent.asset_materialization(step, event, place)
        elif isinstance(event, dg.AssetObservation):
            yield dg.DagsterEvent.asset_observation(step, event, place)
        else:
            yield dg.DagsterEvent.asset_check_evaluation(step, event)


def log_planned(context: Step, keys: Sequence[dg.AssetKey], tenants: Sequence[str]) -> None:
    """Record that this run intends to materialise `keys` for `tenants`, where Dagster did not.

    A run launched from another process plans by the partition key as it stands; when that names several
    tenants their failures would not show.
    """
    if isinstance(context, dg.AssetCheckExecutionContext) or len(tenants) == 1:
        return
    seen = context.instance.get_asset_partitions_for_run(context.run.run_id, PLANNED)
    missing = [(key, tenant) for key in keys for tenant in tenants if tenant not in seen.get(key, ())]
    batch, last = generate_event_batch_id(), len(missing) - 1
    for index, (key, tenant) in enumerate(missing):
        event = dg.DagsterEvent.build_asset_materialization_planned_event(
            context.run.job_name,
            context.get_step_execution_context().step.key,
            AssetMaterializationPlannedData(key, partition=tenant, partitions_subset=None),
        )
        place = DagsterEventBatchMetadata(batch, index == last)
        context.instance.report_dagster_event(event, context.run.run_id, batch_metadata=place)


def leads_to_partitions(context: Step, partitions: dg.PartitionsDefinition) -> bool:
    """Whether a later step of this run works on `partitions` and waits for this step."""
    step = context.get_step_execution_context()
    graph = context.job_def.asset_layer.asset_graph
    chosen = context.run.step_keys_to_execute
    for later in step.execution_plan.steps:
        if not isinstance(later, ExecutionStep) or step.step.key not in later.get_execution_dependency_keys():
            continue
        if chosen is not None and later.key not in chosen:
            continue
        for output in later.step_outputs:
            key: Any = output.properties.asset_key or output.properties.asset_check_key
            if key is not None and graph.get(key).partitions_def == partitions:
                return True
    return False
