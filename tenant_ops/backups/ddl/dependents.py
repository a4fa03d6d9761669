"""What hangs on tables and views: constraints, indexes, triggers, rules, policies, statistics, comments.

Here: their nodes. Not here: the tables themselves (`tables.py`), rights (`rights.py`).
"""

from collections.abc import Iterator

from tenant_ops.backups.ddl.nodes import Key, Node, identifier, literal
from tenant_ops.backups.ddl.queries import Objects, Row
from tenant_ops.backups.layout import NotCarried

_CONSTRAINT_KINDS = {
    "p": "primary key",
    "u": "constraint",
    "x": "constraint",
    "c": "constraint",
    "f": "foreign key",
}
_TRIGGER_STATES = {"D": "DISABLE TRIGGER", "R": "ENABLE REPLICA TRIGGER", "A": "ENABLE ALWAYS TRIGGER"}
_RULE_STATES = {"D": "DISABLE RULE", "R": "ENABLE REPLICA RULE", "A": "ENABLE ALWAYS RULE"}
_POLICY_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


def constraint_nodes(objects: Objects) -> Iterator[Node]:
    """Constraints of tables, each as declared where it was declared, not where it is inherited."""
    indexes = {row.oid: row for row in objects.indexes}
    for row in objects.constraints:
        if not row.conrelid or not _is_declared_here(row):
            continue
        table = identifier(objects.schema.nspname, objects.name_of(row.conrelid))
        # A check or foreign key of a parent reaches its children; a key is made on each and then attached.
        # The server attaches no index of an exclusion: those reach the partitions too.
        only = "ONLY " if row.contype in "pu" else ""
        statements = [f"ALTER TABLE {only}{table} ADD CONSTRAINT {identifier(row.name)} {row.definition}"]
        if row.contype in "pux":
            statements += _index_settings(objects, indexes[row.conindid], table)
        yield Node(
            Key("pg_constraint", row.oid),
            _CONSTRAINT_KINDS.get(row.contype, "constraint"),
            f"{objects.name_of(row.conrelid)}.{row.name}",
            tuple(statements),
            frozenset({Key("pg_class", row.conrelid)}),
        )


def index_nodes(objects: Objects) -> Iterator[Node]:
    """Indexes that no constraint makes, and their attaching to a partitioned parent's index."""
    constrained = {row.conindid: row.oid for row in objects.constraints if row.contype in "pux"}
    excluding = {row.conindid for row in objects.constraints if row.contype == "x"}
    names = {row.oid: row.name for row in objects.indexes}
    for row in objects.indexes:
        key = Key("pg_class", row.oid)
        table = identifier(objects.schema.nspname, objects.name_of(row.indrelid))
        if row.oid in constrained:
            made_by = Key("pg_constraint", constrained[row.oid])
        elif row.indisvalid or row.relkind == "I":
            made_by = key
            statements = (row.definition, *_index_settings(objects, row, table, with_options=False))
            needs = frozenset({Key("pg_class", row.indrelid)})
            yield Node(key, "index", row.name, statements, needs)
        else:
            continue
        for parent in objects.parents_of(row.oid):
            if parent.inhparent not in names or row.oid in excluding:
                continue
            parent_made_by = Key("pg_class", parent.inhparent)
            if parent.inhparent in constrained:
                parent_made_by = Key("pg_constraint", constrained[parent.inhparent])
            yield Node(
                Key("pg_class", row.oid, "attach"),
                "index partition",
                row.name,
                (
                    f"ALTER INDEX {identifier(objects.schema.nspname, parent.parent_name)} "
                    f"ATTACH PARTITION {identifier(objects.schema.nspname, row.name)}",
                ),
                frozenset({made_by, parent_made_by}),
            )


def uncarried_dependents(objects: Objects) -> Iterator[tuple[Key, NotCarried]]:
    """Indexes that are broken in the source."""
    constrained = {row.conindid for row in objects.constraints}
    for row in objects.indexes:
        if not row.indisvalid and row.relkind != "I" and row.oid not in constrained:
            reason = "it is invalid: building it failed or is not finished"
            yield Key("pg_class", row.oid), NotCarried(f"index {row.name}", reason)


def trigger_nodes(objects: Objects) -> Iterator[Node]:
    """Triggers, with the mode they fire in."""
    for row in objects.triggers:
        name = objects.name_of(row.tgrelid)
        alter = f"ALTER TABLE {identifier(objects.schema.nspname, name)}"
        if row.tgparentid:
            # Its parent's mode has reached it; it was given another one afterwards.
            state = f"{alter} {_TRIGGER_STATES.get(row.tgenabled, 'ENABLE TRIGGER')} {identifier(row.name)}"
            needs = frozenset({Key("pg_trigger", row.tgparentid)})
            attached = {
                Key("pg_class", row.tgrelid, f"attach {p.inhparent}") for p in objects.parents_of(row.tgrelid)
            }
            key = Key("pg_trigger", row.oid, "mode")
            yield Node(key, "trigger", f"{name}.{row.name}", (state,), needs | attached)
            continue
        statements = [row.definition]
        if row.tgenabled in _TRIGGER_STATES:
            statements.append(f"{alter} {_TRIGGER_STATES[row.tgenabled]} {identifier(row.name)}")
        yield _on_table(objects, Key("pg_trigger", row.oid), "trigger", row, row.tgrelid, statements)


