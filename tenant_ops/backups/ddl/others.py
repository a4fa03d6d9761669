"""What schemas seldom have: aggregates, operators, casts, collations, conversions, text search.

Here: their nodes, and which of them only a superuser can make. Not here: their queries (`catalogs.py`).
"""

from collections.abc import Iterator

from tenant_ops.backups.ddl.nodes import Key, Node, identifier, literal
from tenant_ops.backups.ddl.queries import Objects, Row
from tenant_ops.backups.layout import NotCarried

_FINAL_MODES = {"r": "READ_ONLY", "s": "SHAREABLE", "w": "READ_WRITE"}
_PARALLEL = {"s": "SAFE", "r": "RESTRICTED"}
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
_CAST_CONTEXTS = {"a": " AS ASSIGNMENT", "i": " AS IMPLICIT", "e": ""}

_NEEDS_SUPERUSER = {
    "pg_opclass": "operator classes need a superuser",
    "pg_opfamily": "operator families need a superuser",
    "pg_ts_parser": "text search parsers are written in C and need a superuser",
    "pg_ts_template": "text search templates are written in C and need a superuser",
}


def other_nodes(objects: Objects) -> Iterator[Node]:
    """A node per object of these kinds that the tenant's owner could have made."""
    yield from _aggregates(objects)
    yield from _operators(objects)
    yield from _casts(objects)
    yield from _collations(objects)
    yield from _conversions(objects)
    yield from _text_search(objects)


def uncarried_others(objects: Objects) -> Iterator[tuple[Key, NotCarried]]:
    """Those the tenant's owner could not make again."""
    functions = {row.oid: row for row in objects.functions}
    for row in objects.rare.get("pg_aggregate", ()):
        if row.stype == "internal" or row.mstype == "internal":
            name = f"aggregate {functions[row.oid].name}({functions[row.oid].arguments})"
            reason = "its state is of type internal, which needs a superuser"
            yield Key("pg_proc", row.oid), NotCarried(name, reason)
    for row in objects.rare.get("pg_cast", ()):
        if row.castmethod == "b":
            name = f"cast from {row.source} to {row.target}"
            reason = "casts without a function need a superuser"
            yield Key("pg_cast", row.oid), NotCarried(name, reason)
    for member in objects.members:
        if member.extension is None and member.catalog in _NEEDS_SUPERUSER:
            name = f"{member.type} {member.identity}"
            yield Key(member.catalog, member.objid), NotCarried(name, _NEEDS_SUPERUSER[member.catalog])


def _aggregates(objects: Objects) -> Iterator[Node]:
    functions = {row.oid: row for row in objects.functions}
    lost = {key for key, _ in uncarried_others(objects)}
    for row in objects.rare.get("pg_aggregate", ()):
        key = Key("pg_proc", row.oid)
        if key in lost:
            continue
        function = functions[row.oid]
        name = f"{identifier(objects.schema.nspname, function.name)}({function.arguments or '*'})"
        options = ",\n    ".join(_aggregate_options(row))
        create = f"CREATE AGGREGATE {name} (\n    {options}\n)"
        shown = f"{function.name}({function.arguments or '*'})"
        yield Node(key, "aggregate", shown, (create,), subject=f"AGGREGATE {name}")


def _aggregate_options(row: Row) -> Iterator[str]:
    usual = "r" if row.aggkind == "n" else "w"
    yield f"SFUNC = {row.sfunc}"
    yield f"STYPE = {row.stype}"
    for option, value in (
        ("SSPACE", row.sspace or None),
        ("FINALFUNC", row.finalfunc),
        ("FINALFUNC_EXTRA", "true" if row.aggfinalextra else None),
        ("FINALFUNC_MODIFY", _FINAL_MODES[row.aggfinalmodify] if row.aggfinalmodify != usual else None),
        ("COMBINEFUNC", row.combinefunc),
        ("SERIALFUNC", row.serialfunc),
        ("DESERIALFUNC", row.deserialfunc),
        ("INITCOND", None if row.initcond is None else literal(row.initcond)),
        ("MSFUNC", row.msfunc),
        ("MINVFUNC", row.minvfunc),
        ("MSTYPE", row.mstype),
        ("MSSPACE", row.msspace or None),
        ("MFINALFUNC", row.mfinalfunc),
        ("MFINALFUNC_EXTRA", "true" if row.aggmfinalextra else None),
        ("MFINALFUNC_MODIFY", _FINAL_MODES[row.aggmfinalmodify] if row.aggmfinalmodify != usual else None),
        ("MINITCOND", None if row.minitcond is None else literal(row.minitcond)),
        ("SORTOP", row.sortop),
        ("PARALLEL", _PARALLEL.get(row.proparallel)),
    ):
        if value is not None:
            yield f"{option} = {value}"
    if row.aggkind == "h":
        yield "HYPOTHETICAL"


