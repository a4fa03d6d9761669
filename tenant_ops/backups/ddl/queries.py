"""What the catalogs of one schema say, read by object id so the cost does not grow with other schemas.

Here: what is read, and in which order. Not here: the queries (`catalogs.py`), turning rows into SQL
(`tables.py`, `types.py`, ...).

pg_dump reads every schema's catalog rows whichever one is asked for: 26 s at 3,200 schemas. Here the objects
of a schema are found through the index of `pg_depend`, everything else by their ids. All queries run with an
empty search path, so the server's own deparsers qualify every name and nothing a tenant made can capture one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from tenant_ops.backups.ddl import catalogs

# Only the plans that are right for a few objects among those of thousands of schemas: look each up by its id.
_PLANS = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"

Row = Any  # a named tuple; its fields are the columns of the query


@dataclass(frozen=True)
class Objects:
    """The catalog rows of one schema, by kind."""

    schema: Row
    members: list[Row]
    attached: list[Row]
    relations: list[Row]
    columns: list[Row]
    sequences: list[Row]
    types: list[Row]
    functions: list[Row]
    privileged_settings: frozenset[str]
    rare: dict[str, list[Row]]
    constraints: list[Row]
    indexes: list[Row]
    triggers: list[Row]
    rules: list[Row]
    policies: list[Row]
    statistics: list[Row]
    inherits: list[Row]
    dependencies: list[Row]
    comments: list[Row]
    labels: list[Row]
    default_rights: list[Row]

    @cached_property
    def relations_by_oid(self) -> dict[int, Row]:
        """Tables, views and sequences by object id."""
        return {row.oid: row for row in self.relations}

    @cached_property
    def not_null(self) -> dict[tuple[int, int], Row]:
        """The NOT NULL constraint of a column, by table and column number; rows since Postgres 18."""
        return {
            (row.conrelid, row.conkey[0]): row
            for row in self.constraints
            if row.contype == "n" and row.conrelid
        }

    def name_of(self, relation: int) -> str:
        """The name of a relation of the schema."""
        return self.relations_by_oid[relation].name

    def columns_of(self, relation: int) -> list[Row]:
        """The columns of a table, view or composite type, in order."""
        return self._columns.get(relation, [])

    def column(self, relation: int, number: int) -> Row:
        """One column by its number."""
        return next(row for row in self.columns_of(relation) if row.attnum == number)

    def parents_of(self, relation: int) -> list[Row]:
        """What a table or index inherits from or is a partition of."""
        return self._parents.get(relation, [])

    def heirs_of(self, relation: int) -> list[int]:
        """Tables of the schema that inherit from a table or are partitions of it."""
        return self._heirs.get(relation, [])

    @cached_property
    def _columns(self) -> dict[int, list[Row]]:
        return _grouped(self.columns, "attrelid")

    @cached_property
    def _parents(self) -> dict[int, list[Row]]:
        return _grouped(self.inherits, "inhrelid")

    @cached_property
    def _heirs(self) -> dict[int, list[int]]:
        heirs = _grouped(self.inherits, "inhparent")
        return {parent: [row.inhrelid for row in rows] for parent, rows in heirs.items()}


def read_objects(connection: psycopg.Connection, schema: str, stage: str, roles: Sequence[str]) -> Objects:
    """Read everything the catalogs know of `schema`; LookupError when it does not exist.

    Args:
        connection: In a transaction with an empty search path.
        schema: The tenant's schema.
        stage: The schema the journal's functions are in: their triggers are no part of the definition.
        roles: The tenant's own.
    """
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        cursor.execute(_PLANS)

        def rows(query: str, **parameters: Any) -> list[Row]:
            return cursor.execute(query, parameters, prepare=True).fetchall()  # type: ignore[arg-type]

        found = rows(catalogs.SCHEMA, schema=schema)
        if not found:
            raise LookupError(schema)
        members = rows(catalogs.MEMBERS, schema=found[0].oid)
        own: dict[str, list[int]] = {}
        for member in members:
            if member.extension is None:
                own.setdefault(member.catalog, []).append(member.objid)
        relations = rows(catalogs.RELATIONS, ids=own.get("pg_class", []))
        types = _if_any(rows, catalogs.TYPES, own.get("pg_type", []))
        functions = _if_any(rows, catalogs.FUNCTIONS, own.get("pg_proc", []))
        tables = [r.oid for r in relations if r.relkind in "rpmvf"]
        attached = rows(
            catalogs.ATTACHED,
            types=own.get("pg_type", []) + [r.reltype for r in relations if r.reltype],
            tables=tables,
            schema=found[0].oid,
            roles=list(roles),
        )
        own["pg_cast"] = [row.objid for row in attached if row.catalog == "pg_cast"]
        own["pg_aggregate"] = [row.oid for row in functions if row.prokind == "a"]
        rare = {
            catalog: rows(query, ids=own[catalog])
            for catalog, query in catalogs.RARE.items()
            if own.get(catalog)
        }
        constraints = rows(
            catalogs.CONSTRAINTS, tables=tables, types=[t.oid for t in types if t.typtype == "d"]
        )
        indexes = rows(catalogs.INDEXES, tables=tables)
        triggers = rows(catalogs.TRIGGERS, tables=tables, stage=stage)
        rules = rows(catalogs.RULES, tables=tables)
        policies = rows(catalogs.POLICIES, tables=tables)
        columns = rows(
            catalogs.COLUMNS, ids=[r.oid for r in relations] + [t.typrelid for t in types if t.typrelid]
        )
        every = _everything(
            {
                "pg_class": [*relations, *indexes],
                "pg_type": types,
                "pg_proc": functions,
                "pg_constraint": constraints,
                "pg_trigger": triggers,
                "pg_rewrite": rules,
                "pg_policy": policies,
            }
        )
        every += [("pg_class", row.typrelid) for row in types if row.typrelid]
        every += [
            (catalog, oid)
            for catalog, ids in own.items()
            if catalog not in ("pg_class", "pg_type", "pg_proc", "pg_aggregate", "pg_default_acl")
            for oid in ids
        ]
        defaults = [("pg_attrdef", column.default_oid) for column in columns if column.default_oid]
        return Objects(
            schema=found[0],
            members=members,
            attached=attached,
            relations=relations,
            columns=columns,
            sequences=_if_any(rows, catalogs.SEQUENCES, [r.oid for r in relations if r.relkind == "S"]),
            types=types,
            functions=functions,
            privileged_settings=_privileged_settings(rows, functions, found[0].owner),
            rare=rare,
            constraints=constraints,
            indexes=indexes,
            triggers=triggers,
            rules=rules,
            policies=policies,
            statistics=_if_any(rows, catalogs.STATISTICS, own.get("pg_statistic_ext", [])),
            inherits=rows(catalogs.INHERITS, ids=tables + [index.oid for index in indexes]),
            dependencies=rows(catalogs.DEPENDENCIES, **pairs([*every, *defaults])),
            comments=rows(catalogs.COMMENTS, **pairs([*every, ("pg_namespace", found[0].oid)])),
            labels=(
                rows(catalogs.LABELS, **pairs([*every, ("pg_namespace", found[0].oid)]))
                if any(row.catalog == "pg_seclabel" for row in attached)  # hardly any database has one
                else []
            ),
            default_rights=_if_any(rows, catalogs.DEFAULT_RIGHTS, own.get("pg_default_acl", [])),
        )


def _grouped(rows: list[Row], field: str) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row)
    return groups


def _if_any(rows: Callable[..., list[Row]], query: str, ids: list[int]) -> list[Row]:
    return rows(query, ids=ids) if ids else []


def _privileged_settings(rows: Callable[..., list[Row]], functions: list[Row], owner: str) -> frozenset[str]:
    """Of the settings functions bring with them, those that the owner may not make."""
    names = {setting.partition("=")[0] for row in functions for setting in row.proconfig or ()}
    names.discard("search_path")  # what nearly all have, and everybody may set
    found = rows(catalogs.PRIVILEGED_SETTINGS, names=sorted(names), owner=owner) if names else []
    return frozenset(row.name for row in found)


def _everything(kinds: dict[str, Sequence[Row]]) -> list[tuple[str, int]]:
    return [(catalog, row.oid) for catalog, rows in kinds.items() for row in rows]


def pairs(objects: Sequence[tuple[str, int]]) -> dict[str, list[Any]]:
    """A list of catalog and object id as the parameters of a query."""
    return {"catalogs": [catalog for catalog, _ in objects], "ids": [oid for _, oid in objects]}
