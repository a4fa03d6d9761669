"""Backups and restores against pg_dump and pg_restore, on the embedded server.

- `full`: one tenant of five tables and two million rows (some 600 MB of COPY text): an encrypted full
  backup at the default codec and at zstd level 3, against `pg_dump -Fc` of the same schema, and against
  `pg_dump -Fc -Z0 | zstd -1 | openssl enc -aes-256-ctr`, the pipe people build by hand.
- `restore`: that backup over another tenant and as a new one, against `pg_restore -j2` of a directory dump
  into an empty database.
- `small`: tenants of twelve small tables, one after the other, while the fleet grows.
- `chain`: incrementals of one of these, idle and after changes, against a full backup of it.

Both sides of a pair run in turn. CPU seconds are those of the client and of every process of the server. Ours
runs in a process of its own whose start and imports (0.7 s, once per process) are not counted.
Run: python -m bench.backups [--rows 2000000] [--rounds 2] [--tenants 1000] [--parts full,restore,small,chain]
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

import psycopg

from bench.loading.measure import in_own_process
from tenant_ops.backups import (
    execute_backup,
    execute_restore,
    find_backup,
    list_backups,
    plan_backup,
    plan_restore,
)
from tenant_ops.platform import embedded
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision

PARTS = ("full", "restore", "small", "chain")
TENANT = "bench"
SMALL_TABLES = 12
WINDOW = 50
"""Small tenants each figure is the mean of: the last ones before the fleet has its size."""

# Names, texts, documents, numbers and times as applications have them: zlib makes a third of it.
_ROWS = """
CREATE TABLE accounts (id bigint PRIMARY KEY, key uuid NOT NULL UNIQUE, email text, name text,
    created_at timestamptz NOT NULL);
CREATE TABLE plays (id bigint PRIMARY KEY, account bigint NOT NULL, track bigint NOT NULL,
    played_at timestamptz NOT NULL, seconds int, device text, session uuid, note text);
CREATE TABLE events (id bigint PRIMARY KEY, account bigint NOT NULL, kind text NOT NULL,
    at timestamptz NOT NULL, payload jsonb NOT NULL);
CREATE TABLE messages (id bigint PRIMARY KEY, account bigint NOT NULL, at timestamptz, body text NOT NULL);
CREATE TABLE invoices (id bigint PRIMARY KEY, account bigint NOT NULL, total numeric(12, 2), lines jsonb);
SELECT setseed(0.5);
CREATE TEMP TABLE word ON COMMIT DROP AS
    SELECT g AS id, left(md5(g::text), 3 + g % 8) AS text FROM generate_series(0, 1999) g;
CREATE TEMP TABLE phrase ON COMMIT DROP AS
    SELECT g AS id, (SELECT string_agg(w.text, ' ') FROM word w WHERE w.id IN (
        SELECT hashint4(g * 31 + k) & 2047 FROM generate_series(1, 24) k)) AS text
    FROM generate_series(0, 19999) g;
CREATE UNIQUE INDEX ON phrase (id);
ANALYZE phrase;
INSERT INTO accounts SELECT g, md5(g::text)::uuid, 'user' || g || '@example.com', p.text,
    '2026-01-01'::timestamptz + g * interval '7 s'
    FROM generate_series(1, {rows} / 10) g JOIN phrase p ON p.id = g % 20000;
INSERT INTO plays SELECT g, hashint8(g) & 65535, hashint8(g * 7) & 262143,
    '2026-01-01'::timestamptz + (hashint8(g) & 16777215) * interval '1 s', g % 400,
    (ARRAY['phone', 'desktop', 'car', 'speaker'])[1 + g % 4], md5(g::text)::uuid, left(p.text, 60)
    FROM generate_series(1, {rows} * 4 / 10) g JOIN phrase p ON p.id = (hashint8(g) & 16383);
INSERT INTO events SELECT g, hashint8(g * 3) & 65535,
    (ARRAY['login', 'search', 'share', 'skip', 'like'])[1 + g % 5],
    '2026-01-01'::timestamptz + g * interval '1 s',
    jsonb_build_object('session', md5(g::text), 'trace', md5((-g)::text), 'text', p.text,
                       'position', g % 977, 'ok', g % 3 = 0,
                       'client', jsonb_build_object('version', '4.' || g % 30, 'os', 'ios'))
    FROM generate_series(1, {rows} * 3 / 10) g JOIN phrase p ON p.id = (hashint8(g * 5) & 16383);
