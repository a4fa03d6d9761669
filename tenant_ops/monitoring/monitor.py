"""One look at the fleet: read, store, judge, repair when allowed, report.

Here: the order of the steps. Not here: each of them, and telling anybody: alerts wait in `tenant_ops.alert`.
"""

from collections.abc import Sequence
from datetime import datetime
from time import perf_counter

import psycopg

from tenant_ops.monitoring.alerts import open_alerts, raise_alerts, resolve_alerts
from tenant_ops.monitoring.collectors import collect
from tenant_ops.monitoring.records import Alert, Channel, MonitoringReport, Reading, TenantHealth
from tenant_ops.monitoring.recovery import recover
from tenant_ops.monitoring.rules import judge
from tenant_ops.monitoring.samples import purge_samples, store_samples
from tenant_ops.platform.settings import Settings
from tenant_ops.tenants import Fleet, State, Tenant

WATCHED = (State.ACTIVE, State.SUSPENDED)


def monitor(
    fleet: Fleet, *, tenants: Sequence[str] | None = None, auto_recovery: bool = False
) -> MonitoringReport:
    """Look at tenants once: about ten queries however many there are, and no lock that they would feel.

    Args:
        fleet: Which fleet.
        tenants: Slugs; every active or suspended tenant when None. Any other is only mentioned in the notes.
        auto_recovery: End the tenants' forgotten transactions and renew stale statistics.

    Raises:
        OperationFailed: the control plane does not answer. Another server that does not is in the report.
    """
    started = perf_counter()
    watched, notes = _watched(fleet, tenants)
    seen = collect(fleet, watched)
    at = fleet.clock()
    with fleet.control.transaction() as connection:
        stored = store_samples(connection, seen.readings, at)
        purge_samples(connection, at)
        before, now = _update_alerts(connection, seen.readings, at)
    recovered = recover(fleet, seen.readings) if auto_recovery else ()
    known, still = {alert.id for alert in before}, {alert.id for alert in now}
    by_tenant: dict[str, list[Alert]] = {}
    for alert in now:
        by_tenant.setdefault(alert.tenant, []).append(alert)
    return MonitoringReport(
        at=at,
        tenants=tuple(_health(reading, by_tenant.get(reading.tenant.slug, [])) for reading in seen.readings),
        servers=seen.servers,
        opened=tuple(alert for alert in now if alert.id not in known),
        resolved=tuple(alert for alert in before if alert.id not in still),
        recovery=recovered,
        channels=channels(fleet.settings),
        samples=stored,
        notes=(*notes, *seen.notes),
        seconds=round(perf_counter() - started, 3),
    )


def channels(settings: Settings) -> tuple[Channel, ...]:
    """The ways alerts could leave, as they are configured."""
    mail = bool(settings.smtp_url and settings.alert_recipients)
    return (
        _channel("e-mail", mail, "SMTP_URL and ALERT_EMAIL_RECIPIENTS"),
        _channel("slack", bool(settings.slack_webhook_url), "SLACK_WEBHOOK_URL"),
    )


def _channel(name: str, configured: bool, variables: str) -> Channel:
    state = "nothing is sent yet: alerts are kept and reported only" if configured else f"set {variables}"
    return Channel(name, configured, state)


def _watched(fleet: Fleet, slugs: Sequence[str] | None) -> tuple[list[Tenant], list[str]]:
    if slugs is None:
        return list(fleet.registry.all(WATCHED)), []
    asked = list(dict.fromkeys(slugs))
    found = fleet.registry.find(asked)
    unknown = [slug for slug in asked if slug not in {tenant.slug for tenant in found}]
    notes = [f"There is no tenant {slug!r}." for slug in unknown]
    notes += [f"{one.slug} is {one.state} and not watched." for one in found if one.state not in WATCHED]
    return [one for one in found if one.state in WATCHED], notes


def _update_alerts(
    connection: psycopg.Connection, readings: Sequence[Reading], at: datetime
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts open before and after this look."""
    ids = [reading.tenant.id for reading in readings]
    before = open_alerts(connection, ids)
    open_rules: dict[str, list[str]] = {}
    for alert in before:
        open_rules.setdefault(alert.tenant, []).append(alert.rule)
    judged = {
        reading.tenant.id: judge(reading, open_rules.get(reading.tenant.slug, ())) for reading in readings
    }
    raise_alerts(connection, {tenant_id: firings for tenant_id, (firings, _) in judged.items()}, at)
    resolve_alerts(connection, {tenant_id: over for tenant_id, (_, over) in judged.items()}, at)
    return before, open_alerts(connection, ids)


def _health(reading: Reading, alerts: Sequence[Alert]) -> TenantHealth:
    worst = alerts[0].severity if alerts else "info"
    verdict = "healthy" if worst == "info" else worst
    return TenantHealth(
        tenant=reading.tenant.slug,
        tier=reading.tenant.tier_name,
        state=str(reading.tenant.state),
        verdict=verdict if reading.reached else "unknown",
        metrics=reading.metrics,
        alerts=tuple(alerts),
    )
