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
    """Tables, what attaches them to others, column defaults, and settings of tables."""
    identities: dict[int, dict[int, Row]] = {}
    for row in objects.sequences:
        if row.deptype == "i":
            identities.setdefault(row.owner_table, {})[row.owner_column] = row
    for table in objects.relations:
        if table.relkind not in "rp":
            continue
        name = identifier(objects.schema.nspname, table.name)
        columns = objects.columns_of(table.oid)
        key = Key("pg_class", table.oid)
        family = Family(objects, table, columns)
        statements = (
            _create_table(objects, table, name, columns, identities.get(table.oid, {}), family),
            *_nameless_not_nulls(objects, table, name, columns, family),
            *_identity_settings(objects, table, identities.get(table.oid, {})),
        )
        needs = frozenset(Key("pg_class", row.inhparent) for row in family.parents)
        yield Node(key, "table", table.name, statements, needs, subject=f"TABLE {name}")
        yield from _attachments(objects, table, name, key, family)
        # An heir takes what its parents have when it is made; what they were given later it has not.
        heirs = {Key("pg_class", oid) for oid in objects.heirs_of(table.oid)}
        yield from _defaults(table, name, columns, frozenset({key, *heirs}))
        if settings := tuple(_column_settings(name, columns)):
            settings_key = Key("pg_class", table.oid, "columns")
            yield Node(settings_key, "column setting", table.name, settings, frozenset({key, *heirs}))
        yield from _table_settings(table, name, key)


class Family:
    """How a table comes by its columns.

    `CREATE TABLE ... INHERITS` puts the parents' columns first. Where the table has another order, because a
    column was added to a parent later or it was made to inherit later, it is made by itself and then told
    to inherit: the order is what applications see, and whether a column is also the table's own is not.
    """

    def __init__(self, objects: Objects, table: Row, columns: list[Row]) -> None:
        everyone = [] if table.relispartition else objects.parents_of(table.oid)
        self.known = [row for row in everyone if row.inhparent in objects.relations_by_oid]
        self.columns = {
            column.name: column for row in self.known for column in objects.columns_of(row.inhparent)
        }
        own = [column.name for column in columns if column.name not in self.columns]
        in_order = [*self.columns, *own] == [column.name for column in columns]
        all_inherited = all(column.attislocal or column.name in self.columns for column in columns)
        self.made_inheriting = bool(self.known) and in_order and all_inherited
        self.parents = self.known if self.made_inheriting else []

    def inherits(self, column: Row) -> bool:
        """Whether the column is made by inheriting it and by nothing else."""
        parent = self.columns.get(column.name)
        return (
            self.made_inheriting
            and not column.attislocal
            and parent is not None
            and (not column.attgenerated or column.default == parent.default)
        )


def sequence_nodes(objects: Objects) -> Iterator[Node]:
    """Sequences that are not part of an identity column, and which column owns them."""
    for row in objects.sequences:
        if row.deptype == "i":
            continue
        name = identifier(objects.schema.nspname, objects.name_of(row.oid))
        key = Key("pg_class", row.oid)
        unlogged = "UNLOGGED " if objects.relations_by_oid[row.oid].relpersistence == "u" else ""
        create = f"CREATE {unlogged}SEQUENCE {name} AS {row.type} {_range(row)}"
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
            columns = objects.columns_of(view.oid)
            create = f"CREATE OR REPLACE VIEW {name}{options} AS\n{query}"
            stub = (
                f"CREATE OR REPLACE VIEW {name} AS SELECT {', '.join(_nothing(column) for column in columns)}"
            )
            yield Node(key, "view", view.name, (create,), subject=f"VIEW {name}", stub=(stub,))
            yield from _defaults(view, name, columns, frozenset({key}))
            continue
        options = _storage_options(view)
        options = f" WITH ({', '.join(options)})" if options else ""
        method = f" USING {identifier(view.method)}" if view.method not in (None, "heap") else ""
        statements = (
            f"CREATE MATERIALIZED VIEW {name}{method}{options} AS\n{query}\nWITH NO DATA",
            *(
                statement.replace("ALTER TABLE ONLY", "ALTER MATERIALIZED VIEW", 1)
                for statement in _column_settings(name, objects.columns_of(view.oid))
            ),
        )
        yield Node(key, "materialized view", view.name, statements, subject=f"MATERIALIZED VIEW {name}")
        if view.relispopulated:
            yield Node(
                Key("pg_class", view.oid, "rows"),
                "refresh",
                view.name,
                (f"REFRESH MATERIALIZED VIEW {name}",),
                frozenset({key}),
            )


def uncarried_relations(objects: Objects) -> Iterator[tuple[Key, NotCarried]]:
    """Relations whose rows live outside the schema, and what ties a table to one outside it."""
    for row in objects.relations:
        if row.relkind == "f":
            reason = "its rows and its server lie outside the schema"
            yield Key("pg_class", row.oid), NotCarried(f"foreign table {row.name}", reason)
        for parent in objects.parents_of(row.oid):
            name = f"{parent.parent_schema}.{parent.parent_name}"
            key = Key("pg_class", row.oid, f"attach {parent.inhparent}")
            if parent.inhparent not in objects.relations_by_oid:
                reason = "that table lies outside the schema"
                yield key, NotCarried(f"that table {row.name} is a part of {name}", reason)
            elif parent.inhdetachpending:
                reason = "its detaching was begun"
                yield key, NotCarried(f"that table {row.name} is a part of {parent.parent_name}", reason)