INSERT INTO messages SELECT g, hashint8(g * 11) & 65535, '2026-01-01'::timestamptz + g * interval '3 s',
    p.text || '. ' || q.text || '. ' || r.text
    FROM generate_series(1, {rows} / 10) g JOIN phrase p ON p.id = (hashint8(g) & 16383)
    JOIN phrase q ON q.id = (hashint8(g + 1) & 16383) JOIN phrase r ON r.id = (hashint8(g + 2) & 16383);
INSERT INTO invoices SELECT g, hashint8(g * 13) & 65535, (hashint8(g) & 1048575) / 100.0,
    jsonb_build_array(jsonb_build_object('item', p.text, 'price', g % 100), jsonb_build_object('tax', 19))
    FROM generate_series(1, {rows} / 10) g JOIN phrase p ON p.id = (hashint8(g * 17) & 16383);
CREATE INDEX ON plays (account, played_at);
CREATE INDEX ON events (account);
CREATE INDEX ON messages (at);
"""


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        wall: Seconds.
        cpu: Seconds of client and server together.
        size: Bytes it wrote, where that is a figure.
        memory: Peak MB of the client, where it was measured.
    """

    wall: float
    cpu: float
    size: int = 0
    memory: float = 0.0


class Meter:
    """Measures work, including what the server of `home` spends on it."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
        self.postmaster = int(stat.rsplit(")", 1)[1].split()[1])

    def __call__(self, work: Callable[[], Cost]) -> Cost:
        """Do the work, which returns what the client spent; add what the server did."""
        server = self.server_cpu()
        cost = work()
        time.sleep(0.2)  # a backend's time counts when it has ended
        return replace(cost, cpu=cost.cpu + self.server_cpu() - server)

    def server_cpu(self) -> float:
        """Seconds of every process of the server so far, ended ones too."""
        tick = os.sysconf("SC_CLK_TCK")
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.parent.name) == self.postmaster:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.postmaster:
                total += sum(map(int, fields[11:13]))
        return total / tick


def _program(command: Sequence[str | Path], **options: Any) -> Cost:
    """Run a peer's program."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, **options)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _ours(work: Callable[..., int], *arguments: object) -> Cost:
    """Do our work in a process of its own."""
    done = in_own_process(work, *arguments, imports=("tenant_ops.backups",))
    return Cost(done.seconds, done.cpu, done.result, done.memory)


def _backup(environment: dict[str, str], level: int | None) -> int:
    fleet = Fleet.open(Settings.load(environment))
    report = execute_backup(fleet, plan_backup(fleet, fleet.registry.get(TENANT), level=level))
    fleet.close()
    return report.stored_bytes


def _restore(environment: dict[str, str], backup_id: str, slug: str) -> int:
    fleet = Fleet.open(Settings.load(environment))
    report = execute_restore(fleet, plan_restore(fleet, find_backup(fleet, backup_id), slug))
    fleet.close()
    return report.raw_bytes


