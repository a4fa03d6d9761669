"""Schema level: are the live tables what the dataset definitions say?

Here: one rule per kind of difference. Not here: how the two sides are read (`datasets/structure.py`).
"""

from collections.abc import Callable, Iterator

from tenant_ops.datasets.structure import Kind, Part
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.rules import Look, Restructure, Rule, Severity, Sighting, rule

Compare = Callable[[Kind, Evidence], Iterator[Sighting]]


@rule(
    level="schema",
    severity="error",
    remediation="Bring it there with: tenant-ops migrate --tenant-id <slug> --execute",
)
def version(evidence: Evidence) -> Iterator[Sighting]:
    """The tenant is at the version of the datasets it is checked against."""
    if evidence.tenant.version != evidence.catalog.version:
        yield Sighting(
            "version",
            f"The tenant is at {evidence.tenant.version or 'no version'}, "
            f"the datasets are at {evidence.catalog.version}.",
        )


def _missing(kind: Kind, evidence: Evidence) -> Iterator[Sighting]:
    """Parts that are not there, or are there with another content."""
    found = {(part.table, part.name): part for part in evidence.surplus if part.kind == kind}
    tables = {part.table for part in evidence.live}
    for part in evidence.missing:
        if part.kind != kind or (kind != "table" and part.table not in tables):
            continue
        other = found.get((part.table, part.name))
        if other is None:
            yield _sighting(part, f"The {kind} {_name(part)} is missing.")
        else:
            yield _sighting(part, f"The {kind} {_name(part)} is {other.detail}; it should be {part.detail}.")


def _changed(kind: Kind, evidence: Evidence) -> Iterator[Sighting]:
    """Properties of columns that are there, with another content."""
    found = {(part.table, part.name): part.detail for part in evidence.surplus if part.kind == kind}
    for part in evidence.missing:
        there = found.get((part.table, part.name)) if part.kind == kind else None
        if there is not None:
            yield _sighting(
                part,
                f"The column {_name(part)} has {kind} {there or 'none'}; "
                f"it should have {part.detail or 'none'}.",
            )


def _extra(kind: Kind, evidence: Evidence) -> Iterator[Sighting]:
    """Parts no definition has; those of a table no definition has are told by the table."""
    differing = {(part.table, part.name) for part in evidence.missing if part.kind == kind}
    for part in evidence.surplus:
        unknown = part.kind == kind and (part.table, part.name) not in differing
        known_table = part.table in evidence.catalog
        if unknown and (kind == "table" or known_table):
            yield _sighting(part, f"The {kind} {_name(part)} is in no definition.", known=known_table)


_RULES: tuple[tuple[str, Compare, Kind, Severity, str], ...] = (
    ("missing_table", _missing, "table", "critical", "Every dataset has its table."),
    ("extra_table", _extra, "table", "warning", "Every table belongs to a dataset."),
    ("missing_column", _missing, "column", "critical", "Every column of a definition is there."),
    ("extra_column", _extra, "column", "warning", "Every column is in its dataset's definition."),
    ("column_type", _changed, "type", "error", "Every column has the type of its definition."),
    ("nullability", _changed, "nullability", "error", "Columns may be empty only where defined so."),
    ("default", _changed, "default", "warning", "Every column has the default of its definition."),
    ("primary_key", _missing, "primary key", "critical", "Every table has its primary key."),
    ("foreign_key", _missing, "foreign key", "error", "Every defined foreign key is there and checked."),
    ("unique", _missing, "unique", "error", "Every defined unique key is there."),
    ("check", _missing, "check", "error", "Every defined check is there and holds for all rows."),
    ("index", _missing, "index", "warning", "Every defined index is there and usable."),
    ("extra_foreign_key", _extra, "foreign key", "warning", "Every foreign key is in a definition."),
    ("extra_unique", _extra, "unique", "warning", "Every unique key is in a definition."),
    ("extra_check", _extra, "check", "warning", "Every check is in a definition."),
    ("extra_index", _extra, "index", "info", "Every index is in a definition."),
)


def schema_rules() -> tuple[Rule, ...]:
    """The rules that compare live tables with the definitions: each reads what `Evidence` read once."""
    return (version, *(_rule(*about) for about in _RULES))


def _rule(name: str, compare: Compare, kind: Kind, severity: Severity, description: str) -> Rule:
    def look(evidence: Evidence) -> Iterator[Sighting]:
        return compare(kind, evidence)

    return Rule(
        id=f"schema.{name}",
        level="schema",
        severity=severity,
        description=description,
        remediation=(
            "Put it into the dataset definition and a release, or remove it."
            if compare is _extra
            else "Make the table what the definition says, or the definition what the table should be."
        ),
        find=Look(look),
        fix=Restructure() if compare is not _extra and kind not in {"table", "column", "type"} else None,
    )


def _name(part: Part) -> str:
    return f"{part.table}.{part.name}" if part.name else part.table


def _sighting(part: Part, message: str, *, known: bool = True) -> Sighting:
    return Sighting(_name(part), message, dataset=part.table if known else None)
