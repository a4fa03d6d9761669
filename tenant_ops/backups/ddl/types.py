"""Types and functions of a schema as nodes.

Here: enums, domains, composites, ranges; functions and procedures. Not here: tables (`tables.py`).
"""

from collections.abc import Iterator

from tenant_ops.backups.ddl.nodes import Key, Node, identifier, literal
from tenant_ops.backups.ddl.queries import Objects, Row
from tenant_ops.backups.layout import NotCarried


def type_nodes(objects: Objects) -> Iterator[Node]:
    """A node per type an application may define."""
    for row in objects.types:
        definition = _definition(objects, row)
        if definition:
            kind = "domain" if row.typtype == "d" else "type"
            subject = f"{kind.upper()} {identifier(objects.schema.nspname, row.name)}"
            yield Node(Key("pg_type", row.oid), kind, row.name, definition, subject=subject)


def function_nodes(objects: Objects) -> Iterator[Node]:
    """A node per function and procedure the tenant's owner could have made."""
    for row in objects.functions:
        if _why_not_carried(row) is None:
            kind = "procedure" if row.prokind == "p" else "function"
            name = f"{row.name}({row.arguments})"
            subject = f"{kind.upper()} {identifier(objects.schema.nspname, row.name)}({row.arguments})"
            yield Node(Key("pg_proc", row.oid), kind, name, (row.definition.rstrip(),), subject=subject)


def uncarried_types(objects: Objects) -> Iterator[NotCarried]:
    """Types and functions that only a superuser can make again, or that have no deparser."""
    for row in objects.types:
        if row.typtype == "b" and not row.typrelid:
            yield NotCarried(f"type {row.name}", "base types are written in C and need a superuser")
        elif row.typtype == "p":
            yield NotCarried(f"type {row.name}", "shell types are half of a base type")
    for row in objects.functions:
        if reason := _why_not_carried(row):
            yield NotCarried(f"function {row.name}({row.arguments})", reason)


def _why_not_carried(row: Row) -> str | None:
    if row.prokind == "a":
        return "aggregates are not written to backups yet"
    if row.language in ("c", "internal"):
        return f"functions in {row.language} need a superuser"
    if not row.trusted and row.language != "sql":
        return f"{row.language} is an untrusted language and needs a superuser"
    return None


def _definition(objects: Objects, row: Row) -> tuple[str, ...] | None:
    name = identifier(objects.schema.nspname, row.name)
    match row.typtype:
        case "e":
            labels = ", ".join(literal(label) for label in row.labels or ())
            return (f"CREATE TYPE {name} AS ENUM ({labels})",)
        case "d":
            return tuple(_domain(objects, row, name))
        case "r":
            return (f"CREATE TYPE {name} AS RANGE ({', '.join(_range_options(objects, row))})",)
        case "c":
            columns = [column for column in objects.columns if column.attrelid == row.typrelid]
            fields = ", ".join(_field(column) for column in columns)
            return (f"CREATE TYPE {name} AS ({fields})",)
    return None


def _field(column: Row) -> str:
    collation = f" COLLATE {column.collation}" if column.collation else ""
    return f"{identifier(column.name)} {column.type}{collation}"


def _domain(objects: Objects, row: Row, name: str) -> Iterator[str]:
    checks = [check for check in objects.constraints if check.contypid == row.oid]
    parts = [f"CREATE DOMAIN {name} AS {row.base}"]
    if row.collation:
        parts.append(f"COLLATE {row.collation}")
    if row.default is not None:
        parts.append(f"DEFAULT {row.default}")
    if row.typnotnull:
        parts.append("NOT NULL")
    yield " ".join(parts)
    for check in checks:
        yield f"ALTER DOMAIN {name} ADD CONSTRAINT {identifier(check.name)} {check.definition}"


def _range_options(objects: Objects, row: Row) -> Iterator[str]:
    yield f"SUBTYPE = {row.subtype}"
    for option, value in (
        ("SUBTYPE_OPCLASS", row.opclass),
        ("COLLATION", row.range_collation),
        ("CANONICAL", row.canonical),
        ("SUBTYPE_DIFF", row.subtype_diff),
    ):
        if value:
            yield f"{option} = {value}"
    if row.multirange:
        yield f"MULTIRANGE_TYPE_NAME = {identifier(objects.schema.nspname, row.multirange)}"
