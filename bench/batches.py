"""A batch of tenants through Dagster against the same work without it, in pairs on the embedded server.

The work is a validation of every level on an empty tenant: one asset with five checks each. Plain means the
same function in the same number of threads. Run: python -m bench.batches [tenants] [rounds]
"""

import logging
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tenant_ops.orchestration.batch import Batch
from tenant_ops.orchestration.launch import run_job
from tenant_ops.platform.progress import SILENT
from tenant_ops.tenants import Fleet, provision
from tenant_ops.validation import execute_validation, plan_validation


def main(tenants: int = 200, rounds: int = 3) -> None:
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench batches ") as scratch:
        os.environ["TENANT_OPS_HOME"] = str(Path(scratch) / "home")
        os.environ.pop("DATABASE_URL", None)
        fleet = Fleet.open()
        slugs = [f"tenant_{number:04d}" for number in range(tenants)]
        for slug in slugs:
            provision(fleet, slug)
        versions = f"Python {platform.python_version()}, dagster {version('dagster')}"
        threads = f"{Batch().threads} threads on {os.cpu_count()} cores"
        print(f"{tenants} tenants, {rounds} rounds, {threads}, {versions}")
        pairs = [(plain(fleet, slugs), through_dagster(fleet, slugs)) for _ in range(rounds + 1)][1:]
        bare, batched = median(a for a, _ in pairs), median(b for _, b in pairs)
        print(f"plain            {bare / tenants * 1000:8.1f} ms per tenant")
        print(f"through Dagster  {batched / tenants * 1000:8.1f} ms per tenant")
        print(f"overhead         {median(b - a for a, b in pairs) / tenants * 1000:8.1f} ms per tenant, "
              f"ratio {median(b / a for a, b in pairs):.2f} (aim: < 15 ms)")  # fmt: skip
        fleet.close()


def plain(fleet: Fleet, slugs: list[str]) -> float:
    def validate(slug: str) -> None:
        execute_validation(fleet, plan_validation(fleet, fleet.registry.get(slug)))

    started = time.perf_counter()
    with ThreadPoolExecutor(Batch().threads) as pool:
        list(pool.map(validate, slugs))
    return time.perf_counter() - started


def through_dagster(fleet: Fleet, slugs: list[str]) -> float:
    started = time.perf_counter()
    launched = run_job(fleet, "validate_data", tenants=slugs, progress=SILENT)
    assert launched.success, launched.errors
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
