"""Frozen dataclasses to JSON and back, strictly: the only way this package reads a JSON document.

Here: encoding and checked decoding. Not here: which records exist (`layout.py`).
Fields a newer writer added are ignored; a missing or mistyped field is refused by name.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tenant_ops.backups.crypto import DamagedBackup

T = TypeVar("T")


def encode(record: Any) -> bytes:
    """The record as compact JSON in ASCII; names with broken UTF-8 survive as escapes."""
    return json.dumps(asdict(record), separators=(",", ":"), ensure_ascii=True).encode()


def decode(kind: type[T], document: bytes, where: str) -> T:
    """The record a JSON document holds.

    Raises:
        DamagedBackup: it is no JSON, or a field, which is named, is missing or of another type.
    """
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        raise DamagedBackup("it is not a JSON document.", where=where) from None
    return checked(kind, value, where)


def checked(kind: Any, value: Any, where: str) -> Any:
    """A value out of a JSON document as what it should be; `where` names it when it is not."""
    if is_dataclass(kind):
        return _record(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else checked(_without_none(kind), value, where)
    if origin is Literal:
        if value in get_args(kind):
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(checked(get_args(kind)[0], item, f"{where}[{at}]") for at, item in enumerate(value))
    elif origin is dict:
        if isinstance(value, dict):
            return {name: checked(get_args(kind)[1], item, f"{where}.{name}") for name, item in value.items()}
    elif kind is Any or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
        return value
    raise DamagedBackup(f"this is not a {_named(kind)}.", where=where)


def _record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise DamagedBackup("this is not an object.", where=where)
    found = {}
    for name, hint, optional in _fields(kind):
        if name in value:
            found[name] = checked(hint, value[name], f"{where}.{name}")
        elif not optional:
            raise DamagedBackup("this field is missing.", where=f"{where}.{name}")
    return kind(**found)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], field.default is not MISSING or field.default_factory is not MISSING)
        for field in fields(kind)
    )


def _without_none(kind: Any) -> Any:
    kept = [choice for choice in get_args(kind) if choice is not type(None)]
    assert len(kept) == 1, f"only optional fields are unions here, not {kind}"
    return kept[0]


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
