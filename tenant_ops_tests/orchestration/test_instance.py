"""The Dagster instance: which Postgres it uses, what it keeps, how few connections it holds."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import dagster as dg
import psycopg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy.engine import make_url

from tenant_ops.orchestration.instance import TenantOpsInstance, TenantOpsStorage, instance_url
from tenant_ops.orchestration.instance.connection import for_psycopg2, with_options
from tenant_ops.orchestration.instance.storage import EVENT_BATCH_SIZE
from tenant_ops.orchestration.partitions import TENANTS, sync
from tenant_ops.platform.settings import PACKAGE_ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def connections(url: str) -> int:
    """Connections to this test's database that were made by Dagster."""
    ((count,),) = rows(
        url,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'dagster'",
    )
    return count


def a_line(run_id: str) -> EventLogEntry:
    """A line a run logs."""
    return EventLogEntry(None, 10, "hello", run_id, 1_700_000_000.0, job_name="job")


class TestWhichPostgres:
    def test_dagsters_own_url_is_used_as_it_stands(self):
        url = instance_url(
            {"DAGSTER_POSTGRES_URL": "postgres://me:pw@db:6432/dagster", "DATABASE_URL": "postgresql://x@y/z"}
        )

        parsed = make_url(url)
        assert (parsed.drivername, parsed.host, parsed.port, parsed.database) == (
            "postgresql+psycopg2",
            "db",
            6432,
            "dagster",
        )
        assert "options" not in parsed.query

    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
    def test_the_tenants_database_holds_dagsters_tables_in_a_schema_of_their_own(self, scheme: str):
        parsed = make_url(instance_url({"DATABASE_URL": f"{scheme}://me:p%40ss@db/app"}))

        assert parsed.drivername == "postgresql+psycopg2"
        assert parsed.password == "p@ss"
        assert parsed.query["options"] == "-csearch_path=dagster"

    def test_without_either_it_is_the_embedded_server(self, session_home: Path, postgres_url: str):
        parsed = make_url(instance_url({"TENANT_OPS_HOME": str(session_home)}))

        assert parsed.query["host"] == make_url(postgres_url).query["host"]
        assert parsed.query["options"] == "-csearch_path=dagster"

    def test_options_a_url_has_already_are_kept(self):
        url = with_options("postgresql+psycopg2://db/app?options=-cjit%3Doff", search_path="dagster")

        assert make_url(url).query["options"] == "-cjit=off -csearch_path=dagster"

    def test_something_else_than_a_postgres_url_is_refused(self):
        with pytest.raises(click.ClickException, match="DAGSTER_POSTGRES_URL: this is not a Postgres URL"):
            instance_url({"DAGSTER_POSTGRES_URL": "mysql://me@db/dagster"})

    def test_a_variable_of_the_project_that_cannot_be_used_is_a_sentence(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("DATABASE_POOL_SIZE", "many")

        with pytest.raises(click.ClickException, match="DATABASE_POOL_SIZE: 'many' is not a whole number"):
            TenantOpsInstance.config_defaults("unused")

    def test_a_server_that_does_not_answer_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://me:secret@127.0.0.1:1/dagster")

        with pytest.raises(click.ClickException) as refused:
            TenantOpsStorage.from_config_value(None, {"durable_events": False})

        assert "Dagster's Postgres (postgresql://me:***@127.0.0.1:1/dagster) cannot be used" in str(
            refused.value
        )
        assert "Connection refused" in str(refused.value)
        assert "secret" not in str(refused.value)

    def test_a_role_that_may_not_make_the_schema_is_a_sentence(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ):
        role = f"guest_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN")
        guest = make_url(database_url).set(username=role).render_as_string(hide_password=False)
        monkeypatch.setenv("DATABASE_URL", guest)
        monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)

        with pytest.raises(click.ClickException, match="permission denied for database"):
            TenantOpsStorage.from_config_value(None, {"durable_events": False})


