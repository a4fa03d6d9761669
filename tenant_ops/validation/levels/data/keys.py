"""Rules over several rows: keys, references, rows that are there twice.

Here: duplicates exact and near, orphans. Each can also be asked of a part of a huge table (`sampling.py`): of
the values of a key whose hash falls into the part, with all their rows, or of the referring rows in it.
"""

from collections.abc import Iterator

from tenant_ops.datasets import Column, Dataset, ForeignKey
from tenant_ops.validation.levels.data.wording import listed, quoted
from tenant_ops.validation.rules import Dedupe, Orphans, Rows, Rule, Severity

_HASHED = "hash_record_extended(ROW({}), %(sample_seed)s::bigint) & 1073741823"


def key_rules(dataset: Dataset) -> Iterator[Rule]:
    """The rules about a dataset's keys and references."""
    yield _unique(dataset, dataset.key, "primary_key", "critical", ("primary key", f"{dataset.name}_pkey"))
    singles = [(column.name,) for column in dataset.columns if column.unique]
    for columns in (*singles, *dataset.unique):
        name = "_".join(columns)
        held = ("unique", f"{dataset.name}_{name}_key")
        yield _unique(dataset, columns, f"unique.{name}", "error", held)
    for columns in dataset.alike:
        yield _alike(dataset, columns)
    if moment := _moment(dataset):
        yield _copies(dataset, moment)
    for key in dataset.foreign_keys:
        yield _orphans(dataset, key)


def _unique(
    dataset: Dataset, columns: tuple[str, ...], name: str, severity: Severity, held: tuple[str, str]
) -> Rule:
    """Duplicates by one hash aggregate; when it finds none, the join to name their rows ends at once."""
    table, wanted = quoted(dataset.name), listed(columns)
    filled = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    key = listed(dataset.key, "t")

    def query(unit: str = "", part: str = "") -> str:
        return (
            f"SELECT {key}{unit} FROM {table} t JOIN (SELECT {wanted} FROM {table} WHERE {filled}{part} "  # noqa: S608
            f"GROUP BY {wanted} HAVING count(*) > 1) twice USING ({wanted})"
        )

    return Rule(
        id=f"data.{dataset.name}.{name}",
        level="data",
        severity=severity,
        description=f"No two rows of {dataset.name} share ({', '.join(columns)}).",
        remediation="Decide which row is right, remove the others, and put the key back on the table.",
        find=Rows(query(), query(f", {_unit(listed(columns, 't'))}", _part(wanted))),
        dataset=dataset.name,
        subject=f"{dataset.name}.{'+'.join(columns)}",
        fix=Dedupe(columns),
        held_by=held,
    )


def _alike(dataset: Dataset, columns: tuple[str, ...]) -> Rule:
    """Rows that differ only in how their label is written; where nothing differs, `unique` decides."""
    table, key = quoted(dataset.name), listed(dataset.key, "t")
    plain = ", ".join(
        f"{_plain(dataset.by_name[column])} AS plain_{number}" for number, column in enumerate(columns)
    )
    numbers = [f"plain_{number}" for number in range(len(columns))]
    filled = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    whole = quoted(columns[0]) if len(columns) == 1 else f"ROW({listed(columns)})::text"

    def query(unit: str = "", part: str = "") -> str:
        named = f'{listed(dataset.key)}, {whole} COLLATE "C" AS whole, {plain}'
        rows = f"SELECT {named} FROM {table} WHERE {filled}"  # noqa: S608
        same = ", ".join(numbers)
        return (
            f"WITH t AS NOT MATERIALIZED ({rows}) SELECT {key}{unit} FROM t JOIN (SELECT {same} FROM t "  # noqa: S608
            f"WHERE true{part} GROUP BY {same} HAVING min(whole) <> max(whole)) twice USING ({same})"
        )

    same = ", ".join(numbers)
    return Rule(
        id=f"data.{dataset.name}.alike.{'_'.join(columns)}",
        level="data",
        severity="warning",
        description=(
            f"No two rows of {dataset.name} differ in ({', '.join(columns)}) by case, blanks or accents only."
        ),
        remediation="Find out whether they mean the same; if so keep one, and lead references to it.",
        find=Rows(query(), query(f", {_unit(same)}", _part(same))),
        dataset=dataset.name,
        subject=f"{dataset.name}.{'+'.join(columns)}",
    )


