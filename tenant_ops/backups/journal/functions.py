"""What runs inside Postgres when a tenant's rows change: one function per unit, written as SQL.

Here: the text of the functions and triggers. Not here: putting them in place (`capture.py`).

What a function must never do is make the application's statement fail. It therefore looks before it reads:
where the journal is gone it does nothing, where the table is no longer what the function was written for
(renamed, a column dropped, another owner, row security forced, the key's index gone) it leaves a note. Both
end the chain at the next tick. An exception block would catch more, but its subtransaction would cost every
writing statement a transaction id of its own.

What a function writes must not depend on who writes: it runs as the tenant's owner, with a fixed search path,
and with the settings that shape the text of dates, floats and bytes. Its statements are planned once per
session, with the number of rows that the first statement happened to touch; the planner settings leave only
the plan that is right for one row and for a million: look each up in the index of the key. Without them a
session that began with a bulk load went on to read the whole table for every single row (0.77 ms instead of
0.12 ms in a table of 50,000 rows), and compiled that plan with JIT (4 ms).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tenant_ops.backups.ddl.nodes import identifier, literal
from tenant_ops.backups.journal.tables import Key, Unit

JOURNAL = "journal"
KEPT = "journal_kept"
FUNCTION_PREFIX = "journal_"
TRIGGER_PREFIX = "tenant_ops_journal_"

# Stands in a query for the partition it is to read; no name can hold this character.
_PART = "\0"

# Making the text of a row takes some eight times its bytes of memory, and it must fit into 1 GB.
LARGEST_ROW_BYTES = 50_000_000

# Values as SQL.
SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "datestyle": "'ISO, MDY'",
    "timezone": "'UTC'",
    "intervalstyle": "'postgres'",
    "extra_float_digits": "3",
    "bytea_output": "'hex'",
    "lc_monetary": "'C'",
}


@dataclass(frozen=True)
class Trigger:
    """A capture trigger, as the catalog knows it.

    Attributes:
        name: Of the trigger.
        event: What fires it.
        type: `pg_trigger.tgtype` of a statement-level AFTER trigger for the event.
        old: Name of the transition table of old rows, if any.
        new: Name of that of new rows, if any.
    """

    name: str
    event: str
    type: int
    old: str | None
    new: str | None


def function_name(unit: Unit) -> str:
    """The name of a unit's function in the stage schema; tables may have names too long to be part of it."""
    return f"{FUNCTION_PREFIX}{unit.oid}"


def store_statements(stage: str) -> str:
    """The journal of a tenant, and the list of ticks whose backups are kept; what is there stays.

    The journal reaches back to the newest full backup, so a tick finds what is new in it by an index: without
    one an idle tick read it all, 0.13 ms for every thousand entries. It is made with the table only, because
    CREATE INDEX IF NOT EXISTS waits for all writers even where there is nothing to do.
    """
    journal = identifier(stage, JOURNAL)
    create = f"""
        CREATE TABLE {journal} (
            seq  bigint GENERATED ALWAYS AS IDENTITY,
            xid  xid8 NOT NULL DEFAULT pg_current_xact_id(),
            tbl  text NOT NULL,
            op   "char" NOT NULL,
            body text
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
        CREATE INDEX {identifier(f"{JOURNAL}_xid")} ON {journal} (xid)
    """
    return f"""
        DO {literal(f"BEGIN IF to_regclass({literal(journal)}) IS NULL THEN {create}; END IF; END")};
        CREATE TABLE IF NOT EXISTS {identifier(stage, KEPT)} (
            snapshot text PRIMARY KEY,
            taken_at timestamptz NOT NULL
        )
    """


def create_function(schema: str, stage: str, unit: Unit) -> str:
    """The statement that makes a unit's function; nobody but its owner may use it in a trigger."""
    name = identifier(stage, function_name(unit))
    settings = " ".join(f"SET {setting} = {value}" for setting, value in SETTINGS.items())
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"{settings} AS {literal(source(schema, stage, unit))}; "
        f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC"
    )


