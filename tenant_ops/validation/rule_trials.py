"""Trying rules before anybody relies on them: does their SQL fit the tables, do their functions work?

Here: trying rules on a tenant, or on empty tables made for it. Not here: what they find (`run.py`).

A query is declared as a cursor and no row of it is fetched: Postgres then parses and plans it and checks what
it may read, and refuses whatever is no query.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from tenant_ops.datasets import Catalog
from tenant_ops.datasets.tables import create_statements
from tenant_ops.platform.errors import NotAvailable
from tenant_ops.tenants import TIERS, Fleet, State, Tenant
from tenant_ops.validation.evidence import Background, Evidence
from tenant_ops.validation.guard import Unusable
from tenant_ops.validation.joining import joined_tables
from tenant_ops.validation.own_rules import KnownRule
from tenant_ops.validation.rules import Frame, Joined, Look, Rows, Rule, Where
from tenant_ops.validation.scanning import trusted

STATEMENT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Trial:
    """How trying one rule went.

    Attributes:
        rule: Its id.
        origin: The function that makes it, and how it was found.
        problem: Why it cannot be checked; empty when it can.
        fix: What to do about it.
    """

    rule: str
    origin: str
    problem: str = ""
    fix: str = ""


def try_rules(fleet: Fleet, rules: Iterable[KnownRule], tenant: Tenant | None = None) -> tuple[Trial, ...]:
    """Try each rule; nothing is changed.

    Args:
        fleet: The fleet.
        rules: Which.
        tenant: On whose tables, as its owner; None: on empty ones, made as the catalog says and gone
            afterwards, where functions that look for themselves are not called.
    """
    if tenant is None:
        with _scratch(fleet) as evidence:
            return tuple(_try(evidence, one, looks=False) for one in rules)
    background = Background.gather(fleet, tenant.require(State.ACTIVE, State.SUSPENDED, State.QUARANTINED))
    with fleet.session(tenant, "owner", statement_timeout_s=STATEMENT_TIMEOUT_S) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        return tuple(_try(Evidence(background, connection), one, looks=True) for one in rules)


@contextmanager
def _scratch(fleet: Fleet) -> Iterator[Evidence]:
    """Empty tables as the catalog says, in a transaction that is rolled back."""
    name = f"rule_trial_{uuid4().hex[:12]}"
    now = fleet.clock()
    nobody = Tenant(
        id=UUID(int=0),
        key="trial",
        slug="trial",
        display_name="",
        tier_name=next(iter(TIERS)),
        state=State.ACTIVE,
        placement="default",
        version=None,
        admin_email=None,
        config={},
        created_at=now,
        updated_at=now,
    )
    background = Background(nobody, fleet.catalog, frozenset(), (), now)
    with fleet.control.transaction() as connection, connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        connection.execute("SELECT set_config('search_path', %s, true)", (f'"{name}"',))
        for statement in create_statements(fleet.catalog):
            connection.execute(trusted(statement))
        connection.execute("SET TRANSACTION READ ONLY")
        yield Evidence(background, connection)


def _try(evidence: Evidence, one: KnownRule, *, looks: bool) -> Trial:
    rule = one.rule
    try:
        with evidence.connection.transaction(force_rollback=True):
            match rule.find:
                case Look(look):
                    if looks:
                        list(look(evidence))
                case Frame():
                    from tenant_ops.validation.frames import try_frame  # pandas takes a second to import

                    try_frame(evidence, rule)
                case _:
                    with evidence.connection.cursor(name="rule_trial") as cursor:
                        cursor.execute(query_of(evidence.catalog, rule), evidence.facts)
    except psycopg.Error as error:
        if error.sqlstate is None:  # it never reached the server
            return _unfilled(evidence, one, error)
        hint = error.diag.message_hint or "Correct it; a % that is no parameter is written twice."
        return Trial(rule.id, one.place, f"Postgres says: {error.diag.message_primary}.", hint)
    except Unusable as error:
        return Trial(rule.id, one.place, str(error), "Correct the function.")
    except NotAvailable:
        pass  # a rule may say that this server cannot tell
    return Trial(rule.id, one.place)


def _unfilled(evidence: Evidence, one: KnownRule, error: Exception) -> Trial:
    return Trial(
        one.rule.id,
        one.place,
        f"Its parameters cannot be filled in: {error}.",
        f"There are: {', '.join(sorted(evidence.facts))}. A % that is no parameter is written twice.",
    )


def query_of(catalog: Catalog, rule: Rule) -> sql.Composed:
    """The query that finds what breaks a rule, as SQL of its own."""
    match rule.find:
        case Rows(query):
            return sql.SQL("SELECT FROM ({}) bad").format(trusted(query))
        case Where(condition):
            tables = joined_tables(catalog, catalog[rule.dataset or ""], ())
        case Joined(condition, to):
            tables = joined_tables(catalog, catalog[rule.dataset or ""], to)
        case _:
            raise TypeError(rule.find)
    return sql.SQL("SELECT FROM {} WHERE {}").format(tables, trusted(condition))