class TestWhatItKeeps:
    def test_history_is_there_for_the_next_command(
        self, open_instance: Callable[[], dg.DagsterInstance], database_url: str
    ):
        first = open_instance()
        sync(first, ["acme"])

        second = open_instance()

        assert isinstance(second, TenantOpsInstance)
        assert second.get_dynamic_partitions("tenant") == ["acme"]
        assert rows(database_url, "SELECT partition FROM dagster.dynamic_partitions") == [("acme",)]

    def test_the_tenants_side_of_the_database_is_left_alone(
        self, open_instance: Callable[[], dg.DagsterInstance], database_url: str
    ):
        count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        before = rows(database_url, count)

        open_instance()

        assert rows(database_url, count) == before

    def test_files_are_under_the_home_wherever_a_command_is_started(
        self, instance: dg.DagsterInstance, tmp_path: Path
    ):
        home = tmp_path / "a home" / "dagster"
        logs: Any = instance.compute_log_manager

        assert Path(instance.storage_directory()).is_relative_to(home)
        assert Path(logs.get_captured_local_path(["run", "step"], "out")).is_relative_to(home)

    def test_whoever_comes_first_makes_the_tables(self, database_url: str):
        url = instance_url({"DATABASE_URL": database_url})

        with ThreadPoolExecutor(6) as pool:
            storages = list(pool.map(lambda _: TenantOpsStorage(url), range(6)))

        assert [storage.run_storage.get_runs_count() for storage in storages] == [0] * 6


class TestConnections:
    def test_a_working_instance_holds_a_few_and_a_closed_one_none(
        self, open_instance: Callable[[], dg.DagsterInstance], database_url: str
    ):
        for _ in range(5):
            instance = open_instance()
            for _ in range(20):
                instance.event_log_storage.store_event(a_line("run"))
                instance.get_runs_count()
                instance.all_instigator_state()
            assert connections(database_url) <= 3
            instance.dispose()

        assert connections(database_url) == 0

    def test_only_the_event_log_does_not_wait_for_the_disk(
        self, instance: dg.DagsterInstance, database_url: str
    ):
        def setting(storage: Any, name: str) -> str:
            with storage._engine.connect() as connection:
                return connection.exec_driver_sql(f"SHOW {name}").scalar()

        durable = TenantOpsStorage(instance_url({"DATABASE_URL": database_url}), durable_events=True)

        assert setting(instance.event_log_storage, "synchronous_commit") == "off"
        assert setting(instance.run_storage, "synchronous_commit") == "on"
        assert setting(durable.event_log_storage, "synchronous_commit") == "on"

    def test_the_webserver_gets_its_timeout_and_the_same_tables(self, instance: dg.DagsterInstance):
        sync(instance, ["acme"])

        instance.optimize_for_webserver(statement_timeout=1_234, pool_recycle=600, max_overflow=5)

        assert instance.get_dynamic_partitions("tenant") == ["acme"]
        storage: Any = instance.event_log_storage
        with storage._engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1234ms"

    def test_it_goes_on_after_the_server_dropped_its_connections(
        self, instance: dg.DagsterInstance, database_url: str
    ):
        instance.event_log_storage.store_event(a_line("run"))
        rows(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'dagster'",
        )

        instance.event_log_storage.store_event(a_line("run"))

        assert len(instance.all_logs("run")) == 2

    def test_threads_share_it(self, instance: dg.DagsterInstance):
        def write(_: int) -> None:
            instance.event_log_storage.store_event(a_line("run"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(160)))

        assert len(instance.all_logs("run")) == 160

    def test_a_forked_child_does_not_use_its_parents_connections(self, instance: dg.DagsterInstance):
        def backend() -> int:
            storage: Any = instance.event_log_storage
            with storage._engine.connect() as connection:
                return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()

        mine = backend()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, str(backend()).encode())
            os._exit(0)
        os.waitpid(child, 0)

        assert int(os.read(reading, 20)) != mine
        assert backend() == mine

    def test_groups_of_events_are_on_unless_the_environment_says_otherwise(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ):
        url = instance_url({"DATABASE_URL": database_url})
        monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
        TenantOpsStorage(url)
        assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == EVENT_BATCH_SIZE

        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
        TenantOpsStorage(url)
        assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "7"


