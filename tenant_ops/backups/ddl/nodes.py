"""The objects of a schema in an order in which each can be made.

Here: what a node is, what it needs, sorting. Not here: which nodes there are (`reading.py` and the builders).

The order follows `pg_depend`, as recorded by the server, not a guess from the kinds: a view may need a
function, a table a type, a domain a function that needs a table's row type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from psycopg import sql

from tenant_ops.platform.errors import OperationFailed


class Key(NamedTuple):
    """Names a node: the catalog, the object's id, and which of its statements."""

    catalog: str
    oid: int
    part: str = ""


# What comes first among nodes that do not need each other.
PRIORITY = {
    kind: rank
    for rank, kind in enumerate(
        (
            "collation", "type", "domain", "function", "procedure", "aggregate", "operator", "cast",
            "conversion", "text search dictionary", "text search configuration", "domain constraint",
            "sequence", "table", "inheritance", "partition", "column setting", "default", "sequence owner",
            "primary key", "constraint", "index", "index partition", "foreign key", "view",
            "materialized view", "rule", "trigger", "policy", "table setting", "statistics", "refresh",
            "comment",
        )
    )
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """An object to be made.

    Attributes:
        key: Names it.
        kind: One of `PRIORITY`.
        name: For people.
        statements: The SQL that makes it, with the tenant's real names in it.
        needs: What must be made before; keys of no known node are ignored.
        subject: How `COMMENT ON` names it; empty for what cannot be commented on.
        stub: What stands in for it where objects need each other in a circle, until `statements` replace it.
        stub_needs: What must be made before the stub.
    """

    key: Key
    kind: str
    name: str
    statements: tuple[str, ...]
    needs: frozenset[Key] = field(default_factory=frozenset)
    subject: str = ""
    stub: tuple[str, ...] = ()
    stub_needs: frozenset[Key] = field(default_factory=frozenset)


@lru_cache(maxsize=4096)
def identifier(*names: str) -> str:
    """A quoted, possibly qualified SQL name (`psycopg.sql` takes ten times as long, 10 ms per tenant)."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(value: str) -> str:
    """A quoted SQL string."""
    return sql.Literal(value).as_string()


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, each after everything it needs; otherwise by kind and name.

    Where some need each other in a circle, the stub of one comes first and the node itself later.

    Raises:
        OperationFailed: some need each other in a circle and none of them has a stub; they are named.
    """
    by_key = {node.key: node for node in nodes}
    missing = {key: sum(need in by_key for need in node.needs - {key}) for key, node in by_key.items()}
    needed_by: dict[Key, list[Key]] = {key: [] for key in by_key}
    for key, node in by_key.items():
        for need in node.needs - {key}:
            if need in by_key:
                needed_by[need].append(key)
    ready = [_rank(by_key[key]) for key, count in missing.items() if not count]
    heapify(ready)
    ordered: list[Node] = []
    made: set[Key] = set()

    def provide(key: Key) -> None:
        made.add(key)
        for user in needed_by[key]:
            missing[user] -= 1
            if not missing[user]:
                heappush(ready, _rank(by_key[user]))

    stubs = 0
    while len(ordered) < len(by_key) + stubs:
        if not ready:
            stub = _stub(
                [node for key, node in by_key.items() if missing[key] and key not in made], made, by_key
            )
            ordered.append(stub)
            stubs += 1
            provide(stub.key)
            continue
        node = by_key[heappop(ready)[-1]]
        ordered.append(node)
        if node.key not in made:
            provide(node.key)
    return ordered


def _stub(stuck: list[Node], made: set[Key], by_key: Mapping[Key, Node]) -> Node:
    possible = [
        node for node in stuck if node.stub and not (node.stub_needs - {node.key} - made) & by_key.keys()
    ]
    if not possible:
        names = sorted(f"{node.kind} {node.name}" for node in stuck)
        raise OperationFailed(
            f"these objects need each other in a circle: {', '.join(names[:10])}.",
            fix="Break the circle, or drop one of them, before backing up.",
        )
    node = max(possible, key=_rank)  # a view rather than a function: its stub needs less
    return replace(node, statements=node.stub)


def closure(nodes: Mapping[Key, Node], roots: Iterable[Key]) -> set[Key]:
    """The roots and everything they need, however indirectly."""
    found: set[Key] = set()
    waiting = list(roots)
    while waiting:
        key = waiting.pop()
        if key in found or key not in nodes:
            continue
        found.add(key)
        waiting.extend(nodes[key].needs)
    return found


def _rank(node: Node) -> tuple[int, str, Key]:
    return PRIORITY[node.kind], node.name, node.key
