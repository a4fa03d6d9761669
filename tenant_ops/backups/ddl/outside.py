"""What a schema has to do with things outside it: what it needs there, and what hangs on it from there.

Here: needs that a restore checks before it begins; publications, large objects, labels and the like, which
are not carried. Not here: what only a superuser could make again (`types.py`, `others.py`).
"""

from collections.abc import Iterable, Iterator, Mapping

import psycopg
from psycopg.rows import namedtuple_row

from tenant_ops.backups.ddl import catalogs
from tenant_ops.backups.ddl.queries import Objects, Row, pairs
from tenant_ops.backups.layout import Need, NotCarried

# Imported from the operating system when a server is made, so not every server has the same.
_FIRST_UNPINNED = 12000


def needs_outside(
    connection: psycopg.Connection, objects: Objects, names: Mapping[str, str]
) -> tuple[Need, ...]:
    """What must be there for the schema to be made: collations, roles policies name, objects elsewhere."""
    own = {(row.catalog, row.objid) for row in objects.members} | _made_with_others(objects)
    outside = {
        (row.refcatalog, row.refobjid)
        for row in objects.dependencies
        if row.extension is None
        and row.refobjid >= _FIRST_UNPINNED
        and not {(row.refcatalog, row.refobjid), ("pg_type", row.element), ("pg_class", row.row_of)} & own
    }
    found: list[Row] = []
    if outside:
        with connection.cursor(row_factory=namedtuple_row) as cursor:
            found = cursor.execute(catalogs.IDENTITIES, pairs(sorted(outside))).fetchall()
    ours = {names["schema"], names["stage"]}
    needs = [
        Need(row.type, row.identity, tuple(row.object_names), tuple(row.object_args))
        for row in found
        # A foreign key's index comes with its table, by whatever name.
        if row.type and row.type != "index" and row.object_names and row.object_names[0] not in ours
    ]
    roles = set().union(*(row.role_names or () for row in objects.policies)) - set(names.values())
    needs += [Need("role", role, (role,), ()) for role in roles]
    return tuple(sorted(needs, key=lambda need: (need.type, need.identity)))


def missing_needs(connection: psycopg.Connection, needs: Iterable[Need]) -> Iterator[str]:
    """Those of the needs that the connection's database does not have, for people."""
    for need in needs:
        try:
            with connection.transaction():
                connection.execute(
                    "SELECT pg_catalog.pg_get_object_address(%s, %s::text[], %s::text[])",
                    (need.type, list(need.names), list(need.arguments)),
                )
        except psycopg.Error:
            yield f"{need.type} {need.identity}"


def uncarried_attached(objects: Objects, names: Mapping[str, str]) -> Iterator[NotCarried]:
    """What hangs on the schema and belongs to the database, the server, or nobody."""
    large = 0
    for row in objects.attached:
        if row.catalog == "pg_publication":
            what = f"table {row.of}" if row.of else "the schema"
            reason = "a publication is the database's: add the restored tables to it yourself"
            yield NotCarried(f"that publication {row.name} names {what}", reason)
        elif row.catalog == "pg_transform":
            yield NotCarried("a transform of one of its types", "transforms need functions written in C")
        large += row.catalog == "pg_largeobject"
    if large:
        reason = "they lie outside every schema; columns keep their numbers"
        yield NotCarried(f"{large} large objects of the tenant's roles", reason)
    for row in objects.labels:
        reason = "labels are given by the server's own security module"
        yield NotCarried(f"{row.number} security labels of {row.provider}", reason)
    for row in objects.default_rights:
        if row.owner != objects.schema.owner:
            reason = "only that role can set them"
            yield NotCarried(f"default rights that {_shown(row.owner, names)} set in the schema", reason)
    for row in objects.members:
        if row.extension is None and row.catalog not in _KNOWN:
            reason = f"objects of kind {row.type} are not known"
            yield NotCarried(f"{row.type} {row.identity}", reason)


def _made_with_others(objects: Objects) -> set[tuple[str, int]]:
    """Objects that come with one of the schema and are no members of it themselves."""
    made = {("pg_namespace", objects.schema.oid)}
    made |= {("pg_class", row.oid) for row in objects.indexes}
    made |= {("pg_class", row.typrelid) for row in objects.types if row.typrelid}
    made |= {("pg_type", row.reltype) for row in objects.relations if row.reltype}
    made |= {("pg_constraint", row.oid) for row in objects.constraints}
    made |= {("pg_trigger", row.oid) for row in objects.triggers}
    made |= {("pg_policy", row.oid) for row in objects.policies}
    made |= {("pg_rewrite", row.oid) for row in objects.rules}
    made |= {("pg_attrdef", row.default_oid) for row in objects.columns if row.default_oid}
    return made | {(row.catalog, row.objid) for row in objects.attached}


def _shown(role: str, names: Mapping[str, str]) -> str:
    return next((f"the {what} role" for what, name in names.items() if name == role), role)


_KNOWN = frozenset(
    {
        "pg_class", "pg_type", "pg_proc", "pg_statistic_ext", "pg_default_acl", "pg_operator", "pg_collation",
        "pg_conversion", "pg_ts_dict", "pg_ts_config", "pg_ts_parser", "pg_ts_template", "pg_opclass",
        "pg_opfamily", "pg_publication_namespace",
    }
)  # fmt: skip
