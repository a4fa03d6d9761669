"""Fix: a constraint, an index, a default or NOT NULL becomes again what the definition says.

Here: the statement that does it, and the one that takes it back. Not here: what differs
(`datasets/structure.py`), columns and tables, which no fix adds, changes or drops.
"""

from dataclasses import dataclass
from typing import get_args

from psycopg import sql

from tenant_ops.datasets.structure import Kind, Part
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.fixing.changes import Change, Foreseen
from tenant_ops.validation.fixing.images import Keeper, Refused

CONSTRAINTS = ("primary key", "foreign key", "unique", "check")
KINDS: tuple[Kind, ...] = (*CONSTRAINTS, "index", "default", "nullability")
INVALID = " (invalid)"
MADE_BY_POSTGRES = ("a", "d", "s", "v")
"""How the default of an identity or a generated column begins."""


@dataclass(frozen=True)
class PutBack(Change):
    """Make one part of a table what it should be; rows that do not allow it make Postgres refuse."""

    kind: Kind
    subject: str

    def foresee(self, evidence: Evidence) -> Foreseen:
        """Say which statement would be run."""
        try:
            do, _ = self._statements(evidence)
        except Refused as error:
            return Foreseen(f"put back the {self.kind} {self.subject}", refusal=str(error))
        return Foreseen("; ".join(do), ends_chain=True)

    def apply(self, evidence: Evidence, keeper: Keeper) -> int:
        """Run it."""
        do, undo = self._statements(evidence)
        for statement in do:
            evidence.connection.execute(statement.encode())
        keeper.undo += [(False, statement) for statement in undo]
        return 0

    def invalid_index(self, evidence: Evidence) -> str | None:
        """The name of the index, when it is as it should be but for being unusable."""
        wanted, found = self._parts(evidence)
        if self.kind == "index" and wanted and found and found.detail == wanted.detail + INVALID:
            return wanted.name
        return None

    def _parts(self, evidence: Evidence) -> tuple[Part | None, Part | None]:
        def named(parts: tuple[Part, ...]) -> Part | None:
            return next(
                (p for p in parts if p.kind == self.kind and f"{p.table}.{p.name}" == self.subject), None
            )

        return named(evidence.missing), named(evidence.surplus)

    def _statements(self, evidence: Evidence) -> tuple[list[str], list[str]]:
        wanted, found = self._parts(evidence)
        if wanted is None:
            raise Refused(f"The {self.kind} {self.subject} is as defined by now.")
        table = sql.Identifier(wanted.table).as_string()
        name = sql.Identifier(wanted.name).as_string()
        if self.kind in CONSTRAINTS:
            drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
            add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {wanted.detail}"
            if found is None:
                return [add], [drop]
            return [drop, add], [drop, f"ALTER TABLE {table} ADD CONSTRAINT {name} {found.detail}"]
        if self.kind == "index":
            drop = f"DROP INDEX {name}"
            if found is None:
                return [wanted.detail], [drop]
            return [drop, wanted.detail], [drop, found.detail.removesuffix(INVALID)]
        alter = f"ALTER TABLE {table} ALTER COLUMN {name}"
        if found is None:
            raise Refused(f"The column {self.subject} is missing: migrate the tenant.")
        if self.kind == "default":
            return [f"{alter} {_default(wanted)}"], [f"{alter} {_default(found)}"]
        return [f"{alter} {_nullability(wanted)}"], [f"{alter} {_nullability(found)}"]


def kind_of(rule: str) -> Kind | None:
    """The kind of part a rule of the schema level is about, if it is one that can be put back."""
    name = rule.removeprefix("schema.").replace("_", " ")
    return next((kind for kind in get_args(Kind) if kind == name and kind in KINDS), None)


def _default(part: Part) -> str:
    if not part.detail:
        return "DROP DEFAULT"
    if part.detail.split(" ", 1)[0] in MADE_BY_POSTGRES:
        raise Refused(f"{part.table}.{part.name} is an identity or generated column: migrate the tenant.")
    return f"SET DEFAULT {part.detail}"


def _nullability(part: Part) -> str:
    return "SET NOT NULL" if part.detail == "not null" else "DROP NOT NULL"
