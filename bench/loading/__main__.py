r"""Run with: python -m bench.loading [--rows 1000000] [--rounds 3] [--peer-rows 100000] [--parts psql,...].

- `psql`: a first load against `psql \copy`, in turn, with peak memory; then the same file again, as anybody
  would load it and with `force`, with what was written.
- `peers`: a first load against dlt and pandas, each pair with the same rows.
- `files`: one dataset in several files, 1, 2 and 4 of them at once.
- `tenants`: one source into several tenants, read once, against as many loads.

A table for `bench/README.md` and a line of JSON come last. Times need a quiet machine; memory does not.
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.loading import ours, peers
from bench.loading.files import DATASET, split, take, write_files
from bench.loading.measure import Measured, Table, in_own_process
from tenant_ops.loading import execute_load, plan_load
from tenant_ops.platform import embedded
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision

TENANT = "bench"
PARTS = ("psql", "peers", "files", "tenants")
FILES, TENANTS = 4, 5
MOST_PEER_ROWS = 1_000_000


@dataclass
class Bench:
    """One server, one tenant, one file.

    Attributes:
        figures: What was found, by name, for the line of JSON.
        lines: Rows of the table: what, against whom, figure, aim.
    """

    settings: Settings
    url: str
    scratch: Path
    file: Path
    rows: int
    rounds: int
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def size(self) -> float:
        """MB of the file."""
        return self.file.stat().st_size / 1e6

    def first(self, most: int) -> tuple[Path, int]:
        """The file, or one with its first rows, and how many it has."""
        if most >= self.rows:
            return self.file, self.rows
        return take(self.file, most, self.scratch / str(most) / self.file.name), most

    def report(self, what: str, against: str, figure: str, aim: str = "") -> None:
        """Say what was found, now and in the table."""
        self.lines.append((what, against, figure, aim))
        print(f"  -> {what}, against {against}: {figure}" + (f" (aim {aim})" if aim else ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loading")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rows", type=int, default=100_000, help="for peers that load row by row")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, with commas")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="bench loading ") as folder:
        scratch = Path(folder)
        settings = Settings.load({"TENANT_OPS_HOME": str(scratch / "home")})
        try:
            file = write_files(scratch / "source", arguments.rows)
            add_tenant(settings, TENANT, file.parent / "parents")
            url = embedded.postgres(settings.home)
            bench = Bench(settings, url, scratch, file, arguments.rows, arguments.rounds)
            describe(bench)
            for part in parts:
                print(f"{part}:", flush=True)
                match part:
                    case "psql":
                        against_psql(bench)
                    case "peers":
                        against_peers(bench, arguments.peer_rows)
                    case "files":
                        in_several_files(bench)
                    case "tenants":
                        into_several_tenants(bench)
        finally:
            # Before its folder goes.
            embedded.stop(settings.home)
    print("\n| What | Against | Figure | Aim |\n| --- | --- | --- | --- |")
    for line in bench.lines:
        print(f"| {' | '.join(line)} |")
    print(json.dumps(bench.figures))


def describe(bench: Bench) -> None:
    with psycopg.connect(bench.url) as connection:
        server = connection.execute(
            "SELECT current_setting('server_version'), current_setting('shared_buffers'), "
            "current_setting('fsync')"
        ).fetchone()
    assert server is not None
    packages = ("pandas", "pandera", "pyarrow", "psycopg", "sqlalchemy", "dlt", "adbc-driver-postgresql")
    versions = {name: version(name) for name in packages if not peers.missing(name.replace("-", "_"))}
    bench.figures |= {
        "rows": bench.rows,
        "file_mb": round(bench.size, 1),
        "cores": multiprocessing.cpu_count(),
        "versions": {"python": platform.python_version(), "postgres": server[0], **versions},
    }
    print(
        f"{bench.rows:,} rows of {DATASET}, {bench.size:.0f} MB of CSV; Postgres {server[0]} (shared_buffers "
        f"{server[1]}, fsync {server[2]}), Python {platform.python_version()}, "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}, "
        f"{multiprocessing.cpu_count()} cores"
    )


def add_tenant(settings: Settings, slug: str, parents: Path) -> Table:
    """A tenant with the rows that events refer to; gives its empty table of events."""
    fleet = Fleet.open(settings)
    provision(fleet, slug)
    tenant = fleet.registry.get(slug)
    execute_load(fleet, plan_load(fleet, tenant, source=parents))
    fleet.close()
    return table_of(settings, slug)


def table_of(settings: Settings, slug: str) -> Table:
    fleet = Fleet.open(settings)
    tenant = fleet.registry.get(slug)
    fleet.close()
    url = embedded.postgres(settings.home)
    return Table(url, f"{tenant.schema_name}.{DATASET}", f"{tenant.stage_schema}.load")


def against_psql(bench: Bench) -> None:
    table = table_of(bench.settings, TENANT)
    ratios, loads, noops, agains = [], [], [], []
    for number in range(bench.rounds):
        table.empty()
        started = time.perf_counter()
        peers.psql_copy(bench.url, table.name, bench.file)
        copied = time.perf_counter() - started
        expected = table.digest()
        table.empty()
        first = in_own_process(ours.load, bench.settings, TENANT, bench.file)
        assert table.digest() == expected, "both sides hold the same rows"
        table.settle()
        table.written()
        noop = in_own_process(ours.load, bench.settings, TENANT, bench.file)
        nothing = table.written()
        again = in_own_process(ours.load, bench.settings, TENANT, bench.file, force=True)
        written = table.written()
        assert nothing.rows == written.rows == 0, "an unchanged row is not written"
        ratios.append(first.seconds / copied)
        loads.append(first)
        noops.append(noop.seconds)
        agains.append(again.seconds)
        print(
            f"  round {number + 1}: psql {copied:.2f} s, load {first.seconds:.2f} s "
            f"({ratios[-1]:.2f}x, {speed(bench, first.seconds)}, peak {first.memory:.0f} MB); "
            f"again {noop.seconds:.2f} s, {nothing.rows} rows and {nothing.wal:.2f} MB of WAL written; "
            f"forced {again.seconds:.2f} s, {written.rows} rows and {written.wal:.2f} MB",
            flush=True,
        )
    seconds = median(load.seconds for load in loads)
    memory = max(load.memory for load in loads)
    what = f"Load {bench.rows:,} rows with keys ({bench.size:.0f} MB of CSV), validated"
    figure = f"{median(ratios):.2f}x, {speed(bench, seconds)}, peak memory {memory:.0f} MB"
    bench.report(what, r"`psql \copy` into the same table", figure, "1.5x, 300 MB")
    bench.report(
        "The same file again",
        "its first load",
        f"{median(noops):.2f} s, {seconds / median(noops):.0f}x faster, nothing written",
        "5x, 1 s",
    )
    bench.report(
        "The same file again, forced: read, checked, compared",
        "its first load",
        f"{median(agains):.2f} s, {seconds / median(agains):.1f}x faster, 0 rows written",
    )
    bench.figures |= {
        "psql_ratio": round(median(ratios), 3),
        "load_seconds": round(seconds, 2),
        "peak_mb": round(memory),
        "again_seconds": round(median(noops), 3),
        "forced_seconds": round(median(agains), 2),
    }


def against_peers(bench: Bench, peer_rows: int) -> None:
    table = table_of(bench.settings, TENANT)
    copy = copy_table(bench, table)
    for name, work, rows, rounds, modules in (
        ("dlt, Arrow and ADBC", peers.dlt_arrow, MOST_PEER_ROWS, bench.rounds, peers.DLT_ARROW),
        ("pandas `to_sql`, COPY", peers.to_sql_copy, MOST_PEER_ROWS, bench.rounds, peers.PANDAS),
        # They take minutes.
        ("dlt, rows", peers.dlt_rows, peer_rows, 1, peers.DLT),
        ("pandas `to_sql`, multi", peers.to_sql, peer_rows, 1, peers.PANDAS),
    ):
        if absent := peers.missing(*modules):
            print(f"  {name}: {', '.join(absent)} is not installed; pip install -e '.[bench]'")
            continue
        file, rows = bench.first(rows)
        pairs: list[tuple[Measured, Measured]] = []
        for _ in range(rounds):
            table.empty()
            mine = in_own_process(ours.load, bench.settings, TENANT, file)
            copy.empty()
            scratch = Path(tempfile.mkdtemp(dir=bench.scratch))
            theirs = in_own_process(work, bench.url, copy.name, file, scratch, imports=modules)
            assert copy.digest() == table.digest(), "both sides hold the same rows"
            pairs.append((mine, theirs))
            print(
                f"  {name}, {rows:,} rows: {theirs.seconds:.2f} s, peak {theirs.memory:.0f} MB; "
                f"load {mine.seconds:.2f} s, peak {mine.memory:.0f} MB",
                flush=True,
            )
        ratio = median(theirs.seconds / mine.seconds for mine, theirs in pairs)
        fast, slow = (median(pair[side].seconds for pair in pairs) for side in (0, 1))
        lean, fat = (max(pair[side].memory for pair in pairs) for side in (0, 1))
        bench.report(
            f"Load {rows:,} rows with keys, validated",
            f"{name}, into the same table, not validated",
            f"{ratio:.1f}x as fast: {rows / fast / 1000:.0f}k rows/s to {rows / slow / 1000:.0f}k; "
            f"peak memory {lean:.0f} MB to {fat:.0f}",
            "ahead",
        )
        bench.figures[f"{work.__name__}_ratio"] = round(ratio, 2)


def copy_table(bench: Bench, table: Table) -> Table:
    """A second table of the same definition, for peers: they make schemas and tables of their own."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS peers CASCADE")
        connection.execute("CREATE SCHEMA peers")
        copy = f"peers.{DATASET}"
        connection.execute(f"CREATE TABLE {copy} (LIKE {table.name} INCLUDING ALL)".encode())
        keys = connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            f"WHERE conrelid = '{table.name}'::regclass AND contype = 'f'".encode()
        ).fetchall()
        assert len(keys) == 3
        for name, definition in keys:
            connection.execute(f'ALTER TABLE {copy} ADD CONSTRAINT "{name}" {definition}'.encode())
    return Table(bench.url, copy)


