"""How rules of this level are written: SQL names and literals, rules about one column or row.

Here: what the other modules share. Not here: which rules there are.
"""

from collections.abc import Iterable

from psycopg import sql

from tenant_ops.datasets import Column, Dataset
from tenant_ops.validation.rules import Fix, Rule, Severity, Where

AT_SOURCE = "Correct the rows at their source and load them again."


def row_rule(
    dataset: Dataset,
    column: Column,
    name: str,
    broken: str,
    what: str,
    *,
    severity: Severity = "error",
    remediation: str = AT_SOURCE,
    fix: Fix | None = None,
    held_by: tuple[str, str] | None = None,
) -> Rule:
    """A rule about one column: rows for which the SQL condition `broken` is true break it."""
    return Rule(
        id=f"data.{dataset.name}.{column.name}.{name}",
        level="data",
        severity=severity,
        description=f"{dataset.name}.{column.name} {what}.",
        remediation=remediation,
        find=Where(broken),
        dataset=dataset.name,
        subject=f"{dataset.name}.{column.name}",
        fix=fix,
        held_by=held_by,
    )


def quoted(name: str, table: str | None = None) -> str:
    """The name as SQL, with that of its table before it."""
    return sql.Identifier(*((table,) if table else ()), name).as_string()


def listed(columns: Iterable[str], table: str | None = None) -> str:
    """The names as SQL, with commas."""
    return ", ".join(quoted(column, table) for column in columns)


def literal(text: str) -> str:
    """The text as an SQL literal, in a query that has parameters."""
    return sql.Literal(text).as_string().replace("%", "%%")