def triggers(unit: Unit, member: str) -> tuple[Trigger, ...]:
    """The triggers one table of a unit needs; a partitioned table is truncated through its partitions."""
    if unit.way == "always":
        return ()
    rows = unit.way != "copy"
    old, new = ("old_rows", "new_rows") if rows else (None, None)
    found = [
        Trigger(f"{TRIGGER_PREFIX}insert", "INSERT", 4, None, new),
        Trigger(f"{TRIGGER_PREFIX}update", "UPDATE", 16, old, new),
        Trigger(f"{TRIGGER_PREFIX}delete", "DELETE", 8, old, None),
    ]
    if member in unit.leaves:
        found.append(Trigger(f"{TRIGGER_PREFIX}truncate", "TRUNCATE", 32, None, None))
    return tuple(found)


def create_triggers(schema: str, stage: str, unit: Unit, member: str) -> str:
    """The statements that put a unit's triggers on one of its tables, to fire whatever the session's role."""
    table = identifier(schema, member)
    statements = []
    for trigger in triggers(unit, member):
        references = [
            f"{which} TABLE AS {name}"
            for which, name in (("OLD", trigger.old), ("NEW", trigger.new))
            if name is not None
        ]
        referencing = f"REFERENCING {' '.join(references)} " if references else ""
        statements.append(
            f"CREATE OR REPLACE TRIGGER {trigger.name} AFTER {trigger.event} ON {table} {referencing}"
            f"FOR EACH STATEMENT EXECUTE FUNCTION {identifier(stage, function_name(unit))}()"
        )
        statements.append(f"ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {trigger.name}")
    return "; ".join(statements)


def source(schema: str, stage: str, unit: Unit) -> str:
    """The body of a unit's function.

    Entries: `s` a row's state, `d` a key without a row, `+` and `-` a row added or taken away, `t` a table
    truncated, `c` a table changed, `x` the function did not know its table, `l` a row too large to log.
    """
    journal = identifier(stage, JOURNAL)
    log = f"INSERT INTO {journal} (tbl, op, body) "
    note = f"INSERT INTO {journal} (tbl, op) VALUES"
    lines = [
        "#variable_conflict use_column",
        "BEGIN",
        f"IF to_regclass({literal(journal)}) IS NULL THEN RETURN NULL; END IF;",
    ]
    if unit.way == "copy":
        lines.append(f"{note} (TG_TABLE_NAME, 'c');")
    else:
        name = literal(unit.name)
        lines += [
            f"IF {' OR '.join(_unlike(schema, unit))} THEN",
            f"    {note} ({name}, 'x');",
            "ELSIF TG_OP = 'TRUNCATE' THEN",
            f"    {note} (TG_TABLE_NAME, 't');",
        ]
        whole = identifier(schema, unit.name)
        if unit.key and len(unit.members) > 1:
            lines += _part_alone(schema, unit, log, unit.key)
        logged = _states(whole, unit, unit.key) if unit.key else _rows(unit)
        for event, query in logged.items():
            lines += [f"ELSIF TG_OP = '{event}' THEN", f"    {log}{query};"]
        lines.append("END IF;")
    return "\n".join([*lines, "RETURN NULL;", "END"])


def _part_alone(schema: str, unit: Unit, log: str, key: Key) -> list[str]:
    """Where a statement names a partition, its keys are read again in it alone.

    Reading the whole table would lock all other partitions until the transaction ends, which such a statement
    does not do by itself: who truncates one would wait for writers of another. No other can hold one of the
    keys, for they include the columns that choose the partition. A partition may have rules and rights of its
    own; where these are in the way the whole table is read.
    """
    queries = {
        event: literal(f"{log}{query}".replace("%", "%%").replace(_PART, "%1$s"))
        for event, query in _states(_PART, unit, key).items()
    }
    chosen = " ".join(f"WHEN '{event}' THEN {query}" for event, query in queries.items())
    return [
        f"ELSIF TG_RELID <> {unit.oid}::oid AND TG_TABLE_SCHEMA = {literal(schema)} AND NOT "
        "row_security_active(TG_RELID) AND has_table_privilege(TG_RELID, 'SELECT') THEN",
        f"    EXECUTE format(CASE TG_OP {chosen} END, TG_RELID::regclass);",
    ]


