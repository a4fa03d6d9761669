"""What assets and ops are handed: the fleet, and the options that hold for a whole run.

Here: resources and their run configuration. Not here: which tenants a run works on (`batch.py`).
https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from tenant_ops.datasets import Catalog, ConflictStrategy, Drift, Mode
from tenant_ops.loading import PreparedFiles, Reading
from tenant_ops.orchestration.batch import tenants_of
from tenant_ops.platform.progress import Chorus, Lines, Progress
from tenant_ops.tenants import Fleet

FleetParam = dg.ResourceParam[Fleet]
ProgressParam = dg.ResourceParam[Progress]
PreparedParam = dg.ResourceParam[PreparedFiles]


def fleet_resource(catalog: Catalog, open_fleet: Callable[[Catalog], Fleet]) -> dg.ResourceDefinition:
    """The fleet of a run: opened when the run starts, closed when it ends."""

    @dg.resource(description="The control plane and the servers the tenants live on.")
    def fleet(_context: dg.InitResourceContext) -> Iterator[Fleet]:
        opened = open_fleet(catalog)
        try:
            yield opened
        finally:
            opened.close()

    return fleet


@dg.resource(
    required_resource_keys={"fleet"}, description="Files that tenants of a run share, read and checked once."
)
def prepared_files(context: dg.InitResourceContext) -> Iterator[PreparedFiles]:
    """A spool for the files of a run, gone when it ends."""
    with PreparedFiles(context.resources.fleet.settings.home / "spool") as prepared:
        yield prepared


def shared(context: dg.AssetExecutionContext, prepared: PreparedFiles) -> PreparedFiles | None:
    """The spool when several tenants are there to share it: one alone is faster without."""
    return prepared if len(tenants_of(context)) > 1 else None


class LoadOptions(dg.ConfigurableResource):
    """How a run loads fixtures. One place for every dataset of the run; the defaults suit a backfill."""

    source_path: str = Field(
        default="",
        description="What to load: a folder, file, zip or pattern; s3://... or another object store; a "
        "database URL, or env:NAME for one kept in an environment variable. Empty: the shipped fixtures of "
        "the tenant's tier.",
    )
    mode: Mode = Field(default=Mode.BATCH, description="What the rows are to the rows that are there.")
    conflict: ConflictStrategy | None = Field(
        default=None, description="What happens to a row that is there; unset: as each dataset says."
    )
    newest_by: str | None = Field(default=None, description="Which row is newer, for conflict NEWEST.")
    incremental_by: str | None = Field(
        default=None, description="How far an INCREMENTAL load has come; unset: files by content."
    )
    drift: Drift | None = Field(
        default=None, description="What happens to columns no dataset has; unset: as each dataset says."
    )
    query: str | None = Field(default=None, description="SQL to read from a database, for one dataset.")
    encoding: str = Field(default="auto", description="auto, detect, or the name of an encoding.")
    delimiter: str | None = Field(default=None, description="Between values of CSV; unset: found.")
    source_version: str | None = Field(
        default=None, description="Version the files were written for; older ones are brought up."
    )
    batch_rows: int = Field(default=100_000, ge=1, description="Rows read, checked and committed at a time.")
    parallel_files: int = Field(default=1, ge=1, le=16, description="Files of a dataset read at once.")
    max_bad_rows: int | None = Field(
        default=None, ge=0, description="More bad rows than this fail the dataset; nothing is merged."
    )
    max_bad_pct: float | None = Field(
        default=None, ge=0, le=100, description="The same in percent of the rows read."
    )
    replay_quarantine: bool = Field(
        default=False, description="Load the rows in quarantine again, or as repaired at source_path."
    )
    force: bool = Field(default=False, description="Load files again whose bytes were loaded before.")

    def arguments(self, context: dg.AssetExecutionContext) -> dict[str, Any]:
        """The options as arguments of `plan_load`, for a step of a run."""
        return {
            "source": self.source_path or None,
            "mode": self.mode,
            "conflict": self.conflict,
            "newest_by": self.newest_by,
            "incremental_by": self.incremental_by,
            "drift": self.drift,
            # Both steps of a dataset see a database as it was when the first of them read it.
            "reading": Reading(self.encoding, self.delimiter, self.query, snapshot=context.run.run_id),
            "source_version": self.source_version,
            "batch_rows": self.batch_rows,
            "parallel_files": self.parallel_files,
            "max_bad_rows": self.max_bad_rows,
            "max_bad_pct": self.max_bad_pct,
            "replay": self.replay_quarantine,
            "force": self.force,
            "together": [
                key.path[-1]
                for key in context.job_def.asset_layer.selected_asset_keys
                if key.path[0] == "datasets"
            ],
        }


def logged(context: dg.AssetExecutionContext, progress: Progress) -> Progress:
    """Progress that is also told in the run's log, where the UI shows it: a line every few seconds."""
    return Chorus(progress, Lines(context.log.info))


def _selected(context: dg.AssetExecutionContext) -> set[dg.AssetKey]:
    """The assets of the whole run, not of this step alone."""
    return set(context.job_def.asset_layer.selected_asset_keys)