def rule_nodes(objects: Objects) -> Iterator[Node]:
    """Rules other than the one that makes a view a view."""
    for row in objects.rules:
        if row.definition is None:
            continue
        name = objects.name_of(row.ev_class)
        statements = [row.definition.rstrip().removesuffix(";")]
        if row.ev_enabled in _RULE_STATES:
            table = identifier(objects.schema.nspname, name)
            statements.append(f"ALTER TABLE {table} {_RULE_STATES[row.ev_enabled]} {identifier(row.name)}")
        yield _on_table(objects, Key("pg_rewrite", row.oid), "rule", row, row.ev_class, statements)


def policy_nodes(objects: Objects) -> Iterator[Node]:
    """Row-level security policies."""
    for row in objects.policies:
        name = objects.name_of(row.polrelid)
        parts = [
            f"CREATE POLICY {identifier(row.name)} ON {identifier(objects.schema.nspname, name)}",
            "AS PERMISSIVE" if row.polpermissive else "AS RESTRICTIVE",
            f"FOR {_POLICY_COMMANDS[row.polcmd]}",
            f"TO {', '.join(row.roles)}",
        ]
        if row.using is not None:
            parts.append(f"USING ({row.using})")
        if row.with_check is not None:
            parts.append(f"WITH CHECK ({row.with_check})")
        yield _on_table(objects, Key("pg_policy", row.oid), "policy", row, row.polrelid, [" ".join(parts)])


def statistics_nodes(objects: Objects) -> Iterator[Node]:
    """Extended statistics."""
    for row in objects.statistics:
        statements = [row.definition]
        name = identifier(objects.schema.nspname, row.name)
        if row.stxstattarget is not None and row.stxstattarget >= 0:
            statements.append(f"ALTER STATISTICS {name} SET STATISTICS {row.stxstattarget}")
        needs = frozenset({Key("pg_class", row.stxrelid)})
        subject = f"STATISTICS {name}"
        key = Key("pg_statistic_ext", row.oid)
        yield Node(key, "statistics", row.name, tuple(statements), needs, subject=subject)


def comment_nodes(objects: Objects, nodes: dict[Key, Node]) -> Iterator[Node]:
    """Comments on everything that has a node, on columns, and on the schema."""
    subjects = {(key.catalog, key.oid): node.subject for key, node in nodes.items() if not key.part}
    subjects |= _other_subjects(objects)
    for row in objects.comments:
        subject = _column_subject(objects, row) if row.objsubid else subjects.get((row.catalog, row.objid))
        if subject:
            comment = f"COMMENT ON {subject} IS {literal(row.description)}"
            key = Key(row.catalog, row.objid, f"comment {row.objsubid}")
            yield Node(key, "comment", subject, (comment,), frozenset({Key(row.catalog, row.objid)}))


def _other_subjects(objects: Objects) -> dict[tuple[str, int], str]:
    """What can be commented on and is made by another object's node."""
    schema = objects.schema.nspname
    types = {row.oid: row.name for row in objects.types}
    found = {("pg_namespace", objects.schema.oid): f"SCHEMA {identifier(schema)}"}
    for row in objects.triggers:
        if row.tgparentid:
            table = identifier(schema, objects.name_of(row.tgrelid))
            found["pg_trigger", row.oid] = f"TRIGGER {identifier(row.name)} ON {table}"
    for row in objects.indexes:
        found["pg_class", row.oid] = f"INDEX {identifier(schema, row.name)}"
    for row in objects.sequences:
        found["pg_class", row.oid] = f"SEQUENCE {identifier(schema, objects.name_of(row.oid))}"
    for row in objects.constraints:
        if row.contypid in types:
            domain = identifier(schema, types[row.contypid])
            found["pg_constraint", row.oid] = f"CONSTRAINT {identifier(row.name)} ON DOMAIN {domain}"
        else:
            table = identifier(schema, objects.name_of(row.conrelid))
            found["pg_constraint", row.oid] = f"CONSTRAINT {identifier(row.name)} ON {table}"
    return found


def _column_subject(objects: Objects, row: Row) -> str:
    owner = objects.relations_by_oid.get(row.objid)
    if owner is None:
        owner = next(kind for kind in objects.types if kind.typrelid == row.objid)
    column = objects.column(row.objid, row.objsubid)
    return f"COLUMN {identifier(objects.schema.nspname, owner.name, column.name)}"


def _on_table(objects: Objects, key: Key, kind: str, row: Row, table: int, statements: list[str]) -> Node:
    name = objects.name_of(table)
    subject = f"{kind.upper()} {identifier(row.name)} ON {identifier(objects.schema.nspname, name)}"
    needs = frozenset({Key("pg_class", table)})
    return Node(key, kind, f"{name}.{row.name}", tuple(statements), needs, subject=subject)


def _is_declared_here(row: Row) -> bool:
    if row.contype in "pu":
        return True
    if row.contype == "n":
        return not row.convalidated and row.conislocal
    if row.contype not in "cfx" or row.conparentid:
        return False
    return row.conislocal or not row.coninhcount


def _index_settings(objects: Objects, index: Row, table: str, *, with_options: bool = True) -> list[str]:
    name = identifier(objects.schema.nspname, index.name)
    settings = []
    if with_options and index.reloptions:
        pairs = (option.split("=", 1) for option in index.reloptions)
        options = ", ".join(f"{option}={literal(value)}" for option, value in pairs)
        settings.append(f"ALTER INDEX {name} SET ({options})")
    for column, target in index.targets or ():
        settings.append(f"ALTER INDEX {name} ALTER COLUMN {column} SET STATISTICS {target}")
    if index.indisclustered:
        settings.append(f"ALTER TABLE {table} CLUSTER ON {identifier(index.name)}")
    if index.indisreplident:
        settings.append(f"ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {identifier(index.name)}")
    return settings
