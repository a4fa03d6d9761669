"""The control plane: made once whoever comes first, never by older code, and by an operator of few rights."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql

from tenant_ops.backups import list_backups
from tenant_ops.monitoring import monitor
from tenant_ops.platform.control_plane import upgrade
from tenant_ops.platform.control_plane.upgrade import ensure_control_plane
from tenant_ops.platform.database import Database
from tenant_ops.platform.embedded import postgres, stop
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import (
    Fleet,
    State,
    Tenant,
    change_tier,
    login_password,
    offboard,
    plan_offboard,
    provision,
    resume,
    suspend,
)
from tenant_ops_tests.conftest import at_database

UPGRADE = """
import sys
from tenant_ops.platform.control_plane.upgrade import ensure_control_plane
from tenant_ops.platform.database import Database
print("ready", flush=True)
sys.stdin.readline()
print(ensure_control_plane(Database(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server nobody has used before, in a home with spaces."""
    home = tmp_path_factory.mktemp("operator") / "the operator's home"
    yield postgres(home)
    stop(home)


@pytest.fixture
def bare_url(new_bare_database: Callable[[], str]) -> str:
    """A database without a control plane."""
    return new_bare_database()


@pytest.fixture
def new_bare_database(server: str) -> Iterator[Callable[[], str]]:
    """Makes databases without a control plane."""
    made: list[str] = []

    def make() -> str:
        made.append(f"bare_{len(made)}")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made[-1])))
        return at_database(server, made[-1])

    yield make
    with psycopg.connect(server, autocommit=True) as connection:
        for name in made:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def forget_group(connection: psycopg.Connection) -> None:
    """Drop the group of all tenants, as if this server never had one."""
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'tenant_ops_tenants'").fetchone():
        connection.execute("DROP OWNED BY tenant_ops_tenants")
        connection.execute("DROP ROLE tenant_ops_tenants")


def revision(url: str, change: str | None = None) -> str:
    with psycopg.connect(url) as connection:
        if change:
            connection.execute("UPDATE tenant_ops.schema_revision SET version_num = %s", (change,))
        row = connection.execute("SELECT version_num FROM tenant_ops.schema_revision").fetchone()
    assert row
    return row[0]


def test_it_is_made_once_and_found_afterwards(bare_url: str) -> None:
    database = Database(bare_url)
    assert [ensure_control_plane(database) for _ in range(3)] == [True, False, False]
    database.close()


def test_processes_that_arrive_together_make_it_once(bare_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, bare_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert sorted(out.strip() for out, _ in outcomes) == ["False", "False", "False", "True"], outcomes


def test_a_database_newer_than_the_code_is_left_alone(bare_url: str) -> None:
    database = Database(bare_url)
    ensure_control_plane(database)
    current = revision(bare_url)
    revision(bare_url, "9999")
    with pytest.raises(OperationFailed, match="revision 9999, which this version does not know"):
        ensure_control_plane(database)
    assert revision(bare_url) == "9999" != current
    database.close()


AT_0001 = """
INSERT INTO tenant_ops.tenant (id, key, slug, display_name, tier, state, created_at, updated_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'abcdefghijklm', 'acme', 'Acme', 'starter', 'active',
        now(), now());
INSERT INTO tenant_ops.tenant_key (id, tenant_id, wrapped, master_key_id, created_at, destroyed_at) VALUES
    ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', NULL, 'm', now(), now()),
    ('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-000000000001', 'key', 'm', now(), NULL);
INSERT INTO tenant_ops.backup (id, tenant_id, tenant_slug, type, path, codec, encrypted, manifest_sha256,
    tables, rows, raw_bytes, stored_bytes, started_at, finished_at, verified_at, pinned)
SELECT id, '00000000-0000-0000-0000-000000000001', 'acme', 'full', '/my backups/tenant/' || id, 'zstd', true,
       'hash', 12, 345, 678, 90, timestamptz '2026-11-20 14:00Z', '2026-11-20 14:03Z', verified, true
FROM (VALUES ('20261120T140000Z-00000001', now()), ('20261120T140000Z-00000002', NULL)) AS b (id, verified);
"""


def test_a_control_plane_of_revision_0001_is_brought_forward_with_what_it_holds(bare_url: str) -> None:
    at_revision(bare_url, "0001")
    with psycopg.connect(bare_url) as connection:
        connection.execute(AT_0001)
    database = Database(bare_url)
    assert ensure_control_plane(database)
    assert revision(bare_url) == "0003"
    fleet = Fleet(Settings.load({"DATABASE_URL": bare_url}), database)
    unverified, verified = list_backups(fleet)
    assert (verified.verified_level, unverified.verified_level) == ("full", None)
    assert (verified.rows, verified.pinned, verified.manifest_sha256) == (345, True, "hash")
    assert (verified.store, verified.format, verified.base_id) == ("/my backups", "dir", verified.id)
    assert verified.taken_at == verified.finished_at
    assert fleet.registry.get("acme").tier_name == "starter"
    with psycopg.connect(bare_url) as connection:
        connection.execute("UPDATE tenant_ops.tenant_key SET retiring_at = now() WHERE wrapped IS NOT NULL")
        add_key = """
            INSERT INTO tenant_ops.tenant_key (id, tenant_id, wrapped, master_key_id, created_at)
            VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'new', 'm', now())
        """
        connection.execute(add_key)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(add_key)
    database.close()


def test_taking_the_last_revision_away_and_bringing_it_back_keeps_what_the_first_knew(bare_url: str) -> None:
    database = Database(bare_url)
    ensure_control_plane(database)
    with psycopg.connect(bare_url) as connection:
        before = columns_of(connection)
    at_revision(bare_url, "0001", down=True)
    with psycopg.connect(bare_url) as connection:
        connection.execute(AT_0001)
        assert len(columns_of(connection)) < len(before)
    assert ensure_control_plane(database)
    with psycopg.connect(bare_url) as connection:
        assert columns_of(connection) == before
    assert len(list_backups(Fleet(Settings.load({"DATABASE_URL": bare_url}), database))) == 2
    database.close()


def at_revision(url: str, name: str, *, down: bool = False) -> None:
    """Bring a database to an older revision, as the version of that time would have."""
    config = Config()
    config.set_main_option("script_location", str(Path(upgrade.__file__).parent))
    database = Database(url)
    with database.transaction() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS tenant_ops")
        upgrade.ensure_tenants_group(connection)
    with database.engine().begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, name)
    database.close()


def columns_of(connection: psycopg.Connection) -> set[tuple[str, str, str, bool]]:
    rows = connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable = 'YES' FROM information_schema.columns "
        "WHERE table_schema = 'tenant_ops'"
    )
    return set(rows.fetchall())


def test_a_failure_halfway_leaves_nothing_behind(bare_url: str) -> None:
    """A table in the way of the last one made: the upgrade is one transaction."""
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tenant_ops; CREATE TABLE tenant_ops.cleanup_undo ()")
    database = Database(bare_url)
    with pytest.raises(OperationFailed, match="already exists"):
        ensure_control_plane(database)
    with psycopg.connect(bare_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'tenant_ops'::regnamespace AND relkind = 'r'"
        ).fetchall()
    assert tables == [("cleanup_undo",)]
    database.close()


@pytest.fixture
def operator_url(bare_url: str) -> Iterator[str]:
    """A database as a role sees it that may create roles and schemas, and is no superuser."""
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE op LOGIN CREATEROLE")
        connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO op").format(sql.Identifier(connection.info.dbname))
        )
        forget_group(connection)  # it belongs to whoever makes it first: here, to the operator
    yield bare_url.replace("//postgres@", "//op@")
    with psycopg.connect(bare_url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY op CASCADE")
        connection.execute("DROP ROLE op")


@pytest.fixture
def operated(operator_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet run by that role."""
    fleet = Fleet.open(
        Settings.load({"DATABASE_URL": operator_url, "TENANT_OPS_HOME": str(tmp_path / "a home")})
    )
    yield fleet
    for tenant in fleet.registry.all((State.ACTIVE, State.SUSPENDED)):
        offboard(fleet, plan_offboard(fleet, tenant.slug), safety_copy=None)
    fleet.close()


@pytest.fixture
def operated_tenant(operated: Fleet) -> Tenant:
    """A tenant made by that role."""
    provision(operated, "acme")
    return operated.registry.get("acme")


def test_without_the_right_to_create_schemas_it_says_what_is_needed(operator_url: str) -> None:
    with psycopg.connect(operator_url.replace("//op@", "//postgres@"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("REVOKE CREATE ON DATABASE {} FROM op").format(sql.Identifier(connection.info.dbname))
        )
    database = Database(operator_url)
    with pytest.raises(OperationFailed, match=r"permission denied.*Connect as a role with CREATEROLE"):
        ensure_control_plane(database)
    database.close()


def test_an_operator_who_is_no_superuser_acts_as_each_role_of_a_tenant(
    operated: Fleet, operated_tenant: Tenant
) -> None:
    for role in ("owner", "admin", "editor", "viewer"):
        with operated.session(operated_tenant, role) as connection:
            row = connection.execute("SELECT current_user, session_user, count(*) FROM users").fetchone()
        assert row == (operated_tenant.role(role), "op", 0)
    with operated.session(operated_tenant) as owner:
        owner.execute("CREATE TABLE later (id int)")
        owner.execute(f"CREATE TABLE {operated_tenant.stage_schema}.stage_later (id int)")


def test_an_operator_who_is_no_superuser_leads_a_tenant_through_its_life(
    operated: Fleet, operated_tenant: Tenant
) -> None:
    login = psycopg.connect(
        operated.control.url,
        user=operated_tenant.role("app"),
        password=login_password(operated, operated_tenant),
    )
    login.execute("SELECT count(*) FROM users")
    with operated.lock(operated_tenant, "watch"):
        report = monitor(operated)
    assert report.of("acme") is not None
    assert report.tenants[0].metrics["longest_transaction_s"] > 0, "it sees what the tenant's sessions do"
    change_tier(operated, "acme", "enterprise")
    assert suspend(operated, "acme", reason="unpaid").sessions_ended == 1
    resume(operated, "acme")
    offboard(operated, plan_offboard(operated, "acme"), safety_copy=None)
    with operated.control.transaction() as connection:
        left = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (f"t_{operated_tenant.key}%",)
        ).fetchall()
    assert left == []


def test_a_tenants_login_cannot_reach_the_operators_control_plane(
    operated: Fleet, operated_tenant: Tenant
) -> None:
    with (
        psycopg.connect(
            operated.control.url,
            user=operated_tenant.role("app"),
            password=login_password(operated, operated_tenant),
        ) as login,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        login.execute("SELECT * FROM tenant_ops.tenant")


def test_a_home_with_spaces_holds_key_and_files(server: str, tmp_path: Path) -> None:
    home = tmp_path / "a home with spaces & more"
    fleet = Fleet.open(Settings.load({"TENANT_OPS_HOME": str(home), "DATABASE_URL": server}))
    provision(fleet, "acme")
    tenant = fleet.registry.get("acme")
    assert fleet.files(tenant).is_dir()
    assert (home / "keys" / "master.key").is_file()
    offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=None)
    fleet.close()


def test_another_server_gets_the_group_with_its_first_tenant(fleet: Fleet, bare_url: str) -> None:
    with psycopg.connect(bare_url, autocommit=True) as connection:
        forget_group(connection)
    far = Database(bare_url)
    spread = replace(fleet, servers={"far": far})
    for slug in ("acme", "globex"):
        spread.registry.register(slug, placement="far")
        provision(spread, slug)
    tenant = spread.registry.get("acme")
    with psycopg.connect(bare_url, user=tenant.role("app"), password=login_password(spread, tenant)) as login:
        assert login.execute("SELECT count(*) FROM users").fetchone() == (0,)
    for slug in ("acme", "globex"):
        offboard(spread, plan_offboard(spread, slug), safety_copy=None)
    far.close()
