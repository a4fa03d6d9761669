"""Fixes that change no row: fresh statistics, a rebuilt index, a sequence moved past its column.

There is nothing to undo: what they mend is not what anybody stored.
"""

from dataclasses import dataclass

from psycopg import sql

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import Change, Foreseen
from tenant_ops.validation.fixing.images import Keeper, Refused


@dataclass(frozen=True)
class AnalyzeTable(Change):
    """Take fresh statistics of a table."""

    table: str

    def foresee(self, evidence: Evidence) -> Foreseen:  # noqa: ARG002 - needs nothing
        """Nothing is counted."""
        return Foreseen(f"analyze {self.table}", undoable=False)

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:  # noqa: ARG002 - changes no row
        """Analyze it."""
        evidence.connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self.table)))
        return 0


@dataclass(frozen=True)
class RebuildIndex(Change):
    """Rebuild an index; writes to its table wait meanwhile, for it happens in the transaction of the fix."""

    index: str

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Say whether there is such an index."""
        row = evidence.connection.execute(
            """
            SELECT pg_size_pretty(pg_relation_size(c.oid)) FROM pg_class c
            WHERE c.oid = to_regclass(quote_ident(%s)) AND c.relkind = 'i'
            """,
            (self.index,),
        ).fetchone()
        refusal = "" if row else f"There is no index {self.index}."
        return Foreseen(
            f"rebuild the index {self.index} ({row[0] if row else 'none'})", undoable=False, refusal=refusal
        )

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:  # noqa: ARG002 - changes no row
        """Rebuild it."""
        evidence.connection.execute(sql.SQL("REINDEX INDEX {}").format(sql.Identifier(self.index)))
        return 0


@dataclass(frozen=True)
class MoveSequence(Change):
    """Set the sequence behind a column past every value the column has; never back.

    `setval` outlives a rollback. That is harmless: numbers are passed over, none is given twice.
    """

    table: str
    column: str

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Say whether there is such a sequence."""
        sequence = self._sequence(evidence)
        refusal = "" if sequence else f"No sequence stands behind {self.table}.{self.column}."
        return Foreseen(
            f"set the sequence of {self.table}.{self.column} past its values",
            undoable=False,
            refusal=refusal,
        )

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:  # noqa: ARG002 - changes no row
        """Move it while nobody inserts."""
        sequence = self._sequence(evidence)
        if sequence is None:
            raise Refused(f"No sequence stands behind {self.table}.{self.column}.")
        table = sql.Identifier(self.table)
        evidence.connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
        # pg_get_serial_sequence gives a name that is quoted where it must be.
        evidence.connection.execute(
            sql.SQL("""
                SELECT setval(%(sequence)s::regclass, CASE WHEN s.seqincrement > 0
                              THEN greatest(max({column}), pg_sequence_last_value(s.seqrelid), s.seqstart)
                              ELSE least(min({column}), pg_sequence_last_value(s.seqrelid), s.seqstart) END)
                FROM pg_sequence s LEFT JOIN {table} ON true
                WHERE s.seqrelid = %(sequence)s::regclass GROUP BY s.seqrelid, s.seqincrement, s.seqstart
            """).format(column=sql.Identifier(self.table, self.column), table=table),
            {"sequence": sequence},
        )
        return 0

    def _sequence(self, evidence: Evidence) -> str | None:
        row = evidence.connection.execute(
            """
            SELECT coalesce(pg_get_serial_sequence(quote_ident(%(table)s), %(column)s), (
                SELECT s.oid::regclass::text
                FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                JOIN pg_class s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
                WHERE f.adrelid = to_regclass(quote_ident(%(table)s)) AND a.attname = %(column)s
                AND s.relkind = 'S' LIMIT 1
            ))
            """,
            {"table": self.table, "column": self.column},
        ).fetchone()
        return row[0] if row else None
