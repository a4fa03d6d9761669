"""Tables, sequences and views of a schema as nodes.

Here: relations and their columns. Not here: what hangs on a table (`dependents.py`).
"""

from collections.abc import Iterator

from tenant_ops.backups.ddl.nodes import Key, Node, identifier, literal
from tenant_ops.backups.ddl.queries import Objects, Row
from tenant_ops.backups.layout import NotCarried

_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "x": "EXTENDED", "m": "MAIN"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


def table_nodes(objects: Objects) -> Iterator[Node]:
    """Tables, the attaching of partitions, column defaults, and settings of tables."""
    identities = {row.owner_table: {} for row in objects.sequences}
    for row in objects.sequences:
        if row.deptype == "i":
            identities[row.owner_table][row.owner_column] = row
    for table in objects.relations:
        if table.relkind not in "rp":
            continue
        name = identifier(objects.schema.nspname, table.name)
        columns = objects.columns_of(table.oid)
        key = Key("pg_class", table.oid)
        statements = (
            _create_table(objects, table, name, columns, identities.get(table.oid, {})),
            *_column_settings(name, columns),
        )
        parents = frozenset(Key("pg_class", row.inhparent) for row in objects.parents_of(table.oid))
        yield Node(key, "table", table.name, statements, parents, subject=f"TABLE {name}")
        yield from _attachment(objects, table, name, key)
        yield from _defaults(table, name, columns, key)
        yield from _table_settings(table, name, key)


def sequence_nodes(objects: Objects) -> Iterator[Node]:
    """Sequences that are not part of an identity column, and which column owns them."""
    for row in objects.sequences:
        if row.deptype == "i":
            continue
        name = identifier(objects.schema.nspname, objects.name_of(row.oid))
        key = Key("pg_class", row.oid)
        create = f"CREATE SEQUENCE {name} AS {row.type} {_range(row)}"
        yield Node(key, "sequence", objects.name_of(row.oid), (create,), subject=f"SEQUENCE {name}")
        if row.deptype == "a" and row.owner_table in objects.relations_by_oid:
            column = objects.column(row.owner_table, row.owner_column)
            owner = identifier(objects.schema.nspname, objects.name_of(row.owner_table), column.name)
            yield Node(
                Key("pg_class", row.oid, "owner"),
                "sequence owner",
                objects.name_of(row.oid),
                (f"ALTER SEQUENCE {name} OWNED BY {owner}",),
                frozenset({key, Key("pg_class", row.owner_table)}),
            )


def view_nodes(objects: Objects) -> Iterator[Node]:
    """Views; materialised views, and filling those that were filled."""
    for view in objects.relations:
        if view.relkind not in "vm":
            continue
        name = identifier(objects.schema.nspname, view.name)
        key = Key("pg_class", view.oid)
        query = view.view_definition.rstrip().removesuffix(";")
        options = f" WITH ({', '.join(_options(view.reloptions))})" if view.reloptions else ""
        if view.relkind == "v":
            create = f"CREATE VIEW {name}{options} AS\n{query}"
            yield Node(key, "view", view.name, (create,), subject=f"VIEW {name}")
            yield from _defaults(view, name, objects.columns_of(view.oid), key)
            continue
        create = f"CREATE MATERIALIZED VIEW {name}{options} AS\n{query}\nWITH NO DATA"
        yield Node(key, "materialized view", view.name, (create,), subject=f"MATERIALIZED VIEW {name}")
        if view.relispopulated:
            yield Node(
                Key("pg_class", view.oid, "rows"),
                "refresh",
                view.name,
                (f"REFRESH MATERIALIZED VIEW {name}",),
                frozenset({key}),
            )


def uncarried_relations(objects: Objects) -> Iterator[NotCarried]:
    """Relations whose rows live outside the schema."""
    for row in objects.relations:
        if row.relkind == "f":
            yield NotCarried(f"foreign table {row.name}", "its rows and its server lie outside the schema")


def _create_table(
    objects: Objects, table: Row, name: str, columns: list[Row], identities: dict[int, Row]
) -> str:
    parents = [] if table.relispartition else objects.parents_of(table.oid)
    inherited = bool(parents)
    fields = [
        _column(objects, table, column, identities.get(column.attnum))
        for column in columns
        if column.attislocal or not inherited
    ]
    unlogged = "UNLOGGED " if table.relpersistence == "u" else ""
    parts = [f"CREATE {unlogged}TABLE {name} (", ",\n".join(f"    {text}" for text in fields), ")"]
    if inherited:
        parts.append(f"INHERITS ({', '.join(identifier(p.parent_schema, p.parent_name) for p in parents)})")
    if table.partition_key:
        parts.append(f"PARTITION BY {table.partition_key}")
    if table.method not in (None, "heap"):
        parts.append(f"USING {identifier(table.method)}")
    options = [*_options(table.reloptions), *(f"toast.{option}" for option in _options(table.toast_options))]
    if options:
        parts.append(f"WITH ({', '.join(options)})")
    return "\n".join(parts)


