"""How long operations tell how far they are.

Here: the `Progress` protocol and its three voices. Not here: logs (`logs.py`), reports (`reports.py`).
"""

from typing import Protocol


class Progress(Protocol):
    """Told by a domain operation what it does; decides itself what to show."""

    def start(self, task: str, total: int | None = None) -> None:
        """A task begins; `total` is its number of rows, None when unknown."""

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """`n` more rows and `bytes` more bytes are done."""

    def finish(self, task: str) -> None:
        """The task is over."""


class Silent:
    """Shows nothing."""

    def start(self, task: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """Nothing."""

    def finish(self, task: str) -> None:
        """Nothing."""


SILENT: Progress = Silent()
