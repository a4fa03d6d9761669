"""A schema as SQL statements that fit any tenant: no name of the tenant they were read from remains in them.

Here: the statement record, taking a tenant's own names out of SQL and putting another's in.
Not here: reading the catalogs (`queries.py`), building the SQL (`tables.py`, `types.py`, ...).

Two kinds of place name the schema, and they differ while a restore loads beside the live schema. What
Postgres resolves when it reads the statement (`FROM t_x.users`, `'t_x.users_id_seq'::regclass`) must name the
schema being loaded. What stays text until it runs (string constants, bodies of functions, `SET search_path`)
must name the schema as it will be called in the end. Tenant keys are 13 random characters, so a word that
equals `t_<key>` is that tenant's name and nothing else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import Need, NotCarried

Section = Literal["pre", "post", "rights"]
SECTIONS: tuple[Section, ...] = ("pre", "post", "rights")

# A part of a statement: SQL as it stands, or {"name": what} where a name of the tenant goes.
Part = str | dict[str, str]


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        section: `pre` before the rows, `post` after them, `rights` last.
        kind: What it makes (`table`, `index`, `grant`, ...).
        name: The object, for people.
        sql: Parts; a plain string when it names nothing of the tenant.
    """

    section: Section
    kind: str
    name: str
    sql: str | tuple[Part, ...]

    def render(self, names: Mapping[str, str]) -> str:
        """The statement with these names put in; see `names_for`."""
        if isinstance(self.sql, str):
            return self.sql
        return "".join(part if isinstance(part, str) else names[part["name"]] for part in self.sql)

    @property
    def names_schema_in_text(self) -> bool:
        """Whether a constant or a function body names the schema."""
        return not isinstance(self.sql, str) and {"name": "text:schema"} in self.sql


@dataclass(frozen=True)
class TableShape:
    """A table that holds rows.

    Attributes:
        name: In its schema.
        columns: Those a COPY carries: all but generated ones, in order.
    """

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SchemaDefinition:
    """Everything a schema is but its rows.

    Attributes:
        statements: In the order they are run.
        tables: Those with rows of their own; of a partitioned table, its partitions.
        sequences: All of them, also those of identity columns.
        extensions: What must be installed for the statements to run.
        needs: What else must be there, outside the schema.
        not_carried: Objects no statement makes, with the reason.
        warnings: What a restore makes differently.
    """

    statements: tuple[Statement, ...]
    tables: tuple[TableShape, ...]
    sequences: tuple[str, ...]
    extensions: tuple[str, ...]
    needs: tuple[Need, ...]
    not_carried: tuple[NotCarried, ...]
    warnings: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the definition: equal for two tenants exactly when their schemas are."""
        return sha256(encode_statements(self.statements)).hexdigest()


class Neutralizer:
    """Takes the names of one tenant out of SQL.

    Args:
        names: What each name is, as in `names_for`, without the `text:` entries.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._roles = {name: what for what, name in names.items()}
        choices = "|".join(sorted(map(re.escape, self._roles), key=len, reverse=True))
        name = rf"(?<![A-Za-z0-9_$])(?:{choices})(?![A-Za-z0-9_$])"
        self._name = re.compile(name)
        self._in_any_case = re.compile(name, re.IGNORECASE)  # takes five times as long
        self._qualifier = re.compile(r'(?:"schema"|\bschema)\.')

    def __call__(self, sql: str) -> str | tuple[Part, ...]:
        """The parts of a statement."""
        texts = _texts(sql)
        search = (self._in_any_case if texts else self._name).search
        found = search(sql)
        if found is None:
            return sql
        parts: list[Part] = []
        at = 0
        while found is not None:
            name, in_text = found.group(), any(start <= found.start() < end for start, end in texts)
            if not in_text and name not in self._roles:
                found = search(sql, found.end())  # a quoted name in capitals is another one
                continue
            what = self._roles[name.lower()]  # code in a text may write it in capitals, unquoted
            if what == "schema" and in_text:
                what = "text:schema"
            if found.start() > at:
                parts.append(sql[at : found.start()])
            parts.append({"name": what})
            at = found.end()
            found = search(sql, at)
        if at < len(sql):
            parts.append(sql[at:])
        return tuple(parts)

    def shown(self, name: str) -> str:
        """A name for people: without the schema, roles as what they are."""
        return self._qualifier.sub("", self._name.sub(lambda found: self._roles[found.group()], name))


def names_for(schema: str, stage: str, roles: Mapping[str, str], *, final_schema: str) -> dict[str, str]:
    """The names to put into statements.

    Args:
        schema: The schema the objects are made in.
        stage: The tenant's stage schema.
        roles: Role names by `owner`, `admin`, `editor`, `viewer`, `app`.
        final_schema: What the schema will be called in the end.
    """
    return {"schema": schema, "text:schema": final_schema, "stage": stage, **roles}


def names_key(statement: Statement, schema: str) -> bool:
    """Whether a statement still holds the tenant's key: half a name, put together when it runs."""
    parts = (statement.sql,) if isinstance(statement.sql, str) else statement.sql
    key = schema.removeprefix("t_").lower()
    return any(isinstance(part, str) and key in part.lower() for part in parts)


def encode_statements(statements: Iterable[Statement]) -> bytes:
    """Statements as the JSON of the archive's schema member."""
    rows = [{"section": s.section, "kind": s.kind, "name": s.name, "sql": s.sql} for s in statements]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()


def decode_statements(document: bytes) -> tuple[Statement, ...]:
    """Statements from the archive's schema member.

    Raises:
        DamagedBackup: it does not hold statements.
    """
    try:
        return tuple(_statement(row) for row in json.loads(document))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedBackup(f"it does not hold statements: {error}.", where="schema member") from None


def _statement(row: dict[str, Any]) -> Statement:
    if row["section"] not in SECTIONS:
        raise ValueError(f"unknown section {row['section']!r}")
    sql = row["sql"] if isinstance(row["sql"], str) else tuple(row["sql"])
    return Statement(row["section"], str(row["kind"]), str(row["name"]), sql)


def _texts(sql: str) -> list[tuple[int, int]]:
    """Where the statement holds text: constants but those cast to an object's name, and dollar quotes."""
    if "'" not in sql and "$" not in sql:
        return []
    return [
        token.span()
        for token in _QUOTED.finditer(sql)
        if token.lastgroup != "name" and not _REGISTERED.match(sql, token.end())
    ]


# Postgres' own deparser writes this SQL: quotes doubled, E'' only where a backslash occurs, no comments.
_QUOTED = re.compile(
    r"""
      (?P<literal> (?<![A-Za-z0-9_$])[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' )
    | (?P<name>    "(?:[^"]|"")*" )
    | (?P<dollar>  (?<![A-Za-z0-9_$]) (?P<tag>\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$) .*? (?P=tag) )
    """,
    re.VERBOSE | re.DOTALL,
)
_REGISTERED = re.compile(
    r"::reg(?:class|procedure|proc|type|operator|oper|namespace|role|config|dictionary|collation)\b"
)
