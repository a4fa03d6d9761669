"""However rows are written, what a tick saw is what base and segments give back."""

from collections.abc import Callable

import pytest
from psycopg import sql

from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.journal.chains import Chain, differing
from tenant_ops_tests.backups.journal.conftest import as_login, run

Begin = Callable[[str], Chain]

SMALL = """
    CREATE TABLE a (id integer PRIMARY KEY, v integer);
    CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE c (a integer REFERENCES a ON DELETE SET NULL ON UPDATE CASCADE, w text);
    CREATE TABLE self (id integer PRIMARY KEY, up integer REFERENCES self ON DELETE CASCADE);
    CREATE TABLE p (id integer, r text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
    CREATE TABLE p_x PARTITION OF p FOR VALUES IN ('x');
    CREATE TABLE p_y PARTITION OF p DEFAULT;
    CREATE TABLE deferred (id integer PRIMARY KEY, a integer REFERENCES a DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO a SELECT g, g FROM generate_series(1, 20) g;
    INSERT INTO b SELECT g, g FROM generate_series(1, 20) g;
    INSERT INTO c SELECT g, 'w' FROM generate_series(1, 20) g;
    INSERT INTO self SELECT g, NULLIF(g - 1, 0) FROM generate_series(1, 20) g;
    INSERT INTO p SELECT g, CASE WHEN g % 2 = 0 THEN 'x' ELSE 'y' END FROM generate_series(1, 20) g;
"""
WRITES = {
    "cascades": """
        UPDATE a SET id = id + 100 WHERE id < 5; DELETE FROM a WHERE id > 17;
        DELETE FROM self WHERE id = 9""",
    "keys that change places": """
        UPDATE a SET id = -1 WHERE id = 1; UPDATE a SET id = 1 WHERE id = 2;
        UPDATE a SET id = 2 WHERE id = -1""",
    "a key that is free again": """
        DELETE FROM self WHERE id = 20; INSERT INTO self VALUES (20, 3); DELETE FROM self WHERE id = 20;
        INSERT INTO self VALUES (20, 4); UPDATE self SET up = 5 WHERE id = 20""",
    "rows moved between partitions": """
        UPDATE p SET r = 'x' WHERE r = 'y' AND id < 9; UPDATE p_x SET id = id + 100;
        WITH m AS (DELETE FROM p_x RETURNING id) INSERT INTO p_y SELECT id, 'z' FROM m WHERE id % 3 = 0""",
    "truncated": """
        UPDATE a SET v = 0; TRUNCATE a CASCADE; INSERT INTO a VALUES (5, 5), (99, 99)""",
    "truncated twice": """
        UPDATE self SET up = 1; TRUNCATE self; INSERT INTO self VALUES (1); TRUNCATE self;
        INSERT INTO self VALUES (3)""",
    "a partition truncated": """
        INSERT INTO p VALUES (50, 'x'), (50, 'y'); TRUNCATE p_x; INSERT INTO p VALUES (51, 'x');
        UPDATE p SET r = 'x' WHERE id = 51; DELETE FROM p WHERE id = 3""",
    "both partitions truncated": """
        TRUNCATE p_y; INSERT INTO p VALUES (1, 'y'); TRUNCATE p; INSERT INTO p VALUES (2, 'y')""",
    "equal rows without a key": """
        INSERT INTO c SELECT NULL, 'same' FROM generate_series(1, 5);
        DELETE FROM c WHERE ctid IN (SELECT ctid FROM c WHERE w = 'same' LIMIT 2);
        UPDATE c SET w = 'same' WHERE a = 4""",
    "equal rows truncated": """
        INSERT INTO c SELECT NULL, 'same' FROM generate_series(1, 5); TRUNCATE c;
        INSERT INTO c VALUES (NULL, 'same'), (NULL, 'same'); DELETE FROM c WHERE ctid = '(0,1)'""",
    "undone": """
        SAVEPOINT s; DELETE FROM a; INSERT INTO a VALUES (500, 1); ROLLBACK TO s;
        UPDATE a SET v = 9 WHERE id = 3; SAVEPOINT s; TRUNCATE p; ROLLBACK TO s;
        SAVEPOINT s; DELETE FROM p WHERE id = 1; RELEASE s""",
    "merged": """
        MERGE INTO a USING generate_series(15, 25) g ON a.id = g WHEN MATCHED AND g < 17 THEN DELETE
        WHEN MATCHED THEN UPDATE SET v = -1 WHEN NOT MATCHED THEN INSERT VALUES (g, 0)""",
    "in conflict": """
        INSERT INTO a VALUES (1, 7), (77, 7) ON CONFLICT (id) DO UPDATE SET v = excluded.v, id = a.id + 1000;
        INSERT INTO a VALUES (77, 8) ON CONFLICT DO NOTHING""",
    "deferred": """
        INSERT INTO deferred VALUES (1, 900); INSERT INTO a VALUES (900, 1)""",
    "written from a common table": """
        WITH d AS (DELETE FROM b RETURNING *) UPDATE a SET v = d.id FROM d WHERE a.id = d.a""",
}


@pytest.mark.parametrize("what", WRITES)
def test_rows_that_were_come_back(begin: Begin, fleet: Fleet, tenant: Tenant, what: str) -> None:
    chain = begin(SMALL)
    with fleet.session(tenant) as connection:
        for statement in WRITES[what].split(";"):
            connection.execute(statement.encode())
    chain.tick()
    with chain.replayed() as replayed:
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
    assert chain.ticks[-1] != chain.ticks[0]


def test_rows_change_only_through_the_newest_entry_of_their_key(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """A thousand updates of one row are one row to put back, whatever segments they are in."""
    chain = begin(SMALL)
    for part in range(3):
        for number in range(5):
            run(fleet, tenant, f"UPDATE a SET v = {part * 10 + number} WHERE id = 7")
        chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("SELECT v FROM a WHERE id = 7") == [(24,)]
        assert replayed.report.entries == 15


def test_sequences_are_never_behind_the_rows(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin("CREATE TABLE song (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text)")
    with as_login(fleet, tenant) as login:
        login.execute("INSERT INTO song (title) SELECT 'x' FROM generate_series(1, 5)")
        login.execute("INSERT INTO song OVERRIDING SYSTEM VALUE VALUES (50, 'ahead')")
        chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("INSERT INTO song (title) VALUES ('new') RETURNING id") == [(51,)]
    with as_login(fleet, tenant) as login:
        login.execute("DELETE FROM song WHERE id = 50")
        login.execute("INSERT INTO song (title) VALUES ('y')")
        chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("INSERT INTO song (title) VALUES ('new') RETURNING id") == [(7,)]


def test_foreign_keys_are_checked_not_trusted(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    """A replica's session may leave rows that refer to nothing; putting them back says so."""
    chain = begin(SMALL)
    with fleet.database(tenant).session() as replica:
        replica.execute("SET session_replication_role = replica")
        replica.execute(
            sql.SQL("DELETE FROM {} WHERE id = 4").format(sql.Identifier(tenant.schema_name, "a"))
        )
    chain.tick()
    with pytest.raises(Exception, match='violates foreign key constraint "b_a_fkey"'), chain.replayed():
        pass
