"""Which statements a definition may hold: those that make or change something of the schema itself.

Here: telling them from others by how they begin. Not here: running them (`restoring/statements.py`).

Whoever can write to a store can write a plain backup, and its statements. What they may do is decided by the
role they run as; this keeps away from the server what no definition ever says: other schemas, roles,
databases, servers, settings, languages, extensions, code that is not in an object, rows.
"""

import re
from functools import lru_cache

_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_\u0080-\U0010ffff][\w$]*)'
_EVENT = rf"(?:INSERT|DELETE|TRUNCATE|UPDATE(?: OF {_NAME}(?:, {_NAME})*)?)"
_RIGHT = rf"[A-Z]+(?: \({_NAME}\))?"
_TEXT_SEARCH = "TEXT SEARCH (?:DICTIONARY|CONFIGURATION)"
_FORMS = (
    # The object itself, named with its schema.
    r"CREATE (?:TYPE|DOMAIN|(?:UNLOGGED )?(?:TABLE|SEQUENCE)|MATERIALIZED VIEW|(?:OR REPLACE )?VIEW"
    rf"|OR REPLACE (?:FUNCTION|PROCEDURE)|AGGREGATE|OPERATOR|COLLATION|(?:DEFAULT )?CONVERSION|{_TEXT_SEARCH}"
    r"|STATISTICS) <schema>\.",
    r"ALTER (?:TABLE(?: ONLY)?|INDEX|SEQUENCE|DOMAIN|MATERIALIZED VIEW|STATISTICS|TEXT SEARCH CONFIGURATION) "
    r"<schema>\.",
    r"REFRESH MATERIALIZED VIEW <schema>\.",
    r"COMMENT ON (?:TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|INDEX|TYPE|DOMAIN|FUNCTION|PROCEDURE|AGGREGATE"
    rf"|OPERATOR|COLLATION|CONVERSION|{_TEXT_SEARCH}|STATISTICS|COLUMN) <schema>\.",
    # What lies in the schema of its table.
    rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON (?:ONLY )?<schema>\.",
    rf"CREATE (?:CONSTRAINT )?TRIGGER {_NAME} (?:BEFORE|AFTER|INSTEAD OF) {_EVENT}(?: OR {_EVENT})* "
    r"ON <schema>\.",
    rf"CREATE RULE {_NAME} AS\s+ON (?:INSERT|UPDATE|DELETE) TO <schema>\.",
    rf"CREATE POLICY {_NAME} ON <schema>\.",
    rf"COMMENT ON (?:TRIGGER|RULE|POLICY|CONSTRAINT) {_NAME} ON (?:DOMAIN )?<schema>\.",
    # A cast lies in no schema; the server asks for the ownership of one of its types.
    r"(?:CREATE|COMMENT ON) CAST \(",
    # Rights on objects: never a role given to another.
    rf"(?:GRANT|REVOKE) {_RIGHT}(?:, {_RIGHT})* ON (?:TABLE|SEQUENCE|FUNCTION|PROCEDURE|TYPE|DOMAIN) "
    r"<schema>\.",
    rf"(?:GRANT|REVOKE) {_RIGHT}(?:, {_RIGHT})* ON SCHEMA <schema> (?:TO|FROM) ",
    r"ALTER DEFAULT PRIVILEGES IN SCHEMA <schema> GRANT ",
    r"COMMENT ON SCHEMA <schema> IS ",
)


def is_definition(statement: str, schema: str) -> bool:
    """Whether a statement makes or changes something of `schema`, as the statements of a definition do."""
    return _forms(schema).match(statement) is not None


@lru_cache(maxsize=64)
def _forms(schema: str) -> re.Pattern[str]:
    name = re.escape(schema)
    quoted = re.escape(schema.replace('"', '""'))
    return re.compile("|".join(_FORMS).replace("<schema>", f'(?:"{quoted}"|{name})'))
