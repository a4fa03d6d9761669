"""The tables a catalog becomes in a real Postgres."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenant_ops.datasets import (
    MUSIC,
    Catalog,
    Column,
    Dataset,
    ForeignKey,
    Length,
    OneOf,
    Order,
    create_statements,
)
from tenant_ops.datasets.definition import ColumnType
from tenant_ops.datasets.tables import sql_type

TRICKY = (":x", "b'c", "50%", "a:b", '"', "\\", "%(x)s")


@pytest.fixture
def server(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection in an empty schema that is gone when the test ends."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA tables_test")
        connection.execute("SET LOCAL search_path = tables_test")
        yield connection
        connection.rollback()


def build(server: psycopg.Connection, catalog: Catalog) -> None:
    for statement in create_statements(catalog):
        server.execute(statement.encode())


def column_facts(server: psycopg.Connection) -> dict[tuple[str, str], tuple[str, bool]]:
    rows = server.execute(
        """
        SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'tables_test'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
        """
    )
    return {(table, column): (kind, nullable) for table, column, kind, nullable in rows}


def constraints(server: psycopg.Connection, kind: str) -> dict[str, str]:
    rows = server.execute(
        """
        SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'tables_test'::regnamespace AND contype = %s
        """,
        (kind,),
    )
    return dict(rows.fetchall())


SPELLINGS: dict[ColumnType, str] = {"double": "double precision", "timestamptz": "timestamp with time zone"}


def test_every_column_has_its_type_and_may_be_empty_where_it_says_so(server: psycopg.Connection) -> None:
    build(server, MUSIC)
    expected = {
        (dataset.name, column.name): (
            SPELLINGS.get(column.type, column.type),
            column.nullable and column.name not in dataset.key,
        )
        for dataset in MUSIC
        for column in dataset.columns
    }
    assert column_facts(server) == expected


def test_keys_and_references_are_the_declared_ones(server: psycopg.Connection) -> None:
    build(server, MUSIC)
    assert len(constraints(server, "p")) == len(MUSIC)
    assert len(constraints(server, "f")) == sum(len(dataset.foreign_keys) for dataset in MUSIC)
    assert constraints(server, "p")["playlist_tracks_pkey"] == 'PRIMARY KEY (playlist_id, "position")'
    assert constraints(server, "f")["content_author_id_fkey"].endswith("ON DELETE SET NULL")
    uniques = sum(len(dataset.unique) + sum(column.unique for column in dataset.columns) for dataset in MUSIC)
    assert len(constraints(server, "u")) == uniques


def test_every_foreign_key_is_served_by_an_index(server: psycopg.Connection) -> None:
    build(server, MUSIC)
    bare = server.execute(
        """
        SELECT conname::text FROM pg_constraint f
        WHERE f.contype = 'f' AND f.connamespace = 'tables_test'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = f.conrelid
              AND (i.indkey::int2[])[0:array_length(f.conkey, 1) - 1] = f.conkey
        )
        """
    ).fetchall()
    assert bare == []


def test_rules_are_checks_whatever_characters_they_are_made_of(server: psycopg.Connection) -> None:
    words = Dataset(
        "words",
        '50% of these are :odd, and it\'s "fine".',
        (
            Column("id", "integer"),
            Column("word", "text", nullable=True, rules=(OneOf(TRICKY),)),
            Column("order", "text", default="':y%'", rules=(Length(1, 3),)),
        ),
        ("id",),
    )
    build(server, Catalog("c", "1", (words,)))
    for number, word in enumerate((*TRICKY, None)):
        server.execute("INSERT INTO words (id, word) VALUES (%s, %s)", (number, word))
    assert server.execute('SELECT DISTINCT "order" FROM words').fetchall() == [(":y%",)]
    described = server.execute("SELECT obj_description('words'::regclass)").fetchone()
    assert described == (words.description,)
    with pytest.raises(psycopg.errors.CheckViolation):
        server.execute("INSERT INTO words (id, word) VALUES (99, 'x')")


def test_an_order_lets_equal_and_empty_values_through(server: psycopg.Connection) -> None:
    spans = Dataset(
        "spans",
        "",
        (Column("id", "integer"), Column("from", "date", nullable=True), Column("to", "date", nullable=True)),
        ("id",),
        orders=(Order("from", "to"),),
    )
    build(server, Catalog("c", "1", (spans,)))
    for number, pair in enumerate([("2020-01-01", "2020-01-01"), ("2020-01-01", None), (None, "2020-01-01")]):
        server.execute("INSERT INTO spans VALUES (%s, %s, %s)", (number, *pair))
    with pytest.raises(psycopg.errors.CheckViolation):
        server.execute("INSERT INTO spans VALUES (9, '2020-01-02', '2020-01-01')")


def test_the_ddl_names_no_schema_so_one_text_builds_every_tenant() -> None:
    assert not [text for text in create_statements(MUSIC) if "public." in text or "tables_test" in text]


def test_names_stay_within_what_postgres_keeps(server: psycopg.Connection) -> None:
    long = "x" * 48
    catalog = Catalog(
        "c",
        "1",
        (
            Dataset(f"a{long[1:]}", "", (Column(long, "integer", unique=True),), (long,)),
            Dataset(
                f"b{long[1:]}",
                "",
                (Column(long, "integer"), Column("id", "integer")),
                ("id",),
                (ForeignKey((long,), f"a{long[1:]}", (long,)),),
            ),
        ),
    )
    build(server, catalog)
    assert len(constraints(server, "f")) == 1


@pytest.mark.parametrize("kind", ["uuid", "jsonb", "timestamptz", "double", "inet", "numeric"])
def test_types_are_spelled_as_postgres_spells_them(server: psycopg.Connection, kind: ColumnType) -> None:
    query = sql.SQL("SELECT format_type({}::regtype, NULL)").format(sql_type(Column("a", kind)))
    assert server.execute(query).fetchone() == (SPELLINGS.get(kind, kind),)
