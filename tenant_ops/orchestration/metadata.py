"""Reports as Dagster metadata: the one place where a domain report becomes what the UI shows.

Here: conversions. Not here: which reports there are (the domain packages).
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import dagster as dg

from tenant_ops.datasets import Between, Column, Dataset, Length, Matches, OneOf
from tenant_ops.datasets.lineage import lineage
from tenant_ops.orchestration.assets.common import FIXTURE_FILES
from tenant_ops.platform.reports import as_document

# The event log keeps every materialisation for ever: a table is for people, the full report is stored once.
MOST_TABLE_ROWS = 50
# Fields that Dagster draws or sums under names of its own.
KNOWN_NAMES: dict[str, str] = {"total": "dagster/partition_row_count", "path": "dagster/uri"}


def metadata_of(report: Any) -> dict[str, Any]:
    """Every field of a report that says something: numbers plot per partition, records become tables."""
    document: dict[str, Any] = as_document(report)
    return {KNOWN_NAMES.get(name, name): _value(value) for name, value in document.items() if _says(value)}


def column_schema(dataset: Dataset) -> dg.TableSchema:
    """The dataset's columns as Dagster's catalog shows them."""
    return dg.TableSchema(
        columns=[_column(column, dataset) for column in dataset.columns],
        constraints=dg.TableConstraints(
            other=[
                f"primary key ({', '.join(dataset.key)})",
                *(
                    f"({', '.join(key.columns)}) references {key.references} ({', '.join(key.target)})"
                    for key in dataset.foreign_keys
                ),
                *(f"unique ({', '.join(columns)})" for columns in dataset.unique),
                *(f"{order.first} <= {order.then}" for order in dataset.orders),
            ]
        ),
    )


@cache
def staged_lineage(dataset: Dataset) -> Mapping[str, dg.TableColumnLineage]:
    """Which columns of fixture files each column of a staged dataset comes from.

    For materialisations, of which Dagster reads it, not for definitions; it takes some 1,200 bytes of each.
    """
    return _lineage(
        {
            name: [(FIXTURE_FILES, source) for source in origin.sources]
            for name, origin in lineage(dataset).items()
        }
    )


@cache
def live_lineage(dataset: Dataset) -> Mapping[str, dg.TableColumnLineage]:
    """Which staged columns, and for keys that are looked up which live ones, each live column comes from."""
    staged = dg.AssetKey(["fixtures", dataset.name])
    return _lineage(
        {
            name: [
                (staged, name),
                *((dg.AssetKey(["datasets", str(origin.dataset)]), one) for one in origin.looked_up),
            ]
            for name, origin in lineage(dataset).items()
        }
    )


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """A few rows as a table the UI draws; cells cannot break out of it."""
    if not rows:
        return dg.MetadataValue.md("no rows")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _lineage(
    columns: Mapping[str, Sequence[tuple[dg.AssetKey, str]]],
) -> Mapping[str, dg.TableColumnLineage]:
    depends = {name: [dg.TableColumnDep(key, one) for key, one in made] for name, made in columns.items()}
    return {"dagster/column_lineage": dg.TableColumnLineage(depends)}


def _column(column: Column, dataset: Dataset) -> dg.TableColumn:
    return dg.TableColumn(
        column.name,
        column.type,
        column.description or None,
        constraints=dg.TableColumnConstraints(
            nullable=column.nullable,
            unique=column.unique or dataset.key == (column.name,),
            other=[_rule(rule) for rule in column.rules],
        ),
        tags={"privacy": column.privacy} if column.privacy else {},
    )


def _rule(rule: Between | OneOf | Matches | Length) -> str:
    match rule:
        case Between(low, high):
            return f"between {'-inf' if low is None else low} and {'inf' if high is None else high}"
        case OneOf(values):
            return f"one of {', '.join(values)}"
        case Matches(pattern):
            return f"matches {pattern}"
        case Length(low, high):
            return f"{low} to {'any number of' if high is None else high} characters"


def _says(value: Any) -> bool:
    return value is not None and value not in ("", [], {})


def _value(value: Any) -> Any:
    if isinstance(value, list) and value and all(_flat(row) for row in value):
        records = [dg.TableRecord({k: _scalar(v) for k, v in row.items()}) for row in value[:MOST_TABLE_ROWS]]
        return dg.MetadataValue.table(records)
    if isinstance(value, list | dict):
        return dg.MetadataValue.json(value)
    return value


def _flat(row: Any) -> bool:
    return isinstance(row, dict) and all(not isinstance(value, dict) for value in row.values())


def _scalar(value: Any) -> str | int | float | bool | None:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return (
        text.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("\n", " ")
        .replace("<", "&lt;")
        .replace("`", "'")
    )
