"""What a database says that fails in the middle of a restore, as a sentence with the tenant's name.

Here: that. Not here: errors a step of a restore expects and names better itself (`loading.py`,
`statements.py`, `swapping.py`).
"""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from tenant_ops.platform.errors import OperationFailed, first_line


@contextmanager
def in_sentences(target: str) -> Generator[None]:
    """Errors of the server in this block name the tenant and tell what is left.

    Raises:
        OperationFailed: the server refused something, ended a session, or went away.
    """
    try:
        yield
    except psycopg.Error as error:
        raise OperationFailed(
            f"the restore was broken off by the database: {first_line(error)}.",
            where=f"tenant {target}",
            fix="Restore again: what this one left is cleared away, or finished if it had got to the end.",
        ) from error
