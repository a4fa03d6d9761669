"""What assets and ops are handed: the fleet, and the options that hold for a whole run.

Here: resources and their run configuration. Not here: which tenants a run works on (`batch.py`).
https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from tenant_ops.datasets import Catalog
from tenant_ops.loading import ConflictStrategy
from tenant_ops.platform.progress import Progress
from tenant_ops.tenants import Fleet

FleetParam = dg.ResourceParam[Fleet]
ProgressParam = dg.ResourceParam[Progress]


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


class LoadOptions(dg.ConfigurableResource):
    """How a run loads fixtures. One place for every dataset of the run; the defaults suit a backfill."""

    source_path: str = Field(
        default="", description="Folder or file to load; empty: the shipped fixtures of the tenant's tier."
    )
    conflict: ConflictStrategy = Field(
        default=ConflictStrategy.OVERWRITE, description="What happens to a row that is there already."
    )
    batch_rows: int = Field(default=100_000, ge=100, description="Rows read, checked and written at a time.")
    max_bad_rows: int | None = Field(
        default=None, ge=0, description="More quarantined rows than this fail the dataset; nothing is merged."
    )
    force: bool = Field(default=False, description="Load files again whose bytes were loaded before.")

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of `plan_load`."""
        return {
            "source": Path(self.source_path).expanduser() if self.source_path else None,
            "conflict": self.conflict,
            "batch_rows": self.batch_rows,
            "max_bad_rows": self.max_bad_rows,
            "force": self.force,
        }
