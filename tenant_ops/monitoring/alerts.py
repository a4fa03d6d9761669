"""Alerts: at most one open per tenant and rule, from when it was first seen until it is over.

Here: their rows. Not here: what is an alert (`rules.py`), telling anybody.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from tenant_ops.monitoring.records import Alert
from tenant_ops.monitoring.rules import Firing


def open_alerts(connection: psycopg.Connection, tenant_ids: Sequence[UUID]) -> tuple[Alert, ...]:
    """The open alerts of these tenants, worst first."""
    with connection.cursor(row_factory=class_row(Alert)) as cursor:
        cursor.execute(
            """
            SELECT alert.id, tenant.slug AS tenant, alert.rule, alert.severity, alert.message, alert.value,
                   alert.opened_at, alert.last_seen_at, alert.resolved_at
            FROM tenant_ops.alert JOIN tenant_ops.tenant ON tenant.id = alert.tenant_id
            WHERE alert.resolved_at IS NULL AND alert.tenant_id = ANY(%s)
            ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], alert.severity),
                     alert.opened_at, alert.id
            """,
            (list(tenant_ids),),
        )
        return tuple(cursor)


def raise_alerts(
    connection: psycopg.Connection, firings: Mapping[UUID, Sequence[Firing]], at: datetime
) -> None:
    """Open an alert for every firing that has none, and note on the others that it is still so."""
    rows = [(tenant_id, firing) for tenant_id, fired in firings.items() for firing in fired]
    connection.execute(
        """
        INSERT INTO tenant_ops.alert (tenant_id, rule, severity, message, value, opened_at, last_seen_at)
        SELECT new.*, %(at)s, %(at)s
        FROM unnest(%(ids)s::uuid[], %(rules)s::text[], %(severities)s::text[], %(messages)s::text[],
                    %(values)s::float8[]) AS new
        ON CONFLICT (tenant_id, rule) WHERE resolved_at IS NULL DO UPDATE
        SET severity = excluded.severity, message = excluded.message, value = excluded.value,
            last_seen_at = excluded.last_seen_at
        """,
        {
            "at": at,
            "ids": [tenant_id for tenant_id, _ in rows],
            "rules": [firing.rule.id for _, firing in rows],
            "severities": [firing.rule.severity for _, firing in rows],
            "messages": [firing.message for _, firing in rows],
            "values": [firing.value for _, firing in rows],
        },
    )


def resolve_alerts(connection: psycopg.Connection, over: Mapping[UUID, Sequence[str]], at: datetime) -> None:
    """Close the open alerts of these tenants and rules, and every one of a tenant that is gone."""
    pairs = [(tenant_id, rule) for tenant_id, rules in over.items() for rule in rules]
    connection.execute(
        """
        UPDATE tenant_ops.alert SET resolved_at = %(at)s
        WHERE resolved_at IS NULL AND (
            (tenant_id, rule) IN (SELECT * FROM unnest(%(ids)s::uuid[], %(rules)s::text[]))
            OR tenant_id IN (SELECT id FROM tenant_ops.tenant WHERE state IN ('offboarding', 'erased')))
        """,
        {
            "at": at,
            "ids": [tenant_id for tenant_id, _ in pairs],
            "rules": [rule for _, rule in pairs],
        },
    )
