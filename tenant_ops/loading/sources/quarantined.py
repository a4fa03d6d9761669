"""Quarantined rows as a source: the rows of one original file that are loaded again.

Here: reading them. Not here: which rows (`quarantine/replay.py`).
"""

import tempfile
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import orjson
import pyarrow as arrow

from tenant_ops.datasets import Dataset, Drift
from tenant_ops.loading.quarantine.replay import (
    SNAPSHOT,
    ReplayRow,
    enter_replayed,
    replayed_rows,
    snapshot_of,
)
from tenant_ops.loading.reports import SourceFile
from tenant_ops.loading.sources import ROWS_AS_OBJECTS, OpenSource
from tenant_ops.loading.sources.batch import Batch, find_invalid
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant

_IN_MEMORY = 8 << 20


@contextmanager
def open_quarantined(
    fleet: Fleet, tenant: Tenant, file: SourceFile, dataset: Dataset, *, batch_rows: int
) -> Iterator[OpenSource]:
    """The quarantined rows of one original file, in batches of at most `batch_rows`.

    They wait on disk while they are staged: a connection that stays open for them would be one more for every
    file. Which they are is written down first, so that merging takes just these out of quarantine.

    Raises:
        InputError: they are not what was planned, or the repaired file cannot be used.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        names = _spool(fleet, tenant, file, dataset, spool)
        spool.seek(0)
        batches = _batches(dataset, names, spool, min(batch_rows, ROWS_AS_OBJECTS))
        yield OpenSource(batches, spool.tell, "", Columns(dataset, file.name, Drift.IGNORE))


def _spool(fleet: Fleet, tenant: Tenant, file: SourceFile, dataset: Dataset, spool: IO[bytes]) -> set[str]:
    """Write the rows to disk, and return the columns that rows of the dataset have, by their source names."""
    ids, names, filled = array("q"), set[str](), False
    with (
        fleet.session(tenant, isolation=SNAPSHOT) as connection,
        replayed_rows(
            connection, tenant, fleet.catalog, dataset, Path(file.path) if file.path else None
        ) as rows_of,
    ):

        def kept() -> Iterator[ReplayRow]:
            nonlocal filled
            for row in rows_of(file.name):
                ids.append(row.id)
                names.update(orjson.loads(row.content))
                filled |= row.filled
                spool.write(row.written)
                yield row

        snapshot, _ = snapshot_of(kept())
        if filled:
            # What was text has the columns that other rows have, in whichever file.
            with closing(rows_of(None)) as rows:
                other = next((row for row in rows if not row.filled), None)
            names.update(orjson.loads(other.content) if other else ())
    if snapshot != file.sha256:
        raise InputError(
            "its quarantined rows changed after the load was planned.", where=file.name, fix="Replay again."
        )
    with fleet.session(tenant) as connection:
        enter_replayed(connection, tenant, snapshot, ids)
    return names


def _batches(dataset: Dataset, names: set[str], spool: IO[bytes], batch_rows: int) -> Iterator[Batch]:
    # A column that was added since may not be empty: then it is what is wrong with the row.
    sources = [name for name in dataset.reads if name in names or name in dataset.lacking(names)]
    while rows := [orjson.loads(text) for text in islice(spool, batch_rows)]:
        columns = {
            dataset.reads[name]: arrow.array([values.get(name) for _, values in rows], arrow.string())
            for name in sources
        }
        lines = arrow.array([line for line, _ in rows], arrow.int64())
        yield Batch(columns, lines, find_invalid(columns))
