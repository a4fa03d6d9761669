"""Reading the definition of a schema: everything it is but its rows.

Here: putting the builders together, the order, what cannot be carried. Not here: the catalog queries
(`queries.py`), the SQL of each kind of object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import psycopg

from tenant_ops.backups.ddl.dependents import (
    comment_nodes,
    constraint_nodes,
    index_nodes,
    policy_nodes,
    rule_nodes,
    statistics_nodes,
    trigger_nodes,
    uncarried_dependents,
)
from tenant_ops.backups.ddl.nodes import Key, Node, closure, in_order
from tenant_ops.backups.ddl.queries import Objects, read_objects
from tenant_ops.backups.ddl.rights import rights
from tenant_ops.backups.ddl.statements import Neutralizer, SchemaDefinition, Statement, TableShape
from tenant_ops.backups.ddl.tables import sequence_nodes, table_nodes, uncarried_relations, view_nodes
from tenant_ops.backups.ddl.types import function_nodes, type_nodes, uncarried_types
from tenant_ops.backups.layout import NotCarried

_HANDLED = ("pg_class", "pg_type", "pg_proc", "pg_statistic_ext", "pg_default_acl")


def read_definition(connection: psycopg.Connection, names: Mapping[str, str]) -> SchemaDefinition:
    """Read the schema `names["schema"]`, in the caller's transaction, which must have an empty search path.

    Args:
        connection: Any connection that may read the catalogs.
        names: The tenant's own names: `schema`, `stage` and the roles `owner`, `admin`, ....

    Raises:
        LookupError: the schema does not exist.
        OperationFailed: its objects need each other in a circle.
    """
    objects = read_objects(connection, names["schema"])
    nodes = _nodes(objects)
    needs = _needs(objects, nodes)
    by_key = _refreshed_in_order({key: _with_needs(node, needs) for key, node in nodes.items()})
    first = closure(by_key, (key for key, node in by_key.items() if node.kind in ("table", "partition")))
    neutral = Neutralizer(names)
    statements = [
        Statement("pre" if node.key in first else "post", node.kind, neutral.shown(node.name), neutral(text))
        for node in in_order(by_key.values())
        for text in node.statements
    ]
    roles = [name for what, name in names.items() if what not in ("schema", "stage")]
    statements += [
        Statement("rights", kind, neutral.shown(name), neutral(text))
        for kind, name, text in rights(objects, roles)
    ]
    return SchemaDefinition(
        statements=tuple(sorted(statements, key=lambda statement: statement.section != "pre")),
        tables=tuple(_tables(objects)),
        sequences=tuple(objects.name_of(row.oid) for row in objects.sequences),
        extensions=_extensions(objects),
        not_carried=tuple(_not_carried(objects)),
        warnings=tuple(_warnings(objects, statements, names)),
    )


def _nodes(objects: Objects) -> dict[Key, Node]:
    nodes: dict[Key, Node] = {}
    for build in (
        type_nodes, function_nodes, sequence_nodes, table_nodes, view_nodes, constraint_nodes, index_nodes,
        trigger_nodes, rule_nodes, policy_nodes, statistics_nodes,
    ):  # fmt: skip
        nodes |= {node.key: node for node in build(objects)}
    return nodes | {node.key: node for node in comment_nodes(objects, nodes)}


def _with_needs(node: Node, needs: Mapping[Key, set[Key]]) -> Node:
    found = needs.get(Key(node.key.catalog, node.key.oid), set()) if not node.key.part else set()
    return replace(node, needs=node.needs | found)


def _refreshed_in_order(nodes: dict[Key, Node]) -> dict[Key, Node]:
    """A materialised view is filled after those it reads, also through plain views."""
    rows = {key: Key(key.catalog, key.oid, "rows") for key in nodes}
    refreshes = [node for node in nodes.values() if node.kind == "refresh"]
    return nodes | {
        node.key: replace(node, needs=node.needs | {rows[key] for key in closure(nodes, node.needs)})
        for node in refreshes
    }


def _needs(objects: Objects, nodes: Mapping[Key, Node]) -> dict[Key, set[Key]]:
    """What each node needs, from the server's own record of dependencies."""
    made_by = _made_by(objects, nodes)
    needs: dict[Key, set[Key]] = {}
    for row in objects.dependencies:
        key = made_by.get((row.catalog, row.objid))
        if key is None or (
            key.catalog == "pg_class" and row.deptype == "a" and _is_sequence(objects, row.objid)
        ):
            continue  # a sequence "depends" on the column that owns it; the owner is set afterwards
        for target in ((row.refcatalog, row.refobjid), ("pg_type", row.element), ("pg_class", row.row_of)):
            need = made_by.get(target)
            if need is not None and need != key:
                needs.setdefault(key, set()).add(need)
    return needs


