"""What every test may ask for: a real Postgres, a database of its own, a fleet, a tenant."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from filelock import FileLock
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tenant_ops.platform.control_plane.upgrade import ensure_control_plane
from tenant_ops.platform.database import Database
from tenant_ops.platform.embedded import postgres, stop
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops_tests.platform.key_server import running

TEMPLATE = "with_control_plane"


@pytest.fixture(autouse=True)
def no_registry_left_behind() -> Iterator[None]:
    """A code location made by one test is not asked for tenants by the next: its database is gone."""
    yield
    partitions = sys.modules.get("tenant_ops.orchestration.partitions")
    if partitions is not None:
        partitions.TenantPartitions.known_slugs = staticmethod(lambda slugs: set())


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One home for the whole test session, shared by every parallel worker."""
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "session home"
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(scope="session")
def postgres_url(session_home: Path) -> str:
    """The session's Postgres server, with a template database that holds an empty control plane."""
    with FileLock(session_home / "template.lock"):
        url = postgres(session_home)
        if not (session_home / "made").exists():
            with psycopg.connect(url, autocommit=True) as connection:
                # The tests kill processes, not the machine: what they prove does not rest on fsync.
                connection.execute("ALTER SYSTEM SET fsync = off")
                # As servers are when nobody changed them; tests of exact moments have a server of their own.
                connection.execute("ALTER SYSTEM SET track_commit_timestamp = off")
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
            draft = Database(at_database(url, TEMPLATE))
            ensure_control_plane(draft)
            draft.close()
            stop(session_home)
            url = postgres(session_home)
            (session_home / "made").touch()
    return url


@pytest.fixture
def new_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes databases with a control plane; they are dropped when the test ends."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(TEMPLATE)
                )
            )
        made.append(name)
        return at_database(postgres_url, name)

    yield make
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in made:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A database of this test's own, with a control plane."""
    return new_database()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings that point at this test's database and a home of its own."""
    return Settings.load(
        {
            "DATABASE_URL": database_url,
            "TENANT_OPS_HOME": str(tmp_path / "home"),
            "TENANT_OPS_ACTOR": "tester",
        }
    )


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """A fleet without tenants."""
    fleet = Fleet.open(settings)
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def module_fleet(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet that the tests of one module share, which saves each of them a database."""
    name = f"module_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        )
    environment = {
        "DATABASE_URL": at_database(postgres_url, name),
        "TENANT_OPS_HOME": str(tmp_path_factory.mktemp("module") / "home"),
        "TENANT_OPS_ACTOR": "tester",
    }
    fleet = Fleet.open(Settings.load(environment))
    yield fleet
    fleet.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def emptied_fleet(module_fleet: Fleet) -> Fleet:
    """The module's fleet, which has forgotten the tenants of earlier tests."""
    with module_fleet.control.transaction() as connection:
        connection.execute(
            "TRUNCATE tenant_ops.tenant, tenant_ops.audit_head, tenant_ops.audit_event CASCADE"
        )
    return module_fleet


@pytest.fixture
def new_tenant(fleet: Fleet) -> Callable[..., Tenant]:
    """Provisions tenants in this test's fleet."""

    def make(slug: str, tier_name: str = "starter") -> Tenant:
        provision(fleet, slug, tier_name=tier_name)
        return fleet.registry.get(slug)

    return make


@pytest.fixture
def tenant(new_tenant: Callable[..., Tenant]) -> Tenant:
    """The tenant `acme`, empty."""
    return new_tenant("acme")


def at_database(url: str, name: str) -> str:
    """The same server, another database."""
    if "?" in url:
        head, query = url.split("?", 1)
        return f"{head.rsplit('/', 1)[0]}/{name}?{query}"
    return make_conninfo(url, dbname=name)


@pytest.fixture
def key_server() -> Iterator[subprocess.Popen[str]]:
    """A key management service that runs; `key_server.SERVICE` names its client."""
    with running() as process:
        yield process


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker's name, `master` without xdist."""
    return getattr(request.config, "workerinput", {}).get("workerid", "master")
