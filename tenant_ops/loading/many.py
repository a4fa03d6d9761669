"""One source into many tenants: read and parsed once, written to each, and no tenant minds another's failure.

Here: the tenants at once, and what became of each. Not here: loading one (`operation.py`), what they share
(`prepared.py`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from time import perf_counter

from tenant_ops.loading.operation import execute_load
from tenant_ops.loading.prepared import PreparedFiles
from tenant_ops.loading.reports import LoadPlan, LoadReport
from tenant_ops.platform.errors import first_line
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet

_PER_FILE = 2
"""Connections that one file of a load takes at most: to write, and to hold the tenant."""


@dataclass(frozen=True)
class LoadFailure:
    """A tenant whose load failed, and why; loading it again goes on where it was."""

    tenant: str
    reason: str


@dataclass(frozen=True)
class FleetLoadReport:
    """What became of many tenants' loads.

    Attributes:
        loads: The outcome of each, in the order of the plans.
        files_read: Files that were read and parsed, each for all who needed it.
        read: Rows read over all tenants.
        inserted: Rows inserted over all tenants.
        updated: Rows updated over all tenants.
        quarantined: Rows in quarantine over all tenants.
    """

    loads: tuple[LoadReport | LoadFailure, ...]
    files_read: int
    read: int
    inserted: int
    updated: int
    quarantined: int
    seconds: float

    @property
    def failures(self) -> tuple[LoadFailure, ...]:
        """The tenants that are not loaded."""
        return tuple(load for load in self.loads if isinstance(load, LoadFailure))


def load_many(
    fleet: Fleet,
    plans: Sequence[LoadPlan],
    *,
    threads: int = 4,
    prepared: PreparedFiles | None = None,
    progress: Progress = SILENT,
) -> FleetLoadReport:
    """Load a source into many tenants, several at once.

    What fails one tenant fails only that tenant. Together they take no more connections than the pool has:
    fewer tenants, then fewer files of each, are loaded at once when it is small.

    Args:
        fleet: The fleet.
        plans: One for each tenant, made by `plan_load` of the same source.
        threads: Tenants at once.
        prepared: Where files are read once; None reads the files of this call once, into the home's spool.
        progress: Told of each file, for every tenant.
    """
    started = perf_counter()
    if prepared is None:
        with PreparedFiles(fleet.settings.home / "spool") as own:
            return load_many(fleet, plans, threads=threads, prepared=own, progress=progress)
    most = max(1, fleet.control.pool_size // _PER_FILE)
    threads = max(1, min(threads, most, len(plans)))
    read_before = prepared.files_read

    def load(plan: LoadPlan) -> LoadReport | LoadFailure:
        files = max(1, min(plan.parallel_files, most // threads))
        try:
            return execute_load(
                fleet, replace(plan, parallel_files=files), progress=progress, prepared=prepared
            )
        except Exception as error:
            return LoadFailure(plan.tenant, str(error) or first_line(error))

    with ThreadPoolExecutor(threads, "tenant") as pool:
        loads = tuple(job.result() for job in [pool.submit(copy_context().run, load, plan) for plan in plans])
    done = [load for load in loads if isinstance(load, LoadReport)]
    return FleetLoadReport(
        loads=loads,
        files_read=prepared.files_read - read_before,
        read=sum(load.read for load in done),
        inserted=sum(load.inserted for load in done),
        updated=sum(load.updated for load in done),
        quarantined=sum(load.quarantined for load in done),
        seconds=round(perf_counter() - started, 4),
    )