def _made_by(objects: Objects, nodes: Mapping[Key, Node]) -> dict[tuple[str, int], Key]:
    """The node that makes each catalog object, also those that come with another."""
    made = {(key.catalog, key.oid): key for key in nodes if not key.part}
    made |= {("pg_type", row.reltype): Key("pg_class", row.oid) for row in objects.relations}
    made |= {("pg_class", row.typrelid): Key("pg_type", row.oid) for row in objects.types if row.typrelid}
    made |= {
        ("pg_class", row.oid): Key("pg_class", row.owner_table)
        for row in objects.sequences
        if row.deptype == "i"
    }
    made |= {
        ("pg_attrdef", row.default_oid): Key("pg_class", row.attrelid)
        for row in objects.columns
        if row.default_oid and row.attgenerated
    }
    made |= {
        ("pg_class", row.conindid): Key("pg_constraint", row.oid)
        for row in objects.constraints
        if row.contype in "pux"
    }
    made |= {
        ("pg_constraint", row.oid): Key("pg_type", row.contypid)
        for row in objects.constraints
        if row.contypid
    }
    made |= {
        ("pg_rewrite", row.oid): Key("pg_class", row.ev_class)
        for row in objects.rules
        if row.definition is None
    }
    return made


def _is_sequence(objects: Objects, oid: int) -> bool:
    relation = objects.relations_by_oid.get(oid)
    return relation is not None and relation.relkind == "S"


def _tables(objects: Objects) -> Iterator[TableShape]:
    for row in objects.relations:
        if row.relkind == "r":
            columns = (column.name for column in objects.columns_of(row.oid) if not column.attgenerated)
            yield TableShape(row.name, tuple(columns))


def _extensions(objects: Objects) -> tuple[str, ...]:
    needed = {row.extension for row in objects.dependencies if row.extension}
    needed |= {row.extension for row in objects.members if row.extension}
    return tuple(sorted(needed))


def _not_carried(objects: Objects) -> Iterator[NotCarried]:
    yield from uncarried_types(objects)
    yield from uncarried_relations(objects)
    yield from uncarried_dependents(objects)
    for row in objects.members:
        if row.extension is None and row.catalog not in _HANDLED:
            yield NotCarried(
                f"{row.type} {row.identity}", f"objects of kind {row.type} are not written to backups yet"
            )


def _warnings(objects: Objects, statements: list[Statement], names: Mapping[str, str]) -> Iterator[str]:
    for row in (*objects.relations, *objects.types, *objects.functions):
        if row.owner != names["owner"]:
            yield f"{row.name} belongs to {row.owner}; restored, it belongs to the tenant's owner role."
    for statement in statements:
        if statement.names_schema_in_text and statement.kind in ("function", "procedure"):
            yield f"{statement.kind} {statement.name} names its schema in its text; a restore rewrites it."
    for row in objects.relations:
        if row.reloftype:
            yield f"table {row.name} was made from a type; restored, it is a table of the same columns."
    for row in objects.default_rights:
        if row.owner != objects.schema.owner:
            yield f"default rights that {row.owner} set in the schema are not written to the backup."
    yield from sorted(_outside(objects))


def _outside(objects: Objects) -> set[str]:
    """What the schema needs that is neither in it nor of an extension."""
    own = {
        "pg_proc": {row.oid for row in objects.functions},
        "pg_class": {row.oid for row in (*objects.relations, *objects.indexes)}
        | {row.typrelid for row in objects.types},
    }
    return {
        f"something in the schema needs {row.refcatalog} {row.refobjid}, which lies outside it."
        for row in objects.dependencies
        if row.extension is None
        and row.catalog != "pg_type"
        and row.refobjid not in own.get(row.refcatalog, {row.refobjid})
    }
