"""What the SQL of a release may say: the same for every tenant, inside the runner's transaction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_ops.migrations.lint import check_sql, problems
from tenant_ops.platform.errors import InputError

FINE = [
    "ALTER TABLE tracks ADD COLUMN mood text;",
    "UPDATE users u SET email = lower(u.email) FROM tracks t WHERE t.track_id = u.user_id AND t.x = 1.5;",
    "UPDATE users SET role = 'viewer', schema = 1 WHERE users.role = 'editor';",
    "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET role = excluded.role;",
    "SELECT 'COMMIT; SET ROLE x; public.users', $$ROLLBACK; a.b$$, E'it\\'s; COMMIT', \"public.x\" FROM t;",
    "-- COMMIT\n/* SET ROLE /* nested */ public.x */ SELECT t.* FROM t;",
    "ALTER TABLE t ALTER COLUMN c SET DEFAULT 1, ALTER COLUMN c SET NOT NULL;",
    "ALTER TABLE t SET (fillfactor = 90);",
    "SELECT pg_catalog.now(), table_name FROM information_schema.tables;",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM t LOOP UPDATE t SET role = r.x; END LOOP; END $$;",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT "
    "AS $f$ BEGIN NEW.a := OLD.a; RETURN NEW; END $f$;",
    "",
]

WRONG = [
    ("SELECT * FROM public.users", 1, "the schema name in public.users"),
    ("SELECT 1;\n\nDELETE FROM other.users;", 3, "the schema name in other.users"),
    ('SELECT * FROM "T_X".users', 1, "the schema name in T_X.users"),
    ("SELECT t_aaaaaaaaaaaaa.x FROM t_aaaaaaaaaaaaa", 1, "the schema name in t_aaaaaaaaaaaaa.x"),
    ("SELECT other.f(1)", 1, "the schema name in other.f"),
    ("SELECT 1::other.kind", 1, "the schema name in other.kind"),
    ("ALTER TABLE t ADD COLUMN c int;\nCOMMIT;", 2, "COMMIT"),
    ("begin; select 1", 1, "BEGIN"),
    ("/* first */ SAVEPOINT a", 1, "SAVEPOINT"),
    ("SET LOCAL lock_timeout = 0", 1, "SET"),
    ("RESET ROLE", 1, "RESET"),
    ("SELECT set_config('role', 'x', true)", 1, "set_config()"),
    ("DO $$\nBEGIN\n  SET LOCAL ROLE x;\nEND $$", 3, "LOCAL ROLE"),
    ("DO $$ BEGIN PERFORM other.f(); END $$", 1, "the schema name in other.f"),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = x AS 'SELECT 1'", 1, "SET SEARCH_PATH"),
    ("GRANT SELECT ON t TO x", 1, "GRANT"),
    ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x", 1, "DEFAULT PRIVILEGES"),
    ("ALTER TABLE t OWNER TO x", 1, "OWNER TO"),
    ("ALTER TABLE t SET SCHEMA x", 1, "SET SCHEMA"),
    ("CREATE SCHEMA x", 1, "CREATE SCHEMA"),
    ("DROP ROLE x", 1, "DROP ROLE"),
    ("CREATE INDEX CONCURRENTLY i ON t (c)", 1, "CONCURRENTLY"),
    ("VACUUM t", 1, "VACUUM"),
    ("COPY t FROM '/etc/passwd'", 1, "COPY"),
    ("\\i other.sql", 1, "a psql command"),
    ("SELECT 'never closed", 1, "an unclosed quote or comment"),
    ("SELECT 1 /* never /* closed */", 1, "an unclosed quote or comment"),
    ("SELECT $tag$ never closed $$", 1, "an unclosed quote or comment"),
]


@pytest.mark.parametrize("text", FINE)
def test_portable_sql_passes(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(("text", "line", "what"), WRONG)
def test_what_would_differ_between_tenants_is_named_with_its_line(text: str, line: int, what: str) -> None:
    assert (line, what) in [(problem.line, problem.what) for problem in problems(text)]


def test_the_error_names_file_and_line() -> None:
    with pytest.raises(InputError, match=r"1\.1\.0/010_x/up\.sql:2: COMMIT may not be used\. The runner"):
        check_sql("SELECT 1;\nCOMMIT;", "1.1.0/010_x/up.sql")


@given(st.text(alphabet="abc.;'\"$-/*\\ \nE1(", max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    problems(text)


@given(st.text(alphabet="ab;' \n", max_size=30))
def test_what_stands_in_a_literal_never_matters(text: str) -> None:
    inside = text.replace("'", "''")
    assert problems(f"SELECT 'COMMIT;{inside}'") == []
