"""What a backup cannot carry is listed with its reason, and so is all that needs it; the rest comes back."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tenant_ops.backups import BackupRecord, execute_restore, plan_restore
from tenant_ops.backups.ddl import SchemaDefinition, missing_needs
from tenant_ops.backups.journal import install
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.test_definitions import as_superuser, read

Take = Callable[..., BackupRecord]


def as_owner(fleet: Fleet, tenant: Tenant, script: str) -> None:
    with fleet.session(tenant) as connection:
        connection.execute(script.encode())  # type: ignore[arg-type]


def lost(definition: SchemaDefinition) -> dict[str, str]:
    return {item.name: item.reason for item in definition.not_carried}


def test_what_needs_something_not_carried_is_not_carried_either(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    as_superuser(
        fleet,
        tenant,
        f"""
        CREATE FUNCTION inside() RETURNS int LANGUAGE internal AS 'pg_backend_pid';
        CREATE TYPE half;
        CREATE OPERATOR FAMILY kin USING btree;
        CREATE OPERATOR CLASS odd FOR TYPE int USING btree FAMILY kin AS
            OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
            FUNCTION 1 btint4cmp(int, int);
        GRANT EXECUTE ON FUNCTION inside() TO {tenant.role("owner")};
        """,
    )
    as_owner(
        fleet,
        tenant,
        """
        CREATE TABLE kept (a int, b int DEFAULT 3);
        CREATE TABLE partly (a int DEFAULT inside(), b int);
        CREATE INDEX by_odd ON kept (a odd);
        CREATE VIEW sees AS SELECT inside();
        CREATE MATERIALIZED VIEW remembers AS SELECT * FROM sees;
        CREATE INDEX remembered ON remembers (inside);
        COMMENT ON VIEW sees IS 'gone with it';
        GRANT SELECT ON sees TO PUBLIC;
        INSERT INTO kept VALUES (1, 2);
        """,
    )
    found = lost(read(fleet, tenant))
    assert found.keys() == {
        "function inside()", "type half", "default partly.a", "index by_odd", "view sees",
        "materialized view remembers", "index remembered",
        "operator family kin USING btree", "operator class odd USING btree",
    }  # fmt: skip
    assert found["index by_odd"] == "it needs operator class odd USING btree, which is not carried"
    assert found["view sees"] == "it needs function inside(), which is not carried"
    assert found["materialized view remembers"] == "it needs view sees, which is not carried"
    execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    copy = fleet.registry.get(f"{tenant.slug}_copy")
    assert {"kept", "partly"} <= {table.name for table in read(fleet, copy).tables}


def test_marks_only_a_superuser_may_set_are_left_out_of_their_function(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    as_superuser(
        fleet,
        tenant,
        r"""
        CREATE FUNCTION marked(a text DEFAULT E'x LEAKPROOF SUPPORT y') RETURNS SETOF text LANGUAGE plpgsql
            IMMUTABLE LEAKPROOF STRICT ROWS 5 SUPPORT generate_series_int4_support
            SET log_statement = 'all' SET work_mem = '1MB'
            AS $$ BEGIN RETURN NEXT 'LEAKPROOF SET log_statement TO x'; END $$;
        """,
    )
    as_superuser(fleet, tenant, f"ALTER FUNCTION marked(text) OWNER TO {tenant.role('owner')}")
    assert lost(read(fleet, tenant)) == {
        f"{mark} of function marked(a text)": "only a superuser may set it"
        for mark in ("LEAKPROOF", "SUPPORT generate_series_int4_support", "SET log_statement")
    }
    execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    with fleet.session(fleet.registry.get(f"{tenant.slug}_copy")) as connection:
        row = connection.execute(
            "SELECT proleakproof, proisstrict, prorows, proconfig, pg_get_function_arguments(oid), prosrc "
            "FROM pg_proc WHERE proname = 'marked' AND pronamespace = current_schema::regnamespace"
        ).fetchone()
    assert row == (
        False, True, 5, ["work_mem=1MB"], "a text DEFAULT 'x LEAKPROOF SUPPORT y'::text",
        " BEGIN RETURN NEXT 'LEAKPROOF SET log_statement TO x'; END ",
    )  # fmt: skip


def test_what_hangs_on_the_schema_from_outside_is_told(fleet: Fleet, tenant: Tenant) -> None:
    as_owner(fleet, tenant, "CREATE TABLE told (a int); SELECT lo_create(0)")
    schema = tenant.schema_name
    as_superuser(
        fleet,
        tenant,
        f"""
        CREATE PUBLICATION one_table_{tenant.key} FOR TABLE told;
        CREATE PUBLICATION all_tables_{tenant.key} FOR TABLES IN SCHEMA {schema};
        CREATE FOREIGN DATA WRAPPER w_{tenant.key};
        CREATE SERVER s_{tenant.key} FOREIGN DATA WRAPPER w_{tenant.key};
        CREATE FOREIGN TABLE far (a int) SERVER s_{tenant.key};
        ALTER DEFAULT PRIVILEGES FOR ROLE {tenant.role("admin")} IN SCHEMA {schema}
            GRANT SELECT ON TABLES TO PUBLIC;
        INSERT INTO pg_seclabel VALUES ('told'::regclass, 'pg_class'::regclass, 0, 'guard', 'secret');
        """,
    )
    try:
        assert set(lost(read(fleet, tenant))) == {
            "1 large objects of the tenant's roles",
            f"that publication one_table_{tenant.key} names table told",
            f"that publication all_tables_{tenant.key} names the schema",
            "foreign table far",
            "1 security labels of guard",
            "default rights that the admin role set in the schema",
        }
    finally:
        as_superuser(fleet, tenant, "DELETE FROM pg_seclabel")


def test_needs_outside_the_schema_are_listed_and_missed(fleet: Fleet, tenant: Tenant) -> None:
    role = f"auditor_{tenant.key}"
    as_superuser(
        fleet,
        tenant,
        f"""
        CREATE ROLE {role};
        CREATE TABLE public.countries_{tenant.key} (code text PRIMARY KEY);
        CREATE FUNCTION public.length_of_{tenant.key}(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE COLLATION public.of_{tenant.key} (provider = libc, locale = 'C');
        GRANT REFERENCES, SELECT ON public.countries_{tenant.key} TO {tenant.role("owner")};
        """,
    )
    as_owner(
        fleet,
        tenant,
        f"""
        CREATE TABLE people (
            country text REFERENCES public.countries_{tenant.key}, name text COLLATE public.of_{tenant.key},
            CHECK (public.length_of_{tenant.key}(name) > 0)
        );
        CREATE TABLE staged AS SELECT * FROM {tenant.stage_schema}.load;
        CREATE VIEW loads AS SELECT * FROM {tenant.stage_schema}.load;
        CREATE POLICY audit ON people TO {role} USING (true);
        """,
    )
    needs = read(fleet, tenant).needs
    everything = [
        f"collation public.of_{tenant.key}",
        f"function public.length_of_{tenant.key}(pg_catalog.text)",
        f"role {role}",
        f"table public.countries_{tenant.key}",
    ]
    assert [f"{need.type} {need.identity}" for need in needs] == everything
    with fleet.control.transaction() as connection:
        assert list(missing_needs(connection, needs)) == []
    as_superuser(
        fleet,
        tenant,
        f"DROP TABLE people; DROP TABLE public.countries_{tenant.key} CASCADE; DROP ROLE {role};"
        f"DROP FUNCTION public.length_of_{tenant.key}; DROP COLLATION public.of_{tenant.key}",
    )
    with fleet.control.transaction() as connection:
        assert list(missing_needs(connection, needs)) == everything


def test_rows_of_a_table_that_forces_row_security_come_back(fleet: Fleet, tenant: Tenant, take: Take) -> None:
    as_owner(
        fleet,
        tenant,
        """
        CREATE TABLE secret (a int);
        INSERT INTO secret SELECT generate_series(1, 10);
        ALTER TABLE secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY few ON secret USING (a < 3);
        """,
    )
    backup = take(tenant)
    execute_restore(fleet, plan_restore(fleet, backup, f"{tenant.slug}_copy"))
    copy = fleet.registry.get(f"{tenant.slug}_copy")
    assert read(fleet, copy).fingerprint == read(fleet, tenant).fingerprint
    assert take(copy).rows == backup.rows == 10


def test_columns_keep_their_order_where_heirs_were_given_them_late(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    as_owner(
        fleet,
        tenant,
        """
        CREATE TABLE base (a int, CONSTRAINT small CHECK (a < 100));
        CREATE TABLE heir (own text) INHERITS (base);
        ALTER TABLE base ADD COLUMN late text NOT NULL DEFAULT 'l';
        INSERT INTO heir VALUES (1, 'x', 'y');
        """,
    )
    assert list(read(fleet, tenant).warnings) == [
        "table heir: restored, the columns it inherits are also its own."
    ]
    execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    with fleet.session(fleet.registry.get(f"{tenant.slug}_copy")) as connection:
        assert connection.execute("SELECT h FROM heir h").fetchone() == ("(1,x,y)",)
        assert connection.execute("SELECT a, late FROM base").fetchone() == (1, "y")
        connection.execute("ALTER TABLE base ADD COLUMN more int")
        with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
            connection.execute("INSERT INTO heir (a) VALUES (100)")


def test_a_table_of_1600_columns_and_an_extension_s_types_come_back(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    columns = ", ".join(f"c{number} int" for number in range(1600))
    with fleet.control.transaction() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    as_owner(
        fleet,
        tenant,
        f"""
        CREATE TABLE wide ({columns});
        INSERT INTO wide (c0, c1599) VALUES (1, 2);
        CREATE TABLE embedded (v public.vector(3), CHECK (v OPERATOR(public.<->) '[0,0,0]' < 9));
        CREATE INDEX near ON embedded USING hnsw (v public.vector_l2_ops) WITH (m = 5);
        INSERT INTO embedded VALUES ('[1,2,3]');
        """,
    )
    definition = read(fleet, tenant)
    assert (definition.extensions, definition.needs, definition.not_carried) == (("vector",), (), ())
    execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    copy = fleet.registry.get(f"{tenant.slug}_copy")
    assert read(fleet, copy).fingerprint == definition.fingerprint


def test_a_partition_half_detached_is_a_table_of_its_own(fleet: Fleet, tenant: Tenant, take: Take) -> None:
    as_owner(
        fleet,
        tenant,
        """
        CREATE TABLE whole (a int) PARTITION BY LIST (a);
        CREATE TABLE piece PARTITION OF whole FOR VALUES IN (1);
        INSERT INTO whole VALUES (1);
        """,
    )
    name = sql.Identifier(tenant.schema_name)
    with (
        fleet.session(tenant) as reader,
        psycopg.connect(fleet.control.url, autocommit=True) as other,
    ):
        reader.execute("SELECT * FROM whole")
        other.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            other.execute(
                sql.SQL("ALTER TABLE {0}.whole DETACH PARTITION {0}.piece CONCURRENTLY").format(name)
            )
    assert lost(read(fleet, tenant)) == {"that table piece is a part of whole": "its detaching was begun"}
    execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    with fleet.session(fleet.registry.get(f"{tenant.slug}_copy")) as connection:
        assert connection.execute("SELECT a FROM piece").fetchall() == [(1,)]
        assert connection.execute("SELECT a FROM whole").fetchall() == []


def test_rows_that_break_a_constraint_come_back_and_the_constraint_holds_for_new_ones(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    as_owner(
        fleet,
        tenant,
        """
        CREATE TABLE bands (id int PRIMARY KEY);
        CREATE FUNCTION fits(n int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
        CREATE TABLE songs (
            band int REFERENCES bands, n int CONSTRAINT fitting CHECK (fits(n)), m int CHECK (m > 0)
        );
        """,
    )
    as_superuser(
        fleet,
        tenant,
        """
        SET LOCAL session_replication_role = replica;
        INSERT INTO songs VALUES (7, -1, 1);
        CREATE OR REPLACE FUNCTION fits(n int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT n > 0';
        """,
    )
    report = execute_restore(fleet, plan_restore(fleet, take(tenant), f"{tenant.slug}_copy"))
    assert [told.partition(":")[0] for told in report.skipped] == [
        "the check of constraint songs.fitting",
        "the check of foreign key songs.songs_band_fkey",
    ]
    with fleet.session(fleet.registry.get(f"{tenant.slug}_copy")) as connection:
        assert connection.execute("SELECT * FROM songs").fetchall() == [(7, -1, 1)]
        for row in ("(8, 1, 1)", "(NULL, -1, 1)"):
            with pytest.raises(psycopg.errors.IntegrityError), connection.transaction():
                connection.execute(f"INSERT INTO songs VALUES {row}".encode())


def test_storage_that_only_an_operator_can_give_is_kept_or_told(
    fleet: Fleet, tenant: Tenant, take: Take
) -> None:
    space, method = f"space_{tenant.key}", f"heap_{tenant.key}"
    with psycopg.connect(fleet.control.url, autocommit=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE {space} LOCATION ''".encode())
        connection.execute(f"GRANT CREATE ON TABLESPACE {space} TO PUBLIC".encode())
        connection.execute(f"CREATE ACCESS METHOD {method} TYPE TABLE HANDLER heap_tableam_handler".encode())
    as_owner(
        fleet,
        tenant,
        f"""
        CREATE TABLE placed (a int PRIMARY KEY USING INDEX TABLESPACE {space}, b int) TABLESPACE {space};
        CREATE INDEX placed_b ON placed (b) TABLESPACE {space};
        CREATE TABLE other USING {method} AS SELECT 1 AS a;
        CREATE MATERIALIZED VIEW remembered USING {method} TABLESPACE {space} AS SELECT a FROM other;
        CREATE UNLOGGED TABLE fleeting (id int GENERATED ALWAYS AS IDENTITY);
        ALTER SEQUENCE fleeting_id_seq SET LOGGED;
        """,
    )
    backup = take(tenant)
    assert {(need.type, need.identity) for need in read(fleet, tenant).needs} == {("access method", method)}
    report = execute_restore(fleet, plan_restore(fleet, backup, f"{tenant.slug}_copy"))
    copy = fleet.registry.get(f"{tenant.slug}_copy")
    assert (report.skipped, read(fleet, copy).fingerprint) == ((), read(fleet, tenant).fingerprint)
    with fleet.control.transaction() as connection:
        connection.execute(f"REVOKE CREATE ON TABLESPACE {space} FROM PUBLIC".encode())
    report = execute_restore(fleet, plan_restore(fleet, backup, copy.slug))
    place = f"a place in the tablespace {space}, which the tenant has not here"
    assert report.skipped == (place,) * 4


def test_the_journal_is_no_part_of_a_definition(fleet: Fleet, small_tenant: Tenant) -> None:
    before = read(fleet, small_tenant)
    install(fleet, small_tenant)
    assert read(fleet, small_tenant) == before
    as_owner(
        fleet,
        small_tenant,
        """
        CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER tenant_ops_journal_own AFTER INSERT ON plays FOR EACH ROW EXECUTE FUNCTION own();
        """,
    )
    names = {statement.name for statement in read(fleet, small_tenant).statements}
    assert "plays.tenant_ops_journal_own" in names
