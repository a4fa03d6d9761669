"""What Postgres answers when it will not go on, as sentences without anybody's data in them.

Here: the translation. Not here: which rows are bad, which is found before Postgres sees them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tenant_ops.datasets import Dataset
from tenant_ops.platform.errors import OperationFailed, first_line
from tenant_ops.platform.masking import mask_text
from tenant_ops.tenants import Tenant


@contextmanager
def in_sentences(tenant: Tenant, dataset: Dataset | None = None) -> Iterator[None]:
    """Turn an error of the database inside it into `OperationFailed`; the transaction was rolled back.

    The details Postgres gives hold the refused row's values, so they are left out.
    """
    where = f"tenant {tenant.slug}" + (f", dataset {dataset.name}" if dataset else "")
    try:
        yield
    except psycopg.IntegrityError as error:
        raise OperationFailed(
            f"the live table refused a row by its constraint {error.diag.constraint_name}; "
            "nothing was merged.",
            where=where,
            fix="Merge again; if it stays, load with validation to find the rows.",
        ) from error
    except psycopg.DataError as error:
        _, found, rest = (error.diag.context or "").rpartition("column ")
        column = rest.partition(":")[0] if found else "unknown"
        raise OperationFailed(
            f"Postgres refused a value of column {column} that the checks accept; nothing was staged.",
            where=where,
        ) from error
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        raise OperationFailed(
            f"the live table is not as the dataset is defined: {error.diag.message_primary}.",
            where=where,
            fix="Migrate the tenant to the version of its datasets.",
        ) from error
    except psycopg.errors.DiskFull as error:
        raise OperationFailed(
            f"the server's disk is full: {mask_text(first_line(error))}.",
            where=where,
            fix="Make room there and load again; it goes on with the chunk or dataset it was at.",
        ) from error
    except psycopg.OperationalError as error:
        raise OperationFailed(
            f"Postgres did not go on: {mask_text(first_line(error))}.",
            where=where,
            fix="Load again when the cause is gone; it goes on with the chunk or dataset it was at.",
        ) from error
