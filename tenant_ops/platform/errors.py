"""The errors every layer raises, and the exit code each one means.

Here: the few classes the command line, Dagster and the Python API all understand.
Not here: how they are shown (`cli.py`, `orchestration/`).
"""


class TenantOpsError(Exception):
    """Something the operator should read as a sentence, never as a stack trace.

    Args:
        problem: What is wrong, in one sentence.
        fix: What to do about it, in one sentence.
        where: The file, line, column, tenant or setting it concerns.
    """

    exit_code = 1

    def __init__(self, problem: str, *, fix: str = "", where: str = "") -> None:
        self.problem = problem
        self.fix = fix
        self.where = where
        super().__init__(problem, fix, where)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" {self.fix}" if self.fix else ""
        return f"{place}{self.problem}{remedy}"


class InputError(TenantOpsError):
    """The input cannot be used; nothing was written (exit code 2)."""

    exit_code = 2


class UnknownTenant(InputError):
    """The named tenant is not in the registry (exit code 2)."""


class OperationFailed(TenantOpsError):
    """The operation was understood, tried, and failed; what it began was undone (exit code 1)."""


class TenantBusy(OperationFailed):
    """Another operation holds this tenant; try again when it has finished (exit code 1)."""


class NotAvailable(TenantOpsError):
    """A feature cannot work in this environment, for the reason given (exit code 1)."""


def first_line(error: BaseException) -> str:
    """What an error says in its first line: the sentence of a Postgres error; its class when it is silent."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