class TestSameAsTheStockStorage:
    """Whatever Dagster reads back must be what dagster-postgres would have stored."""

    READ_BACK = (
        "SELECT run_id, dagster_event_type, timestamp, step_key, asset_key, partition, event"
        " FROM {schema}.event_logs ORDER BY id",
        "SELECT asset_key, last_run_id, last_materialization_timestamp FROM {schema}.asset_keys ORDER BY 1",
        "SELECT asset_key, key, value, event_timestamp FROM {schema}.asset_event_tags ORDER BY id",
        "SELECT asset_key, check_name, partition, run_id, execution_status, evaluation_event_timestamp,"
        " materialization_event_storage_id FROM {schema}.asset_check_executions ORDER BY 1, 2, 3",
    )

    def test_a_runs_events_read_back_alike(
        self, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ):
        events = self.events_of_a_run(monkeypatch)
        ours, stock = new_database(), new_database()
        TenantOpsStorage(instance_url({"DATABASE_URL": ours})).event_log_storage.store_event_batch(events)
        plain = DagsterPostgresStorage(for_psycopg2(stock)).event_log_storage
        for event in events:
            plain.store_event(event)

        for query in self.READ_BACK:
            expected = rows(stock, query.format(schema="public"))
            assert rows(ours, query.format(schema="dagster")) == expected
            assert expected

    @staticmethod
    def events_of_a_run(monkeypatch: pytest.MonkeyPatch) -> list[EventLogEntry]:
        """Every event of a run over three tenants with a check, as Dagster itself writes them."""
        monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)

        @dg.asset(
            partitions_def=TENANTS,
            backfill_policy=dg.BackfillPolicy.single_run(),
            code_version="1",
            check_specs=[dg.AssetCheckSpec("rows", asset="loaded", partitions_def=TENANTS)],
        )
        def loaded(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            for tenant in context.partition_keys:
                context.log_event(dg.AssetObservation("loaded", partition=tenant))
            return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])

        with dg.DagsterInstance.ephemeral() as instance:
            sync(instance, ["a", "b", "c"])
            job = dg.Definitions(assets=[loaded], jobs=[dg.define_asset_job("load")]).resolve_job_def("load")
            tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
            result = job.execute_in_process(instance=instance, tags=tags)
            return list(instance.all_logs(result.run_id))


LOCATION = """
import dagster as dg
from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.partitions import TENANTS

@dg.asset(partitions_def=TENANTS)
def loaded(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
    return batch.run(context, lambda tenant: None)

defs = dg.Definitions([loaded], jobs=[dg.define_asset_job("load")], resources={"batch": Batch()})
"""


RANGE = '{"dagster/asset_partition_range_start":"nosuch","dagster/asset_partition_range_end":"nosuch"}'


@pytest.mark.slow
class TestOnTheCommandLine:
    @pytest.mark.parametrize(
        "command",
        [
            ["asset", "materialize", "-f", "location.py", "--select", "*", "--partition", "nosuch"],
            ["job", "execute", "-f", "location.py", "-j", "load", "--tags", '{"dagster/partition":"nosuch"}'],
            ["job", "execute", "-f", "location.py", "-j", "load", "--tags", RANGE],
        ],
        ids=["asset materialize", "job execute", "a range"],
    )
    def test_an_unknown_tenant_is_one_sentence(self, command: list[str], database_url: str, tmp_path: Path):
        folder = tmp_path / "a check out"
        folder.mkdir()
        (folder / "location.py").write_text(LOCATION)
        (folder / "dagster.yaml").write_text((PACKAGE_ROOT / "dagster.yaml").read_text())
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")},
            "DATABASE_URL": database_url,
            "TENANT_OPS_HOME": str(folder / ".tenant_ops"),
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(PACKAGE_ROOT),
        }

        done = subprocess.run(
            [sys.executable, "-m", "dagster", *command],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert done.stderr == (
            "Error: unknown tenant 'nosuch'. Register it: tenant-ops init-tenant --tenant-id nosuch\n"
        )
        assert done.returncode == 2
        assert rows(database_url, "SELECT count(*) FROM dagster.runs") == [(0,)]
