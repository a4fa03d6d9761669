"""Where Dagster keeps runs, events and schedules: the storages of dagster-postgres with a pool beneath them.

Here: the classes dagster.yaml names. Not here: reaching the database (`connection.py`).
https://docs.dagster.io/deployment/oss/dagster-yaml
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from sqlalchemy.dialects import postgresql

from tenant_ops.orchestration.instance.connection import (
    engine,
    instance_url,
    prepare,
    settings,
    with_options,
)
from tenant_ops.orchestration.partitions import TENANTS, named

INSERT_EVENTS = SqlEventLogStorageTable.insert().returning(
    SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
)
_CHECK_KEY = ("asset_key", "check_name", "run_id", "partition")
_CHECK_RESULT = (
    "execution_status",
    "evaluation_event",
    "evaluation_event_timestamp",
    "evaluation_event_storage_id",
    "materialization_event_storage_id",
)
_CHECKS = postgresql.insert(AssetCheckExecutionsTable)
UPSERT_CHECKS = _CHECKS.on_conflict_do_update(
    index_elements=_CHECK_KEY, set_={name: _CHECKS.excluded[name] for name in _CHECK_RESULT}
)
Numbered = list[tuple[EventLogEntry, int]]
INDEXED = ASSET_EVENTS | ASSET_CHECK_EVENTS
CHECK_PASSED, CHECK_FAILED = AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED

PARTITION_TAGS = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)

# Events written in one statement where Dagster can group them: planned ones and materialisations of a
# range. Set for the whole process tree unless the environment says otherwise.
EVENT_BATCH_SIZE = "200"


class TenantOpsInstance(dg.DagsterInstance):
    """A Dagster instance that refuses a run for a tenant nobody registered, before there is a run.

    Named by `instance_class` in dagster.yaml. Its files (compute logs, artifacts) are under
    `<home>/dagster`, wherever a command is started and whether or not DAGSTER_HOME is set.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, dg.Field]:
        """Nothing beyond what every dagster.yaml may hold."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:  # noqa: ARG003
        """What dagster.yaml leaves out."""
        return InstanceRef.config_defaults(str(settings().home / "dagster"))

    def create_run_for_job(self, job_def: dg.JobDefinition, **run: Any) -> dg.DagsterRun:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Create a run, as `dagster job execute` and `dagster asset materialize` do.

        Raises:
            UnknownTenantPartition: its partition names a tenant that does not exist.
        """
        tags, assets = run.get("tags") or {}, job_def.asset_layer
        keys = [tags[name] for name in PARTITION_TAGS if tags.get(name)]
        if keys and any(assets.get(key).partitions_def == TENANTS for key in assets.selected_asset_keys):
            TENANTS.require(self, [tenant for key in keys for tenant in named(key)])
        return super().create_run_for_job(job_def, **run)

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()
        if self._schedule_storage:
            self._schedule_storage.dispose()


