"""Sources that are named by a URL: what kind they are, where the URL is kept, and what must not be in it.

Here: telling databases from object stores, `env:NAME`, and refusing or hiding passwords. Not here: opening
either (`databases.py`, `stores.py`).

Plans and run configurations are stored and shown, so a secret may be in neither: it stands in an environment
variable, and they name that.
"""

import os
import re
from dataclasses import dataclass
from typing import Literal

import fsspec
from sqlalchemy.dialects import registry
from sqlalchemy.exc import NoSuchModuleError

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.locations import hide_secrets, secrets_in

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Location:
    """A source's URL.

    Attributes:
        shown: The URL without secrets, or `env:NAME`: what may be stored and printed.
        url: The URL itself.
        kind: Which of the two it is.
    """

    shown: str
    url: str
    kind: Literal["database", "store"]

    def hide(self, text: str) -> str:
        """The text without the secrets of the URL, however they are spelled in it."""
        return hide_secrets(self.url, text)


def is_location(source: str) -> bool:
    """Whether a source is named by a URL or `env:NAME`, and not by a path."""
    return bool(_SCHEME.match(source) or _VARIABLE.fullmatch(source))


def locate(source: str) -> Location:
    """The URL a source is named by.

    Raises:
        InputError: the variable is not set, the URL is of no known kind, or holds a secret.
    """
    variable = _VARIABLE.fullmatch(source)
    url = os.environ.get(variable[1], "") if variable else source
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise InputError(
            "the environment variable does not hold a URL."
            if url
            else "the environment variable is not set.",
            where=source,
            fix="Put the URL of a database or an object store in it.",
        )
    location = Location(source if variable else url, url, _kind(scheme[1].lower(), source))
    if not variable and secrets_in(url):
        raise InputError(
            "the URL holds a password or another secret, and would be stored with the plan.",
            where=f"{scheme[0]}...",
            fix="Put it in an environment variable and name it: env:NAME.",
        )
    return location


def _kind(scheme: str, source: str) -> Literal["database", "store"]:
    dialect = scheme.partition("+")[0]
    if dialect == "postgres":
        return "database"
    try:
        registry.load(dialect)
    except NoSuchModuleError:
        if scheme in fsspec.available_protocols():
            return "store"
    else:
        return "database"
    raise InputError(
        f"no driver for {scheme}:// is installed.",
        where=source if source.startswith("env:") else f"{scheme}://",
        fix="Databases need their SQLAlchemy dialect, object stores their fsspec driver.",
    )
