"""What a log line looks like, and what it never shows."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from tenant_ops.platform import logs
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.progress import Bars


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("json", "debug", stream=stream, env={})
    return stream


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_its_event_level_time_and_values(stream: io.StringIO):
    logs.logger("tenant_ops.loading").info("rows loaded", dataset="users", rows=12)
    (line,) = lines(stream)
    assert line["event"] == "rows loaded"
    assert (line["dataset"], line["rows"], line["level"]) == ("users", 12, "info")
    assert line["logger"] == "tenant_ops.loading"
    assert line["timestamp"].endswith("Z")


def test_tenant_and_run_are_on_every_line_of_their_block_and_on_no_other(stream: io.StringIO):
    log = logs.logger("x")
    with logs.bind(tenant="acme", run_id="r1"):
        with logs.bind(tenant="globex"):
            log.info("inner")
        logging.getLogger("a.library").warning("outer")
    log.info("after")
    inner, outer, after = lines(stream)
    assert (inner["tenant"], inner["run_id"]) == ("globex", "r1")
    assert (outer["tenant"], outer["run_id"]) == ("acme", "r1")
    assert "tenant" not in after


def test_tenants_in_parallel_threads_do_not_mix(stream: io.StringIO):
    log = logs.logger("x")

    def work(number: int) -> None:
        with logs.bind(tenant=f"t{number}"):
            for _ in range(20):
                log.info("step", expected=f"t{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert len(lines(stream)) == 320
    assert all(line["tenant"] == line["expected"] for line in lines(stream))


def test_secrets_and_personal_data_are_masked_wherever_they_stand(stream: io.StringIO):
    logs.logger("x").warning(
        "cannot reach postgresql://app:hunter2@db/x for ana@example.com",
        password="hunter2",
        admin_email="ana@example.com",
        nested={"api_key": "hunter2", "peers": ["203.0.113.9", {"token": "hunter2"}]},
        bytes_like=b"password=hunter2",
    )
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "ana@" not in text
    assert "203.0.113.9" not in text
    assert lines(stream)[0]["nested"]["peers"][0] == "203.0.113.x"


def test_a_librarys_lines_and_tracebacks_are_masked_too(stream: io.StringIO):
    try:
        raise ValueError("no route to postgresql://app:hunter2@db/x")
    except ValueError:
        logging.getLogger("a.library").exception(
            "mail to %s failed", "ana@example.com", extra={"pwd": "hunter2"}
        )
        logs.logger("x").exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert "ana@" not in stream.getvalue()
    for line in lines(stream):
        assert "ValueError: no route to postgresql://app:***@db/x" in line["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_can_neither_forge_a_line_nor_steer_a_terminal(form: logs.Format):
    stream = Terminal()
    logs.configure(form, "info", stream=stream, env={})
    logs.logger("x").info("loaded\nERROR forged", file="a\x1b[2J\r\nb", bell="\x07\x9b")
    assert len(stream.getvalue().splitlines()) == 1
    for forbidden in ("\x1b[2J", "\r", "\x07", "\x9b"):
        assert forbidden not in stream.getvalue()


def test_what_is_logged_is_bounded(stream: io.StringIO):
    endless: dict = {}
    endless["again"] = endless
    logs.logger("x").info("big", text="x" * 1_000_000, many=list(range(10_000)), endless=endless)
    assert len(stream.getvalue()) < 50_000


def test_people_get_text_and_pipes_get_json():
    for stream, is_json in ((Terminal(), False), (io.StringIO(), True)):
        logs.configure(stream=stream, env={})
        logs.logger("x").info("hello", rows=1)
        assert stream.getvalue().startswith("{") is is_json


def test_the_environment_chooses_format_and_level():
    stream = Terminal()
    logs.configure(stream=stream, env={"TENANT_OPS_LOG_FORMAT": "JSON", "TENANT_OPS_LOG_LEVEL": "warning"})
    logs.logger("x").info("not shown")
    logs.logger("x").warning("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


@pytest.mark.parametrize("variable", ["TENANT_OPS_LOG_FORMAT", "TENANT_OPS_LOG_LEVEL"])
def test_a_wrong_setting_is_named(variable: str):
    with pytest.raises(InputError, match=f"{variable}: 'xml' is not known"):
        logs.configure(env={variable: "xml"})


def test_a_line_logged_while_a_bar_is_drawn_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure(env={})
    bars = Bars(terminal)
    bars.start("users", 10)
    logs.logger("x").info("hello")
    bars.finish("users")
    (line,) = [line for line in re.split(r"[\r\n]", terminal.getvalue()) if "hello" in line]
    assert re.match(r"(\x1b\[[\d;?]*\w)*\d{4}-\d\d-\d\d", line), "starts with its time, not with a bar"


def test_configuring_again_does_not_repeat_lines():
    first, second = io.StringIO(), io.StringIO()
    logs.configure("json", stream=first, env={})
    logs.configure("json", stream=second, env={})
    logs.logger("x").info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_stdout_stays_free_for_reports():
    script = (
        "from tenant_ops.platform import logs; import structlog, logging\n"
        "logs.configure(); logs.logger('x').info('a'); structlog.get_logger().info('b'); logging.info('c')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["a", "b", "c"]
