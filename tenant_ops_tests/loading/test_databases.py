"""Databases as sources: exact values, one snapshot, nothing written, and no password shown."""

import json
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenant_ops.datasets import Catalog, Column, Dataset
from tenant_ops.loading import Reading, SourceFile
from tenant_ops.loading.discovery import content_hash, find_files
from tenant_ops.loading.sources import Batch, open_source
from tenant_ops.loading.sources.columns import Columns
from tenant_ops.loading.sources.databases import read_database, read_sqlite, sqlite_tables
from tenant_ops.platform.errors import InputError, NotAvailable, OperationFailed, TenantOpsError
from tenant_ops_tests.loading.shop import SHOP, Shop
from tenant_ops_tests.loading.test_parquet_files import ID, THINGS, texts

LABELS = Dataset(
    "labels", "", (Column("id", "bigint"), Column("label", "text", nullable=True)), ("id",), source="Labels"
)
CATALOG = Catalog("test", "1.0.0", (THINGS, LABELS))


def read(url: str, dataset: Dataset = THINGS, **options: object) -> list[Batch]:
    columns = Columns(dataset, "things", str(options.pop("drift", "strict")))
    chosen = {"table": "things", "query": None, "batch_rows": 2, "since": None, **options}
    return list(read_database(url, "things", columns, **chosen))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A Postgres database with a table of every kind of value."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            CREATE TABLE things (
                id uuid, "Count" bigint, price numeric, ratio double precision, ok boolean, day date,
                at timestamptz, label text, extra jsonb
            );
            INSERT INTO things VALUES
                ('0b0e0a4e-3d5a-4a3c-8d0e-6b1f4b8f8a11', 4611686018427387904,
                 12345678901234567890.12345678901234567890, 0.1, true, '2024-02-29',
                 '2024-05-06 07:08:09.123456+02', 'caf\u00e9',
                 '{"x": 1.10, "n": 12345678901234567890.5}'),
                ('0b0e0a4e-3d5a-4a3c-8d0e-6b1f4b8f8a11', NULL, 'NaN', '-Infinity', false, 'infinity',
                 '0044-03-15 00:00+00 BC', '', 'null'),
                ('0b0e0a4e-3d5a-4a3c-8d0e-6b1f4b8f8a11', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
            """
        )
    yield database_url


def test_postgres_values_arrive_with_every_digit(url: str) -> None:
    batches = read(url)
    assert [batch.lines.to_pylist() for batch in batches] == [[1, 2], [3]]
    assert texts(batches, "id") == [str(ID)] * 3
    assert texts(batches, "count") == [str(2**62), None, None]
    assert texts(batches, "price") == ["12345678901234567890.12345678901234567890", "NaN", None]
    assert texts(batches, "ratio") == ["0.1", "-Infinity", None]
    assert texts(batches, "ok") == ["true", "false", None]
    assert texts(batches, "day") == ["2024-02-29", "infinity", None]
    assert texts(batches, "at") == ["2024-05-06 05:08:09.123456+00", "0044-03-15 00:00:00+00 BC", None]
    assert texts(batches, "label") == ["café", "", None]
    assert texts(batches, "extra") == ['{"n": 12345678901234567890.5, "x": 1.10}', "null", None]


def test_a_query_gives_rows_under_its_own_names(url: str) -> None:
    batches = read(
        url,
        LABELS,
        table=None,
        query="""
            SELECT n AS id, CASE WHEN n % 2 = 0 THEN 'a:b ' || :colon: || '10:30'::text END AS label -- 100 %
            FROM generate_series(1, 3) AS n ORDER BY n;
        """.replace(":colon:", r"E'\\:x %s'"),
    )
    assert texts(batches, "id") == ["1", "2", "3"]
    assert texts(batches, "label") == [None, r"a:b \:x %s10:30", None]


def test_arrays_and_composites_become_json_and_bytes_are_a_fault_of_their_cell(url: str) -> None:
    wide = Dataset(
        "wide",
        "",
        (Column("id", "integer"), *(Column(n, "jsonb", nullable=True) for n in ("many", "doc", "wrong")),
         *(Column(n, "text", nullable=True) for n in ("words", "raw", "span"))),
        ("id",),
    )  # fmt: skip
    (batch,) = read(
        url,
        wide,
        table=None,
        query="SELECT 1 AS id, ARRAY[1.10, NULL] AS many, '[1, 2]'::text AS doc, 'plain'::text AS wrong, "
        r"ARRAY['a,b'] AS words, '\xff00'::bytea AS raw, interval '1 day' AS span",
    )
    assert {name: batch.columns[name][0].as_py() for name in ("many", "doc", "wrong", "words", "span")} == {
        "many": "[1.10, null]",
        "doc": "[1, 2]",
        "wrong": "plain",
        "words": '["a,b"]',
        "span": "P1D",
    }
    assert [(fault.row, fault.column) for fault in batch.faults] == [(0, "raw")]


def test_columns_a_dataset_does_not_have_are_told_with_samples(url: str) -> None:
    with pytest.raises(InputError, match="labels has no column 'more'"):
        read(url, LABELS, table=None, query="SELECT 1 AS id, 2 AS more")
    columns = Columns(LABELS, "labels", "ignore")
    list(
        read_database(
            url,
            "labels",
            columns,
            table=None,
            query="SELECT n AS id, n * 0.5 AS more FROM generate_series(1, 50) AS n",
            batch_rows=10,
        )
    )
    assert columns.samples == {"more": [str(n * 0.5) for n in range(1, 21)]}
    assert [(drifted.column, drifted.kind) for drifted in columns.drift] == [
        ("more", "unknown"),
        ("label", "missing"),
    ]


def test_rows_before_a_value_are_left_with_the_database(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            CREATE TABLE "Labels" (id bigint, label text, at timestamptz, day date, whole int, spoken text);
            INSERT INTO "Labels" SELECT n, '', '2024-01-01Z'::timestamptz + n * interval '1 hour',
                '2024-01-01'::date + n, n, n::text FROM generate_series(1, 12) AS n;
            INSERT INTO "Labels" VALUES (13);
            """
        )

    def ids(*since: str) -> list[int]:
        batches = read(url, LABELS, table="Labels", since=since, drift="ignore", batch_rows=5)
        return [int(text or 0) for text in texts(batches, "id")]

    assert ids("at", "2024-01-01 12:00:00.000000+01") == [11, 12, 13], "a row without a value is not before"
    assert ids("day", "2024-01-12") == [11, 12, 13]
    assert ids("whole", "10") == [10, 11, 12, 13]
    assert ids("spoken", "9") == list(range(1, 14)), "text is not compared"
    assert ids("gone", "9") == list(range(1, 14))
    with pytest.raises(InputError, match="the database cannot be read: invalid input syntax"):
        ids("whole", "'; DROP TABLE things; --")


