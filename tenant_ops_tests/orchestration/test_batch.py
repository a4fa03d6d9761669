"""A batch of tenants in one run: each tenant's failure is its own, visible, and can be retried alone."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import psycopg
import pytest

from tenant_ops.orchestration.batch import COMMAND_TAG, Batch
from tenant_ops.orchestration.partitions import TENANTS, TenantPartitions, UnknownTenantPartition, sync
from tenant_ops.platform.errors import InputError, OperationFailed

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

FIRST, SECOND, THIRD = (dg.AssetKey(name) for name in ("first", "second", "third"))
ROWS = dg.AssetCheckKey(FIRST, "rows")


@dataclass
class Faults:
    """What goes wrong for whom, and who was worked on."""

    raising: dict[str, Exception] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    unsound: set[str] = field(default_factory=set)
    raising_second: dict[str, Exception] = field(default_factory=dict)
    raising_check: dict[str, Exception] = field(default_factory=dict)
    worked: dict[str, list[str]] = field(
        default_factory=lambda: {"first": [], "second": [], "third": [], "sound": []}
    )


def assets(faults: Faults, *, blocking: bool = True) -> list[dg.AssetsDefinition]:
    """Three assets in a row, the first with a check of its rows."""
    shared: dict[str, Any] = {
        "partitions_def": TENANTS,
        "backfill_policy": dg.BackfillPolicy.multi_run(100),
    }

    @dg.asset(
        **shared,
        check_specs=[dg.AssetCheckSpec("rows", asset=FIRST, blocking=blocking, partitions_def=TENANTS)],
    )
    def first(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        def work(tenant: str) -> int:
            faults.worked["first"].append(tenant)
            if tenant in faults.raising:
                raise faults.raising[tenant]
            return 0 if tenant in faults.empty else 5

        return batch.run(
            context,
            work,
            metadata=lambda rows: {"rows": rows},
            checks=lambda rows: [dg.AssetCheckResult(passed=rows > 0, description=f"{rows} rows")],
            version=lambda rows: f"sha256:{rows}",
        )

    @dg.asset(**shared, deps=[first])
    def second(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        def work(tenant: str) -> None:
            faults.worked["second"].append(tenant)
            if tenant in faults.raising_second:
                raise faults.raising_second[tenant]

        return batch.run(context, work)

    @dg.asset(**shared, deps=[second])
    def third(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        return batch.run(context, faults.worked["third"].append)

    return [first, second, third]


def sound_check(faults: Faults, *, blocking: bool) -> dg.AssetChecksDefinition:
    """A check of the first asset that is a step of its own."""

    @dg.asset_check(asset=FIRST, blocking=blocking, partitions_def=TENANTS)
    def sound(context: dg.AssetCheckExecutionContext, batch: Batch) -> dg.AssetCheckResult:
        def verdict(tenant: str) -> dg.AssetCheckResult:
            faults.worked["sound"].append(tenant)
            if tenant in faults.raising_check:
                raise faults.raising_check[tenant]
            return dg.AssetCheckResult(passed=tenant not in faults.unsound)

        return batch.check(context, verdict)

    return sound


def chain(
    faults: Faults, *, blocking: bool = True, checks: list[dg.AssetChecksDefinition] | None = None
) -> dg.JobDefinition:
    """The job `load`: the three assets and further checks, in one process."""
    return dg.Definitions(
        assets=assets(faults, blocking=blocking),
        asset_checks=checks or [],
        jobs=[dg.define_asset_job("load", executor_def=dg.in_process_executor)],
        resources={"batch": Batch()},
    ).resolve_job_def("load")


def run(
    job: dg.JobDefinition, instance: dg.DagsterInstance, tenants: str, **tags: str
) -> dg.ExecuteInProcessResult:
    """Run a job for a partition key, or for a range `first...last`."""
    if "..." in tenants:
        first, last = tenants.split("...")
        tags |= {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    else:
        tags["dagster/partition"] = tenants
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def failed(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """The partitions Dagster shows as failed."""
    return _with_status(instance, key, "FAILED")


def green(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """The partitions Dagster shows as materialised."""
    return _with_status(instance, key, "MATERIALIZED")


def _with_status(instance: dg.DagsterInstance, key: dg.AssetKey, wanted: str) -> set[str]:
    known = instance.get_dynamic_partitions("tenant")
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        status = instance.get_status_by_partition(key, known, TENANTS) or {}
    return {tenant for tenant, found in status.items() if found and found.value == wanted}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The description of the one step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return data.user_failure_data.description or ""


def verdicts(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dict[str | None, tuple[str, bool]]:
    """Each tenant's latest verdict, and whether Dagster counts it for the latest materialisation."""
    found = instance.event_log_storage.get_asset_check_partition_info([key])
    return {info.partition_key: (info.latest_execution_status.value, info.is_current) for info in found}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory with the partitions t0 to t9."""
    with dg.DagsterInstance.ephemeral() as instance:
        sync(instance, [f"t{n}" for n in range(10)])
        yield instance


@pytest.fixture
def faults() -> Faults:
    return Faults()


class TestWhomARunWorksOn:
    def test_a_partition(self, instance: dg.DagsterInstance, faults: Faults):
        result = dg.materialize(
            assets(faults), instance=instance, partition_key="t3", resources={"batch": Batch()}
        )

        assert result.success
        (event,) = result.asset_materializations_for_node("first")
        assert (event.partition, event.metadata["rows"].value) == ("t3", 5)

    def test_several_tenants_named_in_the_partition(self, instance: dg.DagsterInstance, faults: Faults):
        assert run(chain(faults), instance, "t7,t1,t4").success

        assert green(instance, THIRD) == {"t1", "t4", "t7"}

    def test_a_range(self, instance: dg.DagsterInstance, faults: Faults):
        assert run(chain(faults), instance, "t2...t5").success

        assert green(instance, THIRD) == {"t2", "t3", "t4", "t5"}

    def test_an_unknown_tenant_stops_the_run_before_it_starts(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        with pytest.raises(UnknownTenantPartition, match="unknown tenant 'nosuch'"):
            dg.materialize(
                assets(faults), instance=instance, partition_key="nosuch", resources={"batch": Batch()}
            )

    def test_a_run_without_a_tenant_says_so(self, instance: dg.DagsterInstance, faults: Faults):
        with pytest.raises(InputError, match="the run names no tenant"):
            chain(faults).execute_in_process(instance=instance)

    def test_so_many_at_once_and_no_more(self, instance: dg.DagsterInstance):
        running, most, lock = 0, 0, threading.Lock()

        @dg.asset(partitions_def=TENANTS)
        def slow(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
            def work(tenant: str) -> None:
                nonlocal running, most
                with lock:
                    running += 1
                    most = max(most, running)
                time.sleep(0.02)
                with lock:
                    running -= 1

            return batch.run(context, work)

        key = ",".join(f"t{n}" for n in range(10))
        dg.materialize([slow], instance=instance, partition_key=key, resources={"batch": Batch(threads=3)})

        assert most == 3


class TestIsolation:
    def test_the_others_go_through_every_asset(self, instance: dg.DagsterInstance, faults: Faults):
        faults.raising["t1"] = OperationFailed("the file is empty.", where="t1")
        faults.empty.add("t2")
        faults.raising_second["t3"] = psycopg.OperationalError("connection refused\nDETAIL: a@example.org")

        result = run(chain(faults), instance, "t0...t9")

        assert not result.success
        assert failed(instance, FIRST) == {"t1", "t2"}
        assert failed(instance, SECOND) == failed(instance, THIRD) == {"t1", "t2", "t3"}
        assert len(green(instance, THIRD)) == 7

    def test_a_tenant_that_failed_is_not_worked_on_again_in_the_run(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.raising["t1"] = ValueError("broken")
        faults.empty.add("t2")

        run(chain(faults), instance, "t0...t3")

        assert sorted(faults.worked["first"]) == ["t0", "t1", "t2", "t3"]
        assert sorted(faults.worked["second"]) == sorted(faults.worked["third"]) == ["t0", "t3"]

    def test_the_run_fails_at_its_end_with_reasons_and_a_command(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.raising["t1"] = OperationFailed("the file is empty.", where="t1", fix="Send it again.")
        faults.empty.add("t2")
        faults.raising_second["t3"] = psycopg.OperationalError("connection refused\nDETAIL: a@example.org")

        result = run(chain(faults), instance, "t0...t3", **{COMMAND_TAG: "tenant-ops load-fixtures"})

        assert failure_of(result) == (
            "3 of 4 tenants failed:\n"
            "  t1 at first: the file is empty. Send it again.\n"
            "  t2 at first: check rows failed (0 rows)\n"
            "  t3 at second: OperationalError: connection refused\n"
            "Retry:\n"
            "  tenant-ops load-fixtures --tenant-id t1,t2,t3"
        )

    def test_without_a_command_of_its_own_the_job_or_its_assets_are_named(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.raising["t1"] = ValueError("broken")

        of_job = failure_of(run(chain(faults), instance, "t0,t1"))
        of_assets = failure_of(
            dg.materialize(
                assets(faults),
                instance=instance,
                partition_key="t0,t1",
                resources={"batch": Batch()},
                raise_on_error=False,
            )
        )

        assert of_job.endswith(
            'dagster job execute -m tenant_ops.definitions -j load --tags \'{"dagster/partition": "t1"}\''
        )
        assert of_assets.endswith(
            "dagster asset materialize -m tenant_ops.definitions --select first,second,third --partition t1"
        )

    def test_the_reason_is_shown_on_the_tenants_partition(self, instance: dg.DagsterInstance, faults: Faults):
        faults.raising["t1"] = OperationFailed("the file is empty.", where="t1")

        run(chain(faults), instance, "t0,t1")

        filtered = dg.AssetRecordsFilter(asset_key=SECOND, asset_partitions=["t1"])
        (record,) = instance.fetch_observations(filtered, limit=5).records
        observation = record.asset_observation
        assert observation is not None
        assert {name: value.value for name, value in observation.metadata.items()} == {
            "tenant_ops/outcome": "skipped",
            "reason": "the file is empty.",
            "failed at": "first",
        }

    @pytest.mark.parametrize(
        "describe",
        [lambda tenant: {"n": 1 / (tenant != "t1")}, lambda tenant: {"n": 1 if tenant != "t1" else object()}],
        ids=["raises", "is no metadata"],
    )
    def test_describing_a_result_can_fail_a_tenant_but_not_the_batch(
        self, instance: dg.DagsterInstance, describe: Callable[[str], dict[str, Any]]
    ):
        @dg.asset(partitions_def=TENANTS)
        def described(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
            return batch.run(context, lambda tenant: tenant, metadata=describe)

        result = dg.materialize(
            [described],
            instance=instance,
            partition_key="t0,t1,t2",
            resources={"batch": Batch()},
            raise_on_error=False,
        )

        assert "1 of 3 tenants failed:\n  t1 at described: " in failure_of(result)
        assert green(instance, dg.AssetKey("described")) == {"t0", "t2"}

    def test_a_result_may_be_described_by_the_words_the_batch_uses(self, instance: dg.DagsterInstance):
        @dg.asset(
            partitions_def=TENANTS,
            check_specs=[dg.AssetCheckSpec("ok", asset="described", blocking=True, partitions_def=TENANTS)],
        )
        def described(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
            return batch.run(
                context,
                lambda tenant: tenant,
                metadata=lambda tenant: {"reason": 7, "failed at": 8, "seconds": 9},
                checks=lambda tenant: [dg.AssetCheckResult(passed=tenant != "t1")],
            )

        @dg.asset(partitions_def=TENANTS, deps=[described])
        def after(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
            return batch.run(context, lambda tenant: None)

        result = dg.materialize(
            [described, after],
            instance=instance,
            partition_key="t0,t1",
            resources={"batch": Batch()},
            raise_on_error=False,
        )

        assert "t1 at described: check ok failed" in failure_of(result)

    def test_a_name_nobody_should_have_is_quoted_in_the_command(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        instance.add_dynamic_partitions("tenant", ["$(reboot)"])
        faults.raising["$(reboot)"] = ValueError("broken")

        result = run(chain(faults), instance, "$(reboot)", **{COMMAND_TAG: "tenant-ops load-fixtures"})

        assert failure_of(result).endswith("tenant-ops load-fixtures --tenant-id '$(reboot)'")

    def test_failures_show_although_another_process_planned_the_run(
        self, instance: dg.DagsterInstance, faults: Faults, monkeypatch: pytest.MonkeyPatch
    ):
        # The webserver and the daemon know the partitions only by name: to them `t1,t2` is one partition.
        plain = dg.DynamicPartitionsDefinition.subset_with_partition_keys
        monkeypatch.setattr(TenantPartitions, "subset_with_partition_keys", plain)
        faults.raising["t2"] = ValueError("broken")

        run(chain(faults), instance, "t1,t2")

        assert (green(instance, THIRD), failed(instance, THIRD)) == ({"t1"}, {"t2"})

    def test_when_all_fail_nothing_after_it_is_tried(self, instance: dg.DagsterInstance, faults: Faults):
        faults.raising = {"t1": ValueError("broken"), "t2": ValueError("broken too")}

        result = run(chain(faults), instance, "t1,t2")

        assert [event.step_key for event in result.all_events if event.is_step_failure] == ["first"]
        assert faults.worked["second"] == []
        assert failed(instance, THIRD) == {"t1", "t2"}

    def test_a_retry_of_just_those_turns_them_green(self, instance: dg.DagsterInstance, faults: Faults):
        faults.raising["t1"] = ValueError("broken")
        faults.empty.add("t2")
        job = chain(faults)
        run(job, instance, "t0...t9")
        faults.raising.clear()
        faults.empty.clear()

        assert run(job, instance, "t1,t2").success

        assert failed(instance, THIRD) == failed(instance, FIRST) == set()
        assert len(green(instance, THIRD)) == 10
        assert set(verdicts(instance, ROWS).values()) == {("SUCCEEDED", True)}

    def test_a_run_that_is_stopped_keeps_what_was_done(self, instance: dg.DagsterInstance):
        @dg.asset(partitions_def=TENANTS)
        def long(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
            def work(tenant: str) -> None:
                if tenant == "t2":
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    time.sleep(0.2)

            return batch.run(context, work)

        with pytest.raises((KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
            dg.materialize(
                [long],
                instance=instance,
                partition_key="t0,t1,t2,t3,t4",
                resources={"batch": Batch(threads=1)},
            )

        assert {"t0", "t1"} <= green(instance, dg.AssetKey("long"))
        assert "t4" not in green(instance, dg.AssetKey("long"))


class TestChecks:
    def test_every_tenant_has_its_own_verdict(self, instance: dg.DagsterInstance, faults: Faults):
        faults.empty.add("t2")

        run(chain(faults), instance, "t0...t3")

        assert verdicts(instance, ROWS) == {
            "t0": ("SUCCEEDED", True),
            "t1": ("SUCCEEDED", True),
            "t2": ("FAILED", True),
            "t3": ("SUCCEEDED", True),
        }

    def test_a_check_that_blocks_nothing_fails_nobody(self, instance: dg.DagsterInstance, faults: Faults):
        faults.empty.add("t2")

        assert run(chain(faults, blocking=False), instance, "t1,t2").success

        assert green(instance, THIRD) == {"t1", "t2"}
        assert verdicts(instance, ROWS)["t2"] == ("FAILED", True)

    def test_a_blocking_check_on_its_own_stops_its_tenants_only(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.unsound.add("t2")
        job = chain(faults, checks=[sound_check(faults, blocking=True)])

        result = run(job, instance, "t1,t2,t3")

        assert "1 of 3 tenants failed:\n  t2 at first: check sound failed" in failure_of(result)
        assert green(instance, FIRST) == {"t1", "t2", "t3"}  # it was materialised; the verdict came after
        assert green(instance, THIRD) == {"t1", "t3"}
        assert verdicts(instance, dg.AssetCheckKey(FIRST, "sound")) == {
            "t1": ("SUCCEEDED", True),
            "t2": ("FAILED", True),
            "t3": ("SUCCEEDED", True),
        }

    def test_a_check_on_its_own_is_not_evaluated_for_a_tenant_that_failed(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.raising["t2"] = ValueError("broken")

        run(chain(faults, checks=[sound_check(faults, blocking=True)]), instance, "t1,t2")

        assert faults.worked["sound"] == ["t1"]

    def test_a_check_that_cannot_be_evaluated_fails_the_run_and_blocks_only_if_it_should(
        self, instance: dg.DagsterInstance, faults: Faults
    ):
        faults.raising_check["t2"] = ValueError("no statistics")
        job = chain(faults, checks=[sound_check(faults, blocking=False)])

        result = run(job, instance, "t1,t2")

        assert "1 of 2 tenants failed:\n  t2 at first: ValueError: no statistics" in failure_of(result)
        assert green(instance, THIRD) == {"t1", "t2"}

    def test_a_single_tenant_is_treated_alike(self, instance: dg.DagsterInstance, faults: Faults):
        faults.empty.add("t2")

        result = run(chain(faults), instance, "t2")

        assert "1 of 1 tenants failed:\n  t2 at first: check rows failed (0 rows)" in failure_of(result)
        assert failed(instance, THIRD) == {"t2"}


class TestVersions:
    def test_a_materialisation_says_what_it_was_made_of(self, instance: dg.DagsterInstance, faults: Faults):
        run(chain(faults), instance, "t1,t2")

        (own,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=FIRST, asset_partitions=["t1"]), limit=1
        ).records
        (later,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=SECOND, asset_partitions=["t1"]), limit=1
        ).records
        assert own.asset_materialization and later.asset_materialization
        own_tags, later_tags = own.asset_materialization.tags or {}, later.asset_materialization.tags or {}
        assert own_tags["dagster/data_version"] == "sha256:5"
        assert int(later_tags["dagster/input_event_pointer/first"]) >= own.storage_id


def location() -> dg.JobDefinition:
    """A job another process can load, whose tenants fail by what they are called."""
    faults = Faults(
        raising={"fails_first": ValueError("broken")}, raising_second={"fails_second": ValueError("broken")}
    )
    return dg.Definitions(
        assets=assets(faults),
        jobs=[dg.define_asset_job("load", executor_def=dg.multi_or_in_process_executor)],
        resources={"batch": Batch()},
    ).resolve_job_def("load")


IN_PROCESS = {"execution": {"config": {"in_process": {}}}}
A_PROCESS_PER_STEP = {"execution": {"config": {"multiprocess": {"max_concurrent": 1}}}}
SOME_FAIL = {"dagster/partition": "sound,fails_first,fails_second"}


class TestAcrossProcesses:
    def test_from_failure_leaves_out_what_failed_in_the_steps_it_does_not_repeat(
        self, open_instance: Callable[[], dg.DagsterInstance]
    ):
        instance = open_instance()
        sync(instance, ["sound", "fails_first", "fails_second"])
        job = dg.reconstructable(location)
        original = dg.execute_job(job, instance=instance, run_config=IN_PROCESS, tags=SOME_FAIL)
        assert not original.success

        again = dg.execute_job(
            job,
            instance=instance,
            run_config=IN_PROCESS,
            tags=SOME_FAIL,
            reexecution_options=dg.ReexecutionOptions.from_failure(original.run_id, instance),
        )

        (event,) = [event for event in again.all_events if event.is_step_failure]
        assert event.step_key == "third"
        assert "2 of 3 tenants failed:\n  fails_first at first" in str(event.step_failure_data.error)
        assert green(instance, THIRD) == {"sound"}

    @pytest.mark.slow
    def test_steps_in_processes_of_their_own_leave_out_the_same_tenants(
        self, open_instance: Callable[[], dg.DagsterInstance]
    ):
        instance = open_instance()
        sync(instance, ["sound", "fails_first", "fails_second"])

        result = dg.execute_job(
            dg.reconstructable(location), instance=instance, run_config=A_PROCESS_PER_STEP, tags=SOME_FAIL
        )

        assert not result.success
        assert green(instance, FIRST) == {"sound", "fails_second"}
        assert green(instance, THIRD) == {"sound"}
        assert failed(instance, THIRD) == {"fails_first", "fails_second"}


@pytest.fixture
def fleet_of_200(open_instance: Callable[[], dg.DagsterInstance]) -> tuple[dg.DagsterInstance, list[str]]:
    """An instance on Postgres with 200 tenants."""
    instance, slugs = open_instance(), [f"t{n:03d}" for n in range(200)]
    sync(instance, slugs)
    return instance, slugs


class TestTwoHundredTenants:
    def test_197_green_3_red_with_reasons_and_a_retry_that_heals(
        self, fleet_of_200: tuple[dg.DagsterInstance, list[str]], faults: Faults
    ):
        instance, slugs = fleet_of_200
        faults.raising["t007"] = OperationFailed("the file is empty.", where="t007")
        faults.empty.add("t050")
        faults.raising_second["t123"] = psycopg.OperationalError("connection refused")
        job = chain(faults)

        result = run(job, instance, f"{slugs[0]}...{slugs[-1]}")

        stored = instance.get_run_by_id(result.run_id)
        assert stored and stored.status is dg.DagsterRunStatus.FAILURE
        assert failure_of(result).startswith(
            "3 of 200 tenants failed:\n"
            "  t007 at first: the file is empty.\n"
            "  t050 at first: check rows failed (0 rows)\n"
            "  t123 at second: OperationalError: connection refused\n"
        )
        assert failed(instance, THIRD) == {"t007", "t050", "t123"}
        assert len(green(instance, THIRD)) == 197

        faults.raising.clear()
        faults.empty.clear()
        faults.raising_second.clear()
        assert run(job, instance, "t007,t050,t123").success
        assert len(green(instance, THIRD)) == 200
        assert set(verdicts(instance, ROWS).values()) == {("SUCCEEDED", True)}
