"""Data level: do the stored rows keep the rules of their dataset definitions?

Here: rules derived from columns, keys and orders. Not here: rules across datasets (`business.py`), incoming
rows (`loading/`).

They hold for rows the table's own constraints vouch for, too: a constraint that was dropped, added NOT VALID,
or passed over by a replica-mode load says nothing about the rows.
"""

from collections.abc import Iterator, Sequence

from psycopg import sql

from tenant_ops.datasets import Between, Catalog, Column, Dataset, ForeignKey, Length, Matches, OneOf, Order
from tenant_ops.datasets.tables import condition
from tenant_ops.validation.rules import Fix, Rewrite, Rows, Rule, Severity, Where

BLANKS = " \t\r\n"


def data_rules(catalog: Catalog) -> tuple[Rule, ...]:
    """Every rule the catalog's definitions imply for stored rows."""
    return tuple(rule for dataset in catalog for rule in _dataset_rules(dataset))


def _dataset_rules(dataset: Dataset) -> Iterator[Rule]:
    for column in dataset.columns:
        yield from _column_rules(dataset, column)
    for order in dataset.orders:
        yield _order(dataset, order)
    yield _unique(dataset, dataset.key, "primary_key", "critical")
    singles = [(column.name,) for column in dataset.columns if column.unique]
    for columns in (*singles, *dataset.unique):
        yield _unique(dataset, columns, f"unique.{'_'.join(columns)}", "error")
    for key in dataset.foreign_keys:
        yield _orphans(dataset, key)


def _column_rules(dataset: Dataset, column: Column) -> Iterator[Rule]:
    name = _quoted(column.name)
    if not column.nullable:
        yield _row_rule(dataset, column, "filled", f"{name} IS NULL", "is filled in every row")
    for rule in column.rules:
        match rule:
            case Between(low, high):
                what = f"lies between {_bound(low)} and {_bound(high)}"
                yield _row_rule(dataset, column, "range", _broken(column, rule), what)
            case OneOf(values):
                what = f"is one of {', '.join(values)}"
                yield _row_rule(dataset, column, "set", _broken(column, rule), what)
            case Length(low, high):
                what = f"has {low} to {_bound(high)} characters"
                yield _row_rule(dataset, column, "length", _broken(column, rule), what)
            case Matches(pattern):
                # By "C" a digit, a blank and a letter are ASCII on every server, as when loading.
                broken = f'{name} COLLATE "C" !~ {_literal(f"^(?:{pattern})$")}'
                yield _row_rule(dataset, column, "pattern", broken, f"matches {pattern} as a whole")
    if _is_label(column):
        trimmed = f"btrim({name}, {_literal(BLANKS)})"
        yield _row_rule(dataset, column, "blank", f"{trimmed} = '' AND {name} <> ''", "is more than blanks")
        yield _row_rule(
            dataset,
            column,
            "trimmed",
            f"{name} <> {trimmed} AND {trimmed} <> ''",
            "has no blanks around it",
            severity="warning",
            remediation="Trim it: validate with --auto-fix.",
            fix=Rewrite(column.name, trimmed),
        )


def _order(dataset: Dataset, order: Order) -> Rule:
    return Rule(
        id=f"data.{dataset.name}.{order.first}.order.{order.then}",
        level="data",
        severity="error",
        description=f"{dataset.name}.{order.first} is not after {order.then}.",
        remediation="Correct the rows at their source and load them again.",
        find=Where(f"{_quoted(order.first)} > {_quoted(order.then)}"),
        dataset=dataset.name,
        subject=f"{dataset.name}.{order.first}",
    )


def _unique(dataset: Dataset, columns: tuple[str, ...], name: str, severity: Severity) -> Rule:
    """Duplicates by one hash aggregate; when it finds none, the join to name their rows ends at once."""
    table, wanted = _quoted(dataset.name), _list(columns)
    filled = " AND ".join(f"{_quoted(column)} IS NOT NULL" for column in columns)
    key = ", ".join(f"t.{_quoted(column)}" for column in dataset.key)
    return Rule(
        id=f"data.{dataset.name}.{name}",
        level="data",
        severity=severity,
        description=f"No two rows of {dataset.name} share ({', '.join(columns)}).",
        remediation="Decide which row is right, remove the others, and put the key back on the table.",
        find=Rows(
            f"SELECT {key} FROM {table} t JOIN (SELECT {wanted} FROM {table} WHERE {filled} "  # noqa: S608
            f"GROUP BY {wanted} HAVING count(*) > 1) twice USING ({wanted})"
        ),
        dataset=dataset.name,
        subject=f"{dataset.name}.{'+'.join(columns)}",
    )


def _orphans(dataset: Dataset, key: ForeignKey) -> Rule:
    """Rows that refer to nothing, by an anti-join; a reference with a null counts as none, as in Postgres."""
    filled = " AND ".join(f"t.{_quoted(column)} IS NOT NULL" for column in key.columns)
    match = " AND ".join(
        f"parent.{_quoted(target)} = t.{_quoted(column)}"
        for column, target in zip(key.columns, key.target, strict=True)
    )
    return Rule(
        id=f"data.{dataset.name}.{'_'.join(key.columns)}.orphans",
        level="data",
        severity="error",
        description=f"{dataset.name}.{'+'.join(key.columns)} names a row of {key.references} that exists.",
        remediation=f"Load the missing {key.references}, or remove or empty the references.",
        find=Rows(
            f"SELECT {', '.join(f't.{_quoted(name)}' for name in dataset.key)} "  # noqa: S608
            f"FROM {_quoted(dataset.name)} t WHERE {filled} "
            f"AND NOT EXISTS (SELECT FROM {_quoted(key.references)} parent WHERE {match})"
        ),
        dataset=dataset.name,
        subject=f"{dataset.name}.{'+'.join(key.columns)}",
        needs=(key.references,),
    )


def _row_rule(
    dataset: Dataset,
    column: Column,
    name: str,
    broken: str,
    what: str,
    *,
    severity: Severity = "error",
    remediation: str = "Correct the rows at their source and load them again.",
    fix: Fix | None = None,
) -> Rule:
    return Rule(
        id=f"data.{dataset.name}.{column.name}.{name}",
        level="data",
        severity=severity,
        description=f"{dataset.name}.{column.name} {what}.",
        remediation=remediation,
        find=Where(broken),
        dataset=dataset.name,
        subject=f"{dataset.name}.{column.name}",
        fix=fix,
    )


def _is_label(column: Column) -> bool:
    """Short texts people compare by eye; in running text, blanks around it mean nothing."""
    closed = any(isinstance(rule, OneOf | Matches) for rule in column.rules)
    return column.type == "text" and bool(column.rules) and not closed and column.privacy != "free_text"


def _broken(column: Column, rule: Between | OneOf | Length) -> str:
    return f"NOT ({(condition(column.name, rule) or 'true').replace('%', '%%')})"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:,}"


def _list(columns: Sequence[str]) -> str:
    return ", ".join(_quoted(column) for column in columns)


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _literal(text: str) -> str:
    return sql.Literal(text).as_string().replace("%", "%%")
