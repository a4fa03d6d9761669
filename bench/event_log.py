"""This project's Dagster storage against stock dagster-postgres, in pairs on the embedded server.

First events per second: lines of a run one by one, materialisations one by one, and groups as a batch of
tenants writes them. Then whole runs: tenants x 2 assets x 1 check, whose work is one short transaction, on
both storages and without Dagster. Run: python -m bench.event_log [tenants] [rounds]
"""

import logging
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import dagster as dg
import sqlalchemy as sa
from dagster._core.events.log import EventLogEntry

from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.instance.connection import for_psycopg2
from tenant_ops.orchestration.partitions import TENANTS, sync
from tenant_ops.platform.database import Database
from tenant_ops.platform.embedded import postgres

warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)

QUIET = {"telemetry": {"enabled": False}}
LINES, SINGLE, GROUPED = 500, 200, 2_000
GROUP = 100
Log = dg.DagsterInstance
"""One instance per storage; `event_log_storage` is what is measured."""


def main(tenants: int = 300, rounds: int = 3) -> None:
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench event log ") as scratch:
        url = postgres(Path(scratch) / "home")
        server = Database(url)
        describe(server)
        with instances(Path(scratch), url, server) as (ours, stock):
            for name, count, write in (
                ("lines, one by one", LINES, write_lines),
                ("materialisations, one by one", SINGLE, write_materializations),
                (f"materialisations in groups of {GROUP}", GROUPED, write_groups),
            ):
                pairs = [(timed(write, ours, count), timed(write, stock, count)) for _ in range(rounds)]
                report(name, count, pairs)
            compare_runs(ours, stock, server, tenants, rounds)
        server.close()


def compare_runs(ours: Log, stock: Log, server: Database, tenants: int, rounds: int) -> None:
    slugs = [f"tenant_{number:04d}" for number in range(tenants)]
    for instance in (ours, stock):
        sync(instance, slugs)
    job = two_assets_and_a_check(server)
    run(ours, job, slugs[:2])  # both sides warm
    run(stock, job, slugs[:2])
    alone, pooled, shipped = [], [], []
    for _ in range(rounds):
        alone.append(timed(work_alone, server, slugs))
        pooled.append(timed(run, ours, job, slugs))
        with environment("DAGSTER_EVENT_BATCH_SIZE", None):
            shipped.append(timed(run, stock, job, slugs))
    overhead = (median(pooled) - median(alone)) / tenants * 1000
    print(
        f"{tenants} tenants x 2 assets x 1 check: work alone {median(alone):.2f} s, "
        f"run {median(pooled):.2f} s, on stock storage {median(shipped):.2f} s; "
        f"{median(shipped) / median(pooled):.1f}x faster; {overhead:.1f} ms of Dagster per tenant (aim < 15)"
    )


def two_assets_and_a_check(server: Database) -> dg.JobDefinition:
    checks = [dg.AssetCheckSpec("rows", asset="loaded", partitions_def=TENANTS, blocking=True)]

    @dg.asset(partitions_def=TENANTS, check_specs=checks)
    def loaded(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        return batch.run(
            context,
            lambda slug: work(server, slug),
            metadata=lambda rows: {"rows": rows},
            checks=lambda rows: [dg.AssetCheckResult(passed=rows == 1)],
        )

    @dg.asset(partitions_def=TENANTS, deps=[loaded])
    def validated(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        return batch.run(context, lambda slug: work(server, slug), metadata=lambda rows: {"rows": rows})

    return dg.Definitions(
        [loaded, validated],
        jobs=[dg.define_asset_job("bench", executor_def=dg.in_process_executor)],
        resources={"batch": Batch()},
    ).resolve_job_def("bench")


def run(instance: Log, job: dg.JobDefinition, slugs: list[str]) -> None:
    tags = {"dagster/asset_partition_range_start": slugs[0], "dagster/asset_partition_range_end": slugs[-1]}
    assert job.execute_in_process(instance=instance, tags=tags).success


def work(server: Database, slug: str) -> int:
    with server.transaction() as connection:
        return connection.execute("INSERT INTO worked VALUES (%s)", (slug,)).rowcount


def work_alone(server: Database, slugs: list[str]) -> None:
    with ThreadPoolExecutor(Batch().threads) as pool:
        for _ in range(2):
            list(pool.map(lambda slug: work(server, slug), slugs))


def write_lines(instance: Log, count: int) -> None:
    run_id = str(uuid.uuid4())
    for number in range(count):
        line = EventLogEntry(None, 20, f"line {number}", run_id, time.time(), job_name="bench")
        instance.event_log_storage.store_event(line)


def write_materializations(instance: Log, count: int) -> None:
    for event in materializations(count):
        instance.event_log_storage.store_event(event)


def write_groups(instance: Log, count: int) -> None:
    events = materializations(count)
    for start in range(0, count, GROUP):
        instance.event_log_storage.store_event_batch(events[start : start + GROUP])


def materializations(count: int) -> list[EventLogEntry]:
    """Events as a run writes them, taken from one."""

    @dg.asset(partitions_def=TENANTS)
    def loaded(context: dg.AssetExecutionContext, batch: Batch) -> dg.MaterializeResult:
        return batch.run(context, lambda slug: len(slug), metadata=lambda length: {"rows": length})

    with dg.DagsterInstance.ephemeral() as instance:
        sync(instance, ["acme"])
        result = dg.materialize(
            [loaded], instance=instance, partition_key="acme", resources={"batch": Batch()}
        )
        of_type = dg.DagsterEventType.ASSET_MATERIALIZATION
        (event,) = instance.all_logs(result.run_id, of_type=of_type)
    return [event._replace(timestamp=event.timestamp + number) for number in range(count)]


@contextmanager
def instances(scratch: Path, url: str, server: Database) -> Iterator[tuple[Log, Log]]:
    """This project's instance and the stock one, each in a database of its own."""
    with server.session() as connection:
        for name in ("ours", "stock"):
            connection.execute(f"CREATE DATABASE {name}")  # pyright: ignore[reportArgumentType]
        connection.execute("CREATE TABLE worked (slug text)")
    ours = {"custom": {"module": "tenant_ops.orchestration.instance", "class": "TenantOpsStorage"}}
    stock = {"postgres": {"postgres_url": for_psycopg2(at(url, "stock"))}}
    with (
        environment("TENANT_OPS_HOME", str(scratch / "home")),
        environment("DATABASE_URL", at(url, "ours")),
        dg.DagsterInstance.local_temp(str(scratch), overrides=QUIET | {"storage": ours}) as pooled,
        dg.DagsterInstance.local_temp(str(scratch), overrides=QUIET | {"storage": stock}) as shipped,
    ):
        yield pooled, shipped


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def at(url: str, database: str) -> str:
    return sa.make_url(url).set(database=database).render_as_string(hide_password=False)


def timed(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def report(name: str, count: int, pairs: list[tuple[float, float]]) -> None:
    ours, stock = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    print(
        f"{count:,} {name}: {count / ours:,.0f} events/s, stock {count / stock:,.0f} events/s; "
        f"{stock / ours:.1f}x faster"
    )


def describe(server: Database) -> None:
    with server.transaction() as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync')"
        ).fetchone()
    assert row is not None
    packages = ("dagster", "dagster-postgres", "sqlalchemy", "psycopg2-binary")
    print(
        f"Postgres {row[0]} (fsync {row[1]}, Unix socket), Python {platform.python_version()}, "
        f"{', '.join(f'{package} {version(package)}' for package in packages)}, "
        f"{multiprocessing.cpu_count()} cores"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
