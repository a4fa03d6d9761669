"""Schema and security levels over a fleet: milliseconds per tenant as it grows, and where they go.

Every tenant has the tables of the music domain with a few rows in each. Each figure is one pass over the
whole fleet with `execute_validations`, on a connection that has not seen the tenants before, as a nightly run
is. `never sampled` is the first night, when the values of every table are sampled; later only changed tables
are. `again` is a second pass on the same connection, `alone` one tenant at a time with `execute_validation`.
Run: python -m bench.validation_fleet [--quick] [--tenants N]
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from tenant_ops.datasets import MUSIC
from tenant_ops.datasets.synthesis import write_fixtures
from tenant_ops.platform.embedded import postgres
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import (
    ValidationPlan,
    ValidationReport,
    execute_validation,
    execute_validations,
    plan_validation,
)

AIM_MS = 15.0
ROWS = 60
"""Of the biggest dataset of each tenant; the others have fewer."""
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("security, never sampled", ("security",)),
    ("schema", ("schema",)),
    ("security", ("security",)),
    ("both", ("schema", "security")),
)


def main(sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="bench validation fleet ") as scratch:
        home = Path(scratch) / "home"
        url = postgres(home)
        describe(url, sizes)
        settings = Settings.load({"TENANT_OPS_HOME": str(home)})
        rows = write_fixtures(MUSIC, Path(scratch) / "rows", rows=ROWS, seed=7)
        content = {file.dataset: file.path.read_bytes() for file in rows.files}
        print(f"{'tenants':>11}  {'what':<24}{'ms each':>10}{'again':>10}{'alone':>10}")
        made = 0
        for size in sizes:
            fleet = Fleet.open(settings)
            for number in range(made, size):
                make(fleet, f"tenant_{number:05d}", content)
            made = size
            with fleet.control.session() as connection:
                connection.execute("VACUUM ANALYZE pg_catalog.pg_depend")
                connection.execute("ANALYZE")
                connection.execute("TRUNCATE tenant_ops.value_survey")
            fleet.close()
            for what, levels in PARTS:
                measure(settings, what, levels)


def make(fleet: Fleet, slug: str, content: dict[str, bytes]) -> None:
    provision(fleet, slug, tier_name="enterprise")
    with fleet.session(fleet.registry.get(slug)) as connection:
        for dataset in MUSIC:
            copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(sql.Identifier(dataset.name))
            with connection.cursor().copy(copy) as stream:
                stream.write(content[dataset.name])


def measure(settings: Settings, what: str, levels: tuple[str, ...]) -> None:
    fleet = Fleet.open(settings)
    tenants = fleet.registry.all()
    first, again = (together(fleet, tenants, levels) for _ in range(2))
    few = tenants[:50]
    started = time.perf_counter()
    for tenant in few:
        sound(execute_validation(fleet, plan(fleet, tenant, levels)))
    alone = (time.perf_counter() - started) / len(few)
    fleet.close()
    aim = f"  (aim {AIM_MS:g})" if what == "both" else ""
    print(f"{len(tenants):11,}  {what:<24}{ms(first)}{ms(again)}{ms(alone)}{aim}", flush=True)


def together(fleet: Fleet, tenants: Sequence[Tenant], levels: tuple[str, ...]) -> float:
    """Seconds per tenant, planning included."""
    started = time.perf_counter()
    plans = [plan(fleet, tenant, levels) for tenant in tenants]
    for _, outcome in execute_validations(fleet, plans):
        assert isinstance(outcome, ValidationReport)
        sound(outcome)
    return (time.perf_counter() - started) / len(tenants)


def plan(fleet: Fleet, tenant: Tenant, levels: tuple[str, ...]) -> ValidationPlan:
    return plan_validation(fleet, tenant, types=levels)


def sound(report: ValidationReport) -> None:
    assert report.findings == (), report.findings


def ms(seconds: float) -> str:
    return f"{seconds * 1000:10.1f}"


def describe(url: str, sizes: Sequence[int]) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row
    print(
        f"{max(sizes):,} tenants of {len(MUSIC)} datasets; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"psycopg {psycopg.__version__}, Postgres {row[0]}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 tenants, to see that it works")
    parser.add_argument("--tenants", type=int, default=1_000, help="the largest fleet (default 1000)")
    chosen = parser.parse_args()
    main((10, 30) if chosen.quick else sorted({10, min(100, chosen.tenants), chosen.tenants}))
