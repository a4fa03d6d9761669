"""What goes into an archive, in which order: schema, rows or the changes of rows, files, configuration.

Here: one archive from a held moment to its manifest. Not here: which type is taken and what is noted of it
(`taking.py`), members on disk (`archive.py`).

The database's moment comes first, the files after it: a row may only name a file that exists, and files are
written before the rows that name them.
"""

import re
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tenant_ops.backups.archive import ArchiveWriter, MemberWriter
from tenant_ops.backups.chains import JournalNote, changed_tables
from tenant_ops.backups.content import ROW_HASH, copy_out
from tenant_ops.backups.ddl import TableShape, encode_statements
from tenant_ops.backups.files import pack_files
from tenant_ops.backups.journal import ChainBroken, SegmentInfo, read_anchor, write_segment
from tenant_ops.backups.layout import VERSION, Header, Manifest, MemberKind, TableContent
from tenant_ops.backups.parents import Parent
from tenant_ops.backups.snapshot import Snapshot, hold_snapshot, tenant_names
from tenant_ops.platform.progress import Progress
from tenant_ops.platform.reports import dumps
from tenant_ops.tenants import Fleet, Tenant

PART_BYTES = 1 << 30
"""Where the rows of a table go on in another member: parts are read and restored side by side."""

_PACK_NUMBER = re.compile(r"^files/([0-9]+)\.tar")
_SHIPPED = Path(__file__).parent / "shipped"


def write_full(
    fleet: Fleet, tenant: Tenant, archive: ArchiveWriter, header: Header, *, journal: bool, progress: Progress
) -> tuple[Manifest, str]:
    """Write everything; the manifest, and why no backup can build on this one, or nothing.

    Args:
        fleet: The fleet.
        tenant: Whose.
        archive: Where to; neither published nor abandoned here.
        header: The archive's.
        journal: Whether there should be a journal to go on from.
        progress: Told of each table.
    """
    _write_shipped(archive, None)
    note, problem = JournalNote(), ""
    with hold_snapshot(fleet, tenant) as snapshot:
        archive.add("schema/statements.json", "schema", encode_statements(snapshot.definition.statements))
        if journal:
            try:
                note = JournalNote(read_anchor(snapshot, tenant))
            except ChainBroken as error:
                problem = str(error)
        tables = tuple(
            _write_table(snapshot, archive, progress, number, table)
            for number, table in enumerate(snapshot.definition.tables, 1)
        )
        manifest = _manifest(header, tenant, snapshot, tables, note)
    return _with_files(fleet, tenant, archive, manifest, None), problem


def write_changes(
    fleet: Fleet,
    tenant: Tenant,
    archive: ArchiveWriter,
    header: Header,
    parent: Parent,
    *,
    measure: bool,
    progress: Progress,
) -> Manifest:
    """Write what changed since the parent, and refer to what did not.

    Args:
        fleet: The fleet.
        tenant: Whose.
        archive: Where to; neither published nor abandoned here.
        header: The archive's.
        parent: What it builds on.
        measure: Count and hash the rows of changed tables, in the moment itself.
        progress: Told of the segment and of each table read.

    Raises:
        ChainBroken: the journal cannot go on from the parent; nothing written can be used.
    """
    before = parent.archive.manifest
    _write_shipped(archive, parent)
    for member in before.members:
        if member.kind in ("schema", "data"):
            archive.refer(member, parent.archive.id)
    with hold_snapshot(fleet, tenant) as snapshot:
        task = f"changes of {tenant.slug}"
        progress.start(task)
        try:
            with _Parts(archive, "journal/{:04}-segment.copy", "journal") as parts:

                def write(text: bytes, entries: int) -> None:
                    parts.write(text)
                    progress.advance(task, entries, bytes=len(text))

                segment = write_segment(snapshot, tenant, parent.anchor, write)
        finally:
            progress.finish(task)
        tables = _tables_after(before, segment)
        if measure:
            tables = tuple(
                table if table.rows is not None else _measured(snapshot, table, progress) for table in tables
            )
        note = JournalNote(segment.anchor, segment)
        manifest = _manifest(header, tenant, snapshot, tables, note)
    return _with_files(
        fleet,
        tenant,
        archive,
        replace(manifest, parent_manifest_sha256=parent.archive.manifest_sha256),
        parent,
    )


def _write_shipped(archive: ArchiveWriter, parent: Parent | None) -> None:
    """The reader and its instructions, once in a chain as long as they are the same."""
    known = {member.stored_sha256: member for member in parent.archive.manifest.members} if parent else {}
    for name in ("RESTORE.md", "restore.py"):
        content = (_SHIPPED / name).read_bytes()
        member = known.get(sha256(content).hexdigest())
        if parent and member is not None and member.kind == "readme":
            archive.refer(member, parent.archive.id)
        else:
            archive.add(name, "readme", content, readable=True)


