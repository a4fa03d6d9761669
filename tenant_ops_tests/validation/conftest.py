"""A sound, loaded tenant, shared by a module's tests, and a way to spoil it that is always taken back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tenant_ops.datasets import MUSIC, Catalog
from tenant_ops.datasets.synthesis import write_fixtures
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, provision
from tenant_ops.validation import Finding, Rule, shipped_rules
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.examination import Examined, examine
from tenant_ops_tests.conftest import TEMPLATE, at_database

Spoiled = Callable[..., list[Finding]]
NEIGHBOUR = "zenith"


@contextmanager
def fleet_of_its_own(postgres_url: str, folder: Path) -> Iterator[Fleet]:
    """A fleet in a database of its own, for tests that share one because they change nothing."""
    name = f"shared_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        )
    environment = {
        "DATABASE_URL": at_database(postgres_url, name),
        "TENANT_OPS_HOME": str(folder / "home"),
        "TENANT_OPS_ACTOR": "tester",
    }
    fleet = Fleet.open(Settings.load(environment))
    yield fleet
    fleet.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def sound(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Tenant]]:
    """A fleet with the enterprise tenant `acme`, loaded with sound data; tests must leave it as it is.

    It has a neighbour, who is empty.
    """
    folder = tmp_path_factory.mktemp("sound")
    with fleet_of_its_own(postgres_url, folder) as fleet:
        provision(fleet, "acme", tier_name="enterprise")
        provision(fleet, NEIGHBOUR)
        tenant = fleet.registry.get("acme")
        fill(fleet, tenant, folder / "rows")
        yield fleet, tenant


@pytest.fixture
def spoiled(sound: tuple[Fleet, Tenant]) -> Spoiled:
    """Runs statements as the operator in the tenant's schema, says what the rules find, takes it all back."""

    def find(*statements: str, rules: Sequence[Rule] | None = None) -> list[Finding]:
        return list(examined(*sound, *statements, rules=rules).findings)

    return find


def examined(
    fleet: Fleet, tenant: Tenant, *statements: str, rules: Sequence[Rule] | None = None, **manner: Any
) -> Examined:
    """What rules find after the statements, in a transaction that is rolled back.

    `manner` is what `examine` takes besides.
    """
    found = Examined()
    background = Background.gather(fleet, tenant)
    neighbours = fleet.registry.find([NEIGHBOUR])
    with (
        fleet.database(tenant).transaction() as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute("SELECT set_config('search_path', %s, true)", (tenant.schema_name,))
        for statement in statements:
            connection.execute(named(statement, tenant, *neighbours))
        connection.execute("SELECT set_config('role', %s, true)", (tenant.role("owner"),))
        chosen = shipped_rules(fleet.catalog) if rules is None else rules
        examine(Evidence(background, connection), chosen, samples=5, into=found, **manner)
    return found


def named(statement: str, tenant: Tenant, neighbour: Tenant | None = None) -> sql.SQL:
    """The statement with the tenant's names put in for `$own`, `$app`, `$schema` and the like.

    Those of its neighbour are `$their_own`, `$their_schema` and so on.
    """
    for prefix, whose in (("$their_", neighbour), ("$", tenant)):
        if whose is None:
            continue
        for short, kind in KINDS.items():
            statement = statement.replace(f"{prefix}{short}", whose.role(kind))
        statement = statement.replace(f"{prefix}schema", whose.schema_name)
        statement = statement.replace(f"{prefix}stage", whose.stage_schema)
    return sql.SQL(statement)  # pyright: ignore[reportArgumentType]


KINDS = {"own": "owner", "adm": "admin", "edt": "editor", "vwr": "viewer", "app": "app"}


def fill(fleet: Fleet, tenant: Tenant, folder: Path, *, rows: int = 60, catalog: Catalog = MUSIC) -> None:
    """Load generated rows into the tenant's tables."""
    files = {file.dataset: file.path for file in write_fixtures(catalog, folder, rows=rows, seed=7).files}
    with fleet.session(tenant) as connection:
        for dataset in catalog:
            copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(sql.Identifier(dataset.name))
            with connection.cursor().copy(copy) as stream:
                stream.write(files[dataset.name].read_bytes())
