"""Indexes: missing under foreign keys, there twice, unusable, unused; tables read from end to end.

Not here: how much of an index is empty (`space.py`), indexes a definition has (the schema level).
"""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Reindex, Rule, Sighting, rule

# An index is worth dropping when its upkeep is felt: 8 MB do not fit beside the rows in a small cache. One
# that a thousand reads of its table did without is not needed by what runs every day.
UNUSED_PAGES, READS = 1_024, 1_000
# 1,000 readings of 10,000 rows each are ten million rows a day, which an index would spare. Validation and
# backups read each table a few times a day, and stay far below.
SCANNED_ROWS, SCANS_A_DAY = 10_000, 1_000


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
    severity="info",
    remediation="Drop the shorter one: whoever uses it can use the longer, and each costs every write.",
)
def prefix_index(evidence: Evidence) -> Iterator[Sighting]:
    """No index is the beginning of another one."""
    rows = evidence.connection.execute(
        """
        SELECT t.relname::text, short.relname::text, long.relname::text
        FROM pg_index s JOIN pg_class short ON short.oid = s.indexrelid
        JOIN pg_index l ON l.indrelid = s.indrelid AND l.indnkeyatts > s.indnkeyatts
        JOIN pg_class long ON long.oid = l.indexrelid
        JOIN pg_class t ON t.oid = s.indrelid
        WHERE s.indrelid = ANY (%(pg_class)s::oid[]) AND short.relam = long.relam
        AND short.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
        AND NOT s.indisunique AND s.indisvalid AND l.indisvalid
        AND s.indexprs IS NULL AND l.indexprs IS NULL AND s.indpred IS NULL AND l.indpred IS NULL
        AND s.indnatts = s.indnkeyatts
        AND (l.indkey::int2[])[0:s.indnkeyatts - 1] = (s.indkey::int2[])[0:s.indnkeyatts - 1]
        AND (l.indclass::oid[])[0:s.indnkeyatts - 1] = (s.indclass::oid[])[0:s.indnkeyatts - 1]
        AND (l.indcollation::oid[])[0:s.indnkeyatts - 1] = (s.indcollation::oid[])[0:s.indnkeyatts - 1]
        AND (l.indoption::int2[])[0:s.indnkeyatts - 1] = (s.indoption::int2[])[0:s.indnkeyatts - 1]
        ORDER BY 1, 2, 3
        """,
        evidence.contents,
    )
    seen: set[str] = set()
    for table, short, long in rows:
        if short not in seen:  # it may begin several
            seen.add(short)
            yield Sighting(f"{table}.{short}", f"The index {short} is the beginning of {long}.", table)


@rule(
    level="performance",
    severity="error",
    remediation="Rebuild it: validate with --auto-fix, or run REINDEX INDEX CONCURRENTLY. Writes keep it up "
    "and no query uses it.",
    fix=Reindex(),
)
def invalid_index(evidence: Evidence) -> Iterator[Sighting]:
    """Every index can be used."""
    rows = evidence.connection.execute(
        """
        SELECT t.relname::text, i.relname::text
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
        WHERE x.indrelid = ANY (%(pg_class)s::oid[]) AND NOT (x.indisvalid AND x.indisready)
        ORDER BY 1, 2
        """,
        evidence.contents,
    )
    for table, name in rows:
        yield Sighting(f"{table}.{name}", f"No query can use the index {name}.", table)


@rule(
    level="performance",
    severity="info",
    remediation="Drop it, unless something rare needs it: it costs every write and its space.",
)
def unused_index(evidence: Evidence) -> Iterator[Sighting]:
    """Every big index is used now and then."""
    rows = evidence.connection.execute(
        """
        SELECT t.relname::text, i.relname::text, i.relpages, reads.number
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid,
        LATERAL (
            SELECT pg_stat_get_numscans(t.oid) + sum(pg_stat_get_numscans(o.indexrelid)) AS number
            FROM pg_index o WHERE o.indrelid = t.oid
        ) reads
        WHERE x.indrelid = ANY (%(pg_class)s::oid[]) AND x.indisvalid AND NOT x.indisunique
        AND i.relpages >= %(pages)s AND pg_stat_get_numscans(i.oid) = 0 AND reads.number >= %(reads)s
        ORDER BY 1, 2
        """,
        {**evidence.contents, "pages": UNUSED_PAGES, "reads": READS},
    )
    for table, name, pages, reads in rows:
        said = f"{name} takes {pages // 128:,} MB, and none of {reads:,} reads of {table} used it."
        yield Sighting(f"{table}.{name}", said, table)


@rule(
    level="performance",
    severity="warning",
    remediation="Find the statement that reads the whole table, and give it an index.",
)
def sequential_scans(evidence: Evidence) -> Iterator[Sighting]:
    """No big table is read from end to end all the time."""
    rows = evidence.connection.execute(
        """
        SELECT relname::text, seen.scans / seen.days, seen.read / seen.scans
        FROM pg_class, LATERAL (
            SELECT pg_stat_get_numscans(oid) AS scans, pg_stat_get_tuples_returned(oid) AS read,
                   greatest(1, extract(epoch FROM %(now)s - greatest(%(since)s, (
                       SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()
                   ))) / 86400) AS days
        ) seen
        WHERE oid = ANY (%(pg_class)s::oid[]) AND relkind = 'r' AND seen.scans > 0
        AND seen.scans / seen.days >= %(scans)s AND seen.read / seen.scans >= %(rows)s
        ORDER BY 1
        """,
        {
            **evidence.contents,
            "now": evidence.background.now,
            "since": evidence.tenant.created_at,
            "scans": SCANS_A_DAY,
            "rows": SCANNED_ROWS,
        },
    )
    for table, scans, read in rows:
        said = f"{table} is read from end to end {scans:,.0f} times a day, {read:,} rows each time."
        yield Sighting(table, said, table)


INDEX_RULES: tuple[Rule, ...] = (
    foreign_key_index,
    duplicate_index,
    prefix_index,
    invalid_index,
    unused_index,
    sequential_scans,
)
