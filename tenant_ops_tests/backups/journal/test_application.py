"""What the journal never does: make the application's writes fail, or let them pass unseen."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups.journal import ChainBroken, functions, install, write_segment
from tenant_ops.backups.snapshot import hold_snapshot
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.backups.journal.chains import Chain, differing
from tenant_ops_tests.backups.journal.conftest import as_login, run

Begin = Callable[[str], Chain]
SONGS = """
    CREATE TABLE song (id integer PRIMARY KEY, title text, n integer DEFAULT 0);
    CREATE TABLE play (song integer, at timestamptz DEFAULT now());
    CREATE TABLE part (id integer PRIMARY KEY, v integer) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
    INSERT INTO song SELECT g, 'song ' || g, 1 FROM generate_series(1, 10) g;
"""
BEFORE = """UPDATE song SET n = 1; INSERT INTO song VALUES (99); DELETE FROM song WHERE id = 99;
    INSERT INTO play VALUES (1); UPDATE play SET song = 1; INSERT INTO part VALUES (50, 1);
    UPDATE part_low SET v = 3"""
# Each with statements that the application may run after it.
CHANGES = {
    "ALTER TABLE song DROP title": "UPDATE song SET n = 2; INSERT INTO song VALUES (11); DELETE FROM song",
    "ALTER TABLE song RENAME title TO name": "UPDATE song SET name = 'x'; DELETE FROM song WHERE id = 1",
    "ALTER TABLE song RENAME id TO key": "UPDATE song SET n = 2; INSERT INTO song VALUES (11)",
    "ALTER TABLE song DROP id": "UPDATE song SET n = 2; INSERT INTO song VALUES ('x')",
    "ALTER TABLE song DROP CONSTRAINT song_pkey": "UPDATE song SET n = 2; INSERT INTO song VALUES (1)",
    "ALTER TABLE song ALTER id TYPE text": "UPDATE song SET n = 2; INSERT INTO song VALUES ('x')",
    "ALTER TABLE song ADD extra integer DEFAULT 5": "UPDATE song SET n = 2; INSERT INTO song VALUES (11)",
    "ALTER TABLE song RENAME TO tune": "UPDATE tune SET n = 2; DELETE FROM tune; TRUNCATE tune",
    "ALTER TABLE song SET SCHEMA {stage}": "UPDATE {stage}.song SET n = 2; TRUNCATE {stage}.song",
    "ALTER TABLE song ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
    "CREATE POLICY all_of_it ON song USING (true)": "UPDATE song SET n = 2; INSERT INTO song VALUES (11)",
    "ALTER TABLE play RENAME song TO tune": "UPDATE play SET tune = 2; INSERT INTO play VALUES (11)",
    "ALTER TABLE part DETACH PARTITION part_low; DROP TABLE part": "INSERT INTO part_low VALUES (1, 1)",
    "ALTER TABLE part RENAME TO parts": "INSERT INTO parts VALUES (1, 1); UPDATE part_low SET v = 2",
    "REVOKE ALL ON part_low FROM {owner}": "INSERT INTO part_low VALUES (1, 1); UPDATE part_low SET v = 2",
    "ALTER TABLE part_low SET SCHEMA {stage}": "INSERT INTO {stage}.part_low VALUES (1, 1)",
    "DROP TABLE {stage}.journal": "UPDATE song SET n = 2; INSERT INTO play VALUES (11); TRUNCATE song",
    "DROP SCHEMA {stage} CASCADE": "UPDATE song SET n = 2; DELETE FROM song; TRUNCATE song",
    "ALTER TABLE song OWNER TO {admin}": "UPDATE song SET n = 2; INSERT INTO song VALUES (11)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_writes_go_on_after_any_change_of_the_definition(
    begin: Begin, fleet: Fleet, tenant: Tenant, change: str
) -> None:
    """The session wrote before, so that it holds functions and plans that were right until then."""
    chain = begin(SONGS)
    names = {"stage": tenant.stage_schema, "admin": tenant.role("admin"), "owner": tenant.role("owner")}
    with fleet.database(tenant).session() as application:
        application.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(tenant.schema_name)))
        for statement in BEFORE.split(";"):
            application.execute(statement.encode())
        with fleet.control.transaction() as connection:
            connection.execute(
                sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(tenant.schema_name))
            )
            connection.execute(change.format(**names).encode())
        for statement in CHANGES[change].format(**names).split("; "):
            application.execute(statement.encode())
    if change.startswith(("ALTER TABLE song OWNER", "REVOKE")):
        return  # such a table cannot be backed up at all
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken):
        write_segment(snapshot, tenant, chain.last, lambda piece, rows: None)


def test_what_was_written_while_a_table_had_another_name_is_refused(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """Under its own name again, the table looks as if nothing had happened."""
    chain = begin(SONGS)
    run(
        fleet,
        tenant,
        "ALTER TABLE song RENAME TO tune; UPDATE tune SET n = 2; ALTER TABLE tune RENAME TO song",
    )
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken) as refusal:
        write_segment(snapshot, tenant, chain.last, lambda piece, rows: None)
    assert refusal.value.reason == "written unseen"


def test_a_row_too_large_for_the_journal_is_written_and_refused_at_the_tick(
    begin: Begin, fleet: Fleet, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "LARGEST_ROW_BYTES", 10_000)
    chain = begin(
        SONGS + "CREATE TABLE blob (id integer PRIMARY KEY, a bytea, b jsonb); CREATE TABLE heap (a text)"
    )
    run(
        fleet,
        tenant,
        "INSERT INTO blob VALUES (1, '\\x00', '{}'); INSERT INTO heap VALUES (repeat('x', 9000))",
    )
    chain.tick()
    with as_login(fleet, tenant) as application:
        application.execute("INSERT INTO heap VALUES (repeat('x', 10001))")
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken, match="table heap") as refusal:
        write_segment(snapshot, tenant, chain.last, lambda piece, rows: None)
    assert refusal.value.reason == "row too large"
    chain = Chain.begin(fleet, tenant)
    run(fleet, tenant, "UPDATE blob SET a = decode(repeat('ff', 9900), 'hex')")
    chain.tick()
    run(fleet, tenant, "UPDATE blob SET a = a || a")
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken, match="table blob"):
        write_segment(snapshot, tenant, chain.last, lambda piece, rows: None)


@pytest.mark.slow
def test_a_value_of_sixty_megabytes_is_measured_without_being_read(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(SONGS + "CREATE TABLE blob (id integer PRIMARY KEY, a text)")
    with as_login(fleet, tenant) as application:
        application.execute("INSERT INTO blob VALUES (1, repeat('compressible ', 5000000))")
        application.execute("INSERT INTO blob VALUES (2, repeat('compressible ', 1000000))")
    with hold_snapshot(fleet, tenant) as snapshot, pytest.raises(ChainBroken, match="table blob"):
        write_segment(snapshot, tenant, chain.last, lambda piece, rows: None)


def test_a_single_row_is_looked_up_in_the_index_whatever_the_session_wrote_before(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """A plan made for 20,000 rows would read the whole table for every later row."""
    begin(
        "CREATE TABLE song (id integer PRIMARY KEY, n integer); "
        "INSERT INTO song SELECT g FROM generate_series(1, 20000) g"
    )
    with as_login(fleet, tenant) as application:
        application.execute("UPDATE song SET n = 1")
        application.execute("INSERT INTO song SELECT g FROM generate_series(20001, 40000) g")
        application.execute("DELETE FROM song WHERE id > 30000")
        before = scans(application)
        for row in range(20):
            application.execute("UPDATE song SET n = 2 WHERE id = %s", (row,))
            application.execute("INSERT INTO song VALUES (%s)", (30001 + row,))
            application.execute("DELETE FROM song WHERE id = %s", (30001 + row,))
        assert scans(application) == before


PARTS = """
    CREATE TABLE part (id integer PRIMARY KEY, "50% off" text) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE TABLE part_mid PARTITION OF part FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
    CREATE TABLE part_mid_1 PARTITION OF part_mid FOR VALUES FROM (100) TO (150);
    CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (200) TO (300);
    INSERT INTO part VALUES (1, 'low'), (101, 'mid'), (201, 'high');
