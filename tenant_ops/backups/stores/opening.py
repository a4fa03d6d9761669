"""From a path or URL to the store there.

Here: telling them apart, refusing secrets in URLs, drivers. Not here: what stores do (`local.py`,
`objects.py`). Credentials and other options are the environment's, as each driver finds them.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from tenant_ops.backups.containers import Container, container_of
from tenant_ops.backups.stores.local import LocalFolder, LocalStore
from tenant_ops.backups.stores.objects import ObjectFolder, ObjectStore
from tenant_ops.backups.stores.requests import PATIENCE, Requests
from tenant_ops.backups.stores.store import Store
from tenant_ops.platform.errors import InputError, NotAvailable
from tenant_ops.platform.locations import secrets_in

_EXTRAS = {"s3": "s3", "s3a": "s3"}
_SETTINGS = ("AWS_", "FSSPEC_", "S3_", "GOOGLE_", "AZURE_")


def absolute(where: str) -> str:
    """A path made absolute, a URL without a slash at its end: the same store is always named the same.

    Raises:
        InputError: the URL holds a secret, and would be stored in plans and the catalog.
    """
    scheme, colon, rest = where.partition("://")
    if not colon:
        return str(Path(where).expanduser().resolve())
    if secrets_in(where):
        raise InputError(
            "the URL of the store holds a password or another secret, and would be stored with the backup.",
            where=f"{scheme}://...",
            fix="Give it to the driver in the environment, for instance AWS_SECRET_ACCESS_KEY.",
        )
    if scheme in ("file", "local"):
        return str(Path(rest).resolve())
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def open_store(where: str, spool: Path) -> Store:
    """The store at a path or URL; nothing is asked of it yet.

    Args:
        where: A local directory, or the URL of an object store's bucket or prefix.
        spool: Local folder for what is on its way to an object store.

    Raises:
        InputError: the URL is of no known kind or holds a secret.
        NotAvailable: the driver of such stores is not installed.
    """
    where = absolute(where)
    if "://" not in where:
        return LocalStore(Path(where))
    # Apart from those of other stores: leftovers are looked for in the store they were meant for.
    apart = spool / hashlib.sha256(where.encode()).hexdigest()[:12]
    return ObjectStore(where, requests_to(where), apart)


def container_at(where: str) -> Container:
    """The backup a path or URL names: a folder, or a file that ends like a packed one; it need not exist."""
    where = absolute(where)
    if "://" not in where:
        path = Path(where)
        return container_of(LocalFolder(path.parent), path.name)
    folder, _, name = where.rpartition("/")
    store, _, tenant_id = folder.rpartition("/")
    if store.endswith("/"):  # right below a bucket
        raise InputError("this is no backup in a store.", where=where, fix="Name it: s3://bucket/tenant/id.")
    return container_of(ObjectFolder(store, tenant_id, requests_to(store), Path(os.devnull)), name)


def requests_to(url: str) -> Requests:
    """Requests to an object store.

    Raises:
        InputError: there are no such stores.
        NotAvailable: their driver is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in fsspec.available_protocols():
        raise InputError(
            f"no store is reached by {scheme}://.", where=url, fix="Give a directory, or for instance s3://."
        )
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS)))
    try:
        store, root = _driver(url, settings, os.getpid())
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        raise NotAvailable(
            f"{scheme}:// needs a package that is not installed: {error}.",
            where=url,
            fix=f"pip install 'tenant-ops[{extra}]'." if extra else "Install it beside tenant-ops.",
        ) from error
    except ValueError as error:
        raise InputError(f"the URL cannot be used: {error}.", where=url) from None
    return Requests(url, root.rstrip("/"), PATIENCE, store)


@lru_cache(maxsize=8)
def _driver(url: str, _settings: tuple[tuple[str, str], ...], _process: int) -> tuple[Any, str]:
    """A driver that caches no listings, kept as long as the environment that told its credentials.

    To make one takes 0.1 s, most of it spent reading the description of S3.
    """
    return url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
