"""Running a job from the command line: in this process, on the same instance the UI shows.

Here: opening the instance, running, and collecting the reports the run stored. Not here: flags and tables
(`cli.py`), which jobs there are (`jobs.py`).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from tenant_ops.audit import StoredReport, reports_of_run
from tenant_ops.orchestration.batch import COMMAND_TAG
from tenant_ops.orchestration.location import build_defs
from tenant_ops.orchestration.partitions import partition_keys
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import Progress, voice
from tenant_ops.platform.settings import PACKAGE_ROOT
from tenant_ops.tenants import Fleet

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Launched:
    """A job that was run to its end.

    Attributes:
        run_ids: Its runs as the UI lists them: one for every hundred tenants or so.
        success: Whether all of them succeeded.
        reports: What they stored, in order.
        errors: Why steps failed, as sentences.
    """

    run_ids: tuple[str, ...]
    success: bool
    reports: tuple[StoredReport, ...]
    errors: tuple[str, ...]


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of `DAGSTER_HOME` when that is set, else the one of this checkout's `dagster.yaml`."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            yield instance
        return
    folder = PACKAGE_ROOT if (PACKAGE_ROOT / "dagster.yaml").is_file() else Path.cwd()
    if not (folder / "dagster.yaml").is_file():
        raise InputError(
            "there is no dagster.yaml here.",
            where=str(folder),
            fix="Set DAGSTER_HOME, or copy the project's.",
        )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def run_job(
    fleet: Fleet,
    job: str,
    *,
    tenants: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    assets: Sequence[Sequence[str]] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Launched:
    """Run a job to its end and return what it stored.

    Args:
        fleet: Where the tenants are and reports are stored.
        job: Name of the job.
        tenants: Whom it works on; empty for jobs whose configuration names them.
        config: Further run configuration.
        assets: Keys of the assets to run, when not all of the job's.
        command: The `tenant-ops` command to name in a retry hint.
        progress: Told how far the run is; a fitting voice for this terminal when None.
    """
    job_def = build_defs(fleet.catalog, progress=progress or voice()).resolve_job_def(job)
    tags = {COMMAND_TAG: command} if command else {}
    results: list[dg.ExecuteInProcessResult] = []
    with open_instance() as instance:
        for key in partition_keys(tenants) or [""]:
            result = job_def.execute_in_process(
                run_config={**QUIET, **(config or {})},
                instance=instance,
                tags=tags | ({"dagster/partition": key} if key else {}),
                asset_selection=None if assets is None else [dg.AssetKey(list(asset)) for asset in assets],
                raise_on_error=False,
            )
            results.append(result)
    run_ids = tuple(result.run_id for result in results)
    with fleet.control.transaction() as connection:
        reports = tuple(report for run_id in run_ids for report in reports_of_run(connection, run_id))
    return Launched(
        run_ids=run_ids,
        success=all(result.success for result in results),
        reports=reports,
        errors=tuple(error for result in results for error in _errors(result)),
    )


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        described = failure.user_failure_data.description if failure.user_failure_data else None
        if described:
            yield described
        elif failure.error:
            cause = failure.error.cause or failure.error
            yield cause.message.strip()
