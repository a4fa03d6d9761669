"""Whatever value a row holds, whatever its table and columns are called, it comes back as it was."""

from collections.abc import Callable
from pathlib import Path

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_script
from tenant_ops_tests.backups.journal.chains import Chain, differing
from tenant_ops_tests.backups.journal.conftest import as_login, run

Begin = Callable[[str], Chain]

HERE = Path(__file__).parent
TEXTS = (
    *("", " ", "NULL", "\\N", "\\.", 'a"b', "a'b", "a\\b", "a,b", "(a)", "{a}", "\\x41", "%s", "ü€😀"),
    *("tab\tnew\nline\rreturn", "\x01\x1f\x7f", '"', "\\", '""', "\\\\"),
)


def test_a_schema_with_everything_comes_back(fleet: Fleet, tenant: Tenant) -> None:
    changes = HERE.joinpath("everything_changes.sql").read_text()
    for script in ("everything.sql", "everything_rows.sql"):
        run_script(fleet, tenant, script)
    chain = Chain.begin(fleet, tenant)
    for day in (1, 2):
        run(fleet, tenant, changes.replace("DAY", f"{day:02}"))
        assert chain.tick().copied == ("child", "nothing", "parent", "scratch")
        with chain.replayed() as replayed:
            assert differing(replayed.contents(), chain.ticks[-1]) == {}
    assert chain.tick().copied == ("scratch",)


def test_values_that_break_careless_text_come_back(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(HERE.joinpath("values.sql").read_text())
    insert = HERE.joinpath("value.sql").read_bytes()
    with as_login(fleet, tenant) as login:
        for number, text in enumerate(TEXTS):
            login.execute(insert, {"id": number, "text": text})
        login.execute("INSERT INTO value (id, filled) VALUES (100, '')")
        login.execute("UPDATE value SET short = 'abc', narrow = '-Infinity' WHERE id % 2 = 0")
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
        assert replayed.rows("SELECT count(*) FROM value WHERE twice = id * 2") == [(len(TEXTS) + 1,)]


def test_keys_are_equal_when_their_type_says_so(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    """1.0 becomes 1.00 and -0 becomes 0: other texts, the same key, one row."""
    chain = begin(
        """
        CREATE TYPE spot AS (x integer, y numeric);
        CREATE TABLE number (id numeric PRIMARY KEY, v integer);
        CREATE TABLE real_number (id double precision PRIMARY KEY, v integer);
        CREATE TABLE place (id spot, tags text[], PRIMARY KEY (id, tags));
        CREATE TABLE padded (id char(4) PRIMARY KEY);
        INSERT INTO number VALUES (1.0, 1), ('NaN', 1);
        INSERT INTO real_number VALUES ('-0', 1), ('NaN', 1);
        INSERT INTO place VALUES ('(1,2.0)', '{a,NULL}');
        INSERT INTO padded VALUES ('a');
        """
    )
    run(
        fleet,
        tenant,
        """
        UPDATE number SET id = 1.00 WHERE id = 1; UPDATE number SET id = 1.000, v = 2 WHERE id = 1;
        UPDATE number SET v = 3 WHERE id = 'NaN';
        UPDATE real_number SET id = 0 WHERE id = 0; UPDATE real_number SET v = 3 WHERE id = 'NaN';
        UPDATE place SET id = '(1,2.00)';
        DELETE FROM padded WHERE id = 'a  '; INSERT INTO padded VALUES ('a '), ('b');
        """,
    )
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}


def test_names_may_be_anything(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    long = "ü" * 31 + "x"
    chain = begin(
        f"""
        CREATE TABLE "{long}" ("{long}" integer PRIMARY KEY, "a""b" text);
        CREATE TABLE "%s {{}} ' $$ \\" ("%s" integer, "it's" integer, PRIMARY KEY ("it's", "%s"));
        CREATE TABLE odd (
            seq integer, xid integer, k integer, r integer, op integer, body integer, tbl integer,
            new integer, old integer, found integer, tg_op integer, n integer, o integer, t integer,
            l integer, e integer, p integer, s integer, f integer, g integer, c integer,
            PRIMARY KEY (seq, r, t, o, n, new)
        );
        CREATE TABLE odd_rows (seq integer, body text, n integer, op text, l integer, e integer, f integer);
        """
    )
    for _ in range(2):
        run(
            fleet,
            tenant,
            f"""
            INSERT INTO "{long}" SELECT count(*), 'x' FROM "{long}"; UPDATE "{long}" SET "a""b" = 'y';
            INSERT INTO "%s {{}} ' $$ \\" SELECT count(*), 1 FROM "%s {{}} ' $$ \\";
            UPDATE "%s {{}} ' $$ \\" SET "it's" = 2;
            INSERT INTO odd SELECT count(*), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 FROM odd;
            UPDATE odd SET l = 5;
            INSERT INTO odd_rows VALUES (1, 'b', 2, 'o', 3, 4, 5);
            UPDATE odd_rows SET l = l + 1;
            DELETE FROM odd_rows WHERE l = 5;
            """,
        )
        chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}


def test_a_table_of_1600_columns_is_followed(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    columns = ", ".join(f"c{number} boolean" for number in range(1599))
    chain = begin(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})")
    run(fleet, tenant, "INSERT INTO wide (id, c7, c1598) VALUES (1, true, false); UPDATE wide SET c8 = false")
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
