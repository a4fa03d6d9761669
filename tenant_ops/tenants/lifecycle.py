"""What happens to a tenant after it was made: suspend, resume, change tier, offboard.

Here: the steps that change logins, limits and states together. Not here: making it (`provisioning.py`),
taking the safety copy (handed in: backups stand above tenants).
"""

from collections.abc import Callable
from dataclasses import dataclass
from shutil import rmtree
from typing import Any

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants.fleet import Fleet
from tenant_ops.tenants.keys import destroy_tenant_key
from tenant_ops.tenants.model import State, Tenant
from tenant_ops.tenants.tiers import tier

SafetyCopy = Callable[[Tenant], str]


@dataclass(frozen=True)
class LifecycleReport:
    """What changed: the state before and after, and anything an operator should know."""

    tenant: str
    action: str
    before: str
    after: str
    sessions_ended: int = 0
    backup: str | None = None


@dataclass(frozen=True)
class OffboardPlan:
    """What offboarding would remove."""

    tenant: str
    tenant_id: str
    schemas: tuple[str, ...]
    roles: tuple[str, ...]
    tables: int
    bytes: int
    files: int
    keeps_backups: bool


def suspend(fleet: Fleet, slug: str, *, reason: str) -> LifecycleReport:
    """Lock the tenant's login out and end its connections; the data stays as it is.

    Raises:
        InputError: the tenant is not active.
    """
    tenant = fleet.registry.get(slug).require(State.ACTIVE)
    with fleet.lock(tenant, "suspend"):
        _allow_login(fleet, tenant, allowed=False)
        ended = _end_sessions(fleet, tenant)
        _move(fleet, tenant, State.SUSPENDED, "tenant.suspend", {"reason": reason}, reason)
    return LifecycleReport(slug, "suspend", State.ACTIVE, State.SUSPENDED, sessions_ended=ended)


def resume(fleet: Fleet, slug: str) -> LifecycleReport:
    """Let the tenant's login in again.

    Raises:
        InputError: the tenant is not suspended.
    """
    tenant = fleet.registry.get(slug).require(State.SUSPENDED)
    with fleet.lock(tenant, "resume"):
        _allow_login(fleet, tenant, allowed=True)
        _move(fleet, tenant, State.ACTIVE, "tenant.resume", {})
    return LifecycleReport(slug, "resume", State.SUSPENDED, State.ACTIVE)


def change_tier(fleet: Fleet, slug: str, tier_name: str) -> LifecycleReport:
    """Give the tenant another tier: its connection limit and statement timeout follow at once.

    Raises:
        InputError: there is no such tier, or the tenant is not active or suspended.
    """
    chosen = tier(tier_name)
    tenant = fleet.registry.get(slug).require(State.ACTIVE, State.SUSPENDED)
    role = sql.Identifier(tenant.role("app"))
    with fleet.lock(tenant, "change-tier"):
        with fleet.database(tenant).transaction() as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(
                    role, sql.Literal(chosen.connection_limit)
                )
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} SET statement_timeout = {}").format(
                    role, sql.Literal(f"{chosen.statement_timeout_s}s")
                )
            )
        with fleet.control.transaction() as connection:
            connection.execute(
                "UPDATE tenant_ops.tenant SET tier = %s, updated_at = %s WHERE id = %s",
                (chosen.name, fleet.clock(), tenant.id),
            )
            _record(
                fleet,
                connection,
                tenant,
                "tenant.change_tier",
                {"from": tenant.tier_name, "to": chosen.name},
            )
    return LifecycleReport(slug, "change-tier", tenant.tier_name, chosen.name)


