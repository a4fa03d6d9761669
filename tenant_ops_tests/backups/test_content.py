"""Rows are counted and hashed as they pass; the hash says whether two tables hold the same rows."""

import io

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from tenant_ops.backups.content import SESSION_FORMAT, content_of, copy_in, copy_out
from tenant_ops.tenants import Fleet, Tenant

ROWS = st.lists(st.text(alphabet="abc\t\\", max_size=6).map(str.encode), max_size=8)


def text(rows: list[bytes]) -> io.BytesIO:
    return io.BytesIO(b"".join(row + b"\n" for row in rows))


@given(rows=ROWS, data=st.data())
def test_the_hash_does_not_depend_on_the_order(rows: list[bytes], data: st.DataObject) -> None:
    assert content_of(text(rows)) == content_of(text(data.draw(st.permutations(rows))))


@given(left=ROWS, right=ROWS)
def test_the_hash_tells_different_rows_apart(left: list[bytes], right: list[bytes]) -> None:
    assert (content_of(text(left)) == content_of(text(right))) == (sorted(left) == sorted(right))


@given(rows=ROWS, cut=st.integers(0, 40))
def test_the_hash_does_not_depend_on_how_the_text_is_cut(rows: list[bytes], cut: int) -> None:
    whole = text(rows).getvalue()
    assert content_of(io.BytesIO(whole[:cut]), io.BytesIO(whole[cut:])) == content_of(text(rows))


def test_the_hash_is_what_the_format_page_says() -> None:
    """Spelt out, so that a change of the hash breaks a test and not somebody's old backups."""
    rows = [b"1\tone", b"2\t\\N", b"2\t\\N"]
    digests = ["b919ccf0e83b5c9456fbced2e4b49853", "9d2d51bfd297cc9c6b0e674726bf22eb"]
    total = sum(int(digest, 16) for digest in (digests[0], digests[1], digests[1])) % 2**128
    assert content_of(text(rows)).content_hash == f"{total:032x}"


class TestCopy:
    @pytest.fixture
    def connection(self, fleet: Fleet, tenant: Tenant):
        with fleet.session(tenant) as connection:
            for setting in SESSION_FORMAT:
                connection.execute(setting)  # type: ignore[arg-type]
            connection.execute("CREATE TABLE t (n int, s text)")
            yield connection

    def test_what_is_copied_out_and_in_is_equal(self, connection: psycopg.Connection) -> None:
        connection.execute("INSERT INTO t SELECT g, repeat('x\ty\\', g % 50) FROM generate_series(1, 5000) g")
        pieces: list[bytes] = []
        counted: list[int] = []

        def write(piece: bytes, rows: int) -> None:
            pieces.append(piece)
            counted.append(rows)

        out = copy_out(connection, sql.Identifier("t"), ("n", "s"), write)
        assert (out.rows, sum(counted)) == (5000, 5000)
        assert len(pieces) > 1
        assert content_of(io.BytesIO(b"".join(pieces))) == out
        connection.execute("CREATE TABLE again (n int, s text)")
        copy_in(connection, sql.Identifier("again"), ("n", "s"), io.BytesIO(b"".join(pieces)))
        assert copy_out(connection, sql.Identifier("again"), ("n", "s")) == out

    def test_the_hash_does_not_depend_on_what_the_role_or_database_is_set_to(
        self, connection: psycopg.Connection
    ) -> None:
        connection.execute(
            "CREATE TABLE d AS SELECT now() AS at, interval '1 day' AS i, 0.1::float8 AS f, '\\x01'::bytea"
        )
        before = copy_out(connection, sql.Identifier("d"), ())
        for setting in ("datestyle = 'german'", "timezone = 'Asia/Tokyo'", "intervalstyle = 'iso_8601'",
                        "extra_float_digits = -10", "bytea_output = 'escape'"):  # fmt: skip
            connection.execute(f"SET LOCAL {setting}".encode())  # type: ignore[arg-type]
        assert copy_out(connection, sql.Identifier("d"), ()) != before
        for setting in SESSION_FORMAT:
            connection.execute(setting)  # type: ignore[arg-type]
        assert copy_out(connection, sql.Identifier("d"), ()) == before

    def test_a_writer_that_fails_half_way_leaves_the_connection_usable(
        self, connection: psycopg.Connection
    ) -> None:
        connection.execute("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g")

        def fail(_piece: bytes, _rows: int) -> None:
            raise OSError("disk")

        connection.execute("SAVEPOINT before")
        with pytest.raises(OSError, match="disk"):
            copy_out(connection, sql.Identifier("t"), ("n", "s"), fail)
        connection.execute("ROLLBACK TO SAVEPOINT before")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (20000,)

    def test_an_error_of_the_server_is_raised_as_what_it_is(self, connection: psycopg.Connection) -> None:
        connection.execute("SAVEPOINT before")
        with pytest.raises(psycopg.errors.UndefinedTable, match="missing"):
            copy_out(connection, sql.Identifier("missing"), ())
        connection.execute("ROLLBACK TO SAVEPOINT before")
        connection.execute("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 30000) g")
        connection.execute("SET LOCAL statement_timeout = 1")
        with pytest.raises(psycopg.errors.QueryCanceled):
            copy_out(connection, sql.Identifier("t"), ("n", "s"))
        connection.execute("ROLLBACK TO SAVEPOINT before")
