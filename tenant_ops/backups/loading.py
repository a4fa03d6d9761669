"""Loading an archive's schema and rows beside the live schema, in one transaction.

Here: statements, rows, sequences, the comparison with the manifest. Not here: what is replaced and how it is
swapped (`restoring.py`), the archive (`reading.py`).

Statements run one by one as the tenant's owner role, each sent alone (the extended protocol takes no second
command), and only of the kinds a definition consists of. They never pass through psql.
"""

import re
from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from tenant_ops.backups.content import SESSION_FORMAT, copy_in, copy_out
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import Statement, decode_statements
from tenant_ops.backups.ddl.rights import GRANT_OUTSIDE
from tenant_ops.backups.layout import SequenceValue, TableContent
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.errors import OperationFailed, first_line
from tenant_ops.platform.progress import Progress

_ALLOWED = re.compile(r"(?:CREATE|ALTER|COMMENT ON|GRANT|REVOKE|REFRESH MATERIALIZED VIEW)\s")


def load(
    connection: psycopg.Connection,
    archive: Archive,
    schema: str,
    names: Mapping[str, str],
    progress: Progress,
) -> tuple[str, ...]:
    """Fill the empty `schema` from the archive; what was skipped, with reasons.

    Args:
        connection: In a transaction, already as the tenant's owner role.
        archive: Every member of it has been checked.
        schema: Where to load.
        names: What to put into the statements; see `names_for`.
        progress: Told of each table.

    Raises:
        OperationFailed: a statement failed, or what was loaded is not what was backed up; it is named.
        DamagedBackup: a statement is of no kind a definition has.
    """
    for setting in (
        "SET LOCAL search_path = ''",
        "SET LOCAL check_function_bodies = off",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        "SET LOCAL row_security = off",
        *SESSION_FORMAT,
    ):
        connection.execute(setting)  # type: ignore[arg-type]
    statements = _statements(archive)
    skipped = [*_run_section(connection, statements, "pre", names)]
    for table in archive.manifest.tables:
        _load_table(connection, archive, schema, table, progress)
    skipped += _run_section(connection, statements, "post", names)
    _set_sequences(connection, schema, archive.manifest.sequences)
    skipped += _run_section(connection, statements, "rights", names)
    _compare(connection, archive, schema)
    _analyze(connection, schema, archive.manifest.tables)
    return tuple(skipped)


def _statements(archive: Archive) -> tuple[Statement, ...]:
    member = next((member for member in archive.manifest.members if member.kind == "schema"), None)
    if member is None:
        raise DamagedBackup("it holds no schema.", where=f"backup {archive.header.backup_id}")
    return decode_statements(archive.read(member))


def _run_section(
    connection: psycopg.Connection, statements: tuple[Statement, ...], section: str, names: Mapping[str, str]
) -> Iterator[str]:
    roles: set[str] = set()
    if section == "rights":
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    for statement in statements:
        if statement.section != section:
            continue
        if statement.kind == GRANT_OUTSIDE and statement.name not in roles:
            yield f"a right of the role {statement.name}, which does not exist here"
            continue
        _run(connection, statement, names)


def _run(connection: psycopg.Connection, statement: Statement, names: Mapping[str, str]) -> None:
    what = f"{statement.kind} {statement.name}"
    try:
        text = statement.render(names)
    except KeyError as error:
        raise DamagedBackup(f"{what} needs the unknown name {error}.", where="schema member") from None
    if not _ALLOWED.match(text):
        raise DamagedBackup(f"{what} is no statement a definition has.", where="schema member")
    try:
        connection.cursor(binary=True).execute(text.encode(), binary=True)
    except psycopg.Error as error:
        raise OperationFailed(
            f"{what} could not be made: {first_line(error)}.",
            where="restore",
            fix="Nothing was changed.",
        ) from error


def _load_table(
    connection: psycopg.Connection, archive: Archive, schema: str, table: TableContent, progress: Progress
) -> None:
    task = f"restore {table.name}"
    progress.start(task, table.rows)
    try:
        for part in table.parts:
            with archive.content(archive.manifest.member(part)) as content:
                copy_in(connection, sql.Identifier(schema, table.name), table.columns, content)
        progress.advance(task, table.rows or 0)
    except psycopg.Error as error:
        raise OperationFailed(
            f"the rows of {table.name} could not be loaded: {first_line(error)}.",
            where="restore",
            fix="Nothing was changed.",
        ) from error
    finally:
        progress.finish(task)


def _set_sequences(connection: psycopg.Connection, schema: str, sequences: tuple[SequenceValue, ...]) -> None:
    """Where they stood, or past what the rows already use: a sequence behind its column breaks inserts."""
    owned = _owned_columns(connection, schema)
    for sequence in sequences:
        name = sql.Identifier(schema, sequence.name).as_string()
        connection.execute(
            "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)",
            (name, sequence.value, sequence.called),
        )
        if sequence.name in owned:
            table, column, increment = owned[sequence.name]
            furthest = sql.SQL("max" if increment > 0 else "min")
            connection.execute(
                sql.SQL(
                    "SELECT pg_catalog.setval({name}, used.at) "
                    "FROM (SELECT pg_catalog.{furthest}({column})::bigint AS at FROM {table}) AS used "
                    "WHERE used.at {past} {value}"
                ).format(
                    name=sql.Literal(name),
                    furthest=furthest,
                    column=sql.Identifier(column),
                    table=sql.Identifier(schema, table),
                    past=sql.SQL(">" if increment > 0 else "<"),
                    value=sql.Literal(sequence.value),
                )
            )


def _owned_columns(connection: psycopg.Connection, schema: str) -> dict[str, tuple[str, str, int]]:
    rows = connection.execute(
        """
        SELECT s.relname, t.relname, a.attname, q.seqincrement
        FROM pg_catalog.pg_sequence q
        JOIN pg_catalog.pg_class s ON s.oid = q.seqrelid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.objid = s.oid AND d.deptype IN ('a', 'i')
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
        JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE s.relnamespace = %s::pg_catalog.regnamespace
        """,
        (sql.Identifier(schema).as_string(),),
    )
    return {name: (table, column, increment) for name, table, column, increment in rows}


def _compare(connection: psycopg.Connection, archive: Archive, schema: str) -> None:
    """Read everything back: only what is equal row for row is put in the live schema's place."""
    for table in archive.manifest.tables:
        found = copy_out(connection, sql.Identifier(schema, table.name), table.columns)
        if (found.rows, found.content_hash) != (table.rows, table.content_hash):
            raise OperationFailed(
                f"table {table.name} has {found.rows} rows after loading, not the {table.rows} backed up, "
                "or others.",
                where=f"backup {archive.header.backup_id}",
                fix="Nothing was changed. Verify the backup with level full.",
            )


def _analyze(connection: psycopg.Connection, schema: str, tables: tuple[TableContent, ...]) -> None:
    """Give the planner its statistics: without them the first queries after a restore can be very slow."""
    names = [sql.Identifier(schema, table.name) for table in tables if table.rows]
    if names:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(names)))