def plan_offboard(fleet: Fleet, slug: str) -> OffboardPlan:
    """Look at what offboarding this tenant would remove, changing nothing."""
    tenant = fleet.registry.get(slug)
    with fleet.database(tenant).transaction() as connection:
        row = connection.execute(
            """
            SELECT count(*), coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
            FROM pg_class c WHERE c.relkind IN ('r', 'p', 'm')
            AND c.relnamespace IN (to_regnamespace(%s), to_regnamespace(%s))
            """,
            (tenant.schema_name, tenant.stage_schema),
        ).fetchone()
    assert row is not None
    folder = fleet.files(tenant)
    return OffboardPlan(
        tenant=slug,
        tenant_id=str(tenant.id),
        schemas=(tenant.schema_name, tenant.stage_schema),
        roles=tuple(tenant.role(kind) for kind in ("owner", "admin", "editor", "viewer", "app")),
        tables=row[0],
        bytes=row[1],
        files=sum(1 for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0,
        keeps_backups=True,
    )


def offboard(
    fleet: Fleet,
    plan: OffboardPlan,
    *,
    safety_copy: SafetyCopy | None,
    shred: Callable[[Tenant], object] | None = None,
) -> LifecycleReport:
    """Remove the tenant's schema, roles and files; its backups stay until they are cleaned up.

    With `safety_copy` a last backup is taken first, and the tenant's key is kept so that it can be opened.
    Without one the key is destroyed: every earlier backup becomes unreadable for good.

    Args:
        fleet: The fleet.
        plan: Made by `plan_offboard`.
        safety_copy: Takes the last backup and returns its id.
        shred: Destroys the tenant's keys wherever they lie, its copies beside backups too.

    Raises:
        InputError: the tenant is gone, or is not the one the plan was made for.
    """
    tenant = fleet.registry.get(plan.tenant)
    if str(tenant.id) != plan.tenant_id:
        raise InputError(
            "the plan was made for an earlier tenant of that name.", where=f"tenant {plan.tenant}"
        )
    with fleet.lock(tenant, "offboard"):
        backup = safety_copy(tenant) if safety_copy and tenant.state is not State.FAILED else None
        if tenant.state is not State.OFFBOARDING:
            _move(fleet, tenant, State.OFFBOARDING, "tenant.offboard", {"backup": backup})
        with fleet.database(tenant).transaction() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                (tenant.role("app"),),
            )
            _drop_objects(connection, tenant)
        rmtree(fleet.files(tenant).parent, ignore_errors=True)
        if backup is None and shred is not None:
            shred(tenant)
        with fleet.control.transaction() as connection:
            connection.execute("DELETE FROM tenant_ops.credential WHERE tenant_id = %s", (tenant.id,))
            if backup is None:
                destroy_tenant_key(connection, tenant.id, fleet.clock())
            fleet.registry.move(connection, tenant, State.ERASED)
            _record(fleet, connection, tenant, "tenant.erased", {"backup": backup})
    return LifecycleReport(plan.tenant, "offboard", tenant.state, State.ERASED, backup=backup)


def _drop_objects(connection: psycopg.Connection, tenant: Tenant) -> None:
    for schema in (tenant.schema_name, tenant.stage_schema):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
    for kind in ("app", "viewer", "editor", "admin", "owner"):
        role = tenant.role(kind)
        row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
        if row:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def _allow_login(fleet: Fleet, tenant: Tenant, *, allowed: bool) -> None:
    statement = sql.SQL("ALTER ROLE {} LOGIN" if allowed else "ALTER ROLE {} NOLOGIN")
    with fleet.database(tenant).transaction() as connection:
        connection.execute(statement.format(sql.Identifier(tenant.role("app"))))


def _end_sessions(fleet: Fleet, tenant: Tenant) -> int:
    with fleet.database(tenant).transaction() as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (tenant.role("app"),)
        ).rowcount


def _move(
    fleet: Fleet,
    tenant: Tenant,
    state: State,
    action: str,
    detail: dict[str, Any],
    reason: str | None = None,
) -> None:
    with fleet.control.transaction() as connection:
        fleet.registry.move(connection, tenant, state, reason)
        _record(fleet, connection, tenant, action, detail)


def _record(
    fleet: Fleet, connection: psycopg.Connection, tenant: Tenant, action: str, detail: dict[str, Any]
) -> None:
    record(
        connection,
        chain=str(tenant.id),
        at=fleet.clock(),
        actor=fleet.settings.actor,
        action=action,
        detail=detail,
    )
