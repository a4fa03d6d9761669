"""No tenant reads, changes, or learns about another, or the control plane."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from tenant_ops.tenants import Fleet, Tenant, login_password


@pytest.fixture
def login(fleet: Fleet, new_tenant: Callable[..., Tenant]) -> Iterator[psycopg.Connection]:
    """A connection of the tenant `intruder` with its own login."""
    intruder = new_tenant("intruder")
    password = login_password(fleet, intruder)
    with psycopg.connect(
        fleet.control.url, user=intruder.role("app"), password=password, autocommit=True
    ) as connection:
        yield connection


def test_a_login_cannot_read_another_tenants_tables(login: psycopg.Connection, tenant: Tenant) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute(sql.SQL("SELECT * FROM {}.users").format(sql.Identifier(tenant.schema_name)))


def test_a_login_cannot_write_to_another_tenant(login: psycopg.Connection, tenant: Tenant) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute(sql.SQL("DELETE FROM {}.users").format(sql.Identifier(tenant.schema_name)))


def test_a_login_cannot_create_in_another_tenants_schema(login: psycopg.Connection, tenant: Tenant) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute(sql.SQL("CREATE TABLE {}.x ()").format(sql.Identifier(tenant.schema_name)))


def test_a_login_cannot_create_schemas_or_public_tables(login: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute("CREATE SCHEMA mine")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute("CREATE TABLE public.mine ()")


def test_a_login_cannot_see_the_control_plane(login: psycopg.Connection) -> None:
    for table in ("tenant", "credential", "tenant_key", "audit_event", "backup"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(sql.SQL("SELECT * FROM tenant_ops.{}").format(sql.Identifier(table)))


def test_a_login_cannot_become_another_tenant_or_its_own_owner(
    login: psycopg.Connection, tenant: Tenant, fleet: Fleet
) -> None:
    own = fleet.registry.get("intruder")
    for role in (tenant.role("editor"), tenant.role("owner"), own.role("owner"), "postgres"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


def test_a_login_sees_no_query_text_of_others(
    login: psycopg.Connection, tenant: Tenant, fleet: Fleet
) -> None:
    with fleet.session(tenant) as other:
        other.execute("SELECT 'the other tenant is here'")
        rows = login.execute(
            "SELECT query FROM pg_stat_activity WHERE usename IS DISTINCT FROM current_user"
        ).fetchall()
    assert not any("the other tenant is here" in (row[0] or "") for row in rows)


def test_a_login_sees_no_column_statistics_of_others(
    login: psycopg.Connection, tenant: Tenant, fleet: Fleet
) -> None:
    with fleet.session(tenant) as owner:
        owner.execute(
            "INSERT INTO artists SELECT gen_random_uuid(), 'a secret name', NULL, NULL, 1, now() "
            "FROM generate_series(1, 200)"
        )
        owner.execute("ANALYZE artists")
    rows = login.execute(
        "SELECT most_common_vals FROM pg_stats WHERE schemaname = %s", (tenant.schema_name,)
    ).fetchall()
    assert rows == []


def test_a_login_cannot_stop_another_tenants_connections(
    login: psycopg.Connection, tenant: Tenant, fleet: Fleet
) -> None:
    with fleet.session(tenant) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute("SELECT pg_terminate_backend(%s)", (other.info.backend_pid,))


def test_a_login_cannot_enter_even_its_own_stage(login: psycopg.Connection, fleet: Fleet) -> None:
    own = fleet.registry.get("intruder")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute(sql.SQL("SELECT * FROM {}.quarantine").format(sql.Identifier(own.stage_schema)))


def test_the_role_and_path_of_a_session_end_with_it(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant, "viewer") as connection:
        backend = connection.info.backend_pid
        assert connection.execute("SELECT current_user").fetchone() == (tenant.role("viewer"),)
    with fleet.control.transaction() as connection:
        assert connection.info.backend_pid == backend, "the pool hands out the same connection again"
        row = connection.execute("SELECT current_user, current_setting('search_path')").fetchone()
    assert row == ("postgres", '"$user", public')


@pytest.mark.parametrize(("role", "allowed"), [("viewer", False), ("editor", True), ("admin", True)])
def test_only_editors_and_admins_write(fleet: Fleet, tenant: Tenant, role: str, allowed: bool) -> None:
    insert = (
        "INSERT INTO artists (artist_id, name, followers, created_at) "
        "VALUES (gen_random_uuid(), 'x', 0, now())"
    )
    if allowed:
        with fleet.session(tenant, role) as connection:
            assert connection.execute(insert).rowcount == 1
    else:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), fleet.session(tenant, role) as connection:
            connection.execute(insert)


def test_a_table_made_later_is_readable_by_the_tenants_roles(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.session(tenant) as owner:
        owner.execute("CREATE TABLE later (id int)")
    with fleet.session(tenant, "viewer") as viewer:
        assert viewer.execute("SELECT count(*) FROM later").fetchone() == (0,)
