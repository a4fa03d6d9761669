"""Which key seals a tenant's backups, and where a backup's key is found again.

Here: the tenant's key as backups use it, and its wrapped copy beside the backups, so that a store can be read
without the control plane. Not here: the master key (`platform/keys.py`), the tenant's key itself
(`tenants/keys.py`), the cipher (`crypto.py`).

The copy lies beside the backups, not inside them: destroying the tenant's key, here and in the control plane,
makes every copy of its backups unreadable, wherever they were carried.
"""

import os
import secrets
from base64 import b64decode, b64encode
from pathlib import Path
from uuid import UUID

from tenant_ops.backups import records
from tenant_ops.backups.archive import TenantKey
from tenant_ops.backups.containers import Container
from tenant_ops.backups.crypto import key_check
from tenant_ops.backups.layout import KEYS_FOLDER, VERSION, Header, KeyBlock, TenantKeyFile
from tenant_ops.backups.reading import KeyFinder
from tenant_ops.platform.errors import InputError, UnknownTenant
from tenant_ops.platform.keys import find_master_key
from tenant_ops.tenants import Fleet, Tenant


def sealing_key(fleet: Fleet, tenant: Tenant, encryption: bool | None) -> TenantKey | None:
    """The key new backups of the tenant are sealed with; None when a plain backup was asked for.

    A backup is plain only when `encryption` is False: a master key that has gone missing is a refusal, never
    a reason to write rows in the clear.

    Raises:
        InputError: there is no usable key.
    """
    if encryption is False:
        return None
    has_master = find_master_key(fleet.settings) is not None
    return TenantKey(*fleet.tenant_key(tenant, create=has_master))


def keep_key_beside(fleet: Fleet, tenant: Tenant, key: TenantKey, folder: Path) -> None:
    """Put the tenant's key, wrapped by the master key, beside the backups in `folder`, if it is not there."""
    master = find_master_key(fleet.settings)
    path = _key_path(folder, key.id)
    if master is None or _is_wrapped_by(path, master.id):
        return
    context = f"tenant_ops/1|tenant-key|{tenant.id}|{key.id}"
    record = TenantKeyFile(
        version=VERSION,
        tenant_id=str(tenant.id),
        tenant_key_id=key.id,
        tenant_key_check=key_check(key.secret),
        master_key_id=master.id,
        context=context,
        wrapped=b64encode(master.seal(key.secret, context)).decode(),
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(records.encode(record))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def key_finder(fleet: Fleet) -> KeyFinder:
    """Finds the tenant key of an archive: in the file beside it, else in the control plane.

    The finder raises InputError when the key is in neither place, or the master key in force does not open
    it; both are said before anything is read with a wrong key.
    """

    def find(container: Container, header: Header, block: KeyBlock) -> TenantKey:
        beside = f"{KEYS_FOLDER}/{block.tenant_key_id}.json"
        found = container.beside(beside)
        if found is not None:
            return _open_key_file(fleet, found, f"{beside} beside {container.where}")
        try:
            tenant = fleet.registry.by_id(UUID(header.tenant_id))
            key_id, secret = fleet.tenant_key(tenant, create=False)
        except (UnknownTenant, InputError) as error:
            raise _missing(header, block, beside) from error
        if key_id != block.tenant_key_id:
            raise _missing(header, block, beside)
        return TenantKey(key_id, secret)

    return find


def forget_keys(folder: Path) -> int:
    """Remove the wrapped keys beside a tenant's backups; how many there were.

    Together with destroying the key in the control plane this makes every backup of the tenant unreadable.
    """
    keys = sorted((folder / KEYS_FOLDER).glob("*.json"))
    for path in keys:
        path.unlink()
    return len(keys)


def _open_key_file(fleet: Fleet, document: bytes, where: str) -> TenantKey:
    record = records.decode(TenantKeyFile, document, where)
    master = find_master_key(fleet.settings)
    if master is None or master.id != record.master_key_id:
        have = f"the one configured is {master.id}" if master else "none is configured"
        raise InputError(
            f"the tenant's key is wrapped by master key {record.master_key_id}; {have}.",
            where=where,
            fix="Set BACKUP_ENCRYPTION_KEY to the key that was in force when the backup was made.",
        )
    return TenantKey(record.tenant_key_id, master.open(b64decode(record.wrapped), record.context))


def _missing(header: Header, block: KeyBlock, beside: str) -> InputError:
    return InputError(
        f"its tenant key {block.tenant_key_id} is neither beside the backup nor in the control plane.",
        where=f"backup {header.backup_id}",
        fix=f"Bring {beside} back beside the backup. If the key was destroyed, it cannot be read again.",
    )


def _is_wrapped_by(path: Path, master_key_id: str) -> bool:
    if not path.is_file():
        return False
    return records.decode(TenantKeyFile, path.read_bytes(), path.name).master_key_id == master_key_id


def _key_path(folder: Path, key_id: str) -> Path:
    return folder / KEYS_FOLDER / f"{key_id}.json"
