"""Who may do what in a schema, as statements that fit any tenant.

Here: grants on the schema and its objects, default privileges. Not here: roles themselves (`tenants/`).
Grants to roles outside the tenant's own set are kept with the role's name; a restore skips those whose role
does not exist, and says so.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tenant_ops.backups.ddl.nodes import identifier
from tenant_ops.backups.ddl.queries import Objects, Row

GRANT = "grant"
GRANT_OUTSIDE = "grant to an outside role"

_DEFAULT_KINDS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS"}


class Right(NamedTuple):
    """What one role (everyone when empty) may do; equal rights on several objects become one statement."""

    object_kind: str
    role: str
    privileges: tuple[str, ...]
    grantable: bool


def rights(objects: Objects, tenant_roles: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Kind, name and SQL of every statement that gives or takes a right."""
    own = set(tenant_roles)
    schema = objects.schema
    given: dict[Right, list[str]] = {}
    for right in _rights(schema.acl, "SCHEMA", schema.owner):
        given.setdefault(right, []).append(identifier(schema.nspname))
    for kind, name, owner, acl in _objects_with_rights(objects):
        for right in _rights(acl, kind, owner):
            given.setdefault(right, []).append(name)
    yield from _public_taken(objects)
    for right, names in sorted(given.items()):
        what = f"{', '.join(right.privileges)} ON {right.object_kind} {', '.join(names)}"
        yield _kind(right, own), right.role or "PUBLIC", f"GRANT {what} TO {_grantee(right)}"
    yield from _column_rights(objects, own)
    yield from _default_rights(objects, own)


def _objects_with_rights(objects: Objects) -> Iterator[tuple[str, str, str, list | None]]:
    schema = objects.schema.nspname
    for row in objects.relations:
        kind = "SEQUENCE" if row.relkind == "S" else "TABLE"
        yield kind, identifier(schema, row.name), row.owner, row.acl
    for row in objects.types:
        if row.typtype in "dercm":
            kind = "DOMAIN" if row.typtype == "d" else "TYPE"
            yield kind, identifier(schema, row.name), row.owner, row.acl
    for row in objects.functions:
        yield _function_kind(row), _function(schema, row), row.owner, row.acl


def _public_taken(objects: Objects) -> Iterator[tuple[str, str, str]]:
    """Everyone may use a fresh function or type; where that was taken away, it is taken away again."""
    schema = objects.schema.nspname
    for row in objects.functions:
        if not any(entry[0] is None for entry in row.acl or ()):
            name = _function(schema, row)
            yield "revoke", name, f"REVOKE ALL ON {_function_kind(row)} {name} FROM PUBLIC"
    for row in objects.types:
        if row.typtype in "der" and row.acl and not any(entry[0] is None for entry in row.acl):
            name = identifier(schema, row.name)
            yield "revoke", name, f"REVOKE ALL ON TYPE {name} FROM PUBLIC"


def _column_rights(objects: Objects, own: set[str]) -> Iterator[tuple[str, str, str]]:
    for row in objects.relations:
        for column in objects.columns_of(row.oid):
            for right in _rights(column.acl, "TABLE", row.owner):
                name = identifier(objects.schema.nspname, row.name)
                what = ", ".join(f"{privilege} ({identifier(column.name)})" for privilege in right.privileges)
                statement = f"GRANT {what} ON TABLE {name} TO {_grantee(right)}"
                yield _kind(right, own), right.role or "PUBLIC", statement


def _default_rights(objects: Objects, own: set[str]) -> Iterator[tuple[str, str, str]]:
    """Rights that objects made later will have."""
    schema = identifier(objects.schema.nspname)
    for row in objects.default_rights:
        if row.owner != objects.schema.owner:
            continue  # said in the warnings: only that role itself can set its defaults again
        for right in _rights(row.acl, _DEFAULT_KINDS[row.kind], row.owner):
            what = f"{', '.join(right.privileges)} ON {right.object_kind} TO {_grantee(right)}"
            statement = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {what}"
            yield _kind(right, own), right.role or "PUBLIC", statement


def _rights(acl: list | None, object_kind: str, owner: str) -> Iterator[Right]:
    """The entries of an access list but the owner's own, which come with making the object."""
    found: dict[tuple[str, bool], list[str]] = {}
    for role, privilege, grantable in acl or ():
        if role != owner:
            found.setdefault((role or "", grantable), []).append(privilege)
    for (role, grantable), privileges in sorted(found.items()):
        yield Right(object_kind, role, tuple(sorted(privileges)), grantable)


def _kind(right: Right, own: set[str]) -> str:
    return GRANT_OUTSIDE if right.role and right.role not in own else GRANT


def _grantee(right: Right) -> str:
    option = " WITH GRANT OPTION" if right.grantable else ""
    return f"{identifier(right.role) if right.role else 'PUBLIC'}{option}"


def _function_kind(row: Row) -> str:
    return "PROCEDURE" if row.prokind == "p" else "FUNCTION"


def _function(schema: str, row: Row) -> str:
    return f"{identifier(schema, row.name)}({row.arguments})"
