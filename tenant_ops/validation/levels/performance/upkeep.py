"""Upkeep: statistics of the planner, and rows autovacuum did not get to.

Not here: space that stays empty afterwards (`space.py`).
"""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Analyze, Rule, Sighting, rule

# A table is worth a finding when a fifth of it and 1,000 rows changed: Postgres itself acts at a tenth
# (analyze) and a fifth (vacuum), so what is found here is what autovacuum did not get to.
ROWS, SHARE = 1_000, 0.2
# Without statistics the planner guesses 10 pages; a table of 1 MB is beyond that.
UNKNOWN_BYTES = 1024**2


@rule(
    level="performance",
    severity="warning",
    remediation="Take fresh statistics: validate with --auto-fix, or run ANALYZE.",
    fix=Analyze(),
)
def stale_statistics(evidence: Evidence) -> Iterator[Sighting]:
    """The planner's statistics of every table are fresh."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text, pg_stat_get_mod_since_analyze(oid) FROM pg_class
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relnamespace = current_schema()::regnamespace
        AND pg_stat_get_mod_since_analyze(oid) > %(rows)s + %(share)s * pg_stat_get_live_tuples(oid)
        ORDER BY 1
        """,
        {**evidence.contents, "rows": ROWS, "share": SHARE},
    )
    for table, changed in rows:
        yield Sighting(table, f"{changed:,} rows of {table} changed since its statistics were taken.", table)


@rule(
    level="performance",
    severity="warning",
    remediation="Take statistics: validate with --auto-fix, or run ANALYZE.",
    fix=Analyze(),
)
def never_analyzed(evidence: Evidence) -> Iterator[Sighting]:
    """The planner has statistics of every table of a megabyte and more."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text, pg_relation_size(oid) FROM pg_class
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relkind IN ('r', 'm') AND reltuples < 0
        AND pg_relation_size(oid) >= %(bytes)s
        ORDER BY 1
        """,
        {**evidence.contents, "bytes": UNKNOWN_BYTES},
    )
    for table, size in rows:
        said = f"{table} has {size // 1024**2:,} MB and was never analyzed."
        yield Sighting(table, said, table if table in evidence.catalog else None)


@rule(
    level="performance",
    severity="warning",
    remediation="VACUUM the table, and look for a transaction that stays open.",
)
def dead_rows(evidence: Evidence) -> Iterator[Sighting]:
    """No table carries more dead rows than autovacuum leaves."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text, pg_stat_get_dead_tuples(oid), pg_stat_get_live_tuples(oid)
        FROM pg_class
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relnamespace = current_schema()::regnamespace
        AND pg_stat_get_dead_tuples(oid) > %(rows)s + %(share)s * pg_stat_get_live_tuples(oid)
        ORDER BY 1
        """,
        {**evidence.contents, "rows": ROWS, "share": SHARE},
    )
    for table, dead, live in rows:
        yield Sighting(table, f"{table} holds {dead:,} dead rows beside {live:,} live ones.", table)


UPKEEP_RULES: tuple[Rule, ...] = (stale_statistics, never_analyzed, dead_rows)
