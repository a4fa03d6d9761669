"""Who may do what in a schema, and where it lies, as statements that fit any tenant.

Here: grants on the schema and its objects, default privileges, what is done last. Not here: roles themselves
(`tenants/`).
Grants to roles outside the tenant's own set are kept with the role's name; a restore skips those whose role
does not exist, and says so.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from tenant_ops.backups.ddl.nodes import Key, identifier
from tenant_ops.backups.ddl.queries import Objects, Row

GRANT = "grant"
GRANT_OUTSIDE = "grant to an outside role"
TABLESPACE = "tablespace"

# What an owner may do of itself. MAINTAIN, since Postgres 17, is left alone: nobody takes it from themselves.
_ALL = {
    "SCHEMA": ("USAGE", "CREATE"),
    "TABLE": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"),
    "SEQUENCE": ("USAGE", "SELECT", "UPDATE"),
    "TYPE": ("USAGE",),
    "DOMAIN": ("USAGE",),
}
_DEFAULT_KINDS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS"}


class Right(NamedTuple):
    """What one role (everyone when empty) may do; equal rights on several objects become one statement."""

    object_kind: str
    role: str
    privileges: tuple[str, ...]
    grantable: bool


def rights(
    objects: Objects, tenant_roles: Iterable[str], made: Container[Key]
) -> Iterator[tuple[str, str, str]]:
    """Kind, name and SQL of every statement that gives or takes a right of what is `made`."""
    own = set(tenant_roles)
    everything = [("SCHEMA", identifier(objects.schema.nspname), objects.schema.owner, objects.schema.acl)]
    everything += _objects_with_rights(objects, made)
    given: dict[Right, list[str]] = {}
    for kind, name, owner, acl in everything:
        for right in _rights(acl, kind, owner):
            given.setdefault(right, []).append(name)
    yield from _public_taken(objects, made)
    for right, names in sorted(given.items()):
        what = f"{', '.join(right.privileges)} ON {right.object_kind} {', '.join(names)}"
        yield _kind(right, own), right.role or "PUBLIC", f"GRANT {what} TO {_grantee(right)}"
    yield from _column_rights(objects, own, made)
    yield from _default_rights(objects, own)
    yield from _tablespaces(objects, made)
    yield from _forced_row_security(objects, made)
    yield from _owner_taken(everything)


def regranted(objects: Objects, names: Mapping[str, str]) -> Iterator[str]:
    """Rights that somebody passed on: a restore gives them as the owner."""
    shown = {name: f"the {what} role" for what, name in names.items()}
    for row in (*objects.relations, *objects.functions, *objects.types):
        for grantor in sorted({entry[3] for entry in row.acl or ()} - {row.owner}):
            giver = shown.get(grantor, grantor)
            yield f"rights on {row.name} were given by {giver}; restored, they are given by the owner."


def _objects_with_rights(
    objects: Objects, made: Container[Key]
) -> Iterator[tuple[str, str, str, list | None]]:
    schema = objects.schema.nspname
    identities = {row.oid for row in objects.sequences if row.deptype == "i"}
    for row in objects.relations:
        if Key("pg_class", row.oid) in made or row.oid in identities:
            kind = "SEQUENCE" if row.relkind == "S" else "TABLE"
            yield kind, identifier(schema, row.name), row.owner, row.acl
    for row in objects.types:
        if Key("pg_type", row.oid) in made:
            kind = "DOMAIN" if row.typtype == "d" else "TYPE"
            yield kind, identifier(schema, row.name), row.owner, row.acl
    for row in objects.functions:
        if Key("pg_proc", row.oid) in made:
            yield _function_kind(row), _function(schema, row), row.owner, row.acl


def _public_taken(objects: Objects, made: Container[Key]) -> Iterator[tuple[str, str, str]]:
    """Everyone may use a fresh function or type; where that was taken away, it is taken away again."""
    schema = objects.schema.nspname
    for row in objects.functions:
        if Key("pg_proc", row.oid) in made and not _is_everyones(row.acl):
            name = _function(schema, row)
            yield "revoke", name, f"REVOKE ALL ON {_function_kind(row)} {name} FROM PUBLIC"
    for row in objects.types:
        if Key("pg_type", row.oid) in made and row.acl is not None and not _is_everyones(row.acl):
            name = identifier(schema, row.name)
            yield "revoke", name, f"REVOKE ALL ON TYPE {name} FROM PUBLIC"


def _owner_taken(
    everything: Iterable[tuple[str, str, str, list | None]],
) -> Iterator[tuple[str, str, str]]:
    """Rights an owner took from itself, so that rows are never changed, say."""
    for kind, name, owner, acl in everything:
        if acl is None:
            continue
        kept = {privilege for role, privilege, *_ in acl if role == owner}
        taken = [privilege for privilege in _ALL.get(kind, ("EXECUTE",)) if privilege not in kept]
        if taken:
            statement = f"REVOKE {', '.join(taken)} ON {kind} {name} FROM {identifier(owner)}"
            yield "revoke", name, statement


def _tablespaces(objects: Objects, made: Container[Key]) -> Iterator[tuple[str, str, str]]:
    """Where relations lie, if not where their database does: a server without the tablespace does without."""
    kinds = {"m": "MATERIALIZED VIEW"}
    lying = [(kinds.get(row.relkind, "TABLE"), row) for row in objects.relations]
    lying += [("INDEX", row) for row in objects.indexes]
    for kind, row in lying:
        table = row.indrelid if kind == "INDEX" else row.oid
        if row.tablespace and Key("pg_class", table) in made:
            name = identifier(objects.schema.nspname, row.name)
            statement = f"ALTER {kind} {name} SET TABLESPACE {identifier(row.tablespace)}"
            yield TABLESPACE, row.tablespace, statement


def _forced_row_security(objects: Objects, made: Container[Key]) -> Iterator[tuple[str, str, str]]:
    """Last, as rights are: from then on not even the owner sees all rows."""
    for row in objects.relations:
        if row.relforcerowsecurity and Key("pg_class", row.oid) in made:
            name = identifier(objects.schema.nspname, row.name)
            yield "table setting", row.name, f"ALTER TABLE ONLY {name} FORCE ROW LEVEL SECURITY"


def _column_rights(objects: Objects, own: set[str], made: Container[Key]) -> Iterator[tuple[str, str, str]]:
    for row in objects.relations:
        if Key("pg_class", row.oid) not in made:
            continue
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
    for role, privilege, grantable, _ in acl or ():
        if role != owner:
            found.setdefault((role or "", grantable), []).append(privilege)
    for (role, grantable), privileges in sorted(found.items()):
        yield Right(object_kind, role, tuple(sorted(privileges)), grantable)


def _kind(right: Right, own: set[str]) -> str:
    return GRANT_OUTSIDE if right.role and right.role not in own else GRANT


def _grantee(right: Right) -> str:
    option = " WITH GRANT OPTION" if right.grantable else ""
    return f"{identifier(right.role) if right.role else 'PUBLIC'}{option}"


def _is_everyones(acl: list | None) -> bool:
    return any(entry[0] is None for entry in acl or ())


def _function_kind(row: Row) -> str:
    return "PROCEDURE" if row.prokind == "p" else "FUNCTION"


def _function(schema: str, row: Row) -> str:
    arguments = row.argument_types if row.prokind == "a" else row.arguments
    return f"{identifier(schema, row.name)}({arguments})"
