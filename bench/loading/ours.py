"""Loads by this project, as functions a process of their own can run."""

from collections.abc import Sequence
from pathlib import Path

from bench.loading.files import DATASET
from tenant_ops.loading import LoadPlan, execute_load, load_many, plan_load
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet


def load(settings: Settings, slug: str, source: Path, *, force: bool = False, parallel_files: int = 1) -> int:
    """Plan and execute; returns how many rows were inserted or changed."""
    fleet = Fleet.open(settings)
    plan = _plan(fleet, slug, source, force=force, parallel_files=parallel_files)
    report = execute_load(fleet, plan)
    assert report.quarantined == 0
    fleet.close()
    return report.inserted + report.updated


def load_each(settings: Settings, slugs: Sequence[str], source: Path) -> int:
    """One tenant after the other, each reading the source for itself."""
    fleet = Fleet.open(settings)
    reports = [execute_load(fleet, _plan(fleet, slug, source)) for slug in slugs]
    fleet.close()
    return sum(report.inserted for report in reports)


def load_together(settings: Settings, slugs: Sequence[str], source: Path, threads: int) -> int:
    """So many tenants at once, the source read once for all of them."""
    fleet = Fleet.open(settings)
    report = load_many(fleet, [_plan(fleet, slug, source) for slug in slugs], threads=threads)
    assert report.files_read == 1 and not report.failures, report.failures
    fleet.close()
    return report.inserted


def _plan(fleet: Fleet, slug: str, source: Path, *, force: bool = False, parallel_files: int = 1) -> LoadPlan:
    return plan_load(
        fleet,
        fleet.registry.get(slug),
        datasets=[DATASET],
        source=source,
        force=force,
        parallel_files=parallel_files,
    )
