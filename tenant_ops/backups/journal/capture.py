"""Logging every change of a tenant's rows: putting the journal in place, taking it away, looking after it.

Here: making what is there what must be there. Not here: how tables are followed (`tables.py`), what runs when
rows change (`functions.py`), what is there (`inspection.py`), reading the journal (`tick.py`).

Everything belongs to the tenant's owner role and lies in its stage schema, which none of its other roles can
enter: their writes reach the journal only through the triggers. No superuser is needed, no event trigger, no
replication slot, no setting of the server.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import sql

from tenant_ops.backups.journal.functions import (
    JOURNAL,
    KEPT,
    create_function,
    create_triggers,
    function_name,
    store_statements,
    triggers,
)
from tenant_ops.backups.journal.inspection import (
    Health,
    found_functions,
    found_triggers,
    inspect,
    wanted_function,
    wanted_triggers,
)
from tenant_ops.backups.journal.tables import Unit, read_units
from tenant_ops.platform.errors import OperationFailed, first_line
from tenant_ops.platform.retry import Patience, retrying
from tenant_ops.tenants import Fleet, Tenant

# Whoever waits for a lock makes every later writer wait behind it: wait shortly, and often.
LOCK_WAIT_MS = 500
PATIENCE = Patience(attempts=100, first_s=0.2, longest_s=2.0, total_s=60.0)


def install(fleet: Fleet, tenant: Tenant) -> Health:
    """Follow every table of the tenant's schema; calling it again mends what is broken, and only that.

    Tables are taken one by one, each in a transaction of its own, which waits for those that write to it and
    holds up new ones for at most half a second at a time. Where anything was changed the next backup must be
    a base; a chain begun before ends at its next tick.

    Raises:
        OperationFailed: a table belongs to another role, stayed locked for a minute, or tables were changed
            meanwhile.
    """
    with fleet.lock(tenant, "install the journal"), explained(tenant):
        with owner_session(fleet, tenant) as connection:
            connection.execute(store_statements(tenant.stage_schema).encode())
            units = read_units(connection, tenant.schema_name)
            _make_functions(connection, tenant, units)
            functions = found_functions(connection, tenant)
            attached = found_triggers(connection, units)
        for unit in units:
            function = functions[function_name(unit)].id if unit.way != "always" else 0
            for oid, member in unit.members:
                present = attached.get(oid, {})
                if present != wanted_triggers(unit, member, function):
                    work = partial(_attach, fleet, tenant, unit, member, frozenset(present))
                    retrying(work, f"follow {member} of {tenant.slug}", patience=PATIENCE)
        for name in functions.keys() - {function_name(unit) for unit in units if unit.way != "always"}:
            retrying(
                partial(_detach, fleet, tenant, name), f"drop {name} of {tenant.slug}", patience=PATIENCE
            )
        found = health(fleet, tenant)
    if found.problems:
        raise OperationFailed(
            f"its tables changed while the journal was installed: {found.problems[0]}",
            where=f"tenant {tenant.slug}",
            fix="Run it again when the migration is done.",
        )
    return found


def remove(fleet: Fleet, tenant: Tenant) -> None:
    """Stop logging and drop the journal; incremental backups then need a new one, and a new base.

    Raises:
        OperationFailed: a table stayed locked for a minute.
    """
    with fleet.lock(tenant, "remove the journal"), explained(tenant):
        with owner_session(fleet, tenant) as connection:
            functions = found_functions(connection, tenant)
        for name in functions:
            work = partial(_detach, fleet, tenant, name)
            retrying(work, f"drop {name} of {tenant.slug}", patience=PATIENCE)
        with owner_session(fleet, tenant) as connection:
            for table in (JOURNAL, KEPT):
                name = sql.Identifier(tenant.stage_schema, table)
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def health(fleet: Fleet, tenant: Tenant) -> Health:
    """Look whether every table is followed as it must be; nothing is written."""
    with explained(tenant), owner_session(fleet, tenant) as connection:
        return inspect(connection, tenant)


@contextmanager
def owner_session(fleet: Fleet, tenant: Tenant) -> Generator[psycopg.Connection]:
    """A session of the tenant's owner in which no object of the tenant can capture a name of the catalog."""
    with fleet.session(tenant) as connection:
        connection.execute("SET LOCAL search_path = ''")
        yield connection


def _make_functions(connection: psycopg.Connection, tenant: Tenant, units: tuple[Unit, ...]) -> None:
    found = found_functions(connection, tenant)
    for unit in units:
        made = found.get(function_name(unit))
        if unit.way != "always" and (made is None or made.definition != wanted_function(tenant, unit)):
            connection.execute(create_function(tenant.schema_name, tenant.stage_schema, unit).encode())


def _attach(fleet: Fleet, tenant: Tenant, unit: Unit, member: str, present: frozenset[str], _: int) -> None:
    """Put a unit's triggers on one of its tables, and take away those it should not have."""
    with owner_session(fleet, tenant) as connection:
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}".encode())
        table = sql.Identifier(tenant.schema_name, member)
        for name in present - {trigger.name for trigger in triggers(unit, member)}:
            connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), table))
        statements = create_triggers(tenant.schema_name, tenant.stage_schema, unit, member)
        if statements:
            connection.execute(statements.encode())


def _detach(fleet: Fleet, tenant: Tenant, function: str, _: int) -> None:
    """Drop a function and the triggers that call it, also those of tables a restore has set aside."""
    with owner_session(fleet, tenant) as connection:
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}".encode())
        name = sql.Identifier(tenant.stage_schema, function)
        connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE").format(name))


@contextmanager
def explained(tenant: Tenant) -> Generator[None]:
    """Turns what the server refuses into a sentence about the tenant's journal."""
    try:
        yield
    except psycopg.Error as error:
        raise OperationFailed(
            f"its journal could not be changed: {first_line(error)}.",
            where=f"tenant {tenant.slug}",
            fix="To be followed a table must belong to the tenant's owner role and not stay locked.",
        ) from error