def _column(objects: Objects, table: Row, column: Row, identity: Row | None) -> str:
    parts = [identifier(column.name), column.type]
    if column.collation:
        parts.append(f"COLLATE {column.collation}")
    if column.attgenerated:
        stored = "STORED" if column.attgenerated == "s" else "VIRTUAL"
        parts.append(f"GENERATED ALWAYS AS ({column.default}) {stored}")
    if column.attidentity and identity is not None:
        always = "ALWAYS" if column.attidentity == "a" else "BY DEFAULT"
        sequence = identifier(objects.schema.nspname, objects.name_of(identity.oid))
        parts.append(f"GENERATED {always} AS IDENTITY (SEQUENCE NAME {sequence} {_range(identity)})")
    if column.attnotnull:
        parts.extend(_not_null(objects, table, column))
    return " ".join(parts)


def _not_null(objects: Objects, table: Row, column: Row) -> Iterator[str]:
    """Named since Postgres 18; one that is not validated is added after the rows."""
    constraint = objects.not_null.get((table.oid, column.attnum))
    if constraint is None:
        yield "NOT NULL"
    elif constraint.convalidated:
        no_inherit = " NO INHERIT" if constraint.connoinherit else ""
        yield f"CONSTRAINT {identifier(constraint.name)} NOT NULL{no_inherit}"


def _attachment(objects: Objects, table: Row, name: str, key: Key) -> Iterator[Node]:
    if not table.relispartition:
        return
    for parent in objects.parents_of(table.oid):
        yield Node(
            Key("pg_class", table.oid, "attach"),
            "partition",
            table.name,
            (
                f"ALTER TABLE ONLY {identifier(parent.parent_schema, parent.parent_name)} "
                f"ATTACH PARTITION {name} {table.partition_bound}",
            ),
            frozenset({key, Key("pg_class", parent.inhparent)}),
        )


def _defaults(table: Row, name: str, columns: list[Row], key: Key) -> Iterator[Node]:
    for column in columns:
        if column.default is not None and not column.attgenerated:
            alter = f"ALTER TABLE ONLY {name} ALTER COLUMN {identifier(column.name)}"
            statement = f"{alter} SET DEFAULT {column.default}"
            default = Key("pg_attrdef", column.default_oid)
            yield Node(default, "default", f"{table.name}.{column.name}", (statement,), frozenset({key}))


def _column_settings(name: str, columns: list[Row]) -> Iterator[str]:
    for column in columns:
        alter = f"ALTER TABLE ONLY {name} ALTER COLUMN {identifier(column.name)}"
        if column.storage:
            yield f"{alter} SET STORAGE {_STORAGE[column.storage]}"
        if column.compression:
            yield f"{alter} SET COMPRESSION {_COMPRESSION[column.compression]}"
        if column.attstattarget is not None and column.attstattarget >= 0:
            yield f"{alter} SET STATISTICS {column.attstattarget}"
        if column.attoptions:
            yield f"{alter} SET ({', '.join(_options(column.attoptions))})"


def _table_settings(table: Row, name: str, key: Key) -> Iterator[Node]:
    settings = []
    if table.relrowsecurity:
        settings.append("ENABLE ROW LEVEL SECURITY")
    if table.relforcerowsecurity:
        settings.append("FORCE ROW LEVEL SECURITY")
    if table.relreplident in ("n", "f"):
        settings.append(f"REPLICA IDENTITY {'NOTHING' if table.relreplident == 'n' else 'FULL'}")
    if settings:
        statements = tuple(f"ALTER TABLE ONLY {name} {setting}" for setting in settings)
        yield Node(
            Key("pg_class", table.oid, "settings"), "table setting", table.name, statements, frozenset({key})
        )


def _range(row: Row) -> str:
    cycle = "CYCLE" if row.seqcycle else "NO CYCLE"
    return (
        f"START WITH {row.seqstart} INCREMENT BY {row.seqincrement} MINVALUE {row.seqmin} "
        f"MAXVALUE {row.seqmax} CACHE {row.seqcache} {cycle}"
    )


def _options(options: list[str] | None) -> list[str]:
    """Storage options as they were given, values quoted: `fillfactor='70'`."""
    pairs = (option.split("=", 1) for option in options or ())
    return [f"{name}={literal(value)}" for name, value in pairs]
