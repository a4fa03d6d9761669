"""Databases as sources: any SQLAlchemy reaches, and SQLite files.

Here: connecting to read only, tables and queries as rows of text. Not here: whether the text fits the
dataset, and where URLs and passwords are kept (`urls.py`).

Rows come by a server-side cursor from one snapshot, as the database spells them where it is Postgres: its
text of a value is exact, where a driver's object for it may lose digits or not exist (`infinity`, years
before 1). Text in a column that becomes `jsonb` is taken for JSON, since not every database has that type.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tenant_ops.loading.sources.batch import Batch, batch_of_values
from tenant_ops.loading.sources.columns import SAMPLES, Columns
from tenant_ops.loading.sources.urls import Location, locate
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed, first_line

CONNECT_TIMEOUT_S = 15

_COLON = re.compile(r"(?<![:\w\\])(?=:\w)|(?=\\:)")

_POSTGRES_SETTINGS = (
    "SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true), "
    "set_config('intervalstyle', 'iso_8601', true), set_config('extra_float_digits', '1', true)"
)
_NUMBERS, _MOMENTS = (sa.Integer, sa.Numeric), (sa.Date, sa.DateTime)
_TYPES = sa.text(
    "SELECT oid::bigint, typname::text, typcategory::text FROM pg_type WHERE oid = ANY(CAST(:oids AS oid[]))"
)
_POSTGRES_ORDERED = {
    *("int2", "int4", "int8", "numeric", "float4", "float8"),
    *("date", "timestamp", "timestamptz"),
}


@dataclass(frozen=True)
class _Found:
    """A column of a table or query; what its type is called, and Postgres' category of it."""

    name: str
    type: Any = None
    category: str = ""


def read_database(
    path: str,
    name: str,
    columns: Columns,
    *,
    table: str | None,
    query: str | None,
    batch_rows: int,
    since: tuple[str, str] | None = None,
) -> Generator[Batch]:
    """The rows of a table or a query.

    Args:
        path: The URL, or `env:NAME`.
        name: What to call it in errors.
        columns: What its columns are held against.
        table: Which table; None reads the query.
        query: A SELECT.
        batch_rows: Most rows of a batch.
        since: A column, and the value from which on rows are read; rows without one are, too. Left to the
            caller where the database does not order that column as its dataset does.

    Raises:
        InputError: there is no such table, the query is refused, or its columns do not fit the dataset.
        OperationFailed: the database cannot be reached, or went away.
    """
    with _connected(path, name) as connection:
        source = sa.table(table) if table else _as_table(query or "")
        yield from _rows(connection, source, table, name, columns, batch_rows, since)


def read_sqlite(path: Path, name: str, table: str, columns: Columns, *, batch_rows: int) -> Generator[Batch]:
    """The rows of one table of a SQLite file, opened read-only.

    Raises:
        InputError: it is no SQLite database, or the table's columns do not fit the dataset.
    """
    with _connected_to(_sqlite(path), name) as connection:
        yield from _rows(connection, sa.table(table), table, name, columns, batch_rows, None)


def tables_in(path: str, name: str) -> tuple[str, ...]:
    """The names of the tables and views in a database's default schema.

    Raises:
        InputError: the database refuses.
        OperationFailed: it cannot be reached.
    """
    with _connected(path, name) as connection:
        return _names(connection)


def sqlite_tables(path: Path, name: str) -> tuple[str, ...]:
    """The names of a SQLite file's tables and views.

    Raises:
        InputError: it is no SQLite database.
    """
    with _connected_to(_sqlite(path), name) as connection:
        return _names(connection)


def _names(connection: sa.Connection) -> tuple[str, ...]:
    inspector = sa.inspect(connection)
    return (*inspector.get_table_names(), *inspector.get_view_names())


def _rows(
    connection: sa.Connection,
    source: Any,
    table: str | None,
    name: str,
    columns: Columns,
    batch_rows: int,
    since: tuple[str, str] | None,
) -> Generator[Batch]:
    found = _describe(connection, source, table)
    matched = columns.match([each.name for each in found], name)
    wanted = {each: column for each in found if (column := matched[each.name]) is not None}
    unknown = [each for each in found if each not in wanted]
    if unknown:
        result = connection.execute(_select(connection, source, unknown, columns).limit(SAMPLES))
        for each, values in zip(unknown, zip(*result.fetchall(), strict=True), strict=False):
            columns.sample(each.name, values)

    statement = _select(connection, source, list(wanted), columns)
    if since is not None:
        statement = _from_on(statement, connection, found, *since)
    start = 1
    result = connection.execution_options(stream_results=True, yield_per=batch_rows).execute(statement)
    for rows in result.partitions():
        values = dict(zip(wanted.values(), zip(*rows, strict=True), strict=True))
        yield batch_of_values(columns.dataset, values, range(start, start + len(rows)), json_is_text=True)
        start += len(rows)