def _copies(dataset: Dataset, moment: str) -> Rule:
    """Rows equal in all but the key: only those that share their moment, which few do, are compared whole.

    A hash aggregate of one time is a third of the cost of one of all columns.
    """
    table, key = quoted(dataset.name), listed(dataset.key)
    rest = [name for name in dataset.column_names if name not in dataset.key]
    same = quoted(moment)

    def query(unit: str = "", part: str = "") -> str:
        return (
            f"SELECT {key}{unit} FROM (SELECT {key}, {same}, count(*) OVER (PARTITION BY {listed(rest)}) "  # noqa: S608
            f"AS copies FROM {table} WHERE {same} IN (SELECT {same} FROM {table} WHERE true{part} "
            f"GROUP BY {same} HAVING count(*) > 1)) t WHERE copies > 1"
        )

    return Rule(
        id=f"data.{dataset.name}.copies",
        level="data",
        severity="warning",
        description=f"No two rows of {dataset.name} are equal in everything but {', '.join(dataset.key)}.",
        remediation="Find out what delivered them twice, and remove one of each.",
        find=Rows(query(), query(f", {_unit(same)}", _part(same))),
        dataset=dataset.name,
        subject=dataset.name,
    )


def _moment(dataset: Dataset) -> str | None:
    """The time every row has, where a made-up key is all that tells rows apart.

    Two rows of one moment that agree in everything were delivered twice. Without a moment, or with a key that
    means something, they may well be two.
    """
    by_name = dataset.by_name
    made_up = len(dataset.key) == 1 and by_name[dataset.key[0]].type == "uuid"
    told_apart = dataset.unique or any(column.unique for column in dataset.columns)
    refers = any(set(key.columns) & set(dataset.key) for key in dataset.foreign_keys)
    if not made_up or told_apart or refers:
        return None
    filled = (column for column in dataset.columns if not column.nullable)
    return next((column.name for column in filled if column.type == "timestamptz"), None)


def _orphans(dataset: Dataset, key: ForeignKey) -> Rule:
    """Rows that refer to nothing, by an anti-join; a reference with a null counts as none, as in Postgres."""
    filled = " AND ".join(f"t.{quoted(column)} IS NOT NULL" for column in key.columns)
    match = " AND ".join(
        f"parent.{quoted(target)} = t.{quoted(column)}"
        for column, target in zip(key.columns, key.target, strict=True)
    )

    def query(unit: str = "", part: str = "") -> str:
        return (
            f"SELECT {listed(dataset.key, 't')}{unit} FROM {quoted(dataset.name)} t{part} WHERE {filled} "  # noqa: S608
            f"AND NOT EXISTS (SELECT FROM {quoted(key.references)} parent WHERE {match})"
        )

    return Rule(
        id=f"data.{dataset.name}.{'_'.join(key.columns)}.orphans",
        level="data",
        severity="error",
        description=f"{dataset.name}.{'+'.join(key.columns)} names a row of {key.references} that exists.",
        remediation=f"Load the missing {key.references}, or remove or empty the references.",
        find=Rows(query(), query(", $unit AS sampled_unit", " $sample")),
        dataset=dataset.name,
        subject=f"{dataset.name}.{'+'.join(key.columns)}",
        needs=(key.references,),
        fix=Orphans(key.columns),
    )


def _plain(column: Column) -> str:
    """The text as people read it aloud: no case, no accents, single blanks."""
    name = quoted(column.name)
    if column.type != "text":
        return name
    letters = (
        f"CASE WHEN octet_length({name}) = char_length({name}) THEN {name} "
        f"ELSE regexp_replace(normalize({name}, NFKD), '[\\u0300-\\u036F]', '', 'g') END"
    )
    return f"lower(btrim(regexp_replace({letters}, '\\s+', ' ', 'g')))"


def _unit(values: str) -> str:
    return f"{_HASHED.format(values)} AS sampled_unit"


def _part(values: str) -> str:
    return f" AND ({_HASHED.format(values)}) < %(sample_mark)s"
