"""The small files that hold wrapped keys: beside a tenant's backups, and in each of them.

Here: everything about keys that touches a store, and which stores a tenant has backups in. Not here: what is
in the files (`layout.py`), which key is used (`keys.py`), rotating (`rotating.py`), stores (`stores/`).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tenant_ops.backups import records
from tenant_ops.backups.containers import KEY_SUFFIX, Container, read_small
from tenant_ops.backups.layout import KEY_BLOCK, KEYS_FOLDER, KeyBlock, TenantKeyFile
from tenant_ops.backups.stores import Folder, Store, absolute, open_store
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet

# A file `x.json` is written as `.x.json.<random>` beside it, then renamed.
_DRAFT = re.compile(r"(?:^|/)\.[^/]*\.json\.[0-9a-f]+$")


@dataclass(frozen=True)
class KeyFolder:
    """The folder of one tenant in one store, as far as keys go; its methods raise what the store does."""

    folder: Folder

    @property
    def where(self) -> str:
        """Its path or URL, for people."""
        return self.folder.where

    @property
    def store(self) -> str:
        """The store it lies in."""
        return self.folder.store

    def tenant_key_ids(self) -> tuple[str, ...]:
        """The keys of the tenant that lie beside its backups."""
        names = (name for name in self.folder.names(KEYS_FOLDER) if name.endswith(".json"))
        return tuple(sorted(name.removesuffix(".json") for name in names if not name.startswith(".")))

    def tenant_key(self, key_id: str) -> TenantKeyFile | None:
        """One of them, still wrapped; None when it is not there."""
        name = self._name(key_id)
        document = read_small(self.folder, name)
        return None if document is None else records.decode(TenantKeyFile, document, self.folder.at(name))

    def put_tenant_key(self, record: TenantKeyFile) -> None:
        """Store one, in the place of what was there under its id."""
        self.folder.put(self._name(record.tenant_key_id), records.encode(record))

    def drop_tenant_key(self, key_id: str) -> bool:
        """Remove one; False when it was not there."""
        return self.folder.delete(self._name(key_id))

    def sweep(self) -> int:
        """Remove what killed writers of such files left, which holds keys too; how many files.

        Only for a caller that holds the tenant's lock: what is being written looks the same.
        """
        drafts = [name for name in self.folder.names("") if _DRAFT.search(name)]
        return sum(self.folder.delete(name) for name in drafts)

    def backups(self) -> tuple[Container, ...]:
        """Every complete backup in the folder, in whatever format."""
        return tuple(self.folder.container(backup_id) for backup_id in self.folder.backups())

    def put_key_block(self, container: Container, block: KeyBlock) -> None:
        """Let a backup of this folder be opened with another key block: in it, or beside a packed one."""
        loose = container.format == "dir"
        name = f"{block.backup_id}/{KEY_BLOCK}" if loose else f"{block.backup_id}{KEY_SUFFIX}"
        self.folder.put(name, records.encode(block))

    def _name(self, key_id: str) -> str:
        try:
            UUID(key_id)  # it becomes part of a path, and was read from a file
        except ValueError:
            raise InputError(f"{key_id!r} is no id of a key.", where=self.where) from None
        return f"{KEYS_FOLDER}/{key_id}.json"


def key_folders(fleet: Fleet, tenant_id: UUID | str) -> tuple[KeyFolder, ...]:
    """The tenant's folder in every store there is."""
    return tuple(KeyFolder(store.folder(str(tenant_id))) for store in known_stores(fleet))


def known_stores(fleet: Fleet) -> tuple[Store, ...]:
    """Every store the catalog knows of, the configured one and the one for when that fails.

    Local ones that were never written to are left out.
    """
    with fleet.control.transaction() as connection:
        used = [row[0] for row in connection.execute("SELECT DISTINCT store FROM tenant_ops.backup")]
    configured = [fleet.settings.backup_path, fleet.settings.backup_fallback_path]
    known = used + [where for path in configured if path and is_there(where := absolute(path))]
    spool = fleet.settings.home / "backup-spool"
    return tuple(open_store(where, spool) for where in sorted(set(known)))


def is_there(store: str) -> bool:
    """Whether a store can be asked; of one that is not local only asking shows."""
    return "://" in store or Path(store).is_dir()