def test_one_moment_is_read_and_nothing_can_be_written(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "CREATE TABLE \"Labels\" AS SELECT n AS id, '' AS label FROM generate_series(1, 9) AS n"
        )
        other.execute("CREATE SEQUENCE s")
        columns = Columns(LABELS, "labels", "strict")
        batches = read_database(url, "labels", columns, table="Labels", query=None, batch_rows=3)
        first = next(batches)
        other.execute('DELETE FROM "Labels"')
        assert first.rows + sum(batch.rows for batch in batches) == 9
    with pytest.raises(InputError, match="read-only transaction"):
        read(url, LABELS, table=None, query="SELECT nextval('s') AS id")
    with pytest.raises(InputError, match="the database cannot be read"):
        read(url, LABELS, table=None, query="SELECT 1 AS id; DROP TABLE things")


def test_a_database_that_goes_away_is_no_fault_of_the_input(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        query = "SELECT n AS id FROM generate_series(1, 100000) AS n"
        batches = read_database(
            url, "labels", Columns(LABELS, "x", "strict"), table=None, query=query, batch_rows=9
        )
        next(batches)
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(OperationFailed, match="the database failed") as caught:
            list(batches)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://me:s3cret%21@db.example/shop",
        "mysql+pymysql://me:s3cret%21@db.example/shop",
        "postgresql://db.example/shop?user=me&password=s3cret%21",
        "s3://key:s3cret%21@bucket/folder",
        "https://example.org/users.csv?X-Amz-Signature=s3cret%21",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="env:NAME") as caught:
        find_files(CATALOG, source, {"things"}, reading=Reading(), spool=tmp_path)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "secret_url",
    [
        "postgresql://me:s3cret%21@127.0.0.1:1/shop",
        "postgresql://me:s3cret%21@127.0.0.1:port/shop",
        "postgresql://127.0.0.1:1/shop?user=me&password=s3cret%21",
        "mysql+nodriver://me:s3cret%21@127.0.0.1:1/shop",
    ],
)
def test_no_error_shows_the_password(
    secret_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOP_URL", secret_url)
    with pytest.raises(TenantOpsError) as caught:
        find_files(CATALOG, "env:SHOP_URL", {"things"}, reading=Reading(), spool=tmp_path)
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in told
    assert "env:SHOP_URL" in told


def test_a_url_in_a_variable_is_kept_there(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOP_URL", url.replace("postgres@", "postgres:s3cret@"))
    found = find_files(
        CATALOG, "env:SHOP_URL", {"things", "labels"}, reading=Reading(snapshot="noon"), spool=tmp_path
    )
    assert found == {
        "things": [
            SourceFile("env:SHOP_URL#things", "env:SHOP_URL", "database", "", "things", 0, "snapshot:noon")
        ],
        "labels": [],
    }
    assert content_hash(found["things"][0]) == "snapshot:noon"
    with open_source(found["things"][0], THINGS, batch_rows=10, drift="strict", reading=Reading()) as source:
        assert sum(batch.rows for batch in source.batches) == 3
        assert (source.encoding, source.consumed()) == ("", 0)
    monkeypatch.delenv("SHOP_URL")
    with pytest.raises(InputError, match=r"env:SHOP_URL: the environment variable is not set"):
        find_files(CATALOG, "env:SHOP_URL", {"things"}, reading=Reading(), spool=tmp_path)


def test_a_query_is_for_one_dataset_of_a_database(url: str, tmp_path: Path) -> None:
    reading = Reading(query="SELECT 1 AS id")
    (file,) = find_files(CATALOG, url, {"labels"}, reading=reading, spool=tmp_path)["labels"]
    assert (file.part, file.name) == (None, f"{url}#query")
    again = find_files(CATALOG, url, {"labels"}, reading=reading, spool=tmp_path)["labels"]
    assert again[0].sha256 != file.sha256, "another moment, unless a snapshot is named"
    with pytest.raises(InputError, match="Choose exactly one"):
        find_files(CATALOG, url, {"labels", "things"}, reading=reading, spool=tmp_path)
    (tmp_path / "Labels.csv").write_text("id\n1\n")
    with pytest.raises(InputError, match="only a database can be asked"):
        find_files(CATALOG, tmp_path, {"labels"}, reading=reading, spool=tmp_path)


def test_a_database_without_such_tables_says_which_it_wants(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no table is named after a dataset.*Orders, customers"):
        find_files(SHOP, url, {"orders"}, reading=Reading(), spool=tmp_path)


def test_a_missing_driver_and_an_unknown_scheme_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match=r"mysql://.*needs the package MySQLdb"):
        find_files(CATALOG, "mysql://db.example/shop", {"labels"}, reading=Reading(), spool=tmp_path)
    with pytest.raises(InputError, match=r"no driver for gopher:// is installed"):
        find_files(CATALOG, "gopher://db.example/shop", {"labels"}, reading=Reading(), spool=tmp_path)


def test_a_tenant_loads_from_a_database(shop: Shop, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            CREATE TABLE customers (id int, name text, profile json, joined timestamp);
            INSERT INTO customers VALUES (1, 'Ada', '{"a": 1.0}', '2024-05-06'), (2, '', '[]', NULL);
            CREATE VIEW "Orders" AS SELECT 1 AS "Customer", 7 AS "No.", 0.10 AS "Total amount";
            """
        )
    report = shop.load(source=url)
    assert (report.read, report.inserted, report.quarantined) == (3, 2, 1)
    assert [(row[0], row[1]) for row in shop.rows("customers", "id profile")] == [(1, {"a": 1.0})]
    assert shop.load(source=url).unchanged == 2


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a shop's #1 data?.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            'CREATE TABLE "odd ""table"" name" (id text, "Count" integer, price numeric, label)'
        )
        connection.executemany(
            'INSERT INTO "odd ""table"" name" VALUES (?, ?, ?, ?)',
            [(str(ID), 5, 0.99, "x"), (str(ID), None, 12, b"\xff"), (str(ID), 2**62, 1.5, "")],
        )
    connection.close()
    return path


def test_a_sqlite_table_is_read_row_by_row(database: Path) -> None:
    (table,) = sqlite_tables(database, "shop")
    batches = list(read_sqlite(database, "shop", table, Columns(THINGS, "shop", "strict"), batch_rows=2))
    assert [batch.lines.to_pylist() for batch in batches] == [[1, 2], [3]]
    assert texts(batches, "count") == ["5", None, str(2**62)]
    assert texts(batches, "price") == ["0.99", "12", "1.5"]
    assert texts(batches, "label")[::2] == ["x", ""]
    assert [(fault.row, fault.column) for fault in batches[0].faults] == [(1, "label")]


def test_a_sqlite_database_is_only_read(database: Path) -> None:
    before = database.read_bytes()
    list(
        read_sqlite(
            database,
            "shop",
            sqlite_tables(database, "shop")[0],
            Columns(THINGS, "shop", "strict"),
            batch_rows=2,
        )
    )
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_what_only_looks_like_sqlite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    path.write_bytes(b"SQLite format 3\x00" + b"x" * 2000)
    with pytest.raises(InputError, match=r"shop: the database cannot be read"):
        sqlite_tables(path, "shop")
    with pytest.raises(InputError, match=r"gone: the database cannot be read"):
        sqlite_tables(tmp_path / "gone.sqlite", "gone")
    assert not (tmp_path / "gone.sqlite").exists()


def test_a_sqlite_database_is_also_named_by_its_url(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE Labels (id integer, label text, at datetime)")
        connection.executemany("INSERT INTO Labels VALUES (?, ?, ?)", [(n, "x", "2024") for n in range(1, 5)])
    connection.close()
    (file,) = find_files(CATALOG, f"sqlite:///{path}", {"labels"}, reading=Reading(), spool=tmp_path)[
        "labels"
    ]
    assert (file.format, file.part) == ("database", "Labels")

    def ids(*since: str) -> list[str | None]:
        return texts(read(file.path, LABELS, table="Labels", drift="ignore", since=since), "id")

    assert ids("id", "3") == ["3", "4"]
    assert ids("at", "2025") == ["1", "2", "3", "4"], "its moments are text, which is not compared"
    with pytest.raises(InputError, match="unable to open database file"):
        find_files(CATALOG, f"sqlite:///{tmp_path}/gone.db", {"labels"}, reading=Reading(), spool=tmp_path)
    assert not (tmp_path / "gone.db").exists()


def test_json_in_a_database_without_such_a_type_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "things.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE things (id text, extra text)")
        connection.executemany(
            "INSERT INTO things VALUES (?, ?)", [(str(ID), json.dumps({"a": [1]})), (str(ID), 7)]
        )
    connection.close()
    batches = list(read_sqlite(path, "shop", "things", Columns(THINGS, "shop", "strict"), batch_rows=10))
    assert texts(batches, "extra") == ['{"a": [1]}', "7"]