def _create_table(
    objects: Objects, table: Row, name: str, columns: list[Row], identities: dict[int, Row], family: Family
) -> str:
    typed = bool(table.of_type)
    fields = [
        _column(objects, table, column, identities.get(column.attnum), typed=typed)
        for column in columns
        if not family.inherits(column)
    ]
    fields = [field for field in fields if field]
    fields += _own_not_nulls(objects, table, columns, family)
    unlogged = "UNLOGGED " if table.relpersistence == "u" else ""
    parts = [f"CREATE {unlogged}TABLE {name}{f' OF {table.of_type}' if typed else ''}"]
    if fields or not typed:
        parts += ["(", ",\n".join(f"    {text}" for text in fields), ")"]
    if family.parents:
        parents = (identifier(row.parent_schema, row.parent_name) for row in family.parents)
        parts.append(f"INHERITS ({', '.join(parents)})")
    if table.partition_key:
        parts.append(f"PARTITION BY {table.partition_key}")
    if table.method not in (None, "heap"):
        parts.append(f"USING {identifier(table.method)}")
    if options := _storage_options(table):
        parts.append(f"WITH ({', '.join(options)})")
    return "\n".join(parts)


def _nothing(column: Row) -> str:
    collation = f" COLLATE {column.collation}" if column.collation else ""
    return f"NULL::{column.type}{collation} AS {identifier(column.name)}"


def _column(objects: Objects, table: Row, column: Row, identity: Row | None, *, typed: bool) -> str:
    """A column as it is declared; of a typed table only what its type does not say, if anything."""
    parts = []
    if column.collation and not typed:
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
    if typed:
        return " ".join([identifier(column.name), "WITH OPTIONS", *parts]) if parts else ""
    return " ".join([identifier(column.name), column.type, *parts])


def _not_null(objects: Objects, table: Row, column: Row) -> Iterator[str]:
    """Named since Postgres 18; one that is not validated is added after the rows."""
    constraint = objects.not_null.get((table.oid, column.attnum))
    if constraint is None:
        yield "NOT NULL"
    elif constraint.convalidated:
        no_inherit = " NO INHERIT" if constraint.connoinherit else ""
        yield f"CONSTRAINT {identifier(constraint.name)} NOT NULL{no_inherit}"


def _own_not_nulls(objects: Objects, table: Row, columns: list[Row], family: Family) -> Iterator[str]:
    """Columns a table inherits and forbids to be null by itself."""
    for column in columns:
        constraint = objects.not_null.get((table.oid, column.attnum))
        if family.inherits(column) and constraint and constraint.conislocal and constraint.convalidated:
            yield f"CONSTRAINT {identifier(constraint.name)} NOT NULL {identifier(column.name)}"


def _nameless_not_nulls(
    objects: Objects, table: Row, name: str, columns: list[Row], family: Family
) -> Iterator[str]:
    """The same before Postgres 18, where such a constraint has no name."""
    for column in columns:
        nameless = column.attnotnull and (table.oid, column.attnum) not in objects.not_null
        if nameless and family.inherits(column) and not family.columns[column.name].attnotnull:
            yield f"ALTER TABLE ONLY {name} ALTER COLUMN {identifier(column.name)} SET NOT NULL"


def _attachments(objects: Objects, table: Row, name: str, key: Key, family: Family) -> Iterator[Node]:
    """What makes a table, once it is there, a partition or heir of another one of the schema."""
    for parent in objects.parents_of(table.oid):
        outside = parent.inhparent not in objects.relations_by_oid
        if outside or parent.inhdetachpending or parent in family.parents:
            continue
        above = identifier(parent.parent_schema, parent.parent_name)
        kind, statement = "inheritance", f"ALTER TABLE ONLY {name} INHERIT {above}"
        if table.relispartition:
            kind = "partition"
            statement = f"ALTER TABLE ONLY {above} ATTACH PARTITION {name} {table.partition_bound}"
        attach = Key("pg_class", table.oid, f"attach {parent.inhparent}")
        yield Node(
            attach, kind, table.name, (statement,), frozenset({key, Key("pg_class", parent.inhparent)})
        )


def _defaults(table: Row, name: str, columns: list[Row], needs: frozenset[Key]) -> Iterator[Node]:
    for column in columns:
        if column.default is not None and not column.attgenerated:
            alter = f"ALTER TABLE ONLY {name} ALTER COLUMN {identifier(column.name)}"
            statement = f"{alter} SET DEFAULT {column.default}"
            default = Key("pg_attrdef", column.default_oid)
            yield Node(default, "default", f"{table.name}.{column.name}", (statement,), needs)


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


def _identity_settings(objects: Objects, table: Row, identities: dict[int, Row]) -> Iterator[str]:
    """The sequence of an identity column is logged as its table is, unless it was told otherwise."""
    for identity in identities.values():
        sequence = objects.relations_by_oid[identity.oid]
        if sequence.relpersistence != table.relpersistence:
            name = identifier(objects.schema.nspname, sequence.name)
            yield f"ALTER SEQUENCE {name} SET {'UNLOGGED' if sequence.relpersistence == 'u' else 'LOGGED'}"


def _table_settings(table: Row, name: str, key: Key) -> Iterator[Node]:
    settings = []
    if table.relrowsecurity:
        settings.append("ENABLE ROW LEVEL SECURITY")
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


def _storage_options(row: Row) -> list[str]:
    return [*_options(row.reloptions), *(f"toast.{option}" for option in _options(row.toast_options))]


def _options(options: list[str] | None) -> list[str]:
    """Storage options as they were given, values quoted: `fillfactor='70'`."""
    pairs = (option.split("=", 1) for option in options or ())
    return [f"{name}={literal(value)}" for name, value in pairs]
