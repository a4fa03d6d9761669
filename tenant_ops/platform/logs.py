"""Structured logs: who did what for which tenant in which run, secrets and personal data masked.

Here: one configuration for the project's own loggers and those of its libraries, and the context every line
carries. Not here: reports (stdout belongs to them), progress (`progress.py`), what a mask looks like
(`masking.py`), the audit trail (`audit/`).

Lines go to stderr: readable on a terminal, one JSON object each when piped.
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.types import Processor

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.masking import mask_named, mask_text

Format = Literal["auto", "console", "json"]
FORMATS: tuple[Format, ...] = ("auto", "console", "json")
LONGEST_TEXT = 10_000
_DEEPEST = 6
_MOST_ITEMS = 100
_OF_SEVERAL_LINES = {"exception", "stack"}
# A line break or an escape sequence inside a value must not be able to forge a line or steer a terminal.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) != "\t"}


def logger(name: str) -> Any:
    """A logger whose methods take an event and named values: `log.info("rows loaded", rows=12)`."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *_SHARED, _wrap],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def bind(**context: Any) -> AbstractContextManager[None]:
    """Give every line logged inside a `with` block these values, in this thread or task.

    They end with the block; blocks may be nested. A thread started inside starts without them.
    """
    return structlog.contextvars.bound_contextvars(**context)


def configure(
    format: Format | None = None,  # noqa: A002 - the word its callers and the environment use
    level: str | None = None,
    *,
    stream: TextIO | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Send the logs of this process, its libraries' included, to `stream`; may be called again.

    Args:
        format: `console` for people, `json` for machines, `auto` for what fits the stream;
            `TENANT_OPS_LOG_FORMAT` when None, `auto` when that is unset.
        level: Least level that is shown; `TENANT_OPS_LOG_LEVEL` when None, `info` when that is unset.
        stream: Where lines go; stderr when None.
        env: The process environment when None.

    Raises:
        InputError: format or level is unknown.
    """
    env = os.environ if env is None else env
    chosen = _known(format or env.get("TENANT_OPS_LOG_FORMAT"), FORMATS, "auto", "TENANT_OPS_LOG_FORMAT")
    levels = ("debug", "info", "warning", "error", "critical")
    least = _known(level or env.get("TENANT_OPS_LOG_LEVEL"), levels, "info", "TENANT_OPS_LOG_LEVEL")
    shown_on = stream or sys.stderr
    terminal = shown_on is not None and shown_on.isatty()  # a daemon may have no stderr
    handler = _Handler(stream)
    handler.setFormatter(_formatter(chosen, terminal=terminal))
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(least.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, _wrap],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Handler(logging.StreamHandler):
    """Writes to a stream, or to whatever stderr is at that moment: progress bars put themselves before it."""

    def __init__(self, stream: TextIO | None) -> None:
        logging.Handler.__init__(self)
        self._stream = stream

    @property
    def stream(self) -> TextIO | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where the next line goes."""
        return self._stream or sys.stderr


def _known(value: str | None, values: tuple[str, ...], default: str, name: str) -> str:
    chosen = (value or default).strip().lower()
    if chosen not in values:
        raise InputError(f"{value!r} is not known.", where=name, fix=f"Use one of {', '.join(values)}.")
    return chosen


def _formatter(chosen: str, *, terminal: bool) -> logging.Formatter:
    readable = chosen == "console" or (chosen == "auto" and terminal)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=terminal, pad_event_to=0)
        if readable
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Every value of a line, masked and cut to a bounded size."""
    for name, value in event.items():
        if not name.startswith("_"):  # structlog's own: the record and its origin
            several = name in _OF_SEVERAL_LINES
            event[name] = _masked(name, value, 0, lines=several)
    return event


def _masked(name: str, value: Any, depth: int, *, lines: bool = False) -> Any:
    value = mask_named(name, value)
    if isinstance(value, str):
        return _masked_text(value, lines=lines)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _DEEPEST and isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST_ITEMS]
        return {_masked_text(str(key)): _masked(str(key), item, depth + 1) for key, item in pairs}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_masked(name, item, depth + 1) for item in list(value)[:_MOST_ITEMS]]
    return _masked_text(str(value))


def _masked_text(text: str, *, lines: bool = False) -> str:
    cut = len(text) - LONGEST_TEXT
    if cut > 0:
        text = f"{text[:LONGEST_TEXT]}... ({cut} more characters)"
    keep = {code: sign for code, sign in _CONTROL.items() if chr(code) != "\n"} if lines else _CONTROL
    return mask_text(text).translate(keep)


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


_wrap = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    cast(Processor, _mask),
]
