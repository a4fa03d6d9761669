"""What the SQL of a migration may not say, because the same bytes run in every tenant's schema.

Here: reading SQL into words and the rules about them. Not here: whether a change is wise (locks, rewrites).

A file may not name a schema, change settings or roles, end the transaction, grant rights, or touch what
lies outside a schema. That keeps honest files portable; it is not the fence around dishonest ones: they
run as the tenant's owner, and the runner looks afterwards whether role and search path still stand.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenant_ops.platform.errors import InputError

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<body>\$(?P<tag>[A-Za-z_][A-Za-z_0-9]*|)\$.*?\$(?P=tag)\$)
    | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<number>\d[\w.]*)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BODY = re.compile(r"\$([A-Za-z_][A-Za-z_0-9]*)?\$")

_TRANSACTION = "The runner opens and ends the transaction."
_SETTING = "The runner sets role, search path and timeouts."
_RIGHTS = "New objects get their rights by default privileges."
_OUTSIDE = "A migration stays within the tenant's schema."
_ALONE = "It cannot run in a transaction; such steps are not supported."
_FIRST_WORDS = {
    **dict.fromkeys(("begin", "start", "commit", "end", "rollback", "abort", "savepoint"), _TRANSACTION),
    **dict.fromkeys(("release", "prepare", "execute", "deallocate"), _TRANSACTION),
    **dict.fromkeys(("set", "reset", "discard", "load"), _SETTING),
    **dict.fromkeys(("grant", "revoke", "reassign"), _RIGHTS),
    **dict.fromkeys(("listen", "notify", "unlisten", "checkpoint", "security"), _OUTSIDE),
    **dict.fromkeys(("vacuum", "cluster", "copy"), _ALONE),
}
_OUTER_KINDS = {"schema", "role", "user", "group", "database", "tablespace", "extension", "publication"}
_OUTER_KINDS |= {"subscription", "server", "event", "foreign", "system"}
_PAIRS = {
    ("set", "role"): _SETTING,
    ("reset", "role"): _SETTING,
    ("session", "authorization"): _SETTING,
    ("set", "search_path"): _SETTING,
    ("local", "role"): _SETTING,
    ("local", "search_path"): _SETTING,
    ("set", "schema"): _OUTSIDE,
    ("owner", "to"): _RIGHTS,
    ("default", "privileges"): _RIGHTS,
}
_SAME_EVERYWHERE = {"pg_catalog", "information_schema", "new", "old", "excluded"}
_NEVER = re.compile(r"public|pg_temp\w*|pg_toast\w*|tenant_ops|[ts]_[a-z2-7]{13}")


@dataclass(frozen=True)
class Problem:
    """Something a file may not say: where (from line 1), what, and why."""

    line: int
    what: str
    why: str


@dataclass(frozen=True)
class _Token:
    kind: str
    value: str
    start: int


_Found = tuple[_Token, str, str]


def check_sql(text: str, where: str) -> None:
    """Refuse SQL that would not be the same for every tenant.

    Args:
        text: Content of a `.sql` file.
        where: The file, for the message.

    Raises:
        InputError: naming file and line of the first problem.
    """
    for problem in problems(text):
        raise InputError(f"{problem.what} may not be used. {problem.why}", where=f"{where}:{problem.line}")


def problems(text: str) -> list[Problem]:
    """Everything a file may not say, in order."""
    found = {
        Problem(text.count("\n", 0, token.start) + 1, what, why)
        for token, what, why in _forbidden(list(_tokens(text, 0, len(text))), text)
    }
    return sorted(found, key=lambda problem: (problem.line, problem.what))


def _forbidden(tokens: list[_Token], text: str, *, body: bool = False) -> Iterator[_Found]:
    """What a file, or the body of a function in it, may not say."""
    yield from _schema_names(tokens)
    yield from _phrases(tokens)
    for statement in _statements(tokens):
        if not body:
            yield from _first_words(statement)
        if statement[0].value in {"do", "create"}:
            for token in statement:
                if token.kind == "body":
                    inner = _inside(token)
                    yield from _forbidden(list(_tokens(text, *inner)), text, body=True)


def _phrases(tokens: list[_Token]) -> Iterator[_Found]:
    """Words and pairs of words that are wrong wherever they stand."""
    for n, token in enumerate(tokens):
        following = tokens[n + 1].value if n + 1 < len(tokens) else ""
        pair = (token.value, following)
        if token.kind == "open":
            yield token, "an unclosed quote or comment", "It would swallow what follows."
        elif token.value == "\\":
            yield token, "a psql command", "Only SQL is understood."
        elif token.kind == "word" and token.value == "concurrently":
            yield token, "CONCURRENTLY", _ALONE
        elif token.kind == "word" and token.value == "set_config" and following == "(":
            yield token, "set_config()", _SETTING
        elif token.kind == "word" and pair in _PAIRS and not _harmless(tokens, n):
            yield token, " ".join(pair).upper(), _PAIRS[pair]


def _harmless(tokens: list[_Token], place: int) -> bool:
    """`UPDATE users SET role = ...` sets a column; `SET search_path FROM CURRENT` pins the tenant's own."""
    if [token.value for token in tokens[place + 2 : place + 4]] == ["from", "current"]:
        return True
    for token in reversed(tokens[:place]):
        if token.value == "update":
            return tokens[place].value == "set"
        if token.value in {";", "begin", "then", "else", "loop"}:
            break
    return False


