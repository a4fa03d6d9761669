"""Security beyond planted faults: fleets read in batches, operators without superuser, use of credentials."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from time import sleep

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, Tenant, login_password, provision
from tenant_ops.validation import ValidationReport, execute_validation, execute_validations, plan_validation
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.levels.security.credentials import unused_login
from tenant_ops.validation.levels.security.facts import relations
from tenant_ops_tests.validation.conftest import fill

NewTenant = Callable[..., Tenant]


def security(fleet: Fleet, slug: str) -> ValidationReport:
    tenant = fleet.registry.get(slug)
    return execute_validation(fleet, plan_validation(fleet, tenant, types=["security"]))


def test_secrets_in_the_configuration_are_told_by_place(fleet: Fleet, new_tenant: NewTenant) -> None:
    new_tenant("acme")
    config = {"integrations": {"smtp": {"password": "Tr0ub4dor", "host": "mail.example"}}}
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.tenant SET config = %s", (Jsonb(config),))
    (finding,) = security(fleet, "acme").findings
    assert finding.key == "security.secrets_in_config/config integrations.smtp.password"
    assert "Tr0ub4dor" not in repr(finding)


def test_no_value_is_in_a_finding_about_personal_data(fleet: Fleet, new_tenant: NewTenant) -> None:
    tenant = new_tenant("acme")
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE notes (note text)")
        connection.execute("INSERT INTO notes SELECT 'mary@songs.example' FROM generate_series(1, 50)")
    (finding,) = security(fleet, "acme").findings
    assert finding.key == "security.undeclared_personal_data/notes.note: email"
    assert (finding.count, finding.sample) == (50, ())
    assert "50 of 50 sampled values, at least 93% of all" in finding.message
    assert "mary" not in repr(finding)


def test_a_big_table_is_sampled_and_the_same_rows_are_drawn_each_time(
    fleet: Fleet, new_tenant: NewTenant
) -> None:
    tenant = new_tenant("acme")
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE notes (note text)")
        connection.execute(
            "INSERT INTO notes SELECT CASE WHEN n & 1 = 0 THEN 'mary@songs.example' "
            "ELSE repeat('la ', 20) END FROM generate_series(1, 20000) n"
        )
    (first,) = security(fleet, "acme").findings
    (second,) = security(fleet, "acme").findings
    assert first == second
    assert "of 200 sampled values" in first.message
    assert 60 < first.count < 140


def test_many_tenants_are_validated_as_each_of_them_alone(fleet: Fleet, new_tenant: NewTenant) -> None:
    tenants = [new_tenant(slug) for slug in ("acme", "beta", "gamma")]
    with fleet.control.transaction() as connection:
        grant = sql.SQL("GRANT SELECT ON {}.users TO {}")
        connection.execute(
            grant.format(sql.Identifier(tenants[1].schema_name), sql.Identifier(tenants[0].role("viewer")))
        )
    plans = [plan_validation(fleet, tenant, types=["schema", "security"]) for tenant in tenants]
    together = [outcome for _, outcome in execute_validations(fleet, plans, batch=2)]
    alone = [execute_validation(fleet, plan) for plan in plans]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, ValidationReport)
        assert replace(one, started_at="", seconds=0) == replace(other, started_at="", seconds=0)
    assert [[finding.rule for finding in report.findings] for report in alone] == [
        ["security.rights_elsewhere"],
        ["security.foreign_grants"],
        [],
    ]


def test_a_tenant_that_is_gone_stops_no_other(fleet: Fleet, new_tenant: NewTenant) -> None:
    plans = [plan_validation(fleet, new_tenant(slug), types=["security"]) for slug in ("acme", "beta")]
    lost = replace(plans[0], tenant="nobody")
    (_, first), (_, second) = execute_validations(fleet, [lost, plans[1]])
    assert isinstance(first, InputError)
    assert isinstance(second, ValidationReport)


def test_a_batch_is_read_once_and_tells_each_tenant_its_own(fleet: Fleet, new_tenant: NewTenant) -> None:
    acme, beta = new_tenant("acme"), new_tenant("beta")
    with fleet.session(beta) as connection:
        connection.execute("CREATE TABLE only_beta (id int)")
    backgrounds = Background.gather_all(fleet, [acme, beta])
    asked: list[int] = []

    def counted(connection: psycopg.Connection, tenants: tuple[Tenant, ...]) -> object:
        asked.append(len(tenants))
        return relations(connection, tenants)

    for tenant, has in ((acme, False), (beta, True)):
        with fleet.session(tenant) as connection:
            told = Evidence(backgrounds[tenant.id], connection).told(counted)  # pyright: ignore[reportArgumentType]
            assert ("only_beta" in {one.name for one in told}) == has  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
    assert asked == [2]


def test_an_operator_without_superuser_is_told_what_the_server_hides(
    database_url: str, fleet: Fleet, settings: Settings
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        role = f"operator_{name}"
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(role)))
        for statement in (
            "GRANT CREATE, CONNECT ON DATABASE {database} TO {role} WITH GRANT OPTION",
            "GRANT USAGE, CREATE ON SCHEMA tenant_ops TO {role}",
            "GRANT ALL ON ALL TABLES IN SCHEMA tenant_ops TO {role}",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA tenant_ops TO {role}",
            "GRANT tenant_ops_tenants TO {role} WITH ADMIN OPTION",
        ):
            connection.execute(
                sql.SQL(statement).format(database=sql.Identifier(name), role=sql.Identifier(role))  # pyright: ignore[reportArgumentType]
            )
    url = database_url.replace("postgresql://postgres@", f"postgresql://{role}@")
    operated = Fleet.open(replace(settings, database_url=url))
    provision(operated, "acme", tier_name="enterprise")
    tenant = operated.registry.get("acme")
    with operated.control.log_in(tenant.role("app"), login_password(operated, tenant)):
        report = security(operated, "acme")
    assert report.findings == ()
    assert [(one.rule, one.reason) for one in report.unchecked] == [
        ("security.password_hashing", "only a superuser sees how passwords are kept.")
    ]
    operated.close()


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ({20: 0, 10: 0, 1: 0}, "unused"),
        ({20: 0, 10: 3, 1: 0}, "used"),
        ({20: 4, 1: 0}, "unused"),
        ({10: 0, 1: 0}, "unchecked"),
        ({20: 0, 10: 0}, "unchecked"),
        ({}, "unchecked"),
    ],
    ids=["never seen", "seen lately", "seen long ago", "watched shortly", "not watched now", "never watched"],
)
def test_a_login_is_unused_when_monitoring_never_saw_it(
    fleet: Fleet, new_tenant: NewTenant, samples: dict[int, int], found: str
) -> None:
    tenant = new_tenant("acme")
    now = fleet.clock()
    with fleet.control.transaction() as connection:
        connection.execute("UPDATE tenant_ops.tenant SET created_at = %s", (now - timedelta(days=60),))
        for days, value in samples.items():
            connection.execute(
                "INSERT INTO tenant_ops.sample VALUES (%s, 'connections', %s, %s)",
                (tenant.id, now - timedelta(days=days), value),
            )
    report = security(fleet, "acme")
    outcome = "used"
    if any(one.rule == unused_login.id for one in report.findings):
        outcome = "unused"
    elif any(one.rule == unused_login.id for one in report.unchecked):
        outcome = "unchecked"
    assert outcome == found


def test_the_journal_of_a_tenant_is_no_finding(fleet: Fleet, new_tenant: NewTenant) -> None:
    from tenant_ops.backups import journal

    tenant = new_tenant("acme", "enterprise")
    journal.install(fleet, tenant)
    assert security(fleet, "acme").findings == ()


def test_generated_rows_hold_nothing_that_is_not_declared(
    fleet: Fleet, new_tenant: NewTenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tenant = new_tenant("acme", "enterprise")
    fill(fleet, tenant, tmp_path_factory.mktemp("rows"), rows=2_000)
    assert security(fleet, "acme").findings == ()


def test_a_table_is_sampled_again_when_its_rows_have_changed(fleet: Fleet, new_tenant: NewTenant) -> None:
    tenant = new_tenant("acme")
    with fleet.session(tenant) as connection:
        connection.execute("CREATE TABLE notes (note text)")
        connection.execute("INSERT INTO notes VALUES ('la la la')")
    wait_for_counters(fleet, tenant, 1)
    background = Background.gather(fleet, tenant)
    assert security(fleet, "acme").findings == ()
    assert background.surveys == {}
    kept = Background.gather(fleet, tenant)
    assert kept.surveys["notes"]["held"] == []
    assert security(fleet, "acme").findings == ()
    with fleet.session(tenant) as connection:
        connection.execute("UPDATE notes SET note = 'mary@songs.example'")
    wait_for_counters(fleet, tenant, 2)
    (found,) = security(fleet, "acme").findings
    (again,) = security(fleet, "acme").findings
    assert found == again
    assert "mary" not in repr(Background.gather(fleet, tenant).surveys)


def test_what_was_kept_of_an_unchanged_table_is_believed(fleet: Fleet, new_tenant: NewTenant) -> None:
    tenant = new_tenant("acme")
    security(fleet, "acme")
    with fleet.control.transaction() as connection:
        connection.execute(
            "UPDATE tenant_ops.value_survey SET tables = jsonb_set(tables, '{users,held}', %s)",
            (Jsonb([["display_name", [["jwt", 3, 20]]]]),),
        )
    (finding,) = security(fleet, "acme").findings
    assert (finding.key, finding.count) == ("security.secrets_in_values/users.display_name: jwt", 3)
    with fleet.session(tenant) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN note text")
    assert "security.secrets_in_values" not in {one.rule for one in security(fleet, "acme").findings}


def wait_for_counters(fleet: Fleet, tenant: Tenant, changes: int) -> None:
    """Sessions add to the server's counters within a second; a session that asks may make them do it now."""
    query = """
        SELECT pg_stat_force_next_flush(), pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c)
        FROM to_regclass('notes') c
    """
    for _ in range(100):
        with fleet.session(tenant) as connection:
            row = connection.execute(query).fetchone()
        if row and row[1] == changes:
            return
        sleep(0.05)
    raise AssertionError("the server never counted the changes")