def _operators(objects: Objects) -> Iterator[Node]:
    for row in objects.rare.get("pg_operator", ()):
        name = f"{identifier(objects.schema.nspname)}.{row.name}"
        options = [f"FUNCTION = {row.function}"]
        for option, value in (
            ("LEFTARG", row.left),
            ("RIGHTARG", row.right),
            ("COMMUTATOR", row.commutator),
            ("NEGATOR", row.negator),
            ("RESTRICT", row.restrict),
            ("JOIN", row.join),
        ):
            if value is not None:
                options.append(f"{option} = {value}")
        options += ["HASHES"] if row.oprcanhash else []
        options += ["MERGES"] if row.oprcanmerge else []
        create = f"CREATE OPERATOR {name} ({', '.join(options)})"
        arguments = f"({row.left or 'NONE'}, {row.right})"
        key = Key("pg_operator", row.oid)
        shown = f"{row.name}{arguments}"
        yield Node(key, "operator", shown, (create,), subject=f"OPERATOR {name} {arguments}")


def _casts(objects: Objects) -> Iterator[Node]:
    for row in objects.rare.get("pg_cast", ()):
        if row.castmethod == "b":
            continue
        how = f"WITH FUNCTION {row.function}" if row.castmethod == "f" else "WITH INOUT"
        types = f"({row.source} AS {row.target})"
        create = f"CREATE CAST {types} {how}{_CAST_CONTEXTS[row.castcontext]}"
        yield Node(Key("pg_cast", row.oid), "cast", types, (create,), subject=f"CAST {types}")


def _collations(objects: Objects) -> Iterator[Node]:
    for row in objects.rare.get("pg_collation", ()):
        name = identifier(objects.schema.nspname, row.name)
        options = [f"provider = {_PROVIDERS[row.provider]}"]
        if row.provider == "c" and row.collcollate != row.collctype:
            options += [f"lc_collate = {literal(row.collcollate)}", f"lc_ctype = {literal(row.collctype)}"]
        else:
            options.append(f"locale = {literal(row.locale or row.collcollate)}")
        if not row.deterministic:
            options.append("deterministic = false")
        if row.rules:
            options.append(f"rules = {literal(row.rules)}")
        create = f"CREATE COLLATION {name} ({', '.join(options)})"
        key = Key("pg_collation", row.oid)
        yield Node(key, "collation", row.name, (create,), subject=f"COLLATION {name}")


def _conversions(objects: Objects) -> Iterator[Node]:
    for row in objects.rare.get("pg_conversion", ()):
        name = identifier(objects.schema.nspname, row.name)
        create = (
            f"CREATE {'DEFAULT ' if row.condefault else ''}CONVERSION {name} "
            f"FOR {literal(row.source)} TO {literal(row.target)} FROM {row.function}"
        )
        key = Key("pg_conversion", row.oid)
        yield Node(key, "conversion", row.name, (create,), subject=f"CONVERSION {name}")


def _text_search(objects: Objects) -> Iterator[Node]:
    for row in objects.rare.get("pg_ts_dict", ()):
        name = identifier(objects.schema.nspname, row.name)
        options = f", {row.options}" if row.options else ""
        create = f"CREATE TEXT SEARCH DICTIONARY {name} (TEMPLATE = {row.template}{options})"
        key, kind = Key("pg_ts_dict", row.oid), "text search dictionary"
        yield Node(key, kind, row.name, (create,), subject=f"TEXT SEARCH DICTIONARY {name}")
    for row in objects.rare.get("pg_ts_config", ()):
        name = identifier(objects.schema.nspname, row.name)
        statements = [f"CREATE TEXT SEARCH CONFIGURATION {name} (PARSER = {row.parser})"]
        for token, dictionaries in row.mappings or ():
            alter = f"ALTER TEXT SEARCH CONFIGURATION {name} ADD MAPPING FOR"
            statements.append(f"{alter} {identifier(token)} WITH {dictionaries}")
        key, kind = Key("pg_ts_config", row.oid), "text search configuration"
        yield Node(key, kind, row.name, tuple(statements), subject=f"TEXT SEARCH CONFIGURATION {name}")
