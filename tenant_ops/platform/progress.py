"""How long operations tell how far they are.

Here: the `Progress` protocol and its voices: bars on a terminal, now and then a line when piped, several
at once, none.
Not here: logs (`logs.py`), reports (`reports.py`).

All speak on stderr, and may be told from several threads. Tasks of one name that run at the same time share a
bar: their totals add up, and the bar ends with the last of them.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text


class Progress(Protocol):
    """Told by a domain operation what it does; decides itself what to show."""

    def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
        """A task begins; `total` is its number of rows and `size` its bytes, None when unknown."""
        ...

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """`n` more rows and `bytes` more bytes are done; a task that was not started is ignored."""
        ...

    def finish(self, task: str) -> None:
        """The task is over, done or not."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
        """Nothing."""

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """Nothing."""

    def finish(self, task: str) -> None:
        """Nothing."""


SILENT: Progress = Silent()


class Chorus:
    """Tells several voices the same.

    Args:
        voices: Who is told, in this order.
    """

    def __init__(self, *voices: Progress) -> None:
        self._voices = voices

    def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
        """All of them start."""
        for each in self._voices:
            each.start(task, total, size=size)

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """All of them advance."""
        for each in self._voices:
            each.advance(task, n, bytes=bytes)

    def finish(self, task: str) -> None:
        """All of them finish."""
        for each in self._voices:
            each.finish(task)


def voice(stream: TextIO | None = None) -> Progress:
    """The voice that fits the stream (stderr when None): bars on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    if stream is None:  # a process started without one, such as a daemon
        return SILENT
    return Bars(stream) if stream.isatty() else lines(stream)


def lines(stream: TextIO) -> "Lines":
    """Lines written to a stream."""

    def say(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    return Lines(say)


@dataclass
class _Tally:
    """What is known of the tasks of one name."""

    began: float
    total: int | None
    size: int | None = None
    running: int = 1
    rows: int = 0
    bytes: int = 0
    shown: bool = False

    def join(self, total: int | None, size: int | None) -> None:
        """One more task of the name has started."""
        self.running += 1
        self.total = None if self.total is None or total is None else self.total + total
        self.size = None if self.size is None or size is None else self.size + size

    def text(self, now: float) -> str:
        """`120,000 of 1,000,000 rows (12 %), 45.0 MB, 30,000 rows/s, 29 s left`."""
        seconds = max(now - self.began, 1e-9)
        parts: list[str] = []
        if self.total:
            parts.append(f"{self.rows:,} of {self.total:,} rows ({100 * self.rows // self.total} %)")
        elif self.rows or not self.bytes:
            parts.append(f"{self.rows:,} rows")
        if self.bytes and self.size and not self.total:
            parts.append(f"{size(self.bytes)} of {size(self.size)} ({100 * self.bytes // self.size} %)")
        elif self.bytes:
            parts.append(size(self.bytes))
        rate = self.rows / seconds
        if self.rows:
            parts.append(f"{rate:,.0f} rows/s")
        elif self.bytes:
            parts.append(f"{size(int(self.bytes / seconds))}/s")
        if self.total and 0 < self.rows < self.total:
            parts.append(f"{duration((self.total - self.rows) / rate)} left")
        elif self.size and not self.total and 0 < self.bytes < self.size:
            parts.append(f"{duration((self.size - self.bytes) * seconds / self.bytes)} left")
        return ", ".join(parts)


class Lines:
    """Plain lines, at most one every few seconds; short tasks pass unmentioned.

    Args:
        say: Takes a line.
        every: Least seconds between two lines of progress.
        clock: Seconds that never go back.
    """

    def __init__(
        self, say: Callable[[str], None], every: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._every = every
        self._clock = clock
        self._last = clock()
        self._tallies: dict[str, _Tally] = {}
        self._lock = Lock()

    def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
        """Remember the task; nothing is said before it has taken a while."""
        with self._lock:
            if task in self._tallies:
                self._tallies[task].join(total, size)
            else:
                self._tallies[task] = _Tally(self._clock(), total, size)

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """Count, and say how far the task is when nothing was said for a while."""
        with self._lock:
            tally = self._tallies.get(task)
            if tally is None:
                return
            tally.rows += n
            tally.bytes += bytes
            now = self._clock()
            if now - self._last >= self._every:
                self._last = now
                tally.shown = True
                self._say(f"{task}: {tally.text(now)}")

    def finish(self, task: str) -> None:
        """Say what a task came to that was mentioned before or took long."""
        with self._lock:
            tally = self._tallies.get(task)
            if tally is None:
                return
            tally.running -= 1
            if tally.running:
                return
            del self._tallies[task]
            now = self._clock()
            if tally.shown or now - tally.began >= self._every:
                ended = _Tally(tally.began, None, rows=tally.rows, bytes=tally.bytes)
                self._say(f"{task}: {ended.text(now)}, {duration(now - tally.began)}")


class Bars:
    """Bars that are drawn while tasks run and gone when the last one is over.

    Args:
        stream: A terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._display: RichProgress | None = None
        self._tallies: dict[str, tuple[TaskID, _Tally]] = {}
        self._lock = Lock()

    def start(self, task: str, total: int | None = None, *, size: int | None = None) -> None:
        """Draw a bar, or make room in the one of that name."""
        with self._lock:
            if self._display is None:
                self._display = self._new_display()
                self._display.start()
            if task in self._tallies:
                number, tally = self._tallies[task]
                tally.join(total, size)
                self._display.update(number, total=tally.total or tally.size)
            else:
                tally = _Tally(time.monotonic(), total, size)
                number = self._display.add_task(task, total=total or size, tally=tally)
                self._tallies[task] = (number, tally)

    def advance(self, task: str, n: int = 0, *, bytes: int = 0) -> None:  # noqa: A002 - reads best
        """Move the bar on."""
        with self._lock:
            if task in self._tallies and self._display is not None:
                number, tally = self._tallies[task]
                tally.rows += n
                tally.bytes += bytes
                # A bar goes by rows where their number is known, else by bytes.
                step = n if tally.total or not tally.size else bytes
                self._display.update(number, advance=step, tally=tally)

    def finish(self, task: str) -> None:
        """Take the bar away; the display closes with the last."""
        with self._lock:
            if task not in self._tallies or self._display is None:
                return
            number, tally = self._tallies[task]
            tally.running -= 1
            if tally.running:
                return
            del self._tallies[task]
            self._display.remove_task(number)
            if not self._tallies:
                self._display.stop()
                self._display = None

    def _new_display(self) -> RichProgress:
        return RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Figures(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )


class _Figures(ProgressColumn):
    """Rows, bytes and rows per second of a bar."""

    def render(self, task: Task) -> Text:
        tally: _Tally = task.fields["tally"]
        parts = [f"{tally.rows:,}" + (f"/{tally.total:,}" if tally.total else "") + " rows"]
        if tally.bytes:
            parts.append(size(tally.bytes))
        if tally.rows:
            parts.append(f"{tally.rows / max(time.monotonic() - tally.began, 1e-9):,.0f}/s")
        return Text("  ".join(parts), style="progress.data.speed")


def size(number: int) -> str:
    """Bytes for people: `45.0 MB`, in powers of 1,000."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: `3.2 s`, `4 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
