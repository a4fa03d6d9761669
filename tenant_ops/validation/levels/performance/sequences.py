"""Sequences: near their end, or behind the values they are to give.

Not here: who may use them (the security level).
"""

from collections.abc import Iterator

from psycopg import sql

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import AdvanceSequence, Rule, Sighting, rule

# A fifth of an integer's numbers is left at 1.7 billion rows: months to change a column, at any pace.
SEQUENCE_SHARE = 0.8


@rule(
    level="performance",
    severity="error",
    remediation="Change the column and its sequence to bigint before inserts fail.",
)
def sequence_exhaustion(evidence: Evidence) -> Iterator[Sighting]:
    """Every sequence has at least a fifth of the numbers left that it and its column can hold."""
    rows = evidence.connection.execute(
        """
        SELECT c.relname::text, used.share
        FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid
        LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid,
        LATERAL (
            SELECT least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                                                   WHEN 'int4'::regtype THEN 2147483647
                                                   ELSE s.seqmax END) AS number
        ) most,
        LATERAL (
            SELECT (pg_sequence_last_value(c.oid) - s.seqstart)::float8
                   / nullif(most.number - s.seqstart, 0) AS share
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
    severity="error",
    remediation="Set it past the values that are there: validate with --auto-fix. The next inserts fail.",
    fix=AdvanceSequence(),
)
def sequence_behind(evidence: Evidence) -> Iterator[Sighting]:
    """Every sequence is past the values of its column."""
    columns = evidence.connection.execute(
        """
        SELECT t.relname::text, n.nspname::text, a.attname::text, pg_sequence_last_value(c.oid), s.seqstart
        FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE c.oid = ANY (%(pg_class)s::oid[]) AND s.seqincrement > 0 AND NOT s.seqcycle
        ORDER BY 1, 3
        """,
        evidence.contents,
    ).fetchall()
    for table, schema, column, last, first in columns:
        query = sql.SQL("SELECT max({}) FROM {}").format(
            sql.Identifier(column), sql.Identifier(schema, table)
        )
        (highest,) = evidence.connection.execute(query).fetchone() or (None,)
        given = last if last is not None else first - 1
        if highest is not None and highest > given:
            said = f"The highest number is {highest:,}, and the next one given is {given + 1:,}."
            yield Sighting(f"{table}.{column}", said, table if table in evidence.catalog else None)


SEQUENCE_RULES: tuple[Rule, ...] = (sequence_exhaustion, sequence_behind)
