"""Stage tables that an interrupted load left behind.

Here: finding and dropping them. Not here: how loads use them (`loading/`).

A load that is not merged may still be resumed until the rule's cutoff; so long its stage stays. What it held
can be loaded again (the next load notices and starts over), so nothing is kept for undo.
"""

from collections.abc import Sequence
from datetime import datetime

from psycopg import sql

from tenant_ops.cleanup.records import CleanedItem, CleanupItem, Rule
from tenant_ops.tenants import Fleet, Tenant


def look_stages(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanupItem]:
    """The stage tables no load will come back to."""
    return [
        CleanupItem("stages", name, "tables", 1, size, begun, begun)
        for rule in rules
        for name, size, begun in _abandoned(fleet, tenant, rule)
    ]


def drop_stages(fleet: Fleet, tenant: Tenant, rules: Sequence[Rule]) -> list[CleanedItem]:
    """Drop them; called while the tenant is locked, so no load is running."""
    items = look_stages(fleet, tenant, rules)
    with fleet.session(tenant) as connection:
        for item in items:
            name = sql.Identifier(tenant.stage_schema, item.subject)
            connection.execute(sql.SQL("DROP TABLE {}").format(name))
    return [CleanedItem("stages", item.subject, "tables", 1, 1) for item in items]


def _abandoned(fleet: Fleet, tenant: Tenant, rule: Rule) -> list[tuple[str, int, datetime | None]]:
    """Name, bytes and beginning of the stages whose load is not open, or was begun before the cutoff."""
    with fleet.session(tenant) as connection:
        return connection.execute(
            sql.SQL(
                """
                SELECT stage.relname::text, pg_total_relation_size(stage.oid), load.started_at
                FROM pg_class AS stage
                LEFT JOIN {} AS load ON stage.relname = 'stage_' || load.dataset AND load.state <> 'merged'
                WHERE stage.relnamespace = to_regnamespace(%s) AND stage.relname LIKE 'stage\\_%%'
                  AND stage.relpersistence = 'u' AND coalesce(load.started_at < %s, true)
                ORDER BY stage.relname
                """
            ).format(sql.Identifier(tenant.stage_schema, "load")),
            (tenant.stage_schema, rule.cutoff),
        ).fetchall()