def _states(table: str, unit: Unit, key: Key) -> dict[str, str]:
    """Rows that are there are logged as they are now, keys that have no row any more as gone.

    Only keys the statement touched are read again, whose rows this transaction therefore holds locked: a row
    it does not hold could be changed by another one between this read and either's commit.
    """
    name = literal(unit.name)
    table = f"{table} t"
    there = _select(
        [name, _op(unit, "t", "s"), _body(unit, "t")], f"new_rows n JOIN {table} ON {_same(key, 'n')}"
    )
    present = _select([], f"{table} WHERE {_same(key, 'o')}")
    gone = _select([name, "'d'", _row("o", key.columns)], f"old_rows o WHERE NOT EXISTS ({present})")
    return {"INSERT": there, "UPDATE": f"{there} UNION ALL {gone}", "DELETE": gone}


def _rows(unit: Unit) -> dict[str, str]:
    name = literal(unit.name)
    added = _select([name, _op(unit, "n", "+"), _body(unit, "n")], "new_rows n")
    removed = _select([name, _op(unit, "o", "-"), _body(unit, "o")], "old_rows o")
    return {"INSERT": added, "UPDATE": f"{removed} UNION ALL {added}", "DELETE": removed}


def _unlike(schema: str, unit: Unit) -> Iterator[str]:
    """Conditions under which the table is not what this function was written for."""
    oid = f"{unit.oid}::oid"
    yield f"to_regclass({literal(identifier(schema, unit.name))}) IS DISTINCT FROM {oid}"
    if unit.key:
        yield f"row_security_active({oid})"
        yield f"has_table_privilege({oid}, 'SELECT') IS NOT TRUE"
        yield f"pg_index_has_property({unit.key.index}::oid, 'index_scan') IS NULL"
    columns = _select(
        ["string_agg(a.attname::text, ',' ORDER BY a.attnum)"],
        f"pg_attribute a WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped",
    )
    yield f"({columns}) IS DISTINCT FROM {literal(','.join(unit.every_column))}"


def _same(key: Key, alias: str) -> str:
    """That the table's row has the key of a row of a transition table."""
    return " AND ".join(
        f"t.{identifier(column)} {equal} {alias}.{identifier(column)}"
        for column, equal in zip(key.columns, key.equal, strict=True)
    )


def _op(unit: Unit, alias: str, op: str) -> str:
    if not unit.wide:
        return f"'{op}'::\"char\""
    return f"CASE WHEN {_bytes(unit, alias)} > {LARGEST_ROW_BYTES} THEN 'l' ELSE '{op}' END::\"char\""


def _body(unit: Unit, alias: str) -> str:
    row = _row(alias, unit.columns)
    if not unit.wide:
        return row
    return f"CASE WHEN {_bytes(unit, alias)} <= {LARGEST_ROW_BYTES} THEN {row} END"


def _bytes(unit: Unit, alias: str) -> str:
    return " + ".join(
        f"coalesce({size}({alias}.{identifier(column)}), 0)::bigint" for column, size in unit.wide
    )


def _row(alias: str, columns: tuple[str, ...]) -> str:
    return f"ROW({', '.join(f'{alias}.{identifier(column)}' for column in columns)})::text"


def _select(columns: list[str], source: str) -> str:
    return " ".join(["SELECT", ", ".join(columns), "FROM", source])
