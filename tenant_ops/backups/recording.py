"""What the catalog notes of a backup, taken from the backup itself.

Here: one function for backups just taken and for those found in a store, so that both are noted alike. Not
here: entering it (`catalog.py`), finding backups (`rebuilding.py`).
"""

from dataclasses import asdict
from datetime import datetime
from pathlib import PurePosixPath

from tenant_ops.backups.chains import note_of
from tenant_ops.backups.reading import Archive, read_key_block
from tenant_ops.backups.reports import BackupRecord


def record_of(
    archive: Archive, *, started: datetime | None = None, finished: datetime | None = None
) -> BackupRecord:
    """What the catalog knows of a backup, taken from the backup itself.

    Args:
        archive: Opened, with the chain it builds on.
        started: When taking it began; what its header says when left out.
        finished: When it was complete; the moment it holds when left out.
    """
    header, manifest = archive.header, archive.manifest
    note = note_of(manifest)
    own = [member for member in manifest.members if member.origin is None]
    where = archive.container.where
    return BackupRecord(
        id=header.backup_id,
        tenant_id=header.tenant_id,
        tenant=str(manifest.tenant.get("slug", "")),
        type=header.type,
        parent=header.parent,
        path=where,
        codec=header.codec,
        encrypted=header.cipher is not None,
        key_id=read_key_block(archive.container).tenant_key_id if header.cipher else None,
        manifest_sha256=archive.manifest_sha256,
        version=manifest.tenant.get("version"),
        tables=len(manifest.tables),
        rows=manifest.rows,
        raw_bytes=sum(member.raw_bytes for member in own),
        stored_bytes=sum(member.stored_bytes for member in own),
        started_at=started.isoformat() if started else header.created_at,
        finished_at=finished.isoformat() if finished else manifest.taken_at,
        taken_at=manifest.taken_at,
        store=store_of(where),
        format=archive.container.format,
        base_id=archive.chain()[0].id,
        depth=len(archive.chain()) - 1,
        anchor=asdict(note.anchor) if note.anchor else None,
        journal_from=archive.parent.manifest.taken_at if note.segment and archive.parent else None,
        journal_to=note.anchor.taken_at if note.anchor else None,
        changes=note.segment.entries if note.segment else 0,
        referenced_bytes=sum(member.stored_bytes for member in manifest.members if member.origin is not None),
    )


def store_of(where: str) -> str:
    """The store of the backup at a path or URL, which lies in a tenant's folder there."""
    scheme, colon, path = where.partition("://")
    return f"{scheme}://{path.rsplit('/', 2)[0]}" if colon else str(PurePosixPath(where).parent.parent)
