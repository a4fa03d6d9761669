"""Code that names its schema in a text follows it: while rows are loaded, and afterwards."""

from collections.abc import Callable

from tenant_ops.backups import BackupRecord, execute_restore, plan_restore
from tenant_ops.tenants import Fleet, Tenant

Take = Callable[..., BackupRecord]


def script(schema: str, key: str) -> bytes:
    return f"""
        CREATE TABLE songs (id int PRIMARY KEY, title text);
        CREATE TABLE log (said text);
        CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
        CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT {schema}.doubled(n)';
        CREATE FUNCTION loudly(n int) RETURNS int LANGUAGE sql IMMUTABLE
            AS 'SELECT {schema.upper()}.doubled(n)';
        CREATE FUNCTION counted() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
            DECLARE n bigint;
            BEGIN
                EXECUTE format('SELECT count(*) FROM %I.%I', '{schema}', 'songs') INTO n;
                EXECUTE 'SELECT count(*) FROM "{schema}".songs' INTO n;
                RETURN n; -- of {schema}.songs
            END $$;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                EXECUTE format('INSERT INTO %s VALUES (%L)', TG_ARGV[0], TG_ARGV[0]);
                RETURN NEW;
            END $$;
        CREATE FUNCTION hidden() RETURNS text LANGUAGE sql AS $$ SELECT 't_' || '{key}' $$;
        CREATE TABLE numbers (
            n int CHECK ({schema}.twice(n) < 1000), double int GENERATED ALWAYS AS (twice(n)) STORED
        );
        CREATE INDEX ON numbers (loudly(n));
        CREATE MATERIALIZED VIEW tally AS SELECT counted() AS songs;
        CREATE TRIGGER note AFTER UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION note('{schema}.log');
        INSERT INTO songs VALUES (1, 'a'), (2, 'b');
        INSERT INTO numbers VALUES (1), (2);
        REFRESH MATERIALIZED VIEW tally;
    """.encode()


def test_functions_that_name_their_schema_work_while_and_after_they_are_restored(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(script(tenant.schema_name, tenant.key))
    backup = take(tenant)
    with fleet.session(tenant) as connection:
        connection.execute("DROP MATERIALIZED VIEW tally; DELETE FROM songs; DROP TABLE numbers")
        connection.execute("DROP FUNCTION doubled, twice, loudly")
    for target in (f"{tenant.slug}_copy", tenant.slug):
        plan = plan_restore(fleet, backup, target)
        named = [warning for warning in plan.warnings if "names its schema in its text" in warning]
        assert len(named) == 4, plan.warnings
        assert any("hidden() holds the tenant's key" in warning for warning in plan.warnings)
        execute_restore(fleet, plan)
        restored = fleet.registry.get(target)
        with fleet.session(restored) as connection:
            assert connection.execute("SELECT songs FROM tally").fetchone() == (2,)
            assert connection.execute("SELECT n, double FROM numbers ORDER BY n").fetchall() == [
                (1, 2),
                (2, 4),
            ]
            connection.execute("INSERT INTO songs VALUES (3, 'c'); INSERT INTO numbers VALUES (7)")
            assert connection.execute("SELECT counted(), twice(4), loudly(5)").fetchone() == (3, 8, 10)
            connection.execute("UPDATE songs SET title = 'd' WHERE id = 3")
            assert connection.execute("SELECT said FROM log").fetchall() == [(f"{restored.schema_name}.log",)]
            sources = connection.execute(
                "SELECT string_agg(prosrc, '') FROM pg_proc WHERE pronamespace = current_schema::regnamespace"
            ).fetchone()
        assert sources is not None
        assert "__new_" not in sources[0]
