"""Personal data is masked wherever loading shows it."""

from tenant_ops.loading import execute_load, masked_sample, plan_load
from tenant_ops.platform.settings import fixtures_root
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops_tests.loading.shop import Shop

FAULTY = fixtures_root() / "1.0.0" / "faulty"


def test_reports_samples_and_quarantine_values_show_no_personal_data(fleet: Fleet, tenant: Tenant) -> None:
    report = execute_load(fleet, plan_load(fleet, tenant, source=FAULTY, datasets=["users"]))
    with fleet.session(tenant) as connection:
        addresses = [row[0] for row in connection.execute("SELECT email FROM users")]
        names = [row[0] for row in connection.execute("SELECT display_name FROM users")]
    entries = Shop(fleet, tenant, FAULTY).quarantine()
    values = [entry["value"] for entry in entries]
    shown = repr((report, masked_sample(fleet, tenant, fleet.catalog["users"]), values))
    assert len(addresses) > 10
    assert len(entries) > 10
    assert not [secret for secret in (*addresses, *names) if secret in shown]


def test_a_sample_is_a_few_short_rows_with_every_column(fleet: Fleet, tenant: Tenant) -> None:
    execute_load(fleet, plan_load(fleet, tenant, datasets=["users"]))
    with fleet.session(tenant) as connection:
        connection.execute("UPDATE users SET preferences = jsonb_build_object('x', repeat('y', 1000))")
    sample = masked_sample(fleet, tenant, fleet.catalog["users"])
    assert len(sample) == 5
    assert tuple(sample[0]) == fleet.catalog["users"].column_names
    assert all("***" in row["email"] and len(row["preferences"]) <= 80 for row in sample)
