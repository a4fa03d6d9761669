"""What is known of each side of a comparison: schema, tables, files, and the rows where they are wanted.

Here: a tenant and a backup behind one face. Not here: what differs (`differences.py`).

A tenant is one held moment. A backup is its manifest: nothing of it is read but the definition and the index
of files, unless its rows are wanted. Those of a backup whose chain must be put together are loaded into a
schema that is never committed.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.backups import catalog
from tenant_ops.backups.chains import rows_in_parts
from tenant_ops.backups.comparing.rows import Lines, reordered
from tenant_ops.backups.content import Content, content_of_rows, copy_out, read_rows, rows_in
from tenant_ops.backups.ddl import Statement, decode_statements, names_for
from tenant_ops.backups.files import read_index
from tenant_ops.backups.layout import TableContent
from tenant_ops.backups.reading import Archive
from tenant_ops.backups.reports import BackupRecord
from tenant_ops.backups.restoring.loading import load
from tenant_ops.backups.snapshot import hold_snapshot, tenant_names
from tenant_ops.platform.errors import NotAvailable, UnknownTenant
from tenant_ops.platform.progress import Progress
from tenant_ops.tenants import Fleet, State, Tenant

SCRATCH = "__compared"
_QUOTED = r'"(?:[^"]|"")+"'
_PRIMARY_KEY = re.compile(
    rf'^ALTER TABLE (?:ONLY )?"{{schema}}"\.({_QUOTED}) ADD CONSTRAINT {_QUOTED} '
    rf"PRIMARY KEY \(((?:{_QUOTED}|[^()\"])+)\)"
)
_KEY_COLUMN = re.compile(rf"\s*({_QUOTED}|[^\s,\"]+)\s*(?:,|$)")


@dataclass(frozen=True)
class Table:
    """A table of one side.

    Attributes:
        columns: In its own order.
        content: Counts and hashes the rows with the columns in a given order; None where they are not known.
        lines: Reads the rows with the given columns, in that order; None where they are not known.
        key: Columns of its primary key; empty without one.
    """

    columns: tuple[str, ...]
    content: Callable[[tuple[str, ...]], Content | None]
    lines: Callable[[tuple[str, ...]], Lines] | None
    key: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: A tenant's or a backup's id.
        schema: The statements of each object, by kind and name, with stand-ins for the tenant's own names.
        tables: By name.
        files: Hash of each file, by path.
    """

    name: str
    schema: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, Table]
    files: Mapping[str, str]


@contextmanager
def side_of(fleet: Fleet, what: Tenant | BackupRecord, *, rows: bool, progress: Progress) -> Generator[Side]:
    """Look at one side; what it gives can be used inside the block.

    Args:
        fleet: The fleet.
        what: A tenant, or a backup.
        rows: Whether rows will be read: then those of any backup are known.
        progress: Told of each table.

    Raises:
        InputError: there is no such backup, or its key is not at hand.
        DamagedBackup: it is not what was written.
        NotAvailable: its rows must be put together, and its tenant is not here to do that beside.
    """
    with ExitStack() as opened:
        yield (
            opened.enter_context(_tenant_side(fleet, what))
            if isinstance(what, Tenant)
            else opened.enter_context(_backup_side(fleet, what, rows=rows, progress=progress))
        )


@contextmanager
def _tenant_side(fleet: Fleet, tenant: Tenant) -> Generator[Side]:
    with hold_snapshot(fleet, tenant) as snapshot:
        yield Side(
            tenant.slug,
            _objects(snapshot.definition.statements),
            {
                table.name: _live(snapshot.connection, snapshot.schema, table.name, table.columns)
                for table in snapshot.definition.tables
            },
            _file_hashes(fleet.files(tenant)),
        )


@contextmanager
def _backup_side(fleet: Fleet, backup: BackupRecord, *, rows: bool, progress: Progress) -> Generator[Side]:
    archive = catalog.open_backup(fleet, backup)
    statements = [
        statement
        for member in archive.manifest.members
        if member.kind == "schema"
        for statement in decode_statements(archive.read(member))
    ]
    keys = _primary_keys(statements)
    tables = {table.name: _stored(archive, table, keys) for table in archive.manifest.tables}
    with ExitStack() as opened:
        if rows and any(table.rows is None for table in archive.manifest.tables):
            connection, schema = opened.enter_context(_put_together(fleet, archive, progress))
            tables = {
                table.name: _live(connection, schema, table.name, table.columns)
                for table in archive.manifest.tables
            }
        entries = read_index(archive)
        yield Side(
            backup.id,
            _objects(statements),
            tables,
            {entry.path: entry.sha256 for entry in entries if entry.sha256 is not None},
        )


