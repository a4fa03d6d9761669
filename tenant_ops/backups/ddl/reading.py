"""Reading the definition of a schema: everything it is but its rows.

Here: putting the builders together, the order, what cannot be carried. Not here: the catalog queries
(`catalogs.py`), the SQL of each kind of object.
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
from tenant_ops.backups.ddl.others import other_nodes, uncarried_others
from tenant_ops.backups.ddl.outside import needs_outside, uncarried_attached
from tenant_ops.backups.ddl.queries import Objects, Row, read_objects
from tenant_ops.backups.ddl.rights import regranted, rights
from tenant_ops.backups.ddl.statements import (
    Neutralizer,
    SchemaDefinition,
    Statement,
    TableShape,
    names_key,
)
from tenant_ops.backups.ddl.tables import (
    Family,
    sequence_nodes,
    table_nodes,
    uncarried_relations,
    view_nodes,
)
from tenant_ops.backups.ddl.types import function_nodes, type_nodes, uncarried_marks, uncarried_types
from tenant_ops.backups.layout import NotCarried


def read_definition(connection: psycopg.Connection, names: Mapping[str, str]) -> SchemaDefinition:
    """Read the schema `names["schema"]`, in the caller's transaction, which must have an empty search path.

    Args:
        connection: Any connection that may read the catalogs.
        names: The tenant's own names: `schema`, `stage` and the roles `owner`, `admin`, ....

    Raises:
        LookupError: the schema does not exist.
        OperationFailed: its objects need each other in a circle.
    """
    roles = [name for what, name in names.items() if what not in ("schema", "stage")]
    objects = read_objects(connection, names["schema"], names["stage"], roles)
    nodes, lost = _carried(objects)
    by_key = _refreshed_in_order(nodes)
    first = closure(by_key, (key for key, node in by_key.items() if _is_before_rows(node)))
    neutral = Neutralizer(names)
    statements = [
        Statement("pre" if node.key in first else "post", node.kind, neutral.shown(node.name), neutral(text))
        for node in in_order(by_key.values())
        for text in node.statements
    ]
    statements += [
        Statement("rights", kind, neutral.shown(name), neutral(text))
        for kind, name, text in rights(objects, roles, by_key)
    ]
    return SchemaDefinition(
        statements=tuple(sorted(statements, key=lambda statement: statement.section != "pre")),
        tables=tuple(_tables(objects, by_key)),
        sequences=tuple(objects.name_of(row.oid) for row in _sequences(objects, by_key)),
        extensions=_extensions(objects),
        needs=needs_outside(connection, objects, names),
        not_carried=(
            *(NotCarried(neutral.shown(item.name), neutral.shown(item.reason)) for item in lost),
            *uncarried_marks(objects),
            *uncarried_attached(objects, names),
        ),
        warnings=tuple(_warnings(objects, statements, names)),
    )


def _carried(objects: Objects) -> tuple[dict[Key, Node], list[NotCarried]]:
    """The nodes that can be made, with what they need; and what cannot be, with all that needs it."""
    nodes: dict[Key, Node] = {}
    for build in (
        type_nodes, function_nodes, other_nodes, sequence_nodes, table_nodes, view_nodes, constraint_nodes,
        index_nodes, trigger_nodes, rule_nodes, policy_nodes, statistics_nodes,
    ):  # fmt: skip
        nodes |= {node.key: node for node in build(objects)}
    nodes |= {node.key: node for node in comment_nodes(objects, nodes)}
    said = [
        *uncarried_types(objects), *uncarried_others(objects), *uncarried_relations(objects),
        *uncarried_dependents(objects),
    ]  # fmt: skip
    lost = {key: item.name for key, item in said}
    needs, stub_needs = _needs(objects, nodes, lost)
    nodes = {
        key: replace(
            node,
            needs=node.needs | (frozenset() if key.part else needs.get(key, frozenset())),
            stub_needs=stub_needs.get(key, frozenset()),
        )
        for key, node in nodes.items()
    }
    left = dict(nodes)
    items = [item for _, item in said]
    while found := [key for key, node in left.items() if node.needs & lost.keys()]:
        for key in found:
            need = min(left[key].needs & lost.keys())
            node = left.pop(key)
            lost[key] = f"{node.kind} {node.name}"
            if not key.part and node.kind != "comment":
                items.append(NotCarried(lost[key], f"it needs {lost[need]}, which is not carried"))
    return left, items


def _is_before_rows(node: Node) -> bool:
    """Whether it is made before the rows are loaded; with all it needs."""
    if node.kind == "domain constraint":
        return not node.statements[0].endswith("NOT VALID")
    if node.kind in ("function", "procedure"):
        return not node.stub  # nobody knows what its text calls, nor which of them a generated column needs
    return node.kind in ("table", "partition", "inheritance", "column setting")


def _refreshed_in_order(nodes: dict[Key, Node]) -> dict[Key, Node]:
    """A materialised view is filled after those it reads, also through plain views."""
    rows = {key: Key(key.catalog, key.oid, "rows") for key in nodes}
    refreshes = [node for node in nodes.values() if node.kind == "refresh"]
    return nodes | {
        node.key: replace(node, needs=node.needs | {rows[key] for key in closure(nodes, node.needs)})
        for node in refreshes
    }


def _needs(
    objects: Objects, nodes: Mapping[Key, Node], lost: Mapping[Key, str]
) -> tuple[dict[Key, frozenset[Key]], dict[Key, frozenset[Key]]]:
    """What each node and each stub needs, from the server's own record of dependencies."""
    made_by = _made_by(objects, nodes) | {(key.catalog, key.oid): key for key in lost if not key.part}
    needs: dict[Key, set[Key]] = {}
    types: dict[Key, set[Key]] = {}
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
                if row.refcatalog == "pg_type" and row.catalog != "pg_rewrite":
                    types.setdefault(key, set()).add(need)
    return _frozen(needs), _frozen(types)


