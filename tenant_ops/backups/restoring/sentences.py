"""What a database says that fails in the middle of a restore: as a sentence, and without anybody's rows.

Here: that. Not here: errors a step of a restore expects and names better itself (`loading.py`,
`statements.py`, `swapping.py`).
"""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from tenant_ops.platform.errors import OperationFailed, first_line

_AGAIN = "Restore again: what this one left is cleared away, or finished if it got to its end."


@contextmanager
def in_sentences(target: str, what: str = "the restore", fix: str = _AGAIN) -> Generator[None]:
    """Errors of the server in this block name the tenant and tell what is left.

    Args:
        target: The tenant.
        what: What was being done.
        fix: What there is to do now.

    Raises:
        OperationFailed: the server refused something, ended a session, or went away.
    """
    with without_rows():
        try:
            yield
        except psycopg.Error as error:
            raise OperationFailed(
                f"{what} was broken off by the database: {first_line(error)}.",
                where=f"tenant {target}",
                fix=fix,
            ) from error


@contextmanager
def without_rows() -> Generator[None]:
    """Errors that leave this block do not repeat the rows they are about.

    Below its first line an error of Postgres holds the row (DETAIL) or the line of COPY text (CONTEXT), and a
    traceback in a log or in Dagster shows the errors a sentence was made from too.
    """
    try:
        yield
    except Exception as error:
        link: BaseException | None = error
        while link is not None:
            if isinstance(link, psycopg.Error):
                link.args = (first_line(link),)
            link = link.__cause__ or link.__context__
        raise