def in_several_files(bench: Bench) -> None:
    table = table_of(bench.settings, TENANT)
    folder = split(bench.file, bench.rows, FILES, bench.scratch / "files")
    seconds: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for _ in range(bench.rounds):
        for at_once in seconds:
            table.empty()
            load = in_own_process(ours.load, bench.settings, TENANT, folder, parallel_files=at_once)
            assert load.result == bench.rows
            seconds[at_once].append(load.seconds)
            print(f"  {at_once} at once: {load.seconds:.2f} s, peak {load.memory:.0f} MB", flush=True)
    one, two, four = (median(each) for each in seconds.values())
    bench.report(
        f"{FILES} files of {bench.rows // FILES:,} rows, 2 and 4 at once",
        "one after the other",
        f"{one / two:.2f}x and {one / four:.2f}x as fast",
    )
    bench.figures |= {"files_2": round(one / two, 2), "files_4": round(one / four, 2)}


def into_several_tenants(bench: Bench) -> None:
    file, rows = bench.first(max(1, bench.rows // TENANTS))
    slugs = [f"{TENANT}_{number}" for number in range(1, TENANTS + 1)]
    tables = [add_tenant(bench.settings, slug, bench.file.parent / "parents") for slug in slugs]

    def timed(work: Callable[..., int], *arguments: Any) -> float:
        for table in tables:
            table.empty()
        load = in_own_process(work, bench.settings, slugs, file, *arguments)
        assert load.result == rows * TENANTS
        print(f"  {work.__name__} {arguments}: {load.seconds:.2f} s, peak {load.memory:.0f} MB", flush=True)
        return load.seconds

    rounds = [
        (timed(ours.load_each), timed(ours.load_together, 1), timed(ours.load_together, 4))
        for _ in range(bench.rounds)
    ]
    one = median(each / together for each, together, _ in rounds)
    four = median(each / together for each, _, together in rounds)
    bench.report(
        f"{rows:,} rows into {TENANTS} tenants, read once, 1 and 4 of them at a time",
        f"{TENANTS} loads, one after the other",
        f"{one:.2f}x and {four:.2f}x as fast",
    )
    bench.figures |= {"tenants_1": round(one, 2), "tenants_4": round(four, 2)}


def speed(bench: Bench, seconds: float) -> str:
    return f"{bench.rows / seconds / 1000:.0f}k rows/s, {bench.size / seconds:.1f} MB/s"


if __name__ == "__main__":
    main()
