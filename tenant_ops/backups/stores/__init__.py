"""Stores of backups: a local directory, or an object store, each with a folder per tenant.

`store.py` says what a store can do; `local.py` and `objects.py` are the two; `requests.py` speaks to object
stores. Not here: the files of a backup (`backups/containers/`), which there are (`backups/catalog.py`).
"""

from tenant_ops.backups.stores.local import LocalFolder, LocalStore
from tenant_ops.backups.stores.objects import ObjectFolder, ObjectStore
from tenant_ops.backups.stores.opening import absolute, container_at, open_store
from tenant_ops.backups.stores.store import Folder, Store, StoreFailed

__all__ = [
    "Folder",
    "LocalFolder",
    "LocalStore",
    "ObjectFolder",
    "ObjectStore",
    "Store",
    "StoreFailed",
    "absolute",
    "container_at",
    "open_store",
]
