"""Which backup a new one builds on, or why it builds on none.

Here: the choice. Not here: whether the journal can go on from it, which only the journal knows
(`journal/chain.py`), what a chain is (`chains.py`), the order in which backups are taken (`taking.py`).

An incremental builds on the newest backup of the newest chain, a differential on the full one that chain
begins with. Where anything of what it would build on is missing, damaged, or not what was recorded, it builds
on none: a new chain costs one full backup, a broken one costs the tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import note_of
from tenant_ops.backups.files import FileEntry, read_index
from tenant_ops.backups.journal import Anchor
from tenant_ops.backups.keys import key_finder
from tenant_ops.backups.layout import BackupType
from tenant_ops.backups.lineage import why_unreadable
from tenant_ops.backups.placing import fallback_of, spanned
from tenant_ops.backups.reading import Archive, open_alone
from tenant_ops.backups.recording import record_of
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.stores import Folder, absolute
from tenant_ops.platform.errors import TenantOpsError
from tenant_ops.platform.logs import logger
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class Parent:
    """A backup that can be built on.

    Attributes:
        record: As the catalog knows it.
        archive: Opened without what it builds on in turn.
        anchor: The moment to go on from.
        files: Its index of files.
    """

    record: BackupRecord
    archive: Archive
    anchor: Anchor
    files: tuple[FileEntry, ...]


class NoParent(Exception):
    """There is nothing to build on; the message says why, as a part of a sentence."""


def known_backups(fleet: Fleet, tenant: Tenant, folder: Folder) -> tuple[BackupRecord, ...]:
    """The tenant's backups, newest first, after those of a folder that the catalog does not know are entered.

    One is there whose process died between publishing and entering it: it may be the newest of its chain, and
    built past it the chain would fork. What cannot be opened is left where it is; `rebuild` names it.
    """
    backups = catalog.list_backups(fleet, tenant)
    unknown = set(folder.backups()) - {backup.id for backup in backups}
    for backup_id in sorted(unknown):
        try:
            record = record_of(catalog.open_container(fleet, folder.container(backup_id)))
        except TenantOpsError as error:
            logger(__name__).warning("a backup cannot be opened", backup=backup_id, because=str(error))
            continue
        in_fallback = record.store == fallback_of(fleet, absolute(fleet.settings.backup_path))
        with fleet.control.transaction() as connection:
            catalog.add(connection, replace(record, fallback=in_fallback))
    return catalog.list_backups(fleet, tenant) if unknown else backups


def find_parent(
    fleet: Fleet, backups: Sequence[BackupRecord], backup_type: BackupType, store: str, *, encrypted: bool
) -> Parent:
    """The backup a new incremental or differential builds on.

    Args:
        fleet: The fleet.
        backups: The tenant's, newest first.
        backup_type: `incremental` or `differential`.
        store: Where the new one goes: a chain spans no others, but for the fallback of a store.
        encrypted: Whether the new one is; a chain is sealed as a whole or not at all.

    Raises:
        NoParent: there is none.
    """
    known = {backup.id: backup for backup in backups}
    stores = spanned(fleet, store)
    chained = [backup for backup in backups if backup.anchor is not None and backup.store in stores]
    if not chained:
        raise NoParent(f"no backup in {store} has a journal to go on from")
    chosen = chained[0]
    if backup_type == "differential" and chosen.base_id in known:
        chosen = known[chosen.base_id]
    unreadable = why_unreadable(chosen, known)
    if unreadable is not None:
        raise NoParent(f"the newest backup is {chosen.id}, and {unreadable}")
    if chosen.encrypted != encrypted:
        raise NoParent(f"{chosen.id} is {_sealed(chosen.encrypted)} and this one is {_sealed(encrypted)}")
    try:
        archive = open_alone(catalog.container_at(chosen.path), key_finder(fleet))
        anchor = note_of(archive.manifest).anchor
        files = read_index(archive)
    except TenantOpsError as error:
        raise NoParent(f"{chosen.id} cannot be read: {error}") from error
    if archive.manifest_sha256 != chosen.manifest_sha256 or anchor is None:
        raise NoParent(f"what lies in {chosen.path} is not the backup that was recorded")
    return Parent(chosen, archive, anchor, files)


def _sealed(encrypted: bool) -> str:
    return "encrypted" if encrypted else "not encrypted"
