"""Code that comes with a backup can do no more than its tenant, whoever restores it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tenant_ops.backups import BackupRecord, execute_restore, plan_restore
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.backups.conftest import run_sql, songs

Take = Callable[..., BackupRecord]

# A check that tries, while rows are loaded, whatever might lead out of the tenant. Each success is noted.
HOSTILE = """
CREATE TABLE {stage}.loot (what text, who text);
CREATE FUNCTION harmless(v int) RETURNS boolean LANGUAGE plpgsql AS $f$
DECLARE attempt text;
BEGIN
    IF pg_catalog.to_regclass('{stage}.armed') IS NULL THEN RETURN true; END IF;
    FOREACH attempt IN ARRAY ARRAY[
        'SET ROLE {other_owner}',
        'SET SESSION AUTHORIZATION postgres',
        'SET SESSION AUTHORIZATION {other_owner}',
        'SELECT count(*) FROM {other}.plays',
        'UPDATE {other}.plays SET song = ''taken''',
        'CREATE TABLE {other}.mine (id int)',
        'SELECT count(*) FROM tenant_ops.tenant_key',
        'SELECT count(*) FROM pg_catalog.pg_authid',
        'SELECT pg_catalog.pg_read_file(''/etc/passwd'')',
        'COPY {stage}.loot TO PROGRAM ''touch {file}''',
        'COPY {stage}.loot TO ''{file}''',
        'ALTER SYSTEM SET work_mem = ''1GB''',
        'CREATE ROLE {owner}_friend SUPERUSER',
        'ALTER ROLE {owner} SUPERUSER',
        'GRANT {other_owner} TO {owner}',
        'SET session_replication_role = replica',
        'CREATE EXTENSION plpython3u',
        'SELECT pg_catalog.lo_import(''/etc/passwd'')'
    ] LOOP
        EXECUTE 'RESET ROLE';
        BEGIN
            EXECUTE attempt;
            EXECUTE 'INSERT INTO {stage}.loot VALUES ($1, current_user)' USING attempt;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    EXECUTE 'RESET ROLE';
    EXECUTE 'INSERT INTO {stage}.loot VALUES (''ran'', current_user)';
    RETURN true;
END $f$;
CREATE FUNCTION sly(v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN {schema}.harmless(v); END';
CREATE TABLE trap (id int PRIMARY KEY, v int CONSTRAINT harmless CHECK (harmless(v)),
                   w int GENERATED ALWAYS AS (CASE WHEN sly(id) THEN 1 END) STORED);
INSERT INTO trap VALUES (1, 1);
"""


@pytest.fixture
def other(fleet: Fleet, new_tenant: Callable[..., Tenant], small_tenant: Tenant) -> Tenant:
    """A tenant whose rows are nobody else's."""
    other = new_tenant(f"{small_tenant.slug}_other")
    run_sql(fleet, other, "CREATE TABLE plays (id int, song text); INSERT INTO plays VALUES (1, 'mine')")
    return other


@pytest.fixture
def hostile(fleet: Fleet, small_tenant: Tenant, other: Tenant, tmp_path: Path) -> Tenant:
    """A tenant in whose schema the trap is set; it springs once its backup is restored."""
    script = HOSTILE.format(
        schema=small_tenant.schema_name,
        stage=small_tenant.stage_schema,
        owner=small_tenant.role("owner"),
        other=other.schema_name,
        other_owner=other.role("owner"),
        file=tmp_path / "touched",
    )
    run_sql(fleet, small_tenant, script)
    return small_tenant


def arm(fleet: Fleet, tenant: Tenant) -> None:
    run_sql(fleet, tenant, f"CREATE TABLE {tenant.stage_schema}.armed ()")


def loot(fleet: Fleet, tenant: Tenant) -> set[tuple[str, str]]:
    return set(run_sql(fleet, tenant, f"SELECT what, who FROM {tenant.stage_schema}.loot"))


def logins(fleet: Fleet, tenant: Tenant) -> list[str]:
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (f"t_{tenant.key}_rst",)
        )
        return [row[0] for row in rows]


