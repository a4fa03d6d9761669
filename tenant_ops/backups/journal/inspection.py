"""What is there of a tenant's journal, compared with what must be.

Here: reading the catalogs. Not here: putting right what is wrong (`capture.py`), what a finding means for a
chain of backups (`chain.py`).
"""

from dataclasses import dataclass

import psycopg

from tenant_ops.backups.ddl.nodes import identifier
from tenant_ops.backups.journal.functions import (
    FUNCTION_PREFIX,
    JOURNAL,
    KEPT,
    SETTINGS,
    TRIGGER_PREFIX,
    function_name,
    source,
    triggers,
)
from tenant_ops.backups.journal.tables import Unit, read_units
from tenant_ops.tenants import Tenant


@dataclass(frozen=True)
class Health:
    """Whether the journal misses nothing.

    Attributes:
        tenant: Its slug.
        installed: Whether there is a journal at all.
        problems: What is not as it must be, in sentences; empty when every change is logged.
        units: How each table is followed.
        identity: Changes with anything that could have let a change of rows pass unseen: a trigger disabled
            and enabled again, a table or partition exchanged, a column rewritten, the journal emptied.
        bytes: Room the journal takes.
    """

    tenant: str
    installed: bool
    problems: tuple[str, ...]
    units: tuple[Unit, ...]
    identity: str
    bytes: int


@dataclass(frozen=True)
class Found:
    """What the catalog says of one object: `id` names it, `definition` is all that must not differ."""

    id: int
    definition: tuple[object, ...]


def inspect(connection: psycopg.Connection, tenant: Tenant) -> Health:
    """Look at the journal as the snapshot of the caller's transaction sees it.

    Args:
        connection: As the tenant's owner role, with an empty search path.
        tenant: Whose journal.
    """
    journal = identifier(tenant.stage_schema, JOURNAL)
    row = connection.execute(
        """
        SELECT to_regclass(%(journal)s) IS NOT NULL AND to_regclass(%(kept)s) IS NOT NULL,
               coalesce(pg_total_relation_size(to_regclass(%(journal)s)), 0)
        """,
        {"journal": journal, "kept": identifier(tenant.stage_schema, KEPT)},
    ).fetchone()
    assert row is not None
    installed, size = row
    units = read_units(connection, tenant.schema_name)
    if not installed:
        return Health(tenant.slug, False, ("there is no journal.",), units, "", 0)
    # TRUNCATE is not MVCC-safe: the file is looked at when nobody can exchange it any more.
    connection.execute(f"LOCK TABLE {journal} IN ACCESS SHARE MODE".encode())
    functions = found_functions(connection, tenant)
    attached = found_triggers(connection, units)
    problems = []
    for unit in units:
        function = functions.get(function_name(unit))
        if unit.way != "always" and (
            function is None or function.definition != wanted_function(tenant, unit)
        ):
            problems.append(f"the function that follows {unit.name} is missing or not as it was made.")
            continue
        problems += [
            f"{member} is not followed: its triggers are missing, disabled or not as they were made."
            for oid, member in unit.members
            if attached.get(oid, {}) != wanted_triggers(unit, member, function.id if function else 0)
        ]
    row = connection.execute(
        _IDENTITY,
        {
            "schema": tenant.schema_name,
            "stage": tenant.stage_schema,
            "journal": journal,
            "triggers": TRIGGER_PREFIX,
            "functions": FUNCTION_PREFIX,
        },
    ).fetchone()
    assert row is not None
    return Health(tenant.slug, True, tuple(problems), units, row[0], size)


def found_functions(connection: psycopg.Connection, tenant: Tenant) -> dict[str, Found]:
    """The capture functions there are, by name."""
    rows = connection.execute(_FUNCTIONS, {"stage": tenant.stage_schema, "functions": FUNCTION_PREFIX})
    return {
        name: Found(oid, (body, frozenset(setting.lower() for setting in settings or ()), *rest))
        for name, oid, body, settings, *rest in rows
    }


def wanted_function(tenant: Tenant, unit: Unit) -> tuple[object, ...]:
    """What the catalog must say of a unit's function."""
    settings = frozenset(f"{name}={value}".replace("'", "").lower() for name, value in SETTINGS.items())
    body = source(tenant.schema_name, tenant.stage_schema, unit)
    return body, settings, True, tenant.role("owner"), False