def _write_table(
    snapshot: Snapshot, archive: ArchiveWriter, progress: Progress, number: int, table: TableShape
) -> TableContent:
    task = f"back up {table.name}"
    before = len(archive.members)
    progress.start(task)
    stem = f"data/{number:04}-{_safe(table.name)}"
    try:
        with _Parts(archive, f"{stem}.{{:04}}.copy", "data", first=f"{stem}.copy") as parts:

            def write(text: bytes, rows: int) -> None:
                parts.write(text)
                progress.advance(task, rows, bytes=len(text))

            content = copy_out(snapshot.connection, snapshot.table(table.name), table.columns, write)
    finally:
        progress.finish(task)
    paths = tuple(part.path for part in archive.members[before:])
    return TableContent(table.name, table.columns, content.rows, content.content_hash, paths)


def _measured(snapshot: Snapshot, table: TableContent, progress: Progress) -> TableContent:
    task = f"measure {table.name}"
    progress.start(task)
    try:
        content = copy_out(snapshot.connection, snapshot.table(table.name), table.columns)
        progress.advance(task, content.rows)
    finally:
        progress.finish(task)
    return replace(table, rows=content.rows, content_hash=content.content_hash)


def _tables_after(before: Manifest, segment: SegmentInfo) -> tuple[TableContent, ...]:
    """The parent's tables; of those the segment tells of only the place of their old rows is known."""
    changed = changed_tables(segment)
    return tuple(
        replace(table, rows=None, content_hash=None) if table.name in changed else table
        for table in before.tables
    )


def _with_files(
    fleet: Fleet, tenant: Tenant, archive: ArchiveWriter, manifest: Manifest, parent: Parent | None
) -> Manifest:
    packs = {}
    if parent is not None:
        packs = {member.path: member for member in parent.archive.manifest.members if member.kind == "files"}
    taken = (int(number) for path in packs for number in _PACK_NUMBER.findall(path))
    first = 1 + max(taken, default=0)
    packed = pack_files(fleet.files(tenant), archive, parent.files if parent else (), first)
    for path, member in packs.items():
        if parent is not None and path in packed.referenced:
            archive.refer(member, parent.archive.id)
    archive.add("config/config.json", "config", _config(tenant))
    return replace(
        manifest,
        files=packed.files,
        file_bytes=packed.total_bytes,
        not_carried=(*manifest.not_carried, *packed.not_carried),
    )


def _manifest(
    header: Header, tenant: Tenant, snapshot: Snapshot, tables: tuple[TableContent, ...], note: JournalNote
) -> Manifest:
    definition = snapshot.definition
    return Manifest(
        version=VERSION,
        tenant_id=header.tenant_id,
        backup_id=header.backup_id,
        header_sha256="",
        parent_manifest_sha256=None,
        taken_at=snapshot.taken_at,
        snapshot=snapshot.id,
        server=snapshot.server,
        tenant={
            "slug": tenant.slug,
            "key": tenant.key,
            "tier": tenant.tier_name,
            "version": tenant.version,
            "names": tenant_names(tenant),
        },
        schema_sha256=definition.fingerprint,
        row_hash=ROW_HASH,
        members=(),
        tables=tables,
        sequences=note.segment.sequences if note.segment else snapshot.sequences(),
        extensions=definition.extensions,
        needs=definition.needs,
        not_carried=definition.not_carried,
        warnings=definition.warnings,
        journal=note.encoded(),
    )


def _config(tenant: Tenant) -> bytes:
    """What the registry holds of the tenant. Credentials are not here: a restored tenant keeps its own."""
    return dumps(
        {
            "slug": tenant.slug,
            "display_name": tenant.display_name,
            "tier": tenant.tier_name,
            "state": tenant.state,
            "placement": tenant.placement,
            "version": tenant.version,
            "admin_email": tenant.admin_email,
            "config": tenant.config,
        }
    )


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]


class _Parts:
    """Writes pieces of whole rows into members of about `PART_BYTES` each; without rows it makes none.

    Of 1,000 small tenants most tables are empty.
    """

    def __init__(self, archive: ArchiveWriter, stem: str, kind: MemberKind, *, first: str = "") -> None:
        self._archive = archive
        self._stem = stem
        self._first = first or stem.format(1)
        self._kind: MemberKind = kind
        self._opened = ExitStack()
        self._member: MemberWriter | None = None
        self._number = 0

    def __enter__(self) -> "_Parts":
        self._opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def write(self, text: bytes) -> None:
        """Take whole rows."""
        if self._member is None or self._member.raw_bytes >= PART_BYTES:
            self._opened.close()
            self._number += 1
            stem = self._first if self._number == 1 else self._stem.format(self._number)
            self._member = self._opened.enter_context(self._archive.member(stem, self._kind))
        self._member.write(text)
