"""Types and functions of a schema as nodes.

Here: enums, domains, composites, ranges; functions and procedures. Not here: tables (`tables.py`).
"""

import re
from collections.abc import Iterator

from tenant_ops.backups.ddl.nodes import Key, Node, identifier, literal
from tenant_ops.backups.ddl.queries import Objects, Row
from tenant_ops.backups.layout import NotCarried


def type_nodes(objects: Objects) -> Iterator[Node]:
    """A node per type an application may define, and one per check of a domain."""
    for row in objects.types:
        definition = _definition(objects, row)
        if definition:
            kind = "domain" if row.typtype == "d" else "type"
            subject = f"{kind.upper()} {identifier(objects.schema.nspname, row.name)}"
            yield Node(Key("pg_type", row.oid), kind, row.name, (definition,), subject=subject)
        if row.typtype == "d":
            yield from _domain_checks(objects, row)


def function_nodes(objects: Objects) -> Iterator[Node]:
    """A node per function and procedure the tenant's owner could have made."""
    for row in objects.functions:
        if row.prokind != "a" and _why_not_carried(row) is None:
            kind = "procedure" if row.prokind == "p" else "function"
            name = f"{row.name}({row.arguments})"
            subject = f"{kind.upper()} {identifier(objects.schema.nspname, row.name)}({row.arguments})"
            head, body = _without_privileged(objects, row)
            stub = (f"{head}AS ''",) if _is_parsed(body) else ()
            yield Node(Key("pg_proc", row.oid), kind, name, (head + body,), subject=subject, stub=stub)


def uncarried_types(objects: Objects) -> Iterator[tuple[Key, NotCarried]]:
    """Types and functions that only a superuser can make again."""
    for row in objects.types:
        if row.typtype == "b":
            yield (
                Key("pg_type", row.oid),
                NotCarried(f"type {row.name}", "base types are written in C and need a superuser"),
            )
        elif row.typtype == "p":
            yield (
                Key("pg_type", row.oid),
                NotCarried(f"type {row.name}", "shell types are half of a base type"),
            )
    for row in objects.functions:
        if row.prokind != "a" and (reason := _why_not_carried(row)):
            yield Key("pg_proc", row.oid), NotCarried(f"function {row.name}({row.arguments})", reason)


def uncarried_marks(objects: Objects) -> Iterator[NotCarried]:
    """What of a carried function only a superuser can set again."""
    for row in objects.functions:
        if row.prokind != "a" and not _why_not_carried(row):
            marks = [
                *(["LEAKPROOF"] if row.proleakproof else []),
                *([f"SUPPORT {row.support}"] if row.support else []),
                *(f"SET {name}" for name in _privileged(objects, row)),
            ]
            for mark in marks:
                yield NotCarried(
                    f"{mark} of function {row.name}({row.arguments})", "only a superuser may set it"
                )


def _why_not_carried(row: Row) -> str | None:
    if row.language in ("c", "internal"):
        return f"functions in {row.language} need a superuser"
    if not row.trusted and row.language != "sql":
        return f"{row.language} is an untrusted language and needs a superuser"
    return None


def _without_privileged(objects: Objects, row: Row) -> tuple[str, str]:
    """A function's definition up to its body, and its body; without what only a superuser may say."""
    signature, language, rest = row.definition.rstrip().partition("\n LANGUAGE ")
    head, body = _BODY.split(rest, maxsplit=1)
    if row.proleakproof:
        head = _LEAKPROOF.sub("", head, count=1)
    if row.support:
        head = _SUPPORT.sub("", head, count=1)
    for name in _privileged(objects, row):
        head = re.sub(rf"\n SET {re.escape(name)} TO [^\n]*", "", head)
    return f"{signature}{language}{head}\n", body


def _privileged(objects: Objects, row: Row) -> list[str]:
    names = (setting.partition("=")[0] for setting in row.proconfig or ())
    return [name for name in names if name in objects.privileged_settings]


def _is_parsed(body: str) -> bool:
    """Whether the body is kept as parsed SQL, which needs everything it names."""
    return not body.startswith("AS ")


# How `pg_get_functiondef` lays out what follows the language: marks on one line, settings each on its own.
_BODY = re.compile(r"\n(?=AS |BEGIN ATOMIC|RETURN )")
_LEAKPROOF = re.compile(r"(?<= )LEAKPROOF ?(?=[^\n]*$)", re.MULTILINE)
_SUPPORT = re.compile(r" SUPPORT [^\n]*$", re.MULTILINE)


def _definition(objects: Objects, row: Row) -> str | None:
    name = identifier(objects.schema.nspname, row.name)
    match row.typtype:
        case "e":
            labels = ", ".join(literal(label) for label in row.labels or ())
            return f"CREATE TYPE {name} AS ENUM ({labels})"
        case "d":
            return " ".join(_domain(objects, row, name))
        case "r":
            return f"CREATE TYPE {name} AS RANGE ({', '.join(_range_options(objects, row))})"
        case "c":
            columns = [column for column in objects.columns if column.attrelid == row.typrelid]
            fields = ", ".join(_field(column) for column in columns)
            return f"CREATE TYPE {name} AS ({fields})"
    return None


def _field(column: Row) -> str:
    collation = f" COLLATE {column.collation}" if column.collation else ""
    return f"{identifier(column.name)} {column.type}{collation}"


def _domain(objects: Objects, row: Row, name: str) -> Iterator[str]:
    yield f"CREATE DOMAIN {name} AS {row.base}"
    if row.collation:
        yield f"COLLATE {row.collation}"
    if row.default is not None:
        yield f"DEFAULT {row.default}"
    if row.typnotnull:
        named = (c.name for c in objects.constraints if c.contypid == row.oid and c.contype == "n")
        constraint = next(named, None)  # it has a name since Postgres 17
        yield f"CONSTRAINT {identifier(constraint)} NOT NULL" if constraint else "NOT NULL"


def _domain_checks(objects: Objects, row: Row) -> Iterator[Node]:
    """Made apart from the domain: a check may call a function that takes the domain."""
    name = identifier(objects.schema.nspname, row.name)
    for check in objects.constraints:
        if check.contypid == row.oid and check.contype == "c":
            statement = f"ALTER DOMAIN {name} ADD CONSTRAINT {identifier(check.name)} {check.definition}"
            yield Node(
                Key("pg_constraint", check.oid),
                "domain constraint",
                f"{row.name}.{check.name}",
                (statement,),
                frozenset({Key("pg_type", row.oid)}),
            )


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
