"""Reports as JSON: the one way a frozen report leaves Python.

Here: the conversion. Not here: tables and metadata made from it (`cli.py`, `orchestration/metadata.py`).
"""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import FunctionType
from typing import Any
from uuid import UUID

import orjson


def as_document(report: Any) -> Any:
    """A report (or plan) as plain JSON values; keys stay in declaration order."""
    return orjson.loads(dumps(report))


def dumps(value: Any) -> bytes:
    """JSON bytes of anything a report may hold."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    match value:
        case UUID() | PurePath() | Decimal():
            return str(value)
        case datetime() | date():
            return value.isoformat()
        case Enum():
            return value.value
        case bytes():
            return value.hex()
        case set() | frozenset():
            return sorted(value)
        case FunctionType():
            return f"{value.__module__}.{value.__qualname__}"
        case _:
            raise TypeError(f"{type(value).__name__} does not belong in a report")
