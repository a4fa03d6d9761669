"""Reading backups back: one against its manifest, two tenants against each other.

Here: verification and comparison. Not here: reading archives (`reading.py`), row hashes (`content.py`).
"""

import hashlib
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from tenant_ops.backups import catalog
from tenant_ops.backups.content import Content, content_of, copy_out
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord, Comparison, TableComparison, VerifyReport
from tenant_ops.backups.snapshot import Snapshot, hold_snapshot
from tenant_ops.platform.errors import InputError, TenantOpsError
from tenant_ops.platform.progress import SILENT, Progress
from tenant_ops.tenants import Fleet, Tenant

LEVELS = ("own", "quick", "full")


def verify_backup(
    fleet: Fleet, backup: BackupRecord, *, level: str = "full", progress: Progress = SILENT
) -> VerifyReport:
    """Read a backup back and say what is wrong with it, if anything; never raises for a damaged one.

    Args:
        fleet: The fleet.
        backup: Which.
        level: `quick` compares the hashes of the stored files; `full` also decrypts and decompresses them
            and counts and hashes every row. `own` is `full` for the files of this backup alone, which is
            what a backup that was just taken needs when those it builds on were read back before.
        progress: Told of each member.

    Raises:
        InputError: no such level.
    """
    if level not in LEVELS:
        raise InputError(f"{level!r} is no level.", where="verify", fix=f"Use one of: {', '.join(LEVELS)}.")
    started = perf_counter()
    problems: list[str] = []
    members, rows, size = 0, 0, 0
    try:
        archive = catalog.open_backup(fleet, backup)
        members, rows, size = _totals(archive)
        problems += [f"{path}: it is in no manifest." for path in archive.unexpected()]
        problems += _check_members(archive, level, progress)
        if level != "quick" and not problems:
            problems += _check_rows(archive, level, progress)
    except TenantOpsError as error:
        problems.append(str(error))
    if not problems and (level == "full" or (level == "own" and backup.parent is None)):
        catalog.mark_verified(fleet, backup.id)
    return VerifyReport(
        backup_id=backup.id,
        tenant=backup.tenant,
        path=backup.path,
        level=level,
        sound=not problems,
        members=members,
        rows=rows,
        stored_bytes=size,
        seconds=round(perf_counter() - started, 4),
        problems=tuple(problems),
    )


def compare(fleet: Fleet, left: Tenant, right: Tenant, *, progress: Progress = SILENT) -> Comparison:
    """Compare two tenants' rows and files; each side is one moment.

    Columns are matched by name, so tables whose columns were added in another order still compare equal.
    """
    started = perf_counter()
    shapes, ours = _contents(fleet, left, {}, progress)
    _, theirs = _contents(fleet, right, shapes, progress)
    missing = Content(-1, "")
    tables = tuple(
        TableComparison(
            table=name,
            rows_left=ours.get(name, missing).rows,
            rows_right=theirs.get(name, missing).rows,
            equal=ours.get(name) == theirs.get(name),
        )
        for name in sorted(ours.keys() | theirs.keys())
    )
    files_equal = _file_hashes(fleet.files(left)) == _file_hashes(fleet.files(right))
    return Comparison(
        left=left.slug,
        right=right.slug,
        tables=tables,
        files_equal=files_equal,
        equal=files_equal and all(table.equal for table in tables),
        rows=sum(max(table.rows_left, 0) for table in tables),
        seconds=round(perf_counter() - started, 4),
    )


def _totals(archive: Archive) -> tuple[int, int, int]:
    manifest = archive.manifest
    return (
        len(manifest.members),
        manifest.rows,
        sum(member.stored_bytes for member in manifest.members),
    )


def _check_members(archive: Archive, level: str, progress: Progress) -> list[str]:
    problems = []
    task = f"verify {archive.header.backup_id}"
    progress.start(task)
    for member in archive.manifest.members:
        if level == "own" and member.origin is not None:
            continue
        try:
            # Rows are decoded once, while they are counted.
            archive.check(member, deep=level != "quick" and member.kind != "data")
        except DamagedBackup as error:
            problems.append(str(error))
        progress.advance(task, bytes=member.stored_bytes)
    progress.finish(task)
    return problems


def _check_rows(archive: Archive, level: str, progress: Progress) -> list[str]:
    problems = []
    for table in archive.manifest.tables:
        if table.rows is None or table.content_hash is None:
            continue  # what journal segments make of it is known only when they are replayed
        if level == "own" and any(archive.manifest.member(part).origin for part in table.parts):
            continue
        task = f"verify {table.name}"
        progress.start(task, table.rows)
        try:
            with ExitStack() as opened:
                parts = map(archive.manifest.member, table.parts)
                found = content_of(*(opened.enter_context(archive.content(part)) for part in parts))
        except DamagedBackup as error:
            problems.append(str(error))
        else:
            if found != Content(table.rows, table.content_hash):
                problems.append(
                    f"table {table.name}: {found.rows} rows are not the {table.rows} in the manifest."
                )
        progress.advance(task, table.rows)
        progress.finish(task)
    return problems


def _contents(
    fleet: Fleet, tenant: Tenant, shapes: dict[str, tuple[str, ...]], progress: Progress
) -> tuple[dict[str, tuple[str, ...]], dict[str, Content]]:
    """Columns and content of every table; where `shapes` has the same columns, in its order."""
    with hold_snapshot(fleet, tenant) as snapshot:
        columns = {}
        for table in snapshot.definition.tables:
            like = shapes.get(table.name, ())
            columns[table.name] = like if sorted(like) == sorted(table.columns) else table.columns
        return columns, {name: _content(snapshot, tenant, name, columns[name], progress) for name in columns}


def _content(
    snapshot: Snapshot, tenant: Tenant, name: str, columns: tuple[str, ...], progress: Progress
) -> Content:
    task = f"compare {tenant.slug}.{name}"
    progress.start(task)
    content = copy_out(snapshot.connection, snapshot.table(name), columns)
    progress.advance(task, content.rows)
    progress.finish(task)
    return content


def _file_hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                hashes[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