"""


def test_writing_to_one_partition_keeps_nobody_from_truncating_another(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(PARTS)
    with as_login(fleet, tenant) as slow:
        slow.execute("BEGIN")
        slow.execute("INSERT INTO part_low VALUES (2, 'x'), (3, '100%')")
        slow.execute("""UPDATE part_mid SET id = id + 1, "50% off" = 'moved'""")
        slow.execute("DELETE FROM part_low WHERE id = 1")
        run(fleet, tenant, "TRUNCATE part_high")
        slow.execute("COMMIT")
    chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("SELECT * FROM part ORDER BY id") == [(2, "x"), (3, "100%"), (102, "moved")]


def test_a_partition_that_hides_its_rows_is_read_with_the_whole_table(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(
        PARTS + "ALTER TABLE part_low ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
        "CREATE POLICY writes ON part_low FOR INSERT WITH CHECK (true)"
    )
    run(fleet, tenant, "INSERT INTO part_low VALUES (2, 'x')")
    chain.tick()
    with chain.segments[0].open() as source:
        assert source.read().endswith(b"\tpart\ts\t(2,x)\n")


def scans(connection: psycopg.Connection) -> int:
    """How often the table was read from end to end."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'song'::regclass"
    ).fetchone()
    assert row is not None
    return row[0]


