"""How long operations tell how far they are."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenant_ops.platform.progress import SILENT, Bars, Chorus, Lines, Progress, duration, size, voice


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that stands still until told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO, clock: Clock) -> Lines:
    return Lines(lambda line: stream.write(f"{line}\n"), every=5, clock=clock)


def test_a_line_says_rows_bytes_rate_and_time_left(lines: Lines, stream: io.StringIO, clock: Clock):
    lines.start("users", 1_000_000)
    clock.now += 5
    lines.advance("users", 200_000, bytes=45_000_000)
    said = "users: 200,000 of 1,000,000 rows (20 %), 45.0 MB, 40,000 rows/s, 20 s left\n"
    assert stream.getvalue() == said


def test_time_left_goes_by_bytes_where_the_number_of_rows_is_unknown(
    lines: Lines, stream: io.StringIO, clock: Clock
):
    lines.start("users", size=100_000_000)
    clock.now += 5
    lines.advance("users", 200_000, bytes=25_000_000)
    said = "users: 200,000 rows, 25.0 MB of 100.0 MB (25 %), 40,000 rows/s, 15 s left\n"
    assert stream.getvalue() == said


def test_a_chorus_tells_every_voice(clock: Clock):
    first: list[str] = []
    second: list[str] = []
    told = Chorus(Lines(first.append, every=0, clock=clock), Lines(second.append, every=0, clock=clock))
    told.start("users", 10)
    clock.now += 1
    told.advance("users", 5)
    told.finish("users")
    assert first == second
    assert len(first) == 2


def test_lines_come_no_more_often_than_every_few_seconds(lines: Lines, stream: io.StringIO, clock: Clock):
    lines.start("a", None)
    lines.start("b", 1_000)
    for _ in range(200):
        clock.now += 0.1
        lines.advance("a", 1)
        lines.advance("b", 1)
    assert 3 <= len(stream.getvalue().splitlines()) <= 4


def test_a_short_task_passes_unmentioned_and_a_long_one_is_summed_up(
    lines: Lines, stream: io.StringIO, clock: Clock
):
    lines.start("short", 10)
    lines.advance("short", 10)
    lines.finish("short")
    assert stream.getvalue() == ""
    lines.start("long", 10)
    clock.now += 2
    lines.advance("long", 10)
    clock.now += 8
    lines.finish("long")
    assert stream.getvalue() == "long: 10 rows, 1 rows/s, 10 s\n"


def test_a_task_without_total_or_rows_can_be_followed(lines: Lines, stream: io.StringIO, clock: Clock):
    lines.start("pack", None)
    clock.now += 6
    lines.advance("pack", bytes=1_500)
    assert stream.getvalue() == "pack: 1.5 kB, 250 B/s\n"


def test_tasks_of_one_name_end_with_the_last(lines: Lines, stream: io.StringIO, clock: Clock):
    lines.start("users", 50)
    lines.start("users", 50)
    clock.now += 6
    lines.advance("users", 25)
    lines.finish("users")
    lines.advance("users", 75)
    lines.finish("users")
    assert stream.getvalue().splitlines()[0].startswith("users: 25 of 100 rows (25 %)")
    assert stream.getvalue().splitlines()[1].startswith("users: 100 rows")


@pytest.mark.parametrize("make", [lambda: Lines([].append), lambda: Bars(Terminal()), lambda: SILENT])
def test_being_told_of_an_unknown_task_does_no_harm(make):
    progress: Progress = make()
    progress.advance("nobody", 1, bytes=1)
    progress.finish("nobody")


@pytest.mark.parametrize("make", [lambda: Lines([].append, every=0), lambda: Bars(Terminal())])
def test_many_threads_may_tell_at_once(make):
    progress: Progress = make()

    def work(number: int) -> None:
        task = f"task {number % 3}"
        progress.start(task, 100)
        for _ in range(100):
            progress.advance(task, 1, bytes=10)
        progress.finish(task)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))


def test_bars_are_drawn_and_leave_nothing_behind():
    terminal = Terminal()
    bars = Bars(terminal)
    bars.start("[users]", 2_000)
    bars.advance("[users]", 1_000, bytes=5_000)
    bars.start("[users]", 2_000)
    deadline = time.monotonic() + 5
    while "1,000/4,000 rows" not in terminal.getvalue() and time.monotonic() < deadline:
        time.sleep(0.02)  # bars are drawn by a thread of their own
    bars.finish("[users]")
    bars.finish("[users]")
    drawn = terminal.getvalue()
    assert "[users]" in drawn
    assert "1,000/4,000 rows" in drawn
    assert "5.0 kB" in drawn
    assert "\x1b[2K" in drawn.rpartition("rows")[2]  # the last bar's line is wiped
    bars.start("again", 1)
    bars.finish("again")
    assert "again" in terminal.getvalue()


def test_the_voice_fits_the_stream():
    assert isinstance(voice(Terminal()), Bars)
    assert isinstance(voice(io.StringIO()), Lines)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2 * 10**12, "2.0 TB")]
)
def test_sizes_are_for_people(number: int, text: str):
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (42, "42 s"), (245, "4 min 05 s"), (7_800, "2 h 10 min")]
)
def test_durations_are_for_people(seconds: float, text: str):
    assert duration(seconds) == text
