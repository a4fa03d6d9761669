"""Looking at the fleet: alerts open once and close, samples are kept while they say something."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tenant_ops.monitoring import MonitoringReport, monitor, samples_of
from tenant_ops.platform.database import Database
from tenant_ops.platform.reports import as_document
from tenant_ops.tenants import Fleet, Tenant, offboard, plan_offboard, suspend
from tenant_ops_tests.monitoring.conftest import Time


def rules(report: MonitoringReport) -> dict[str, set[str]]:
    return {health.tenant: {alert.rule for alert in health.alerts} for health in report.tenants}


def back_up(fleet: Fleet, tenant: Tenant) -> None:
    with fleet.control.transaction() as connection:
        connection.execute(
            "INSERT INTO tenant_ops.backup (id, tenant_id, tenant_slug, type, path, codec, encrypted, "
            "manifest_sha256, tables, rows, raw_bytes, stored_bytes, started_at, finished_at, "
            "taken_at, store) VALUES (gen_random_uuid()::text, %(id)s, '', 'full', '', 'zstd', true, '', "
            "0, 0, 0, 0, %(now)s, %(now)s, %(now)s, '')",
            {"id": tenant.id, "now": fleet.clock()},
        )


def stored(fleet: Fleet) -> int:
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT count(*) FROM tenant_ops.sample").fetchone()
    assert row
    return row[0]


def test_an_alert_opens_once_stays_one_and_is_over_when_its_cause_is(
    fleet: Fleet, tenant: Tenant, time: Time
) -> None:
    assert monitor(fleet).opened == ()
    time.passes(hours=49)
    first = monitor(fleet)
    assert [alert.rule for alert in first.opened] == ["backup-overdue"]
    time.passes(hours=1)
    again = monitor(fleet)
    assert (again.opened, again.resolved) == ((), ())
    (alert,) = again.tenants[0].alerts
    assert (alert.opened_at, alert.last_seen_at) == (first.at, again.at)
    assert "50.0 h" in alert.message
    back_up(fleet, tenant)
    time.passes(minutes=1)
    over = monitor(fleet)
    assert [past.id for past in over.resolved] == [alert.id]
    assert over.tenants[0].alerts == ()
    time.passes(hours=49)
    assert monitor(fleet).opened[0].id != alert.id


def test_the_verdict_is_the_worst_open_alert(fleet: Fleet, tenant: Tenant, time: Time) -> None:
    verdicts = [monitor(fleet).tenants[0].verdict]
    for _ in range(2):
        time.passes(days=5)
        verdicts.append(monitor(fleet).tenants[0].verdict)
    assert verdicts == ["healthy", "error", "critical"]
    assert [alert.severity for alert in monitor(fleet).tenants[0].alerts] == ["critical", "error"]


def test_only_the_tenants_asked_for_are_looked_at_and_the_others_keep_their_alerts(
    fleet: Fleet, tenant: Tenant, new_tenant: Callable[..., Tenant], time: Time
) -> None:
    new_tenant("globex")
    time.passes(hours=49)
    monitor(fleet)
    report = monitor(fleet, tenants=["globex", "nobody"])
    assert rules(report) == {"globex": {"backup-overdue"}}
    assert "There is no tenant 'nobody'." in report.notes
    assert rules(monitor(fleet)) == {"acme": {"backup-overdue"}, "globex": {"backup-overdue"}}


def test_a_suspended_tenant_is_watched_without_asking_for_backups(
    fleet: Fleet, tenant: Tenant, time: Time
) -> None:
    time.passes(hours=49)
    monitor(fleet)
    suspend(fleet, "acme", reason="unpaid")
    report = monitor(fleet)
    assert (report.tenants[0].state, report.tenants[0].verdict) == ("suspended", "healthy")
    assert [alert.rule for alert in report.resolved] == ["backup-overdue"]


def test_the_alerts_of_a_tenant_that_is_gone_are_closed(fleet: Fleet, tenant: Tenant, time: Time) -> None:
    time.passes(hours=49)
    monitor(fleet)
    offboard(fleet, plan_offboard(fleet, "acme"), safety_copy=None)
    monitor(fleet)
    with fleet.control.transaction() as connection:
        row = connection.execute("SELECT count(*) FROM tenant_ops.alert WHERE resolved_at IS NULL").fetchone()
    assert row == (0,)


def test_a_tenant_whose_server_is_lost_is_unknown_and_its_alerts_stay(
    fleet: Fleet, tenant: Tenant, time: Time
) -> None:
    (fleet.files(tenant) / "big").touch()
    with fleet.control.transaction() as connection:
        connection.execute(
            "INSERT INTO tenant_ops.alert (tenant_id, rule, severity, message, opened_at, last_seen_at) "
            "VALUES (%s, 'storage-full', 'error', 'full', now(), now())",
            (tenant.id,),
        )
        connection.execute("UPDATE tenant_ops.tenant SET placement = 'far'")
    far = replace(fleet, servers={"far": Database("postgresql://nobody@127.0.0.1:1/nothing")})
    report = monitor(far)
    assert report.tenants[0].verdict == "unknown"
    assert rules(report) == {"acme": {"storage-full"}}
    assert not report.servers[0].reached


def test_a_value_is_stored_when_it_changed_and_once_an_hour(fleet: Fleet, tenant: Tenant, time: Time) -> None:
    first = monitor(fleet)
    assert first.samples == stored(fleet) > 5
    time.passes(minutes=5)
    assert monitor(fleet).samples == 0
    (fleet.files(tenant) / "new").write_bytes(b"x" * 42)
    time.passes(minutes=5)
    assert monitor(fleet).samples == 1
    time.passes(minutes=50)
    assert monitor(fleet).samples == first.samples - 1, "the one stored 50 minutes ago can wait"
    with fleet.control.transaction() as connection:
        kept = samples_of(connection, tenant.id, "files_bytes", first.at)
    assert kept == [(first.at, 0.0), (first.at + timedelta(minutes=10), 42.0)]


def test_samples_are_forgotten_after_thirty_days(fleet: Fleet, tenant: Tenant, time: Time) -> None:
    count = monitor(fleet).samples
    time.passes(days=30, seconds=-1)
    monitor(fleet)
    assert stored(fleet) == 2 * count
    time.passes(seconds=2)
    monitor(fleet)
    assert stored(fleet) == count


@pytest.mark.parametrize(
    ("change", "configured"),
    [
        ({}, []),
        ({"slack_webhook_url": "https://hooks.example"}, ["slack"]),
        ({"smtp_url": "smtp://mail.example"}, []),
        ({"smtp_url": "smtp://mail.example", "alert_recipients": ("ops@acme.example",)}, ["e-mail"]),
    ],
)
def test_the_report_says_which_channels_are_set_and_that_nothing_is_sent(
    fleet: Fleet, change: dict, configured: list[str]
) -> None:
    report = monitor(replace(fleet, settings=replace(fleet.settings, **change)))
    assert [channel.name for channel in report.channels if channel.configured] == configured
    assert all("nothing is sent yet" in channel.state for channel in report.channels if channel.configured)
    assert all(channel.state.startswith("set ") for channel in report.channels if not channel.configured)


def test_a_report_is_json_without_secrets(fleet: Fleet, tenant: Tenant) -> None:
    settings = replace(fleet.settings, slack_webhook_url="https://hooks.example/secret")
    document = as_document(monitor(replace(fleet, settings=settings)))
    assert document["tenants"][0]["tenant"] == "acme"
    assert "secret" not in str(document)
