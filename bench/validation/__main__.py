"""Run with: python -m bench.validation [--rows 1000000] [--rounds 3] [--sides hand,pandera,gx].

Each round runs this project and every other side in turn, each in a process of its own, warm. Seconds are
wall-clock, without starting Python and importing; CPU seconds are those of the client and of every process of
the server together, and say more than the clock on a machine that has other work.
Great Expectations comes with the `bench` extra, and is left out without it.
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.backups import Cost, Meter
from bench.loading.measure import in_own_process
from bench.validation import sides
from bench.validation.sides import EVENTS, FIVE
from tenant_ops.datasets.synthesis import write_fixtures
from tenant_ops.platform import embedded
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision

TENANT = "bench"
SIDES = ("hand", "pandera", "gx")
AIM = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.validation")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1, help="for pandera and Great Expectations")
    parser.add_argument("--sides", default=",".join(SIDES), help="whom to measure against, with commas")
    arguments = parser.parse_args()
    chosen = arguments.sides.split(",")
    if unknown := set(chosen) - set(SIDES):
        parser.error(f"no side {', '.join(unknown)}; there are {', '.join(SIDES)}")
    if "gx" in chosen and find_spec("great_expectations") is None:
        print("Great Expectations is not installed; pip install -e '.[bench]'")
        chosen.remove("gx")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # no calls home in what is measured
    with tempfile.TemporaryDirectory(prefix="bench validation ") as folder:
        settings = Settings.load({"TENANT_OPS_HOME": str(Path(folder) / "home")})
        try:
            url = embedded.postgres(settings.home)
            schema = fill(settings, Path(folder), arguments.rows)
            describe(url, schema, arguments.rows)
            compare(settings, url, schema, arguments, chosen)
        finally:
            embedded.stop(settings.home)


def fill(settings: Settings, scratch: Path, rows: int) -> str:
    """Make the tenant and its rows; gives its schema."""
    fleet = Fleet.open(settings, catalog=FIVE)
    provision(fleet, TENANT, tier_name="enterprise")
    tenant = fleet.registry.get(TENANT)
    files = {
        file.dataset: file.path for file in write_fixtures(FIVE, scratch / "rows", rows=rows, seed=5).files
    }
    with fleet.session(tenant, statement_timeout_s=3600) as connection:
        for name in FIVE.names:
            command = f"COPY {name} FROM STDIN (FORMAT csv, HEADER)".encode()
            with files[name].open("rb") as file, connection.cursor().copy(command) as copy:
                while block := file.read(1 << 20):
                    copy.write(block)
    fleet.close()
    with psycopg.connect(fleet.control.url, autocommit=True) as connection:
        for name in FIVE.names:
            connection.execute(f"VACUUM (ANALYZE) {tenant.schema_name}.{name}".encode())
        connection.execute("CHECKPOINT")
    return tenant.schema_name


def compare(
    settings: Settings, url: str, schema: str, arguments: argparse.Namespace, chosen: list[str]
) -> None:
    meter = Meter(url)
    works: dict[str, Callable[[], Any]] = {
        "trusting": lambda: in_own_process(sides.ours, settings, TENANT, trust_constraints=True),
        "doubting": lambda: in_own_process(sides.ours, settings, TENANT, trust_constraints=False),
        "hand": lambda: in_own_process(sides.by_hand, url, schema),
        "pandera": lambda: in_own_process(sides.by_pandera, url, schema, imports=sides.PANDERA),
        "gx": lambda: in_own_process(sides.by_great_expectations, url, schema, imports=sides.GX),
    }
    costs: dict[str, list[Cost]] = {}
    results: dict[str, Any] = {}
    for number in range(max(arguments.rounds, arguments.peer_rounds)):
        for name in ("trusting", "doubting", *chosen):
            if number >= (arguments.peer_rounds if name in {"pandera", "gx"} else arguments.rounds):
                continue

            def measured(name: str = name) -> Cost:
                done = works[name]()
                results[name] = done.result
                return Cost(done.seconds, done.cpu, 0, done.memory)

            cost = meter(measured)
            costs.setdefault(name, []).append(cost)
            print(
                f"  round {number + 1}: {name:9} {cost.wall:7.2f} s, {cost.cpu:7.2f} CPU s, "
                f"peak {cost.memory:.0f} MB, load {os.getloadavg()[0]:.1f}: {results[name]}",
                flush=True,
            )
    report(costs)
    spoil(url, schema)
    for name in costs:
        done = works[name]()
        assert done.result["bad"] > 0, f"{name} does not see a row that is bad: {done.result}"
    assert not any(result["bad"] for result in results.values()), results
    print("every side found the row spoiled afterwards, and nothing before")


def spoil(url: str, schema: str) -> None:
    """One play longer than its track."""
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE {schema}.{EVENTS} SET played_ms = 14400000 WHERE event_id = "
            f"(SELECT event_id FROM {schema}.{EVENTS} WHERE completed LIMIT 1)".encode()
        )


def report(costs: dict[str, list[Cost]]) -> None:
    """Ratios of medians, in rows for `bench/README.md`, and a line of JSON."""
    wall = {name: median(cost.wall for cost in each) for name, each in costs.items()}
    cpu = {name: median(cost.cpu for cost in each) for name, each in costs.items()}
    print("\n| Side | Seconds | CPU seconds | Doubting, of this | Trusting, of this |")
    print("| --- | --- | --- | --- | --- |")
    for name in costs:
        shares = [
            f"{wall[ours] / wall[name]:.2f}x, CPU {cpu[ours] / cpu[name]:.2f}x"
            for ours in ("doubting", "trusting")
        ]
        print(f"| {name} | {wall[name]:.2f} | {cpu[name]:.2f} | {' | '.join(shares)} |")
    if "hand" in wall:
        print(f"aim: doubting at most {AIM}x of the hand-written pass")
    print(json.dumps({"wall": wall, "cpu": cpu}))


def describe(url: str, schema: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('shared_buffers'), "
            "pg_total_relation_size(%s::regclass) / 1e6",
            (f"{schema}.{EVENTS}",),
        ).fetchone()
    assert row is not None
    packages = ("psycopg", "pandas", "pandera", "pyarrow", "great-expectations", "sqlalchemy")
    versions = ", ".join(
        f"{name} {version(name)}"
        for name in packages
        if name != "great-expectations" or find_spec("great_expectations")
    )
    print(
        f"{rows:,} rows of {EVENTS} ({row[2]:.0f} MB with indexes), {multiprocessing.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, Postgres {row[0]} "
        f"(shared_buffers {row[1]}), {versions}"
    )


if __name__ == "__main__":
    main()
