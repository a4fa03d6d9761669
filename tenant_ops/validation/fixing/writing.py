"""Fixes that set a column in the rows a rule finds: rewriting a text, filling in a default.

Not here: which expression (the rule says it), deleting rows (`duplicates.py`, `orphans.py`).
"""

from dataclasses import dataclass

from psycopg import sql

from tenant_ops.datasets import Dataset
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import SAMPLES, Change, Foreseen, shape
from tenant_ops.validation.fixing.images import Keeper, read_columns
from tenant_ops.validation.samples import name_row
from tenant_ops.validation.scanning import trusted


@dataclass(frozen=True)
class SetColumn(Change):
    """Set a column to an expression in the rows a condition is true for."""

    dataset: Dataset
    column: str
    expression: str
    condition: str

    @property
    def words(self) -> str:
        """What is done."""
        return f"set {self.dataset.name}.{self.column} to {self.expression.replace('%%', '%')}"

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Count the rows, and show the shape of some before and after."""
        table = sql.Identifier(self.dataset.name)
        row = evidence.connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table, trusted(self.condition)), evidence.facts
        ).fetchone()
        shown = evidence.connection.execute(
            sql.SQL("SELECT {}, {}::text, ({})::text FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
                sql.SQL("json_build_object({})").format(
                    sql.SQL(", ").join(
                        sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name))
                        for name in self.dataset.key
                    )
                ),
                sql.Identifier(self.column),
                trusted(self.expression),
                table,
                trusted(self.condition),
                sql.SQL(", ").join(map(sql.Identifier, self.dataset.key)),
                sql.Literal(SAMPLES),
            ),
            evidence.facts,
        )
        sample = tuple(
            f"{name_row(evidence.catalog, self.dataset.name, key)}: {shape(before)} -> {shape(after)}"
            for key, before, after in shown
        )
        return Foreseen(self.words, row[0] if row else 0, sample=sample)

    def lock(self, evidence: Evidence) -> int | None:
        """Lock the rows that are bad now: what others write to them waits, and then is judged anew."""
        row = evidence.connection.execute(
            sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} FOR UPDATE) bad").format(
                sql.Identifier(self.dataset.name), trusted(self.condition)
            ),
            evidence.facts,
        ).fetchone()
        return row[0] if row else 0

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Write the rows, keeping them as they were."""
        columns = read_columns(evidence.connection, self.dataset.name)
        return keeper.rewrite(columns, trusted(self.condition), {self.column: trusted(self.expression)})
