"""Drift of the whole fleet: one query for all tenants against one for each, and how it grows.

`python -m bench.drift [tenants ...]`, 100 and 1,000 when left out.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tenant_ops.datasets.structure import expected_structure, fingerprint, live_structure
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, provision
from tenant_ops.validation.drift import find_drift

TURNS = 3


def main(sizes: list[int]) -> None:
    """Grow a fleet to each size, and measure in turn."""
    with tempfile.TemporaryDirectory() as home:
        fleet = Fleet.open(Settings.load({"TENANT_OPS_HOME": str(Path(home) / "home")}))
        made = 0
        for size in sorted(sizes):
            for number in range(made, size):
                provision(fleet, f"tenant_{number:05}")
            made = size
            tenants = fleet.registry.all()
            find_drift(fleet, tenants[:1])  # the definitions are made once per process
            together: list[float] = []
            apart: list[float] = []
            for _ in range(TURNS):
                started = time.perf_counter()
                assert find_drift(fleet, tenants).as_defined == size
                together.append(time.perf_counter() - started)
                started = time.perf_counter()
                _one_by_one(fleet)
                apart.append(time.perf_counter() - started)
            one, other = median(together), median(apart)
            print(
                f"{size:,} tenants: {one:.2f} s in one query ({one / size * 1000:.2f} ms each), "
                f"{other:.2f} s one by one, {other / one:.1f}x"
            )
        fleet.close()


def _one_by_one(fleet: Fleet) -> None:
    for tenant in fleet.registry.all():
        with fleet.session(tenant, "owner") as connection:
            found = fingerprint(live_structure(connection, tenant.schema_name))
        assert found == fingerprint(expected_structure(fleet.database(tenant), fleet.catalog))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100, 1_000])