class TenantOpsStorage(DagsterPostgresStorage):
    """Dagster's storage in Postgres: DAGSTER_POSTGRES_URL, else DATABASE_URL, else the embedded server.

    The first is used as it stands. In the others Dagster's tables live in a schema of their own.

    Args:
        url: The URL of an existing database, for psycopg2; its tables are made when missing.
        durable_events: Wait for the disk at every event. Otherwise a crash of the server's machine may lose
            the last events (up to 0.6 s, never the consistency) of runs that were lost with it.

    Raises:
        InstanceUnusable: the server does not answer, or does not allow what is needed.
    """

    def __init__(
        self, url: str, *, durable_events: bool = False, inst_data: ConfigurableClassData | None = None
    ) -> None:
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", EVENT_BATCH_SIZE)
        prepare(url)
        super().__init__(url, should_autocreate_tables=False, inst_data=inst_data)
        self._run_storage = PooledRunStorage(url)
        self._schedule_storage = PooledScheduleStorage(url)
        self._event_log_storage = PooledEventLogStorage(
            url if durable_events else with_options(url, synchronous_commit="off")
        )

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """What `storage.custom.config` in dagster.yaml may hold."""
        return {"durable_events": dg.Field(bool, default_value=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "TenantOpsStorage":
        """The storage a process of this installation uses."""
        return cls(instance_url(), durable_events=config_value["durable_events"], inst_data=inst_data)


class _Pooled:
    """Keeps a few connections, where the storages of dagster-postgres open one for every statement."""

    postgres_url: str
    _engine: sa.Engine

    def __init__(self, url: str) -> None:
        super().__init__(url, should_autocreate_tables=False)  # pyright: ignore[reportCallIssue]
        self._engine = engine(url)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Bound what one page may ask of the database.

        Args:
            statement_timeout: Milliseconds a statement may take.
            pool_recycle: Seconds after which a connection is replaced.
            max_overflow: Connections beyond the pool.
        """
        self._engine.dispose()
        url = with_options(self.postgres_url, statement_timeout=str(statement_timeout))
        self._engine = engine(url, pool_recycle=pool_recycle, max_overflow=max_overflow)

    def dispose(self) -> None:
        """Close the connections; the next use opens new ones."""
        super().dispose()  # pyright: ignore[reportAttributeAccessIssue]
        self._engine.dispose()


class PooledRunStorage(_Pooled, PostgresRunStorage):
    """Runs."""


class PooledScheduleStorage(_Pooled, PostgresScheduleStorage):
    """Schedules, sensors and their ticks."""


class PooledEventLogStorage(_Pooled, PostgresEventLogStorage):
    """Events: one statement for a plain one, one transaction for any number of those that are indexed."""

    def __init__(self, url: str) -> None:
        self._known: set[tuple[str, str]] = set()
        super().__init__(url)

    def has_table(self, table_name: str) -> bool:
        """Whether the table exists; asked before most statements, so a yes is remembered."""
        return self._once(("table", table_name), super().has_table)

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the table of assets has the column; a yes is remembered."""
        return self._once(("column", column_name), super().has_asset_key_col)

    def _once(self, question: tuple[str, str], ask: Callable[[str], bool]) -> bool:
        if question not in self._known and ask(question[1]):
            self._known.add(question)
        return question in self._known

    def store_event(self, event: EventLogEntry) -> None:
        """Write one event, without the NOTIFY of dagster-postgres, which nothing listens to any more."""
        if event.dagster_event_type in INDEXED:
            self.store_event_batch([event])
        else:
            with self.run_connection() as connection:
                connection.execute(self.prepare_insert_event(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write events of any type, all or none."""
        with self.index_transaction() as connection:
            # Rows as parameters, not as values: the statement is compiled once, whatever their number.
            ids = connection.execute(INSERT_EVENTS, [self._event_to_row(event) for event in events]).scalars()
            numbered = list(zip(events, ids, strict=True))
            self._index_assets(connection, numbered)
            self._index_checks(connection, numbered)

    def _index_assets(self, connection: sa.Connection, events: Numbered) -> None:
        about = [
            (event, event_id, key)
            for event, event_id in events
            if event.dagster_event_type in ASSET_EVENTS and (key := event.get_dagster_event().asset_key)
        ]
        tags = [
            {
                "event_id": event_id,
                "asset_key": key.to_string(),
                "key": tag,
                "value": value,
                "event_timestamp": self._event_insert_timestamp(event),
            }
            for event, event_id, key in about
            for tag, value in self._tags_for_asset_event(event).items()
        ]
        if tags:
            connection.execute(AssetEventTagsTable.insert(), tags)
        # The assets' own table holds the latest event of each kind: the others need not pass through it.
        # Ordered by asset, so that two runs cannot wait for each other.
        latest = {(key, event.dagster_event_type): (event, event_id) for event, event_id, key in about}
        for key, kind in sorted(latest, key=lambda asset: (asset[0], latest[asset][1])):
            self._store_asset_event(connection, *latest[key, kind])

    def _index_checks(self, connection: sa.Connection, events: Numbered) -> None:
        rows = []
        for event, event_id in events:
            if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                connection.execute(AssetCheckExecutionsTable.insert(), self._planned(event, event_id))
            elif event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                if event.run_id and event.get_dagster_event().asset_check_evaluation_data.partition:
                    rows.append(self._evaluated(event, event_id))
                else:  # not unique in the table's index
                    self.store_asset_check_event(event, event_id)
        if rows:
            connection.execute(UPSERT_CHECKS, rows)

    def _planned(self, event: EventLogEntry, event_id: int) -> list[dict[str, Any]]:
        """A row per tenant, each with the event but without its list of tenants, which would be squared."""
        planned = event.get_dagster_event().asset_check_planned_data
        alone = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
        slim = event.get_dagster_event()._replace(event_specific_data=alone)
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event._replace(dagster_event=slim)),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        subset = planned.partitions_subset
        return [row | {"partition": key} for key in (subset.get_partition_keys() if subset else [None])]

    def _evaluated(self, event: EventLogEntry, event_id: int) -> dict[str, Any]:
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        target = evaluation.target_materialization_data
        return {
            "asset_key": evaluation.asset_key.to_string(),
            "check_name": evaluation.check_name,
            "partition": evaluation.partition,
            "run_id": event.run_id,
            "execution_status": (CHECK_PASSED if evaluation.passed else CHECK_FAILED).value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": target.storage_id if target else None,
        }
