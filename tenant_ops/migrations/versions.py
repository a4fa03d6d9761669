"""Versions of a tenant's schema: `1.10.0` comes after `1.9.2`.

Here: parsing and order. Not here: which versions there are (`releases.py`).
"""

import re
from functools import cache

from tenant_ops.platform.errors import InputError

_PATTERN = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


@cache
def order(version: str, where: str = "version") -> tuple[int, int, int]:
    """The three numbers of a version, by which versions are sorted.

    Raises:
        InputError: it is not three numbers with dots (https://semver.org without pre-releases).
    """
    match = _PATTERN.fullmatch(version)
    if match is None:
        raise InputError(f"{version!r} is not a version.", where=where, fix="Write it as 1.2.0.")
    return int(match[1]), int(match[2]), int(match[3])