def test_settings_of_the_session_do_not_show_in_the_journal(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    chain = begin(
        "CREATE TABLE kinds (id integer PRIMARY KEY, f double precision, r real, d date, t timestamptz, "
        "i interval, b bytea, m money, c regclass)"
    )
    with as_login(fleet, tenant) as application:
        application.execute("SET bytea_output = 'escape'")
        application.execute("SET extra_float_digits = -10")
        application.execute("SET intervalstyle = 'sql_standard'")
        application.execute("SET datestyle = 'German'")
        application.execute("SET timezone = 'Asia/Kathmandu'")
        application.execute(
            "INSERT INTO kinds VALUES (1, 1.0 / 3, 1.0 / 3, '2026-02-01', '2026-02-01 12:00', "
            "'1 year -2 days 03:04:05.678', '\\x005cff', 1234.56, 'kinds')"
        )
    chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("SELECT id, f, d, i, b FROM kinds")[0][1] == 1.0 / 3
        with chain.segments[0].open() as source:
            assert b'2026-02-01,"2026-02-01 06:15:00+00"' in source.read()
        found = replayed.contents()
    assert found.keys() == {"kinds", *(name for name in chain.ticks[-1])}
    assert differing(found, chain.ticks[-1]) == {}


def test_a_replica_writes_into_the_journal_too(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    chain = begin(SONGS)
    with fleet.database(tenant).session() as replica:
        replica.execute("SET session_replication_role = replica")
        replica.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(tenant.schema_name)))
        replica.execute("UPDATE song SET n = 5 WHERE id < 4")
        replica.execute("TRUNCATE play")
    assert chain.tick().entries == 4


def test_the_login_cannot_reach_the_journal(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    begin(SONGS)
    stage = sql.Identifier(tenant.stage_schema)
    function = f"journal_{next(unit.oid for unit in install(fleet, tenant).units if unit.name == 'song')}"
    with as_login(fleet, tenant) as login:
        login.execute("UPDATE song SET n = 2")
        for statement in (
            "SELECT * FROM {}.journal",
            "INSERT INTO {}.journal (tbl, op) VALUES ('song', 't')",
            "DELETE FROM {}.journal",
            "TRUNCATE {}.journal",
            "DROP TABLE {}.journal",
            "SELECT * FROM {}.journal_kept",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(sql.SQL(statement).format(stage))
        login.execute("CREATE TEMPORARY TABLE mine (id integer, title text, n integer)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(
                sql.SQL(
                    "CREATE TRIGGER forged AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows "
                    "FOR EACH STATEMENT EXECUTE FUNCTION {}.{}()"
                ).format(stage, sql.Identifier(function))
            )
        for statement in (
            "ALTER TABLE song DISABLE TRIGGER ALL",
            "DROP TRIGGER tenant_ops_journal_insert ON song",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(statement.encode())


def test_no_role_of_another_tenant_can_reach_the_journal(begin: Begin, fleet: Fleet, tenant: Tenant) -> None:
    begin(SONGS)
    provision(fleet, f"{tenant.slug}_next")
    other = fleet.registry.get(f"{tenant.slug}_next")
    for role in ("owner", "admin", "editor", "viewer"):
        for statement in ("SELECT * FROM {}.journal", "DELETE FROM {}.journal", "DROP TABLE {}.journal"):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                fleet.session(other, role) as connection,
            ):
                connection.execute(sql.SQL(statement).format(sql.Identifier(tenant.stage_schema)))


def test_a_login_that_shadows_names_of_the_catalog_writes_the_same_entries(
    begin: Begin, fleet: Fleet, tenant: Tenant
) -> None:
    """Temporary objects come first in a path that does not say otherwise."""
    chain = begin(SONGS)
    with as_login(fleet, tenant) as login:
        login.execute("CREATE TEMPORARY TABLE pg_attribute (attrelid oid)")
        login.execute("CREATE TEMPORARY TABLE new_rows (id integer)")
        login.execute("CREATE TEMPORARY TABLE song (id integer)")
        login.execute("SET search_path = pg_temp, pg_catalog")
        login.execute(
            sql.SQL("UPDATE {} SET n = 8 WHERE id = 3").format(sql.Identifier(tenant.schema_name, "song"))
        )
    chain.tick()
    with chain.replayed() as replayed:
        assert replayed.rows("SELECT n FROM song WHERE id = 3") == [(8,)]
        assert differing(replayed.contents(), chain.ticks[-1]) == {}