def bench_full(fleet: Fleet, meter: Meter, environment: dict[str, str], url: str, scratch: Path, rounds: int):
    schema = fleet.registry.get(TENANT).schema_name
    pg_dump = str(embedded.programs() / "pg_dump")
    dump = scratch / "dump"

    def custom() -> Cost:
        cost = _program([pg_dump, "-Fc", "-n", schema, "-f", dump, url])
        return replace(cost, size=dump.stat().st_size)

    def piped() -> Cost:
        script = (
            f"set -o pipefail; '{pg_dump}' -Fc -Z0 -n {schema} '{url}' | zstd -q -1 | "
            f"openssl enc -aes-256-ctr -pbkdf2 -pass env:BENCH_KEY -out '{dump}' && sync '{dump}'"
        )
        cost = _program(["bash", "-c", script], env=os.environ | {"BENCH_KEY": "bench"})
        return replace(cost, size=dump.stat().st_size)

    sides: dict[str, Callable[[], Cost]] = {
        "tenant_ops, zstd 1": lambda: _ours(_backup, environment, None),
        "tenant_ops, zstd 3": lambda: _ours(_backup, environment, 3),
        "pg_dump -Fc": custom,
    }
    if shutil.which("zstd") and shutil.which("openssl"):
        sides["pg_dump | zstd -1 | openssl"] = piped
    else:
        print("zstd or openssl is not installed: the pipe is not measured.")
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            costs[name].append(meter(side))
    best = {name: _typical(found) for name, found in costs.items()}
    print(f"{'':30}{'wall s':>9}{'CPU s':>9}{'MB':>9}{'peak MB':>9}")
    for name, cost in best.items():
        print(f"{name:30}{cost.wall:9.2f}{cost.cpu:9.2f}{cost.size / 1e6:9.1f}{cost.memory or 0:9.0f}")
    mine, level3, theirs = (best[name] for name in list(sides)[:3])
    print(
        f"against pg_dump -Fc: {mine.cpu / theirs.cpu:.2f}x CPU (aim 0.35), "
        f"{mine.wall / theirs.wall:.2f}x wall (aim 0.45), {mine.size / theirs.size:.3f}x size (aim 1.05); "
        f"at level 3 {level3.size / theirs.size:.3f}x size (aim 1.0), {level3.cpu / theirs.cpu:.2f}x CPU"
    )
    if len(sides) > 3:
        pipe = best["pg_dump | zstd -1 | openssl"]
        print(
            f"against the pipe: {mine.cpu / pipe.cpu:.2f}x CPU, {mine.wall / pipe.wall:.2f}x wall (aim 1.0)"
        )


def bench_restore(
    fleet: Fleet, meter: Meter, environment: dict[str, str], url: str, scratch: Path, rounds: int
) -> None:
    tenant = fleet.registry.get(TENANT)
    programs = embedded.programs()
    folder = scratch / "directory"
    subprocess.run(
        [programs / "pg_dump", "-Fd", "-j2", "-n", tenant.schema_name, "-f", folder, url], check=True
    )
    _backup(environment, None)
    backup_id = list_backups(fleet, tenant)[0].id
    provision(fleet, "restored")  # both sides begin with an empty place
    other = url.replace("/tenant_ops?", "/restored?")

    def theirs() -> Cost:
        return _program([programs / "pg_restore", "-j2", "--no-owner", "--no-acl", "-d", other, folder])

    costs: list[tuple[Cost, Cost, Cost]] = []
    for number in range(rounds):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
            connection.execute("CREATE DATABASE restored")
            connection.execute("CHECKPOINT")
        costs.append(
            (
                meter(lambda: _ours(_restore, environment, backup_id, "restored")),
                meter(lambda number=number: _ours(_restore, environment, backup_id, f"beside_{number}")),
                meter(theirs),
            )
        )
    over, beside, peer = (_typical([each[side] for each in costs]) for side in range(3))
    for name, cost in (("over a tenant", over), ("as a new one", beside), ("pg_restore -j2", peer)):
        print(
            f"restore, {name:15} {cost.wall:6.2f} s {cost.cpu:6.2f} CPU s {cost.memory or 0:5.0f} MB; "
            f"{cost.wall / peer.wall:.2f}x wall (aim 0.8), {cost.cpu / peer.cpu:.2f}x CPU"
        )
    print(
        "Ours also authenticates the archive, reads every row back, and copies the content it replaces first."
    )


def small_tables(fleet: Fleet) -> bytes:
    """What a small tenant holds instead of the tables it is provisioned with."""
    shipped = ", ".join(fleet.catalog.names)
    return (
        f"DROP TABLE {shipped}; ".encode()
        + ";".join(
            f"CREATE TABLE small_{n} (id bigint PRIMARY KEY, name text, at timestamptz DEFAULT now());"
            f"INSERT INTO small_{n} (id, name) SELECT g, 'row ' || g FROM generate_series(1, 20) g"
            for n in range(SMALL_TABLES)
        ).encode()
    )


def bench_small(fleet: Fleet, sizes: Sequence[int]) -> None:
    print("    tenants   ms per backup")
    made = 0
    for size in sizes:
        while made < size:
            slug = f"small_{made:05d}"
            provision(fleet, slug)
            if made >= size - WINDOW:
                with fleet.session(fleet.registry.get(slug)) as connection:
                    connection.execute(small_tables(fleet))
            made += 1
        times = []
        for number in range(max(0, size - WINDOW), size):
            tenant = fleet.registry.get(f"small_{number:05d}")
            started = time.perf_counter()
            execute_backup(fleet, plan_backup(fleet, tenant))
            times.append(time.perf_counter() - started)
        print(f"{size:11,} {mean(times) * 1000:12.1f}  (median {median(times) * 1000:.1f}; aim 60)")


