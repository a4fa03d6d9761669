"""What a rule may look at: one tenant, read only, as its owner.

Here: the connection and what several rules need, read once. Not here: the rules.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import psycopg

from tenant_ops.datasets import Catalog
from tenant_ops.datasets.structure import Part, expected_structure, live_structure
from tenant_ops.tenants import Fleet, Tenant


@dataclass(frozen=True)
class Background:
    """What is known of a tenant before its own tables are looked at.

    Read first, so that an examination never holds one pooled connection while it waits for a second.

    Attributes:
        tenant: Whose data it is.
        catalog: The datasets the tenant should have.
        expected: The parts the catalog's tables have.
        rotate_at: When each of its credentials was to be rotated, by kind.
        now: The moment the examination began.
    """

    tenant: Tenant
    catalog: Catalog
    expected: frozenset[Part]
    rotate_at: dict[str, datetime | None]
    now: datetime

    @classmethod
    def gather(cls, fleet: Fleet, tenant: Tenant) -> "Background":
        """Read it from the control plane and the definitions."""
        with fleet.control.transaction() as connection:
            rows = connection.execute(
                "SELECT kind, rotate_at FROM tenant_ops.credential WHERE tenant_id = %s", (tenant.id,)
            ).fetchall()
        expected = expected_structure(fleet.database(tenant), fleet.catalog)
        return cls(tenant, fleet.catalog, expected, dict(rows), fleet.clock())


@dataclass(frozen=True)
class Evidence:
    """One tenant under examination.

    Attributes:
        background: What was known beforehand.
        connection: A read-only transaction as the tenant's owner.
    """

    background: Background
    connection: psycopg.Connection

    @property
    def tenant(self) -> Tenant:
        """Whose data it is."""
        return self.background.tenant

    @property
    def catalog(self) -> Catalog:
        """The datasets the tenant should have."""
        return self.background.catalog

    @property
    def facts(self) -> dict[str, Any]:
        """What is true of the tenant, as parameters of a rule's query."""
        limits = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.tenant.tier).items()
        }
        return {**limits, "now": self.background.now}

    @cached_property
    def contents(self) -> dict[str, list[int]]:
        """What is in the tenant's two schemas: oids by catalog, as parameters of a query on that catalog.

        Read from pg_depend, which has an index by schema. The catalogs have none, and a thousand tenants
        fill pg_class with 60,000 rows and pg_constraint with 170,000.
        """
        rows = self.connection.execute(
            """
            SELECT d.classid::regclass::text, array_agg(d.objid) FROM pg_depend d
            WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ANY (
                SELECT to_regnamespace(quote_ident(name)) FROM unnest(%s::text[]) name
            )
            GROUP BY 1
            """,
            ([self.tenant.schema_name, self.tenant.stage_schema],),
        )
        return {"pg_class": [], "pg_proc": [], "pg_default_acl": [], **dict(rows.fetchall())}

    @cached_property
    def live(self) -> frozenset[Part]:
        """The parts of the tenant's tables, as they are."""
        return live_structure(self.connection, self.tenant.schema_name)

    @cached_property
    def missing(self) -> tuple[Part, ...]:
        """Expected parts the tenant's tables do not have, or have otherwise."""
        return tuple(sorted(self.background.expected - self.live))

    @cached_property
    def surplus(self) -> tuple[Part, ...]:
        """Parts the tenant's tables have that are not expected, or not so."""
        return tuple(sorted(self.live - self.background.expected))

    @contextmanager
    def as_operator(self) -> Generator[psycopg.Connection]:
        """The same connection with the rights of whoever runs this, for what the server hides from owners."""
        names = ("role", "search_path")
        before = [self.connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
        self.connection.execute("SELECT set_config('role', 'none', true)")
        try:
            yield self.connection
        except psycopg.Error:
            raise  # the savepoint rules run in takes the settings back
        except BaseException:
            self._put_back(names, before)
            raise
        self._put_back(names, before)

    def _put_back(self, names: Iterable[str], before: Iterable[Any]) -> None:
        for name, row in zip(names, before, strict=True):
            self.connection.execute("SELECT set_config(%s, %s, true)", (name, row[0]))