def found_triggers(
    connection: psycopg.Connection, units: tuple[Unit, ...]
) -> dict[int, dict[str, tuple[object, ...]]]:
    """The capture triggers there are, by table and name."""
    tables = [oid for unit in units for oid, _ in unit.members]
    found: dict[int, dict[str, tuple[object, ...]]] = {}
    for table, name, *definition in connection.execute(
        _TRIGGERS, {"tables": tables, "triggers": TRIGGER_PREFIX}
    ):
        found.setdefault(table, {})[name] = tuple(definition)
    return found


def wanted_triggers(unit: Unit, member: str, function: int) -> dict[str, tuple[object, ...]]:
    """What the catalog must say of the triggers on one of a unit's tables."""
    return {
        trigger.name: (trigger.type, "A", function, trigger.old, trigger.new, True)
        for trigger in triggers(unit, member)
    }


_FUNCTIONS = """
SELECT p.proname::text, p.oid, p.prosrc, p.proconfig, p.prosecdef, r.rolname::text,
       EXISTS (SELECT FROM aclexplode(
                   coalesce(p.proacl, acldefault('f', p.proowner))) a
               WHERE a.grantee <> p.proowner)
FROM pg_depend d
JOIN pg_proc p ON p.oid = d.objid
JOIN pg_roles r ON r.oid = p.proowner
WHERE d.refclassid = 'pg_namespace'::regclass
  AND d.refobjid = to_regnamespace(%(stage)s)::oid
  AND d.classid = 'pg_proc'::regclass
  AND starts_with(p.proname::text, %(functions)s)
"""

_TRIGGERS = """
SELECT t.tgrelid, t.tgname::text, t.tgtype, t.tgenabled::text, t.tgfoid, t.tgoldtable::text,
       t.tgnewtable::text, t.tgqual IS NULL AND t.tgattr::text = ''
FROM pg_trigger t
WHERE t.tgrelid = ANY(%(tables)s) AND starts_with(t.tgname::text, %(triggers)s)
"""

# A catalog row that was written again has another xmin, even where it says what it said before: a trigger
# that was disabled for one statement, a column that ALTER ... TYPE ... USING rewrote, a partition that was
# detached and attached. Freezing keeps the number. pg_class rows are no witness, TRUNCATE writes them too;
# of the journal it is the very thing to notice, and the file is read past the snapshot, as the rows will be.
_IDENTITY = """
WITH members AS (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_namespace'::regclass
      AND d.refobjid = to_regnamespace(%(schema)s)::oid
), relations AS (
    SELECT c.oid, c.relname FROM members m JOIN pg_class c ON c.oid = m.objid
    WHERE m.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f')
), types AS (
    SELECT t.oid, t.typrelid FROM members m JOIN pg_type t ON t.oid = m.objid
    WHERE m.classid = 'pg_type'::regclass
), facts AS (
    SELECT concat_ws(' ', 'journal', j.oid, pg_relation_filenode(j.oid::oid)) AS fact
    FROM (SELECT to_regclass(%(journal)s)::oid AS oid) j
    UNION ALL SELECT concat_ws(' ', 'table', r.oid, r.relname) FROM relations r
    UNION ALL SELECT concat_ws(' ', 'column', a.attrelid, a.attnum, a.xmin)
    FROM (SELECT oid FROM relations UNION SELECT typrelid FROM types WHERE typrelid <> 0) r
    CROSS JOIN LATERAL (
        -- OFFSET 0: else all columns of the database are read where the catalogs have no statistics yet.
        SELECT attrelid, attnum, xmin FROM pg_attribute WHERE attrelid = r.oid AND attnum > 0 OFFSET 0
    ) a
    UNION ALL SELECT concat_ws(' ', 'label', e.oid, e.xmin)
    FROM pg_enum e WHERE e.enumtypid IN (SELECT oid FROM types)
    UNION ALL SELECT concat_ws(' ', 'parent', i.inhrelid, i.inhparent, i.xmin)
    FROM pg_inherits i WHERE i.inhrelid IN (SELECT oid FROM relations)
    UNION ALL SELECT concat_ws(' ', 'trigger', t.oid, t.tgrelid, t.xmin)
    FROM pg_trigger t
    WHERE t.tgrelid IN (SELECT oid FROM relations) AND starts_with(t.tgname::text, %(triggers)s)
    UNION ALL SELECT concat_ws(' ', 'function', p.oid, p.xmin)
    FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass
      AND d.refobjid = to_regnamespace(%(stage)s)::oid
      AND d.classid = 'pg_proc'::regclass
      AND starts_with(p.proname::text, %(functions)s)
)
SELECT md5(string_agg(fact, ';' ORDER BY fact COLLATE "C")) FROM facts
"""
