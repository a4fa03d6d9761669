"""What must be known of a backup even when the catalog is lost: that it is pinned or under legal hold.

Here: a small file beside the backup, `marks/<backup id>.json`. It says neither why nor who: it is not sealed.
Not here: pinning and holding (`retention/marks.py`).
"""

import json
from typing import Any

from tenant_ops.backups.containers import Container
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.stores import Folder

_UNKNOWN = "held when the catalog was made again; the audit log may know why"


def write_note(folder: Folder, backup: BackupRecord) -> None:
    """Make the file say what the catalog says; without anything to say there is none.

    Raises:
        OSError: the file system refused.
        StoreFailed: the store refused.
    """
    if not backup.pinned and backup.legal_hold is None:
        forget_note(folder, backup.id)
        return
    said = {"version": 1, "pinned": backup.pinned, "held_at": backup.held_at}
    folder.put(_name(backup.id), json.dumps(said).encode())


def forget_note(folder: Folder, backup_id: str) -> None:
    """Delete the file, as the backup is no longer in this folder or no longer marked."""
    folder.delete(_name(backup_id))


def read_note(container: Container, backup_id: str) -> dict[str, Any]:
    """What the file says, as fields of a record; nothing when there is none.

    Raises:
        DamagedBackup: the file is not one that `write_note` writes.
    """
    document = container.beside(_name(backup_id))
    if document is None:
        return {}
    try:
        said = json.loads(document)
        fields: dict[str, Any] = {"pinned": bool(said["pinned"])}
        if said["held_at"] is not None:
            fields |= {"legal_hold": _UNKNOWN, "held_by": "unknown", "held_at": str(said["held_at"])}
    except (ValueError, TypeError, KeyError):
        raise DamagedBackup("it does not say what was marked.", where=_name(backup_id)) from None
    return fields


def _name(backup_id: str) -> str:
    return f"marks/{backup_id}.json"
