"""What a rule may look at: one tenant, read only, as its owner.

Here: the connection and what several rules need, read once. Not here: the rules.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tenant_ops.datasets import Catalog
from tenant_ops.datasets.structure import Part, expected_structure, live_structure
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.profiles.values import DatasetProfile, Profile

T = TypeVar("T")
Reader = Callable[[psycopg.Connection, Sequence[Tenant]], Mapping[UUID, T]]
"""Reads something of several tenants of one server in one go: what it read, by tenant."""


@dataclass(frozen=True)
class Credential:
    """A credential on record, without what it opens."""

    kind: str
    username: str
    created_at: datetime
    rotate_at: datetime | None


@dataclass(frozen=True)
class Use:
    """What monitoring saw of the login's connections.

    Attributes:
        since: The first time it looked.
        seen: The last time it saw the login connected.
        until: The last time it looked.
    """

    since: datetime
    seen: datetime | None
    until: datetime


@dataclass(frozen=True)
class Batch:
    """Tenants of one server that are examined one after the other, and what was read of all at once."""

    tenants: tuple[Tenant, ...]
    answers: dict[Callable[..., Any], Mapping[UUID, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )


@dataclass(frozen=True)
class Background:
    """What is known of a tenant before its own tables are looked at.

    Read first, so that an examination never holds one pooled connection while it waits for a second.

    Attributes:
        tenant: Whose data it is.
        catalog: The datasets the tenant should have.
        expected: The parts the catalog's tables have.
        credentials: Its credentials on record.
        now: The moment the examination began.
        use: What monitoring knows of its login's use.
        batch: The tenants it is examined with, if any.
        surveys: What samples of its tables showed when they were taken last, by table.
        surveyed: The same of samples taken now, to be kept.
        profiles: What its data looked like on earlier days, the oldest first, where it is compared.
        profiled: What it looks like now, to be kept.
    """

    tenant: Tenant
    catalog: Catalog
    expected: frozenset[Part]
    credentials: tuple[Credential, ...]
    now: datetime
    use: Use | None = None
    batch: Batch | None = None
    surveys: Mapping[str, Any] = field(default_factory=dict)
    surveyed: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[Profile, ...] = ()
    profiled: dict[str, DatasetProfile] = field(default_factory=dict)

    @classmethod
    def gather(cls, fleet: Fleet, tenant: Tenant) -> "Background":
        """Read it from the control plane and the definitions."""
        return cls.gather_all(fleet, [tenant])[tenant.id]

    @classmethod
    def gather_all(cls, fleet: Fleet, tenants: Sequence[Tenant]) -> dict[UUID, "Background"]:
        """The same for several tenants, which then share what is read of those on one server."""
        credentials: dict[UUID, list[Credential]] = {tenant.id: [] for tenant in tenants}
        uses: dict[UUID, Use] = {}
        ids = list(credentials)
        with fleet.control.transaction() as connection:
            for tenant_id, *row in connection.execute(_CREDENTIALS, (ids,)):
                credentials[tenant_id].append(Credential(*row))
            surveys = dict(connection.execute(_SURVEYS, (ids,)).fetchall())
            for tenant_id, *row in connection.execute(_USES, (ids,)):
                uses[tenant_id] = Use(*row)
        now = fleet.clock()
        placed: dict[str, list[Tenant]] = {}
        for tenant in tenants:
            placed.setdefault(tenant.placement, []).append(tenant)
        batches = {name: Batch(tuple(there)) if len(there) > 1 else None for name, there in placed.items()}
        return {
            tenant.id: cls(
                tenant,
                fleet.catalog,
                expected_structure(fleet.database(tenant), fleet.catalog),
                tuple(credentials[tenant.id]),
                now,
                uses.get(tenant.id),
                batches[tenant.placement],
                surveys.get(tenant.id, {}),
            )
            for tenant in tenants
        }

    def keep_surveys(self, fleet: Fleet) -> None:
        """Keep what new samples showed, so that a table is read again only when its rows have changed."""
        if self.surveyed:
            tables = Jsonb({**self.surveys, **self.surveyed})
            with fleet.control.transaction() as connection:
                connection.execute(_KEEP_SURVEYS, (self.tenant.id, tables, self.now))


@dataclass(frozen=True)
class Evidence:
    """One tenant under examination.

    Attributes:
        background: What was known beforehand.
        connection: A read-only transaction as the tenant's owner.
    """

    background: Background
    connection: psycopg.Connection
    _answers: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False, compare=False)

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

    def told(self, reader: Reader[T], *, operator: bool = False) -> T:
        """What the reader says of this tenant; it is asked once, for all tenants examined together.

        Args:
            reader: What to ask.
            operator: Whether it reads what the server hides from owners.
        """
        batch = self.background.batch
        answers = batch.answers if batch else self._answers
        if reader not in answers:
            tenants = batch.tenants if batch else (self.tenant,)
            with self.as_operator() if operator else nullcontext(self.connection) as connection:
                answers[reader] = reader(connection, tenants)
        return answers[reader][self.tenant.id]

    def known(self, look: Callable[["Evidence"], T]) -> T:
        """What looking at this tenant gave, looked up once for all rules that ask."""
        if look not in self._answers:
            self._answers[look] = look(self)
        return self._answers[look]

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
        before = self.connection.execute(
            "SELECT current_setting('role'), current_setting('search_path'), set_config('role', 'none', true)"
        ).fetchone()
        assert before is not None
        try:
            yield self.connection
        except psycopg.Error:
            raise  # the savepoint rules run in takes the settings back
        except BaseException:
            self._put_back(*before[:2])
            raise
        self._put_back(*before[:2])

    def _put_back(self, role: str, search_path: str) -> None:
        self.connection.execute(
            "SELECT set_config('role', %s, true), set_config('search_path', %s, true)", (role, search_path)
        )


_SURVEYS = "SELECT tenant_id, tables FROM tenant_ops.value_survey WHERE tenant_id = ANY (%s)"

_KEEP_SURVEYS = """
INSERT INTO tenant_ops.value_survey (tenant_id, tables, surveyed_at) VALUES (%s, %s, %s)
ON CONFLICT (tenant_id) DO UPDATE SET tables = excluded.tables, surveyed_at = excluded.surveyed_at
"""

_CREDENTIALS = """
SELECT tenant_id, kind, username, created_at, rotate_at FROM tenant_ops.credential
WHERE tenant_id = ANY (%s) ORDER BY tenant_id, kind
"""

_USES = """
SELECT tenant_id, min(at), max(at) FILTER (WHERE value > 0), max(at)
FROM tenant_ops.sample WHERE tenant_id = ANY (%s) AND metric = 'connections' GROUP BY 1
"""
