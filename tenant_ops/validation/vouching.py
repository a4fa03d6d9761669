"""What the server vouches for: constraints no row can break, and how big a table is.

Here: reading that for one table. Not here: which constraint makes which rule hold (`levels/data/`).

Postgres checks NOT NULL, CHECK, PRIMARY KEY and UNIQUE at every write, a replica-mode load's included, so
rows need not be read again for them. It vouches only for a constraint that is what its definition says, was
validated, and stands on a valid index sorted by the collation it was built with: after an update of the
operating system's collations, a unique index over text may let duplicates in.
It does not vouch for foreign keys. They are triggers, and `session_replication_role = replica` or DISABLE
TRIGGER passes them over without leaving a trace.
https://www.postgresql.org/docs/current/runtime-config-client.html (session_replication_role)
"""

from dataclasses import dataclass

from tenant_ops.datasets.structure import Part
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Rule

_PAGE_ROWS = 60
"""Rows of a page in a table whose statistics were never taken: some 130 bytes each."""


@dataclass(frozen=True)
class TableFacts:
    """What the catalogs say of a table.

    Attributes:
        rows: About how many rows it has, as the planner would estimate it.
        sound: Its constraints the server vouches for.
    """

    rows: int
    sound: frozenset[Part]


def read_table_facts(evidence: Evidence, table: str) -> TableFacts:
    """What the catalogs say of a table; nothing of one that is not there."""
    row = evidence.connection.execute(_FACTS, {"table": table}).fetchone()
    if row is None:
        return TableFacts(0, frozenset())
    counted, counted_pages, pages, parts = row
    density = counted / counted_pages if counted_pages > 0 and counted >= 0 else _PAGE_ROWS
    rows = max(0, counted) if pages is None else density * pages
    return TableFacts(round(rows), frozenset(Part(table, *part) for part in parts))


def vouched(evidence: Evidence, rule: Rule, facts: TableFacts) -> bool:
    """Whether the server vouches for the rule: its constraint is there, as defined, and sound."""
    if rule.held_by is None or rule.dataset is None:
        return False
    wanted = (rule.dataset, *rule.held_by)
    return any(part[:3] == wanted and part in evidence.background.expected for part in facts.sound)


_FACTS = """
SELECT c.reltuples, c.relpages,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) / current_setting('block_size')::integer END,
       coalesce((SELECT json_agg(json_build_array(p.kind, p.name, p.detail)) FROM (
           SELECT CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' ELSE 'check' END,
                  k.conname::text, pg_get_constraintdef(k.oid, true)
           FROM pg_constraint k LEFT JOIN pg_index x ON x.indexrelid = k.conindid
           WHERE k.conrelid = c.oid AND k.convalidated AND (
               k.contype = 'c' OR k.contype IN ('p', 'u') AND x.indisvalid AND x.indisready AND x.indislive
               AND NOT EXISTS (
                   SELECT FROM unnest(x.indcollation) used JOIN pg_collation o ON o.oid = used
                   WHERE CASE WHEN o.collprovider = 'd' THEN (
                       SELECT d.datcollversion IS DISTINCT FROM pg_database_collation_actual_version(d.oid)
                       FROM pg_database d WHERE d.datname = current_database()
                   ) ELSE o.collversion IS DISTINCT FROM pg_collation_actual_version(o.oid) END
               )
           )
           UNION ALL
           SELECT 'nullability', a.attname::text, 'not null' FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
           AND NOT EXISTS (
               SELECT FROM pg_constraint n
               WHERE n.conrelid = c.oid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum]
               AND NOT n.convalidated
           )
       ) AS p (kind, name, detail)), '[]')
FROM pg_class c WHERE c.oid = to_regclass(quote_ident(%(table)s))
"""