def bench_chain(fleet: Fleet, meter: Meter, rounds: int) -> None:
    provision(fleet, "chained")
    tenant = fleet.registry.get("chained")
    with fleet.session(tenant) as connection:
        connection.execute(small_tables(fleet))
    execute_backup(fleet, plan_backup(fleet, tenant, backup_type="incremental"))  # installs the journal
    cases = (
        ("full", "full", ""),
        ("incremental, idle", "incremental", ""),
        ("incremental, 20 rows changed", "incremental", "UPDATE small_0 SET name = name || '.'"),
        (
            "incremental, 50,000 rows added",
            "incremental",
            "INSERT INTO small_1 SELECT (SELECT coalesce(max(id), 0) FROM small_1) + g, md5(g::text) "
            "FROM generate_series(1, 50000) g",
        ),
        ("differential", "differential", ""),
    )
    print(f"{'':32}{'plan ms':>9}{'take ms':>9}{'CPU ms':>9}{'KB':>9}")
    for name, backup_type, change in cases:
        plans, costs = [], []
        for _ in range(5 * rounds):
            if change:
                with fleet.session(tenant) as connection:
                    connection.execute(change.encode())
            started = time.perf_counter()
            plan = plan_backup(fleet, tenant, backup_type=backup_type)
            plans.append(time.perf_counter() - started)
            costs.append(meter(lambda plan=plan: _own(lambda: execute_backup(fleet, plan).stored_bytes)))
        cost = _typical(costs)
        cpu = mean(each.cpu for each in costs)  # the server's is told in hundredths of a second
        print(
            f"{name:32}{median(plans) * 1e3:9.1f}{cost.wall * 1e3:9.1f}{cpu * 1e3:9.1f}{cost.size / 1e3:9.1f}"
        )


def _own(work: Callable[[], int]) -> Cost:
    """Do our work in this process, which has its connections already."""
    started, cpu = time.perf_counter(), time.process_time()
    size = work()
    return Cost(time.perf_counter() - started, time.process_time() - cpu, size)


def _typical(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.wall)[(len(costs) - 1) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backups")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--parts", default=",".join(PARTS))
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    with tempfile.TemporaryDirectory(prefix="bench-backups-") as folder:
        scratch = Path(folder)
        environment = {"TENANT_OPS_HOME": str(scratch / "home")}
        url = embedded.postgres(scratch / "home")
        fleet = Fleet.open(Settings.load(environment))
        meter = Meter(url)
        try:
            with psycopg.connect(url) as connection:
                row = connection.execute("SHOW server_version").fetchone()
            print(
                f"Postgres {row[0] if row else '?'}, Python {platform.python_version()}, "
                f"psycopg {version('psycopg')}, {os.cpu_count()} cores"
            )
            if {"full", "restore"} & set(parts):
                provision(fleet, TENANT)
                with fleet.session(fleet.registry.get(TENANT)) as connection:
                    connection.execute("SET LOCAL statement_timeout = 0")
                    connection.execute(_ROWS.replace("{rows}", str(chosen.rows)).encode())
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute("VACUUM (ANALYZE)")
                    connection.execute("CHECKPOINT")
                    size = connection.execute(
                        "SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' "
                        "AND relnamespace = %s::regnamespace",
                        (fleet.registry.get(TENANT).schema_name,),
                    ).fetchone()
                print(
                    f"{chosen.rows:,} rows in 5 tables, {float(size[0] if size else 0) / 1e6:,.0f} MB on disk"
                )
            if "full" in parts:
                bench_full(fleet, meter, environment, url, scratch, chosen.rounds)
            if "restore" in parts:
                bench_restore(fleet, meter, environment, url, scratch, chosen.rounds)
            if "small" in parts:
                bench_small(fleet, [size for size in (100, 300, 1_000) if size <= chosen.tenants])
            if "chain" in parts:
                bench_chain(fleet, meter, chosen.rounds)
        finally:
            fleet.close()
            embedded.stop(scratch / "home")


if __name__ == "__main__":
    main()
