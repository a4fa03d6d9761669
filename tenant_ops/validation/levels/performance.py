"""Performance level: what makes this tenant's tables slow, as far as the server can say.

Here: indexes, statistics, dead rows, sequences, statements. Not here: samples over time (`monitoring/`).
"""

from collections.abc import Iterator

from tenant_ops.platform.errors import NotAvailable
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Analyze, Rule, Sighting, rule

# A table is worth a finding when a fifth of it and 1,000 rows changed: Postgres itself acts at a tenth
# (analyze) and a fifth (vacuum), so what is found here is what autovacuum did not get to.
ROWS, SHARE = 1_000, 0.2
SEQUENCE_SHARE = 0.8
SLOW_MS, SLOW_CALLS = 1_000, 5


@rule(
    level="performance",
    severity="warning",
    remediation="Add the columns to the dataset's indexes: deleting a referenced row reads the whole table.",
)
def foreign_key_index(evidence: Evidence) -> Iterator[Sighting]:
    """Every foreign key has an index that starts with its columns."""
    rows = evidence.connection.execute(
        """
        SELECT k.conrelid::regclass::text, k.conname::text,
               (SELECT string_agg(a.attname, ', ' ORDER BY n.place)
                FROM unnest(k.conkey) WITH ORDINALITY n (number, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.number)
        FROM pg_constraint k
        WHERE k.contype = 'f' AND k.conrelid = ANY (%(pg_class)s::oid[]) AND NOT EXISTS (
            SELECT FROM pg_index x
            WHERE x.indrelid = k.conrelid AND x.indisvalid AND x.indpred IS NULL
            AND (x.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        )
        ORDER BY 1, 2
        """,
        evidence.contents,
    )
    for table, name, columns in rows:
        yield Sighting(f"{table}.{name}", f"No index of {table} starts with ({columns}).", table)


@rule(
    level="performance",
    severity="info",
    remediation="Drop one of the two: each costs every write.",
)
def duplicate_index(evidence: Evidence) -> Iterator[Sighting]:
    """No two indexes of a table are the same."""
    rows = evidence.connection.execute(
        """
        SELECT min(x.indrelid::regclass::text), array_agg(i.relname::text ORDER BY i.relname)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = ANY (%(pg_class)s::oid[])
        GROUP BY x.indrelid, i.relam, x.indkey::text, x.indclass::text, x.indcollation::text,
                 x.indoption::text, pg_get_expr(x.indexprs, x.indrelid), pg_get_expr(x.indpred, x.indrelid)
        HAVING count(*) > 1
        ORDER BY 1
        """,
        evidence.contents,
    )
    for table, names in rows:
        yield Sighting(f"{table}.{names[-1]}", f"The indexes {', '.join(names)} are the same.", table)


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


@rule(
    level="performance",
    severity="error",
    remediation="Change the column and its sequence to bigint before inserts fail.",
)
def sequence_exhaustion(evidence: Evidence) -> Iterator[Sighting]:
    """Every sequence has at least a fifth of its numbers left."""
    rows = evidence.connection.execute(
        """
        SELECT c.relname::text, used.share
        FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid,
        LATERAL (
            SELECT (pg_sequence_last_value(c.oid) - s.seqstart)::float8
                   / nullif(s.seqmax - s.seqstart, 0) AS share
        ) used
        WHERE c.oid = ANY (%(pg_class)s::oid[])
        AND s.seqincrement > 0 AND NOT s.seqcycle AND used.share > %(most)s
        ORDER BY 1
        """,
        {**evidence.contents, "most": SEQUENCE_SHARE},
    )
    for name, share in rows:
        yield Sighting(f"sequence {name}", f"{share:.0%} of the numbers of {name} are used.")


@rule(
    level="performance",
    severity="warning",
    remediation="Look the statement up by its number in pg_stat_statements and EXPLAIN it.",
)
def slow_statements(evidence: Evidence) -> Iterator[Sighting]:
    """No statement of the tenant's login takes more than a second on average."""
    with evidence.as_operator() as connection:
        found = connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_stat_statements'"
        ).fetchone()
        if found is None:
            raise NotAvailable("Not available here, because the server has no pg_stat_statements.")
        connection.execute("SELECT set_config('search_path', %s, true)", (found[0],))
        rows = connection.execute(
            """
            SELECT s.queryid, s.calls, s.mean_exec_time
            FROM pg_stat_statements s
            JOIN pg_roles r ON r.oid = s.userid
            JOIN pg_database d ON d.oid = s.dbid
            WHERE d.datname = current_database() AND r.rolname = %s
            AND s.mean_exec_time > %s AND s.calls >= %s
            ORDER BY s.mean_exec_time * s.calls DESC LIMIT 20
            """,
            (evidence.tenant.role("app"), SLOW_MS, SLOW_CALLS),
        ).fetchall()
    for number, calls, mean in rows:
        yield Sighting(f"statement {number}", f"{mean:,.0f} ms on average over {calls:,} calls.", count=calls)


PERFORMANCE_RULES: tuple[Rule, ...] = (
    foreign_key_index,
    duplicate_index,
    stale_statistics,
    dead_rows,
    sequence_exhaustion,
    slow_statements,
)
