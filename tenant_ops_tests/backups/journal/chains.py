"""A chain of backups in memory: a base, its segments, and what each tick saw, to compare a replay with."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import psycopg
from psycopg import sql

from tenant_ops.backups.content import SESSION_FORMAT, Content, copy_in, copy_out
from tenant_ops.backups.ddl import SchemaDefinition, Statement, names_for
from tenant_ops.backups.journal import (
    LAST_TICK,
    Anchor,
    ReplayReport,
    Segment,
    SegmentInfo,
    Until,
    install,
    keep,
    read_anchor,
    replay,
    write_segment,
)
from tenant_ops.backups.records import decode, encode
from tenant_ops.backups.restoring.loading import set_sequences
from tenant_ops.backups.snapshot import Snapshot, hold_snapshot, tenant_names
from tenant_ops.tenants import Fleet, Tenant

Contents = dict[str, Content]
_NUMBERS = count()


@dataclass
class Chain:
    """Backs a tenant up into memory and puts it back into a schema beside the live one.

    Attributes:
        ticks: What the base and every tick after it saw, read in the tick's own snapshot.
    """

    fleet: Fleet
    tenant: Tenant
    base: Anchor
    definition: SchemaDefinition
    rows: dict[str, bytes]
    ticks: list[Contents]
    segments: list[Segment] = field(default_factory=list)

    @classmethod
    def begin(cls, fleet: Fleet, tenant: Tenant) -> "Chain":
        """Install the journal and take a base."""
        install(fleet, tenant)
        with hold_snapshot(fleet, tenant) as snapshot:
            base = read_anchor(snapshot, tenant)
            rows, seen = read(snapshot)
        keep(fleet, tenant, base)
        return cls(fleet, tenant, base, snapshot.definition, rows, [seen])

    @property
    def last(self) -> Anchor:
        """What the next segment starts from."""
        return self.segments[-1].info.anchor if self.segments else self.base

    def tick(self, *, since: Anchor | None = None) -> SegmentInfo:
        """Write a segment, keep it, and remember what the tick saw."""
        with hold_snapshot(self.fleet, self.tenant) as snapshot:
            info, text = written(snapshot, self.tenant, since or self.last)
            self.ticks.append(read(snapshot)[1])
        keep(self.fleet, self.tenant, info.anchor)
        self.segments.append(segment(info, text))
        return info

    @contextmanager
    def replayed(self, until: Until = LAST_TICK, *, finish: bool = True) -> Generator["Replayed"]:
        """The base with the segments put back, complete with keys and triggers when `finish`.

        It lies in a schema that is gone at the end of the block.
        """
        schema = f"{self.tenant.schema_name}__replay{next(_NUMBERS)}"
        owner = sql.Identifier(self.tenant.role("owner"))
        with self.fleet.database(self.tenant).transaction() as connection:
            connection.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), owner)
            )
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(owner))
            for setting in (
                "SET LOCAL search_path = ''",
                "SET LOCAL check_function_bodies = off",
                *SESSION_FORMAT,
            ):
                connection.execute(setting)  # type: ignore[arg-type]
            self._run(connection, schema, "pre")
            for table in self.definition.tables:
                copy_in(
                    connection,
                    sql.Identifier(schema, table.name),
                    table.columns,
                    io.BytesIO(self.rows[table.name]),
                )
            report = replay(connection, schema, self.base, self.segments, until)
            if finish:
                self._run(connection, schema, "post")
                set_sequences(connection, schema, report.sequences)
            yield Replayed(connection, schema, self.definition, report)
            raise psycopg.Rollback

    def _run(self, connection: psycopg.Connection, schema: str, section: str) -> None:
        names = tenant_names(self.tenant)
        roles = {what: name for what, name in names.items() if what not in ("schema", "stage")}
        rendered = names_for(schema, names["stage"], roles, final_schema=names["schema"])
        for statement in self.definition.statements:
            if statement.section == section:
                _execute(connection, statement, rendered)


@dataclass(frozen=True)
class Replayed:
    """A schema a chain was put back into."""

    connection: psycopg.Connection
    schema: str
    definition: SchemaDefinition
    report: ReplayReport

    def contents(self) -> Contents:
        """Rows and hash of each table."""
        return {
            table.name: copy_out(self.connection, sql.Identifier(self.schema, table.name), table.columns)
            for table in self.definition.tables
        }

    def rows(self, query: str) -> list[tuple]:
        """What a query in the schema returns."""
        self.connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(self.schema)))
        found = self.connection.execute(query.encode()).fetchall()
        self.connection.execute("SET LOCAL search_path = ''")
        return found


def written(snapshot: Snapshot, tenant: Tenant, since: Anchor) -> tuple[SegmentInfo, bytes]:
    """A segment, and its bytes."""
    pieces: list[bytes] = []
    info = write_segment(snapshot, tenant, since, lambda piece, _: pieces.append(piece))
    stored = decode(SegmentInfo, encode(info), "segment")
    assert stored == info
    return stored, b"".join(pieces)


def segment(info: SegmentInfo, text: bytes) -> Segment:
    """A segment whose entries lie in memory."""
    return Segment(info, lambda: io.BytesIO(text))


def differing(found: Contents, expected: Contents) -> dict[str, tuple[Content, Content]]:
    """The tables that are not equal, with what was found and expected."""
    assert found.keys() == expected.keys()
    return {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}


def read(snapshot: Snapshot) -> tuple[dict[str, bytes], Contents]:
    """Every row as COPY text, and its count and hash, by table."""
    rows: dict[str, bytes] = {}
    seen: Contents = {}
    for table in snapshot.definition.tables:
        text = io.BytesIO()
        seen[table.name] = copy_out(
            snapshot.connection,
            snapshot.table(table.name),
            table.columns,
            lambda piece, _, text=text: text.write(piece),
        )
        rows[table.name] = text.getvalue()
    return rows, seen


def _execute(connection: psycopg.Connection, statement: Statement, names: dict[str, str]) -> None:
    connection.cursor(binary=True).execute(statement.render(names).encode(), binary=True)
