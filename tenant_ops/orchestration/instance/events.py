"""Events a step writes for its tenants, and what a step can know of its run.

Here: the private Dagster calls `batch.py` needs, one function each. Not here: when they are used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import compute_logical_data_version
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEventBatchMetadata,
    generate_event_batch_id,
)
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_code_version,
    _get_input_provenance_data,
)
from dagster._core.execution.plan.step import ExecutionStep

from tenant_ops.orchestration.instance.storage import PooledEventLogStorage

Step = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION

# A step output with this metadata key produces no automatic materialisation (Dagster uses it for source
# assets, which log their own events, `_core/execution/plan/execute_step.py`). It lets a step succeed
# while only the tenants that succeeded become green.
LOGGED_BY_THE_STEP = {"__source_asset_observation__": True}


def log_events(
    context: Step,
    events: Sequence[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation],
) -> list[dg.DagsterEvent]:
    """Write `events`, in one transaction on this project's storage; the step must yield what is returned."""
    step = context.get_step_execution_context()
    grouped = isinstance(context.instance.event_log_storage, PooledEventLogStorage)
    batch, last = generate_event_batch_id(), len(events) - 1
    written = []
    for index, event in enumerate(events):
        place = DagsterEventBatchMetadata(batch, index == last) if grouped else None
        if isinstance(event, dg.AssetMaterialization):
            written.append(dg.DagsterEvent.asset_materialization(step, event, place))
        elif isinstance(event, dg.AssetObservation):
            written.append(dg.DagsterEvent.asset_observation(step, event, place))
        else:
            verdict = "passed" if event.passed else "did not pass"
            written.append(
                dg.DagsterEvent.from_step(
                    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
                    step,
                    event,
                    f"Check {event.check_name} on {event.asset_key.to_user_string()} {verdict} "
                    f"for {event.partition}.",
                    place,
                )
            )
    return written


def log_planned(context: Step, keys: Sequence[dg.AssetKey], tenants: Sequence[str]) -> None:
    """Record that this run intends to materialise `keys` for `tenants`, where Dagster did not.

    A run launched from another process plans by the partition key as it stands; when that names several
    tenants, their failures would not show.
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


def latest_materializations(
    context: Step, key: dg.AssetKey, tenants: Sequence[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    """The materialisation of `key` a check judges, for each tenant that has one.

    Dagster calls a check's result current only while it points at the latest materialisation.
    """
    log = context.instance.event_log_storage
    ids = log.get_latest_storage_id_by_partition(key, MATERIALIZED, set(tenants))
    records = log.get_asset_event_summary_records(MATERIALIZED, storage_ids=list(ids.values()))
    return {
        str(record.partition): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=str(record.run_id), timestamp=record.timestamp
        )
        for record in records
    }


def version_tags(context: dg.AssetExecutionContext, key: dg.AssetKey) -> Mapping[str, str]:
    """The code version and inputs a materialisation came from, as Dagster tags those it makes itself."""
    step = context.get_step_execution_context()
    code, inputs = _get_code_version(key, step), _get_input_provenance_data(key, step)
    version = compute_logical_data_version(
        code, {name: data["data_version"] for name, data in inputs.items()}
    )
    return _build_data_version_tags(version, code, inputs, False)


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
