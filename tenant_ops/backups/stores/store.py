"""What a store of backups can do.

Here: the protocols and their error. Not here: any store (`local.py`, `objects.py`), what a backup is
(`backups/layout.py`).
"""

from pathlib import Path
from typing import Protocol

from tenant_ops.backups.containers import Container, Files, Format
from tenant_ops.platform.errors import OperationFailed


class StoreFailed(OperationFailed):
    """A store did not do what it was asked, even when it was asked again (exit code 1)."""


class Folder(Files, Protocol):
    """The backups of one tenant in a store, and the small files beside them."""

    @property
    def where(self) -> str:
        """The path or URL of the folder, for people."""
        ...

    @property
    def store(self) -> str:
        """The path or URL of the store, as the catalog knows it."""
        ...

    @property
    def workshop(self) -> Path:
        """The local folder a backup is written to before it is published; it need not exist."""
        ...

    def free_bytes(self) -> int | None:
        """Room for backups; None where there is no telling."""
        ...

    def backups(self) -> tuple[str, ...]:
        """The ids of the complete backups, oldest first."""
        ...

    def incomplete(self) -> tuple[str, ...]:
        """The ids something lies here of that is no complete backup: removed or uploaded in part."""
        ...

    def container(self, backup_id: str) -> Container:
        """Where a backup lies; it need not exist."""
        ...

    def publish(self, partial: Path, backup_id: str, kind: Format) -> Container:
        """Make a backup visible that was written completely; `partial` is gone afterwards.

        It is visible whole or not at all, and survives a power cut once this returns.

        Args:
            partial: The local folder it was written to.
            backup_id: Its id.
            kind: What it becomes.

        Raises:
            OSError: the file system refuses.
            StoreFailed: the store refuses, or does not have what it was given.
            OperationFailed: there is a backup of that id.
        """
        ...

    def remove(self, backup_id: str) -> None:
        """Delete a backup; what is left of an interrupted removal no reader takes for a backup."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a small file, in the place of one of that name; whole or not at all."""
        ...

    def delete(self, name: str) -> bool:
        """Delete a small file; whether there was one."""
        ...

    def sweep(self) -> list[str]:
        """Remove what killed backups left; the names removed.

        Only for a caller that holds the tenant's backup lock: a running backup looks the same.
        """
        ...


class Store(Protocol):
    """Where the backups of all tenants lie: a folder for each, named by its id."""

    @property
    def where(self) -> str:
        """The path or URL, for people and the catalog."""
        ...

    def folder(self, tenant_id: str) -> Folder:
        """The backups of a tenant."""
        ...

    def tenants(self) -> tuple[str, ...]:
        """The ids of tenants that have a folder."""
        ...