@contextmanager
def _put_together(
    fleet: Fleet, archive: Archive, progress: Progress
) -> Generator[tuple[psycopg.Connection, str]]:
    """The rows of a chain in a schema beside its tenant's, in a transaction that is taken back."""
    for link in archive.chain():
        for member in link.manifest.members:
            link.check(member)
    try:
        tenant = fleet.registry.by_id(UUID(archive.header.tenant_id))
        tenant.require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED)
    except UnknownTenant:
        raise NotAvailable(
            "the rows of its chain can only be put together where its tenant is.",
            where=f"backup {archive.id}",
            fix="Compare without row by row, or restore it as another tenant and compare that.",
        ) from None
    names, schema = tenant_names(tenant), f"{tenant.schema_name}{SCRATCH}_{archive.id[-8:]}"
    roles = {what: name for what, name in names.items() if what not in ("schema", "stage")}
    owner = sql.Identifier(tenant.role("owner"))
    with fleet.database(tenant).transaction() as connection, connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), owner))
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
        named = names_for(schema, names["stage"], roles, final_schema=names["schema"])
        load((connection,), archive, schema, named, progress=progress)
        yield connection, schema


def _live(connection: psycopg.Connection, schema: str, name: str, columns: tuple[str, ...]) -> Table:
    table = sql.Identifier(schema, name)

    def lines(wanted: tuple[str, ...]) -> Lines:
        listed = sql.SQL(", ").join(map(sql.Identifier, wanted))

        def read() -> Iterator[Sequence[bytes]]:
            query = sql.SQL("COPY {} ({}) TO STDOUT").format(table, listed)
            with closing(read_rows(connection, query)) as batches:
                yield from batches

        return read

    return Table(
        columns, lambda order: copy_out(connection, table, order), lines, _live_key(connection, schema, name)
    )


def _live_key(connection: psycopg.Connection, schema: str, name: str) -> tuple[str, ...]:
    rows = connection.execute(
        """
        SELECT a.attname FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (attnum, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indisprimary AND n.nspname = %s AND c.relname = %s AND k.at <= i.indnkeyatts ORDER BY k.at
        """,
        (schema, name),
    )
    return tuple(row[0] for row in rows)


def _stored(archive: Archive, table: TableContent, keys: Mapping[str, tuple[str, ...]]) -> Table:
    key = keys.get(table.name, ())
    if table.rows is None or table.content_hash is None:
        return Table(table.columns, lambda _order: None, None, key)
    known = Content(table.rows, table.content_hash)
    if not rows_in_parts(archive, table):
        return Table(table.columns, lambda order: known if order == table.columns else None, None, key)
    parts = [archive.manifest.member(part) for part in table.parts]

    def lines(wanted: tuple[str, ...]) -> Lines:
        order = [table.columns.index(column) for column in wanted]

        def read() -> Iterator[Sequence[bytes]]:
            for part in parts:
                archive.check(part, deep=False)
                with archive.content(part) as content:
                    for batch in rows_in(content):
                        yield batch if wanted == table.columns else reordered(batch, order)

        return read

    def content(order: tuple[str, ...]) -> Content:
        return known if order == table.columns else content_of_rows(lines(order)())

    return Table(table.columns, content, lines, key)


def _objects(statements: Iterable[Statement]) -> dict[str, tuple[str, ...]]:
    objects: dict[str, list[str]] = defaultdict(list)
    for statement in statements:
        objects[f"{statement.kind} {statement.name}"].append(_neutral(statement.sql))
    return {name: tuple(sorted(found)) for name, found in objects.items()}


def _neutral(parts: Any) -> str:
    """A statement with `{schema}` and the like where the tenant's own names go."""
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else f"{{{part['name']}}}" for part in parts)


def _primary_keys(statements: Iterable[Statement]) -> dict[str, tuple[str, ...]]:
    """The columns of each table's primary key, read from the statement that makes it.

    A key over periods (`WITHOUT OVERLAPS`) is none here: two rows may agree in all its columns but one.
    """
    keys = {}
    for statement in statements:
        found = _PRIMARY_KEY.match(_neutral(statement.sql)) if statement.kind == "primary key" else None
        if found and not _KEY_COLUMN.sub("", found[2]):
            keys[_unquoted(found[1])] = tuple(map(_unquoted, _KEY_COLUMN.findall(found[2])))
    return keys


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _file_hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