def _frozen(found: dict[Key, set[Key]]) -> dict[Key, frozenset[Key]]:
    return {key: frozenset(keys) for key, keys in found.items()}


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
        if row.contypid and row.contype == "n"
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


def _tables(objects: Objects, nodes: Mapping[Key, Node]) -> Iterator[TableShape]:
    for row in objects.relations:
        if row.relkind == "r" and Key("pg_class", row.oid) in nodes:
            columns = (column.name for column in objects.columns_of(row.oid) if not column.attgenerated)
            yield TableShape(row.name, tuple(columns))


def _sequences(objects: Objects, nodes: Mapping[Key, Node]) -> Iterator[Row]:
    for row in objects.sequences:
        maker = row.owner_table if row.deptype == "i" else row.oid
        if Key("pg_class", maker) in nodes:
            yield row


def _extensions(objects: Objects) -> tuple[str, ...]:
    needed = {row.extension for row in objects.dependencies if row.extension}
    needed |= {row.extension for row in objects.members if row.extension}
    return tuple(sorted(needed))


def _warnings(objects: Objects, statements: list[Statement], names: Mapping[str, str]) -> Iterator[str]:
    neutral = Neutralizer(names)
    for row in (*objects.relations, *objects.types, *objects.functions):
        if row.owner != names["owner"]:
            owner = neutral.shown(row.owner)
            yield f"{row.name} belongs to {owner}; restored, it belongs to the tenant's owner role."
    for statement in statements:
        if statement.names_schema_in_text and statement.kind != "comment":
            yield f"{statement.kind} {statement.name} names its schema in its text; a restore rewrites it."
        if statement.kind != "comment" and names_key(statement, names["schema"]):
            yield (
                f"{statement.kind} {statement.name} holds the tenant's key without a schema's or role's name "
                "around it; a restore does not rewrite it."
            )
    for row in objects.relations:
        family = Family(objects, row, objects.columns_of(row.oid))
        if family.known and not family.made_inheriting:
            yield f"table {row.name}: restored, the columns it inherits are also its own."
    for column in objects.columns:
        if column.type.startswith("reg") and column.attrelid in objects.relations_by_oid:
            yield (
                f"column {objects.name_of(column.attrelid)}.{column.name} names objects by {column.type}: "
                "its values are restored by name, and refer to what has that name then."
            )
    for extension in sorted({row.extension for row in objects.members if row.extension}):
        yield (
            f"extension {extension} lies in the schema itself; what uses it cannot be restored beside it: "
            f"ALTER EXTENSION {extension} SET SCHEMA moves it to one of its own."
        )
    yield from regranted(objects, names)
