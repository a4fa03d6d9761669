"""The registry: which tenants there are. The truth that Dagster's partitions mirror.

Here: reading and changing rows of `tenant_ops.tenant`. Not here: the tenants' own schemas and roles
(`provisioning.py`), who may do what.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from tenant_ops.platform.clock import Clock
from tenant_ops.platform.database import Database
from tenant_ops.platform.errors import InputError, UnknownTenant
from tenant_ops.tenants.model import FOLLOWS, State, Tenant, check_email, check_slug, new_key
from tenant_ops.tenants.tiers import tier

_SELECT = """
    SELECT id, key, slug, display_name, tier AS tier_name, state, placement, version, admin_email,
           config, created_at, updated_at, state_reason
    FROM tenant_ops.tenant
"""


class Registry:
    """Reads and changes the tenant registry of one control plane."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def get(self, slug: str) -> Tenant:
        """The living tenant of that slug.

        Raises:
            UnknownTenant: there is none; the sentence says how to register it.
        """
        found = self.find([slug])
        if not found:
            raise self.unknown(slug)
        return found[0]

    def find(self, slugs: Sequence[str]) -> tuple[Tenant, ...]:
        """Those of the slugs that are registered, in the order asked."""
        with self._database.transaction() as connection, _tenants(connection) as cursor:
            cursor.execute(_SELECT + "WHERE slug = ANY(%s) AND state <> 'erased'", (list(slugs),))
            by_slug = {tenant.slug: tenant for tenant in cursor}
        return tuple(by_slug[slug] for slug in slugs if slug in by_slug)

    def by_id(self, tenant_id: UUID) -> Tenant:
        """The tenant of that id, erased or not.

        Raises:
            UnknownTenant: there is none.
        """
        with self._database.transaction() as connection, _tenants(connection) as cursor:
            row = cursor.execute(_SELECT + "WHERE id = %s", (tenant_id,)).fetchone()
        if row is None:
            raise UnknownTenant(f"no tenant has the id {tenant_id}.")
        return row

    def all(self, states: Iterable[State] = (State.ACTIVE,)) -> tuple[Tenant, ...]:
        """Every tenant in one of the states, by slug."""
        with self._database.transaction() as connection, _tenants(connection) as cursor:
            cursor.execute(_SELECT + "WHERE state = ANY(%s) ORDER BY slug", ([str(s) for s in states],))
            return tuple(cursor)

    def slugs(self, states: Iterable[State] = (State.ACTIVE, State.SUSPENDED)) -> tuple[str, ...]:
        """The slugs of every tenant in one of the states, in registration order."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT slug FROM tenant_ops.tenant WHERE state = ANY(%s) ORDER BY created_at, slug",
                ([str(state) for state in states],),
            )
            return tuple(row[0] for row in rows)

    def register(
        self,
        slug: str,
        *,
        tier_name: str = "starter",
        admin_email: str | None = None,
        display_name: str | None = None,
        placement: str = "default",
    ) -> Tenant:
        """Enter a new tenant as `requested`, or return the one that has the slug already.

        Raises:
            InputError: the slug, tier or e-mail cannot be used, or the slug is taken by another tier.
        """
        check_slug(slug)
        check_email(admin_email)
        chosen = tier(tier_name)
        now = self._clock()
        config = {"integrations": {kind: {"enabled": False} for kind in chosen.integrations}}
        with self._database.transaction() as connection, _tenants(connection) as cursor:
            connection.execute(
                """
                INSERT INTO tenant_ops.tenant (id, key, slug, display_name, tier, state, placement,
                                               admin_email, config, created_at, updated_at)
                VALUES (%s, %s, %s, %s, %s, 'requested', %s, %s, %s, %s, %s)
                ON CONFLICT (slug) WHERE state <> 'erased' DO NOTHING
                """,
                (
                    *(uuid4(), new_key(), slug, display_name or slug.replace("_", " ").title()),
                    *(chosen.name, placement, admin_email, Jsonb(config), now, now),
                ),
            )
            tenant = cursor.execute(_SELECT + "WHERE slug = %s AND state <> 'erased'", (slug,)).fetchone()
        if tenant is None:  # erased in between: whoever asks again gets a new one
            raise self.unknown(slug)
        if tenant.tier_name != chosen.name:
            raise InputError(
                f"the tenant exists with tier {tenant.tier_name}.",
                where=f"tenant {slug}",
                fix=f"Change it with: tenant-ops tenant change-tier --tenant-id {slug} --tier {chosen.name}",
            )
        return tenant

    def move(
        self, connection: psycopg.Connection, tenant: Tenant, state: State, reason: str | None = None
    ) -> None:
        """Change the state inside the caller's transaction.

        Raises:
            InputError: the state cannot follow the stored one (somebody else may have moved it).
        """
        row = connection.execute(
            "SELECT state FROM tenant_ops.tenant WHERE id = %s FOR UPDATE", (tenant.id,)
        ).fetchone()
        current = State(row[0]) if row else tenant.state
        if state not in FOLLOWS[current]:
            raise InputError(
                f"a tenant that is {current} cannot become {state}.", where=f"tenant {tenant.slug}"
            )
        now = self._clock()
        connection.execute(
            """
            UPDATE tenant_ops.tenant
            SET state = %s, state_reason = %s, updated_at = %s,
                activated_at = CASE WHEN %s = 'active' THEN coalesce(activated_at, %s) ELSE activated_at END
            WHERE id = %s
            """,
            (str(state), reason, now, str(state), now, tenant.id),
        )

    def put_back(
        self, connection: psycopg.Connection, tenant: Tenant, *, version: str | None, config: dict[str, Any]
    ) -> None:
        """What a restore brings back of the registry row: schema version and configuration."""
        connection.execute(
            "UPDATE tenant_ops.tenant SET version = %s, config = %s, updated_at = %s WHERE id = %s",
            (version, Jsonb(config), self._clock(), tenant.id),
        )

    def unknown(self, slug: str) -> UnknownTenant:
        """The error for a slug nobody has."""
        return unknown_tenant(slug, self.slugs())


def unknown_tenant(slug: str, existing: Iterable[str]) -> UnknownTenant:
    """The sentence for a tenant nobody has registered: what was perhaps meant, and how to register it."""
    similar = get_close_matches(slug, list(existing), n=3, cutoff=0.7)
    meant = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return UnknownTenant(
        f"unknown tenant {slug!r}.{meant}", fix=f"Register it: tenant-ops init-tenant --tenant-id {slug}"
    )


def _tenants(connection: psycopg.Connection) -> psycopg.Cursor[Tenant]:
    return connection.cursor(row_factory=kwargs_row(_tenant))


def _tenant(**row: Any) -> Tenant:
    return Tenant(**{**row, "state": State(row["state"])})