def _describe(connection: sa.Connection, source: Any, table: str | None) -> list[_Found]:
    """The columns; as Postgres says itself, whose types reflection does not all know."""
    if table and connection.dialect.name != "postgresql":
        return [_Found(each["name"], each["type"]) for each in sa.inspect(connection).get_columns(table)]
    result = connection.execute(sa.select(sa.text("*")).select_from(source).where(sa.false()))
    if connection.dialect.name != "postgresql":
        return [_Found(name) for name in tuple(result.keys())]
    oids = [description[1] for description in result.cursor.description or ()] if result.cursor else []
    types = {oid: kind for oid, *kind in connection.execute(_TYPES, {"oids": oids})}
    return [_Found(name, *types[oid]) for name, oid in zip(result.keys(), oids, strict=True)]


def _select(connection: sa.Connection, source: Any, wanted: Sequence[_Found], columns: Columns) -> sa.Select:
    postgres = connection.dialect.name == "postgresql"
    chosen = [_as_text(each, columns) if postgres else sa.column(each.name) for each in wanted]
    return sa.select(*chosen).select_from(source)


def _as_text(found: _Found, columns: Columns) -> sa.ColumnElement[Any]:
    column = sa.column(found.name)
    if found.type == "bytea":
        return column
    target = columns.dataset.by_name.get(columns.dataset.reads.get(found.name, ""))
    into_json = target is not None and target.type == "jsonb" and found.category != "S"
    if found.type not in {"json", "jsonb"} and (into_json or found.category in {"A", "C"}):
        return sa.cast(sa.func.to_jsonb(column), sa.Text)
    return sa.cast(column, sa.Text)


def _from_on(
    statement: sa.Select, connection: sa.Connection, found: Sequence[_Found], column: str, value: str
) -> sa.Select:
    """Only rows from a value on, when the database compares as numbers and moments compare.

    Text would be compared by a collation, and SQLite's moments are text.
    """
    kind = next((each.type for each in found if each.name == column), None)
    if connection.dialect.name == "postgresql":
        if kind not in _POSTGRES_ORDERED:
            return statement
        least = sa.text(f"CAST(:since AS {kind})").bindparams(sa.bindparam("since", value, sa.Text))
    elif isinstance(kind, _NUMBERS) or (isinstance(kind, _MOMENTS) and connection.dialect.name != "sqlite"):
        least = sa.cast(sa.literal(value, sa.Text), kind)
    else:
        return statement
    return statement.where(sa.or_(sa.column(column) >= least, sa.column(column).is_(None)))


@contextmanager
def _connected(path: str, name: str) -> Iterator[sa.Connection]:
    location = locate(path)
    if location.kind != "database":
        raise InputError("this is no URL of a database.", where=location.shown)
    try:
        url = sa.make_url(location.url)
    except (ArgumentError, ValueError):
        # Their message shows the piece they stumbled over, which may be the password.
        raise InputError(
            "the URL cannot be read.", where=location.shown, fix="Escape special characters as %XX."
        ) from None
    with _connected_to(_own_driver(url), name, location) as connection:
        yield connection


def _own_driver(url: sa.URL) -> sa.URL:
    """Postgres by the driver the project has, SQLite read-only."""
    kind = url.get_backend_name() if url.drivername != "postgres" else "postgresql"
    if kind == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InputError("the URL names no file.", where="sqlite://", fix="Write sqlite:///path/to/file.")
        return _sqlite(Path(url.database))
    return url


def _sqlite(path: Path) -> sa.URL:
    place = path.absolute().as_uri()
    return sa.URL.create("sqlite", database=place, query={"mode": "ro", "uri": "true"})


@contextmanager
def _connected_to(url: sa.URL, name: str, location: Location | None = None) -> Iterator[sa.Connection]:
    """A connection that only reads, from one snapshot where the database has those; errors are sentences."""

    def plain(error: BaseException) -> str:
        return location.hide(first_line(error)) if location else first_line(error)

    postgres = url.get_backend_name() == "postgresql"
    options: dict[str, Any] = {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}} if postgres else {}
    try:
        engine = sa.create_engine(url, poolclass=NullPool, **options)
    except (ImportError, NoSuchModuleError) as error:
        missing = f"the package {error.name}" if isinstance(error, ImportError) else "a driver"
        raise NotAvailable(
            f"{url.drivername}:// needs {missing}, which is not installed.",
            where=name,
            fix=f"Install it, or name another driver: {url.get_backend_name()}+driver://.",
        ) from None
    try:
        with engine.connect() as connection:
            if postgres:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                connection.execute(sa.text(_POSTGRES_SETTINGS))
            yield connection
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.OperationalError):
            # What passes by itself is tried again by whoever loads; the driver's error says which it is.
            raise OperationFailed(
                f"the database failed: {plain(error.orig or error)}.", where=name
            ) from error.orig
        raise InputError(f"the database cannot be read: {plain(error.orig or error)}.", where=name) from None
    except SQLAlchemyError as error:
        raise InputError(f"the database cannot be read: {plain(error)}.", where=name) from None


def _as_table(query: str) -> sa.FromClause:
    """A query in brackets, in which SQLAlchemy finds no parameters of its own."""
    text = _COLON.sub(r"\\", query.strip().rstrip(";"))
    return sa.text(f"{text}\n").columns().subquery("source")
