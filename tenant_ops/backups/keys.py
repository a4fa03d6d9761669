"""Which key seals a tenant's backups, and where a backup's key is found again.

Here: the tenant's key as backups use it, and its wrapped copy beside the backups, so that a store can be read
without the control plane. Not here: the master key (`platform/keys.py`), the tenant's key itself
(`tenants/keys.py`), the cipher (`crypto.py`), the files (`key_files.py`), another key (`rotating.py`).

The copy lies beside the backups, not inside them: destroying the tenant's key, here and in the control plane,
makes every copy of its backups unreadable, wherever they were carried.
"""

from base64 import b64decode, b64encode
from uuid import UUID

from tenant_ops.backups import records
from tenant_ops.backups.archive import TenantKey
from tenant_ops.backups.containers import Container
from tenant_ops.backups.crypto import key_check
from tenant_ops.backups.key_files import KeyFolder
from tenant_ops.backups.layout import KEYS_FOLDER, VERSION, Header, KeyBlock, TenantKeyFile
from tenant_ops.backups.reading import KeyFinder
from tenant_ops.backups.stores import Folder
from tenant_ops.platform.errors import InputError
from tenant_ops.platform.keys import MasterKey, find_master_key, find_master_key_named
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.tenants.keys import find_tenant_key


def sealing_key(fleet: Fleet, tenant: Tenant, encryption: bool | None) -> TenantKey | None:
    """The key new backups of the tenant are sealed with; None when a plain backup was asked for.

    A backup is plain only when `encryption` is False: a master key that has gone missing is a refusal, never
    a reason to write rows in the clear.

    Raises:
        InputError: there is no usable key.
        OperationFailed: the key service is not there.
    """
    if encryption is False:
        return None
    has_master = find_master_key(fleet.settings) is not None
    return TenantKey(*fleet.tenant_key(tenant, create=has_master))


def keep_key_beside(fleet: Fleet, tenant: Tenant, key: TenantKey, folder: Folder) -> None:
    """Put the tenant's key, wrapped by the master key, beside the backups in `folder`, if it is not there."""
    master = find_master_key(fleet.settings)
    place = KeyFolder(folder)
    found = place.tenant_key(key.id)
    if master is None or (found is not None and found.master_key_id == master.id):
        return
    place.put_tenant_key(wrapped_key(master, str(tenant.id), key))


def wrapped_key(master: MasterKey, tenant_id: str, key: TenantKey) -> TenantKeyFile:
    """A tenant's key as it lies beside its backups."""
    context = f"tenant_ops/1|tenant-key|{tenant_id}|{key.id}"
    return TenantKeyFile(
        version=VERSION,
        tenant_id=tenant_id,
        tenant_key_id=key.id,
        tenant_key_check=key_check(key.secret),
        master_key_id=master.id,
        context=context,
        wrapped=b64encode(master.seal(key.secret, context)).decode(),
    )


def key_finder(fleet: Fleet) -> KeyFinder:
    """Finds the tenant key of an archive: in the file beside it, else in the control plane.

    The finder raises InputError when the key is in neither place, or no master key at hand opens it; both are
    said before anything is read with a wrong key.
    """

    def find(container: Container, header: Header, block: KeyBlock) -> TenantKey:
        beside = f"{KEYS_FOLDER}/{block.tenant_key_id}.json"
        where = f"{beside} beside {container.where}"
        document = container.beside(beside)
        record = None if document is None else records.decode(TenantKeyFile, document, where)
        if record is not None and find_master_key_named(fleet.settings, record.master_key_id):
            return open_key_file(fleet, record, where)
        secret = _in_control_plane(fleet, header, block)
        if secret is not None:
            return TenantKey(block.tenant_key_id, secret)
        if record is not None:
            return open_key_file(fleet, record, where)  # says which master key is missing
        raise InputError(
            f"its tenant key {block.tenant_key_id} is neither beside the backup nor in the control plane.",
            where=f"backup {header.backup_id}",
            fix=f"Bring {beside} back beside the backup. If the key was destroyed, it cannot be read again.",
        )

    return find


def open_key_file(fleet: Fleet, record: TenantKeyFile, where: str) -> TenantKey:
    """The key in a file beside backups.

    Raises:
        InputError: the master key that wraps it is not at hand, or does not open it.
    """
    master = find_master_key_named(fleet.settings, record.master_key_id)
    if master is None:
        current = find_master_key(fleet.settings)
        have = f"the one configured is {current.id}" if current else "none is configured"
        raise InputError(
            f"the tenant's key is wrapped by master key {record.master_key_id}; {have}.",
            where=where,
            fix="Set BACKUP_ENCRYPTION_KEY to the key that was in force when the backup was made.",
        )
    return TenantKey(record.tenant_key_id, master.open(b64decode(record.wrapped), record.context))


def _in_control_plane(fleet: Fleet, header: Header, block: KeyBlock) -> bytes | None:
    try:
        tenant_id = UUID(header.tenant_id)
    except ValueError:
        return None
    return find_tenant_key(fleet.control, fleet.settings, tenant_id, block.tenant_key_id)
