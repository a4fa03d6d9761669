"""Space and age: tables and indexes that are mostly empty, and rows too old to stay unfrozen.

How full a table is follows from its rows and their width as ANALYZE saw them, as in the queries of
https://github.com/ioguix/pgsql-bloat-estimation: within a fifth or so, and without reading the table.
Not here: dead rows that vacuum has yet to free (`upkeep.py`).
"""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule, Sighting, rule

# Below 10 MB an empty half costs nobody anything; beyond, half is more than the estimate can err.
PAGES, EMPTY_SHARE = 1_280, 0.5
# Autovacuum freezes by force from its own limit on (200 million transactions as shipped). Half as much again
# means that it cannot; the server refuses writes at 2 billion.
BEYOND_FREEZE = 1.5
# Half a page free for updates is the most that ever pays.
FILL_FACTOR = 50


@rule(
    level="performance",
    severity="warning",
    remediation="Rewrite it when it is quiet (VACUUM FULL locks it, pg_repack does not), and look for what "
    "keeps vacuum from freeing rows in time.",
)
def bloated_table(evidence: Evidence) -> Iterator[Sighting]:
    """No big table is mostly empty."""
    rows = evidence.connection.execute(
        """
        SELECT c.relname::text, c.relpages, needed.pages
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
        LATERAL (
            SELECT coalesce(sum((1 - s.null_frac) * s.avg_width), 0) AS width FROM pg_stats s
            WHERE s.schemaname = n.nspname AND s.tablename = c.relname
        ) row,
        LATERAL (
            SELECT coalesce(max(option_value::int), 100) AS percent FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'fillfactor'
        ) fill,
        LATERAL (
            SELECT ceil(c.reltuples * (28 + ceil(row.width / 8) * 8) * 100 / fill.percent / 8168) AS pages
        ) needed
        WHERE c.oid = ANY (%(pg_class)s::oid[]) AND c.relkind IN ('r', 'm')
        AND c.relpages >= %(pages)s AND c.reltuples >= 0
        AND needed.pages < c.relpages * (1 - %(share)s)
        ORDER BY 1
        """,
        {**evidence.contents, "pages": PAGES, "share": EMPTY_SHARE},
    )
    for table, pages, needed in rows:
        said = f"{table} takes {pages // 128:,} MB, and its rows need about {needed / 128:,.0f} MB."
        yield Sighting(table, said, table if table in evidence.catalog else None)


@rule(
    level="performance",
    severity="warning",
    remediation="Rebuild it without a lock: REINDEX INDEX CONCURRENTLY.",
)
def bloated_index(evidence: Evidence) -> Iterator[Sighting]:
    """No big index is mostly empty."""
    rows = evidence.connection.execute(
        """
        SELECT t.relname::text, i.relname::text, i.relpages, needed.pages
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace,
        LATERAL (
            SELECT sum(coalesce(s.avg_width, 8)) AS width
            FROM pg_attribute a
            LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = t.relname
                AND s.attname = a.attname
            WHERE a.attrelid = t.oid AND a.attnum = ANY (x.indkey::int2[])
        ) key,
        LATERAL (SELECT ceil(i.reltuples * (12 + ceil(key.width / 8) * 8) / 0.9 / 8152) AS pages) needed
        WHERE x.indrelid = ANY (%(pg_class)s::oid[]) AND x.indexprs IS NULL
        AND i.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
        AND i.relpages >= %(pages)s AND i.reltuples >= 0 AND t.reltuples >= 0
        AND needed.pages < i.relpages * (1 - %(share)s)
        ORDER BY 1, 2
        """,
        {**evidence.contents, "pages": PAGES, "share": EMPTY_SHARE},
    )
    for table, name, pages, needed in rows:
        said = f"{name} takes {pages // 128:,} MB, and its keys need about {needed / 128:,.0f} MB."
        yield Sighting(f"{table}.{name}", said, table if table in evidence.catalog else None)


@rule(
    level="performance",
    severity="critical",
    remediation="VACUUM (FREEZE) the table now, and look for what holds vacuum back: an open transaction, a "
    "prepared one, a replication slot.",
)
def wraparound(evidence: Evidence) -> Iterator[Sighting]:
    """Autovacuum freezes rows long before the server has to refuse writes."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text, what, old, current_setting(setting)::float8 FROM pg_class, LATERAL (VALUES
            ('transactions', age(relfrozenxid), 'autovacuum_freeze_max_age'),
            ('multixacts', mxid_age(relminmxid), 'autovacuum_multixact_freeze_max_age')
        ) AS aged (what, old, setting)
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relkind IN ('r', 'm', 't') AND relfrozenxid <> '0'
        AND old > current_setting(setting)::float8 * %(beyond)s
        ORDER BY 1, 2
        """,
        {**evidence.contents, "beyond": BEYOND_FREEZE},
    )
    for table, what, old, allowed in rows:
        said = f"Rows of {table} are {old:,} {what} old; autovacuum was to freeze them at {allowed:,.0f}."
        yield Sighting(f"{table} {what}", said, table if table in evidence.catalog else None)


@rule(
    level="performance",
    severity="info",
    remediation="ALTER TABLE ... RESET (fillfactor), and rewrite it when it is quiet.",
)
def fill_factor(evidence: Evidence) -> Iterator[Sighting]:
    """No table or index is told to leave most of every page empty."""
    rows = evidence.connection.execute(
        """
        SELECT coalesce(t.relname || '.', '') || c.relname, coalesce(t.relname, c.relname)::text, fill.percent
        FROM pg_class c
        LEFT JOIN pg_index x ON x.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = x.indrelid,
        LATERAL (
            SELECT max(option_value::int) AS percent FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'fillfactor'
        ) fill
        WHERE c.oid = ANY (%(all)s::oid[]) AND c.relkind IN ('r', 'm', 'i') AND fill.percent < %(least)s
        ORDER BY 1
        """,
        {"all": evidence.contents["pg_class"], "least": FILL_FACTOR},
    )
    for name, table, percent in rows:
        said = f"Pages of {name} are filled to {percent} %."
        yield Sighting(name, said, table if table in evidence.catalog else None)


SPACE_RULES: tuple[Rule, ...] = (bloated_table, bloated_index, wraparound, fill_factor)