def _first_words(statement: list[_Token]) -> Iterator[_Found]:
    first = statement[0]
    if first.kind != "word":
        return
    if first.value in _FIRST_WORDS:
        yield first, first.value.upper(), _FIRST_WORDS[first.value]
    elif first.value in {"create", "alter", "drop"} and len(statement) > 1:
        kind = statement[1]
        if kind.kind == "word" and kind.value in _OUTER_KINDS:
            yield first, f"{first.value} {kind.value}".upper(), _OUTSIDE


def _schema_names(tokens: list[_Token]) -> Iterator[_Found]:
    """Names of schemas: what stands before a dot and is no table, alias or variable of the same text."""
    dots = [token.value == "." for token in tokens]
    plain = {
        token.value
        for n, token in enumerate(tokens)
        if token.kind in {"word", "name"}
        and not (n and dots[n - 1])
        and not (n + 1 < len(tokens) and dots[n + 1])
    }
    for n, token in enumerate(tokens[:-2]):
        if token.kind not in {"word", "name"} or not dots[n + 1] or (n and dots[n - 1]):
            continue
        known = token.value in plain or token.value in _SAME_EVERYWHERE
        if _NEVER.fullmatch(token.value) or not known:
            what = f"the schema name in {token.value}.{tokens[n + 2].value}"
            yield token, what, "The search path leads to the tenant's schema; name the object alone."


def _statements(tokens: list[_Token]) -> Iterator[list[_Token]]:
    statement: list[_Token] = []
    for token in tokens:
        if token.value == ";" and token.kind == "sign":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(token)
    if statement:
        yield statement


def _inside(body: _Token) -> tuple[int, int]:
    """From where to where the text between the dollar quotes goes."""
    opening = _BODY.match(body.value)
    assert opening is not None
    return body.start + opening.end(), body.start + len(body.value) - opening.end()


def _tokens(text: str, place: int, end: int) -> Iterator[_Token]:
    """Words folded to lower case as Postgres does, quoted names as they are; no blanks, no comments."""
    while place < end:
        if text.startswith("/*", place):
            after = _comment_end(text, place, end)
            if after is None:
                yield _Token("open", "/*", place)
                return
            place = after
            continue
        match = _TOKEN.match(text, place, end)
        assert match is not None and match.lastgroup is not None
        kind, value = match.lastgroup, match[0]
        if kind == "sign" and (value in "'\"" or _BODY.match(text, place, end)):
            yield _Token("open", value, place)
            return
        if kind == "word":
            yield _Token("word", value.lower(), place)
        elif kind == "name":
            yield _Token("name", value[1:-1].replace('""', '"'), place)
        elif kind != "space":
            yield _Token(kind, value, place)
        place = match.end()


def _comment_end(text: str, place: int, end: int) -> int | None:
    """Where a block comment ends; they nest."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, place, end):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return None
