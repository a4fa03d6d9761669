"""Object stores and web servers, by fsspec: which objects there are, and fetching one.

Here: listing, versions, trying again, errors as sentences. Not here: where fetched objects lie
(`loading/spool.py`), what is in them. Credentials are the environment's, as each store's driver finds them.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec.core import url_to_fs

from tenant_ops.loading.sources.urls import Location
from tenant_ops.loading.spool import Spool
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed

ATTEMPTS, FIRST_WAIT_S = 3, 0.5
"""How often a fetch is tried, and the wait before it is tried again; each further wait is twice as long."""

_VERSION_FIELDS = (
    "ETag", "etag", "VersionId", "version_id", "generation", "md5Hash", "content_settings", "Content-MD5",
    "Digest", "checksum", "LastModified", "last_modified", "Last-Modified", "mtime", "updated", "created",
)  # fmt: skip
_PATTERN, _WEB_PATTERN = re.compile(r"[*?\[]"), re.compile(r"\*")
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}


@dataclass(frozen=True)
class StoredObject:
    """One object.

    Attributes:
        inside: Its name below the folder or pattern it was found by.
        alone: Whether it was named itself, or by a pattern.
    """

    inside: PurePosixPath
    alone: bool
    _name: str
    _location: Location
    _store: Any

    def fetch(self, spool: Spool) -> Path:
        """Where its bytes lie on this machine; fetched when its version is not there yet.

        Raises:
            InputError: it is gone, or access to it is refused.
            OperationFailed: it could not be fetched whole, even when tried again.
        """
        where = f"{self._location.shown}, {self.inside}"
        with _in_sentences(self._location, where):
            info = self._store.info(self._name)
        version = [f"{field}={info[field]}" for field in _VERSION_FIELDS if info.get(field)]
        # What has no version may have changed since it was fetched.
        identity = "\n".join([str(self._store.protocol), self._name, *(version or [str(time.time_ns())])])

        def fetch(path: Path) -> None:
            for attempt in range(ATTEMPTS):
                try:
                    self._store.get_file(self._name, str(path))
                    _check_size(path, info.get("size"))
                    return
                except (FileNotFoundError, PermissionError):
                    raise
                except Exception:
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(FIRST_WAIT_S * 2**attempt)

        with _in_sentences(self._location, where):
            return spool.keep(identity, self.inside.name, fetch)


def list_objects(location: Location, endings: tuple[str, ...]) -> list[StoredObject]:
    """The objects a URL means: one, those below a folder, or those that match a pattern; in name order.

    Args:
        location: The URL.
        endings: What the names of data files end in.

    Raises:
        InputError: there is nothing, or access is refused.
        NotAvailable: the driver for such stores is not installed.
        OperationFailed: the store does not answer.
    """
    scheme = location.url.partition("://")[0]
    try:
        # A cached instance would go on with the listings and credentials it was made with.
        store, root = url_to_fs(location.url, skip_instance_cache=True)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        raise NotAvailable(
            f"{scheme}:// needs a package that is not installed: {error}.",
            where=location.shown,
            fix=f"pip install 'tenant-ops[{extra}]'." if extra else "Install it beside tenant-ops.",
        ) from error
    with _in_sentences(location, location.shown):
        web = scheme in {"http", "https"}
        pattern = _WEB_PATTERN if web else _PATTERN
        alone = bool(pattern.search(root))
        if alone:
            base = pattern.split(root)[0].rpartition("/")[0]
            matches = store.glob(root, detail=True).items()
            names = [
                name
                for name, info in matches
                if info["type"] == "file" and _plain(name, web).lower().endswith(endings)
            ]
        elif _plain(root, web).lower().endswith(endings) if web else store.info(root)["type"] == "file":
            return [
                StoredObject(
                    PurePosixPath(PurePosixPath(_plain(root, web)).name), True, root, location, store
                )
            ]
        else:
            base = root
            names = list(store.find(root))
    base = _plain(base, web)
    found = [(PurePosixPath(_plain(name, web)[len(base) :].strip("/")), name) for name in names]
    return [StoredObject(inside, alone, name, location, store) for inside, name in sorted(found)]


def _plain(name: str, web: bool) -> str:
    """A name as a path: that of a web address is without its query and its %XX."""
    return unquote(urlsplit(name).path) if web else name


def _check_size(path: Path, expected: int | None) -> None:
    if expected is not None and path.stat().st_size != expected:
        raise OSError(f"{path.stat().st_size} of {expected} bytes arrived")


@contextmanager
def _in_sentences(location: Location, where: str) -> Iterator[None]:
    """Errors of whichever driver it is as ours, without the secrets of the URL."""
    where = location.hide(where)
    try:
        yield
    except FileNotFoundError:
        raise InputError("there is nothing there.", where=where, fix="Look at the URL.") from None
    except PermissionError as error:
        raise InputError(
            f"the store refuses access: {location.hide(str(error))}.",
            where=where,
            fix="Give its driver credentials in the environment.",
        ) from None
    except ValueError as error:
        raise InputError(f"the URL cannot be used: {location.hide(str(error))}.", where=where) from None
    except Exception as error:
        reason = location.hide(str(error)) or type(error).__name__
        raise OperationFailed(
            f"the store does not answer as it should: {reason}.", where=where, fix="Try again later."
        ) from None
