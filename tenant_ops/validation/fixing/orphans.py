"""Fix: rows whose reference leads to nothing are deleted, lose it, or go to the tenant's quarantine.

Here: the three policies. Not here: loading quarantined rows again (`loading/`).
"""

from dataclasses import dataclass

from psycopg import sql

from tenant_ops.datasets import Dataset, ForeignKey
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import SAMPLES, Change, Foreseen
from tenant_ops.validation.fixing.duplicates import referrers
from tenant_ops.validation.fixing.images import IMAGE, Keeper, Refused, read_columns
from tenant_ops.validation.rules import Strays
from tenant_ops.validation.samples import name_row

CHECK = "references"


@dataclass(frozen=True)
class HandleOrphans(Change):
    """Do away with references of a dataset by one foreign key that lead to nothing."""

    dataset: Dataset
    key: ForeignKey
    policy: Strays

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Count the rows; refuse where others refer to rows that would go."""
        what = f"{self.dataset.name} by ({', '.join(self.key.columns)})"
        words = {
            "delete": f"delete orphans of {what}",
            "set-null": f"empty references that lead to nothing of {what}",
            "quarantine": f"move orphans of {what} to the quarantine",
        }[self.policy]
        table = sql.Identifier(self.dataset.name)
        row = evidence.connection.execute(
            sql.SQL("""
                SELECT count(*), (
                    SELECT json_agg(k) FROM (SELECT json_build_object({key}) AS k FROM {table}
                                             WHERE {stray} ORDER BY {order} LIMIT {limit}) s)
                FROM {table} WHERE {stray}
            """).format(
                key=sql.SQL(", ").join(
                    sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name))
                    for name in self.dataset.key
                ),
                order=sql.SQL(", ").join(map(sql.Identifier, self.dataset.key)),
                table=table,
                stray=self._stray(),
                limit=sql.Literal(SAMPLES),
            )
        ).fetchone()
        assert row is not None
        sample = tuple(name_row(evidence.catalog, self.dataset.name, key) for key in row[1] or ())
        return Foreseen(words, row[0], sample=sample, refusal=self._refusal(evidence))

    def lock(self, evidence: Evidence) -> int | None:
        """Lock the rows; a row they refer to may still come, and then they are no orphans."""
        row = evidence.connection.execute(
            sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} FOR UPDATE) stray").format(
                sql.Identifier(self.dataset.name), self._stray()
            )
        ).fetchone()
        return row[0] if row else 0

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Do what the policy says, keeping the rows as they were."""
        if refusal := self._refusal(evidence):
            raise Refused(refusal)
        columns = read_columns(evidence.connection, self.dataset.name)
        if self.policy == "set-null":
            return keeper.rewrite(
                columns, self._stray(), {name: sql.SQL("NULL") for name in self.key.columns}
            )
        if not columns.key:
            raise Refused(f"{columns.name} has no primary key to tell its rows apart: put it back first.")
        places = sql.SQL("SELECT ctid FROM {} WHERE {}").format(columns.table, self._stray())
        moved = keeper.delete(columns, places)
        if self.policy == "quarantine":
            self._quarantine(evidence, keeper)
        return moved

    def _stray(self) -> sql.Composed:
        own = self.dataset.name
        return sql.SQL("{} AND NOT EXISTS (SELECT FROM {} fix_parent WHERE {})").format(
            sql.SQL(" AND ").join(
                sql.SQL("{} IS NOT NULL").format(sql.Identifier(own, name)) for name in self.key.columns
            ),
            sql.Identifier(self.key.references),
            sql.SQL(" AND ").join(
                sql.SQL("fix_parent.{} = {}").format(sql.Identifier(target), sql.Identifier(own, name))
                for name, target in zip(self.key.columns, self.key.target, strict=True)
            ),
        )

    def _refusal(self, evidence: Evidence) -> str:
        if self.policy == "set-null":
            fixed = [name for name in self.key.columns if not self.dataset.by_name[name].nullable]
            return f"{self.dataset.name}.{fixed[0]} may not be empty." if fixed else ""
        for referrer in referrers(evidence, self.dataset):
            row = evidence.connection.execute(
                sql.SQL("""
                    SELECT count(*) FROM {child} fix_child
                    WHERE EXISTS (SELECT FROM {table} WHERE {match} AND {stray})
                """).format(
                    child=sql.Identifier(referrer.child),
                    table=sql.Identifier(self.dataset.name),
                    match=sql.SQL(" AND ").join(
                        sql.SQL("fix_child.{} = {}").format(
                            sql.Identifier(name), sql.Identifier(self.dataset.name, target)
                        )
                        for name, target in zip(referrer.columns, referrer.target, strict=True)
                    ),
                    stray=self._stray(),
                )
            ).fetchone()
            if row and row[0]:
                return f"{row[0]:,} rows of {referrer.child} refer to them: see to those first."
        return ""

    def _quarantine(self, evidence: Evidence, keeper: Keeper) -> None:
        """Enter the deleted rows as loading does, as text; a line is the kept row's number."""
        tenant, names = evidence.tenant, self.key.columns
        given = sql.SQL("jsonb_object(ARRAY[{}], ARRAY[{}])").format(
            sql.SQL(", ").join(sql.Literal(column.source_name) for column in self.dataset.columns),
            sql.SQL(", ").join(
                sql.SQL("i.before->>{}").format(sql.Literal(column.name)) for column in self.dataset.columns
            ),
        )
        quarantine = sql.Identifier(tenant.stage_schema, "quarantine")
        evidence.connection.execute(
            sql.SQL("""
                INSERT INTO {quarantine} (load_id, dataset, file, line, column_name, check_name, reason, raw,
                                          created_at)
                SELECT i.fix_id, i.dataset, %(file)s, i.id, %(columns)s, %(check)s, %(reason)s,
                       {given}, %(now)s
                FROM {images} i
                WHERE i.fix_id = %(fix_id)s AND i.step = %(step)s AND i.after IS NULL
            """).format(
                quarantine=quarantine,
                given=given,
                images=sql.Identifier(tenant.stage_schema, IMAGE),
            ),
            {
                "file": f"{self.dataset.name} as stored",
                "columns": ", ".join(names),
                "check": CHECK,
                "reason": f"no row of {self.key.references} has this {', '.join(self.key.target)}",
                "now": evidence.background.now,
                "fix_id": keeper.fix_id,
                "step": keeper.step,
            },
        )
        keeper.undo.append(
            (
                False,
                sql.SQL("""
                    DELETE FROM {} q WHERE load_id = {} AND dataset = {}
                    AND NOT EXISTS (SELECT FROM {} i WHERE i.id = q.line)
                """)
                .format(
                    quarantine,
                    sql.Literal(keeper.fix_id),
                    sql.Literal(self.dataset.name),
                    sql.Identifier(tenant.stage_schema, IMAGE),
                )
                .as_string(),
            )
        )
