"""Running the statements of a backup's definition, and which of its tables each concerns.

Here: statements, one by one or as work that may run beside other work. Not here: rows, the order of a load
(`loading.py`), how definitions are written (`ddl/`).

Statements run as the tenant's owner role, each sent alone (the extended protocol takes no second command),
and only of the kinds a definition consists of. They never pass through psql.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import psycopg

from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import Statement, decode_statements, is_definition
from tenant_ops.backups.ddl.rights import GRANT_OUTSIDE, TABLESPACE
from tenant_ops.backups.reading import Archive
from tenant_ops.platform.errors import OperationFailed, first_line

# Made before the rows although the definition has them after: rows neither change nor load slower for them.
_BEFORE_ROWS = {
    "collation", "type", "domain", "function", "procedure", "aggregate", "operator", "cast", "conversion",
    "text search dictionary", "text search configuration", "sequence", "default", "sequence owner",
}  # fmt: skip
_READ_ROWS = {"index"}
_CHANGE_TABLES = {"primary key", "constraint", "foreign key"}
_ASK_ROWS = {"constraint", "foreign key", "domain constraint"}
_BROKEN = (psycopg.errors.ForeignKeyViolation, psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation)
_FUNCTIONS = ("function", "procedure")
_TABLESPACES = """
SELECT t.spcname FROM pg_catalog.pg_tablespace t
WHERE pg_catalog.has_tablespace_privilege(t.oid, 'CREATE')
"""


@dataclass(frozen=True)
class Unit:
    """Statements that run one after the other in one transaction.

    Attributes:
        statements: In order.
        changes: Tables no other statement may be busy with; None for all.
        reads: Tables whose rows it reads.
    """

    statements: tuple[Statement, ...]
    changes: frozenset[str] | None = None
    reads: frozenset[str] = frozenset()

    @property
    def is_of_one_table(self) -> bool:
        """Whether it waits for no more than one table and its tree."""
        return self.changes is not None and self.statements[0].kind != "foreign key"


def read_statements(archive: Archive) -> tuple[Statement, ...]:
    """The definition a backup holds."""
    member = next((member for member in archive.manifest.members if member.kind == "schema"), None)
    if member is None:
        raise DamagedBackup("it holds no schema.", where=f"backup {archive.header.backup_id}")
    return decode_statements(archive.read(member))


def before_rows(statements: Sequence[Statement]) -> tuple[list[Statement], list[Statement]]:
    """What to run before the rows are loaded, and what after."""
    first = [statement for statement in statements if statement.section == "pre"]
    later = [statement for statement in statements if statement.section == "post"]
    at = next((at for at, each in enumerate(later) if each.kind not in _BEFORE_ROWS), len(later))
    return first + later[:at], later[at:]


def units(
    statements: Iterable[Statement], names: Mapping[str, str], trees: Mapping[str, frozenset[str]]
) -> list[Unit]:
    """The statements after the rows as work, in an order that keeps what needs another after it.

    Args:
        statements: From `before_rows`.
        names: As for `run`.
        trees: For a table that inherits or is partitioned, all tables of its tree.
    """
    found: list[Unit] = []
    for concurrent, run_of in groupby(statements, lambda s: s.kind in _READ_ROWS | _CHANGE_TABLES):
        if not concurrent:
            found.append(Unit(tuple(run_of)))
            continue
        # An index and its settings are statements of the same kind and name, next to each other.
        for (kind, _), together in groupby(run_of, lambda s: (s.kind, s.name)):
            group = tuple(together)
            tables = _tables(group[0], names)
            if not tables:
                found.append(Unit(group))
            elif kind in _READ_ROWS:
                found.append(Unit(group, frozenset(), tables))
            else:
                whole = frozenset[str]().union(*(trees.get(table, {table}) for table in tables))
                found.append(Unit(group, whole))
    return found


def run_all(
    connection: psycopg.Connection, statements: Iterable[Statement], names: Mapping[str, str]
) -> tuple[str, ...]:
    """Run statements in the caller's transaction; what could not be as it was, with its reason.

    Rows may break a constraint that was not asked when they came: with triggers off, or because a function it
    calls was changed since. They are restored as they were, and the constraint holds from then on.
    """
    told = []
    for statement in statements:
        if statement.kind not in _ASK_ROWS:
            run(connection, statement, names)
            continue
        try:
            with connection.transaction():
                run(connection, statement, names)
        except OperationFailed as error:
            if not isinstance(error.__cause__, _BROKEN):
                raise
            run(connection, _unchecked(statement), names)
            told.append(
                f"the check of {statement.kind} {statement.name}: rows of the backup break it, "
                "so it holds for new rows only"
            )
    return tuple(told)


def run_rights(
    connection: psycopg.Connection, statements: Sequence[Statement], names: Mapping[str, str]
) -> Iterator[str]:
    """Give and take the rights of a definition; those of roles that do not exist here are told."""
    roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    tablespaces = {row[0] for row in connection.execute(_TABLESPACES)}
    for statement in statements:
        if statement.section != "rights":
            continue
        if statement.kind == GRANT_OUTSIDE and statement.name not in roles:
            yield f"a right of the role {statement.name}, which does not exist here"
            continue
        if statement.kind == TABLESPACE and statement.name not in tablespaces:
            yield f"a place in the tablespace {statement.name}, which the tenant has not here"
            continue
        run(connection, statement, names)


def run(connection: psycopg.Connection, statement: Statement, names: Mapping[str, str]) -> None:
    """Run one statement.

    A function that names its schema in its text names the one that is being filled: checks, generated columns
    and materialised views call it while they are made. See `settle_texts`.

    Raises:
        DamagedBackup: it is of no kind a definition has.
        OperationFailed: the server refused it; it is named.
    """
    here = {**names, "text:schema": names["schema"]} if statement.kind in _FUNCTIONS else names
    _execute(connection, statement, here)


def settle_texts(
    connection: psycopg.Connection, statements: Iterable[Statement], names: Mapping[str, str]
) -> None:
    """Let functions name their schema as it will be called, when nothing calls them any more before it is."""
    for statement in statements:
        if statement.kind in _FUNCTIONS and statement.names_schema_in_text:
            _execute(connection, statement, names)


def _execute(connection: psycopg.Connection, statement: Statement, names: Mapping[str, str]) -> None:
    what = f"{statement.kind} {statement.name}"
    text = _rendered(statement, names)
    if not is_definition(text, names["schema"]):
        raise DamagedBackup(f"{what} is no statement a definition has.", where="schema member")
    try:
        connection.cursor(binary=True).execute(text.encode(), binary=True)
    except psycopg.errors.QueryCanceled:
        raise
    except psycopg.Error as error:
        raise OperationFailed(
            f"{what} could not be made: {first_line(error)}.",
            where="restore",
            fix="Nothing was changed.",
        ) from error


def _unchecked(statement: Statement) -> Statement:
    parts = (statement.sql,) if isinstance(statement.sql, str) else statement.sql
    return replace(statement, sql=(*parts, " NOT VALID"))


def _rendered(statement: Statement, names: Mapping[str, str]) -> str:
    try:
        return statement.render(names)
    except KeyError as error:
        raise DamagedBackup(
            f"{statement.kind} {statement.name} needs the unknown name {error}.", where="schema member"
        ) from None


def _tables(statement: Statement, names: Mapping[str, str]) -> frozenset[str]:
    """Every name of the schema in a statement: its table, the one it refers to, and perhaps others."""
    schema = re.escape(names["schema"])
    named = re.compile(
        rf'(?<![\w$."])(?:"{schema}"|{schema})\.(?:"((?:[^"]|"")+)"|([A-Za-z_\x80-\uffff][\w$]*))'
    )
    return frozenset(
        (quoted.replace('""', '"') if quoted else plain)
        for quoted, plain in named.findall(_rendered(statement, names))
    )