@contextmanager
def refused_by_pg_hba(fleet: Fleet, tenant: Tenant) -> Iterator[None]:
    """The server lets in no login of this tenant's restores."""
    with fleet.control.session() as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        file = Path(row[0].replace("/proc/self/", f"/proc/{connection.info.backend_pid}/")).resolve()
        before = file.read_text()
        rule = f'"/^t_{tenant.key}_rst_"'
        file.write_text(f"local all {rule} reject\nhost all {rule} all reject\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_sleep(0.2)")
        try:
            yield
        finally:
            file.write_text(before)
            connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("encryption", [False, True])
def test_functions_of_a_backup_reach_nothing_of_another_tenant(
    fleet: Fleet, hostile: Tenant, other: Tenant, take: Take, tmp_path: Path, encryption: bool
) -> None:
    backup = take(hostile, encryption=encryption)
    arm(fleet, hostile)
    execute_restore(fleet, plan_restore(fleet, backup, hostile.slug))
    found = loot(fleet, hostile)
    assert {what for what, _ in found} == {"ran"}, found
    assert all(who.startswith(f"t_{hostile.key}_") for _, who in found)
    assert run_sql(fleet, other, "SELECT song FROM plays") == [("mine",)]
    assert not (tmp_path / "touched").exists()
    assert logins(fleet, hostile) == []


def test_a_merge_runs_no_function_of_a_backup_as_anybody_else(
    fleet: Fleet, hostile: Tenant, other: Tenant, take: Take
) -> None:
    backup = take(hostile, encryption=False)
    run_sql(fleet, hostile, "UPDATE trap SET v = 2")
    arm(fleet, hostile)
    execute_restore(fleet, plan_restore(fleet, backup, hostile.slug, mode="merge"))
    assert {what for what, _ in loot(fleet, hostile)} == {"ran"}
    assert run_sql(fleet, other, "SELECT song FROM plays") == [("mine",)]


def test_a_plain_backup_is_refused_where_the_server_lets_in_no_login_of_its_own(
    fleet: Fleet, hostile: Tenant, take: Take
) -> None:
    backup = take(hostile, encryption=False)
    arm(fleet, hostile)
    with refused_by_pg_hba(fleet, hostile):
        with pytest.raises(InputError, match=r"nothing proves who wrote this backup.*trust"):
            execute_restore(fleet, plan_restore(fleet, backup, hostile.slug))
        assert songs(fleet, hostile) == 100
        assert loot(fleet, hostile) == set()
        # What the refusal is for: in a session of the operator's login the functions can do anything.
        execute_restore(fleet, plan_restore(fleet, backup, hostile.slug, trusted=True))
    assert len(loot(fleet, hostile)) > 5
    assert logins(fleet, hostile) == []


def test_a_sealed_backup_is_restored_there_with_a_warning(
    fleet: Fleet, small_tenant: Tenant, take: Take
) -> None:
    backup = take(small_tenant)
    with refused_by_pg_hba(fleet, small_tenant):
        report = execute_restore(fleet, plan_restore(fleet, backup, small_tenant.slug))
    assert any("sessions of the operator's login" in warning for warning in report.warnings)


def test_the_login_owns_nothing_and_is_in_no_role_but_the_owners(
    fleet: Fleet, small_tenant: Tenant, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenant_ops.backups.restoring import login

    seen: list[Any] = []
    make = login._make

    def look(database: Database, *arguments: Any) -> tuple[str, str]:
        role, password = make(database, *arguments)
        with database.transaction() as connection:
            seen.append(
                connection.execute(
                    """
                    SELECT r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication,
                           r.rolvaliduntil < now() + interval '11 minutes',
                           (SELECT array_agg(g.rolname::text ORDER BY 1) FROM pg_auth_members m
                            JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)
                    FROM pg_roles r WHERE r.rolname = %s
                    """,
                    (role,),
                ).fetchone()
            )
        return role, password

    monkeypatch.setattr(login, "_make", look)
    execute_restore(fleet, plan_restore(fleet, take(small_tenant), small_tenant.slug))
    groups = sorted([small_tenant.role("owner"), "tenant_ops_tenants"])
    assert [(*row[:6], sorted(row[6])) for row in seen] == [(*[False] * 5, True, groups)]
    assert owners(fleet, small_tenant) == {small_tenant.role("owner")}


def owners(fleet: Fleet, tenant: Tenant) -> set[str]:
    with fleet.control.transaction() as connection:
        rows = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = %s", (tenant.schema_name,)
        )
        return {row[0] for row in rows}
