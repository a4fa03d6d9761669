"""Rows judged by a function on pandas frames: read in parts, never all at once.

Here: reading the parts through a server-side cursor, what the function may answer, pandera schemas as such
functions. Not here: what becomes of the bad rows (`examination.py`).

Traps of pandera that are refused or gone around (0.35): uniqueness seen one part at a time, schemas that drop
rows themselves (with a repeated index they drop sound ones), and cases without a row, which are no bad rows.
"""

import inspect
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from psycopg import sql

from tenant_ops.datasets import Column, Dataset
from tenant_ops.datasets.frames import typed_frame
from tenant_ops.datasets.parsing import ARROW_TYPES
from tenant_ops.platform.errors import InputError
from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.guard import Unusable, blame
from tenant_ops.validation.rules import Frame, Rule
from tenant_ops.validation.scanning import BadRows, trusted

# Read as the text or number a loaded row has, so that a function sees both alike.
_CASTS = {"uuid": "::text", "jsonb": "::text", "inet": "::text", "numeric": "::double precision"}


def bad_frame_rows(evidence: Evidence, rule: Rule, samples: int) -> BadRows:
    """The rows the rule's function calls bad.

    Raises:
        Unusable: the function failed, or answered with something that names no rows.
    """
    find, dataset = rule.find, evidence.catalog[rule.dataset or ""]
    assert isinstance(find, Frame)
    rows = count = 0
    keys: list[dict[str, Any]] = []
    for part in _parts(evidence, dataset, find):
        rows += len(part)
        bad = _judge(find, part, rule.origin)
        count += int(bad.sum())
        named = part.loc[bad.to_numpy(), list(dataset.key)].astype(object).itertuples(index=False, name=None)
        keys += [dict(zip(dataset.key, key, strict=True)) for key in named]
        keys.sort(key=lambda key: list(map(str, key.values())))
        del keys[samples:]
    return BadRows(count, keys, filled=rows > 0)


def try_frame(evidence: Evidence, rule: Rule) -> None:
    """Call the rule's function with the first part of the rows, or with none where there are none.

    Raises:
        Unusable: it failed, or answered with something that names no rows.
    """
    find, dataset = rule.find, evidence.catalog[rule.dataset or ""]
    assert isinstance(find, Frame)
    empty = typed_frame({one.name: arrow.array([], ARROW_TYPES[one.type]) for one in _columns(dataset, find)})
    _judge(find, next(_parts(evidence, dataset, find), empty), rule.origin)


def frame_query(dataset: Dataset, find: Frame) -> sql.Composed:
    """The query that reads what the function is called with.

    Raises:
        InputError: it asks for a column the dataset does not have.
    """
    return sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(
            sql.SQL("{}{}").format(sql.Identifier(column.name), trusted(_CASTS.get(column.type, "")))
            for column in _columns(dataset, find)
        ),
        sql.Identifier(dataset.name),
    )


def frame_of_schema(schema: Any, chunk_rows: int) -> Frame:
    """A frame rule that calls bad what a pandera schema, or a model class, refuses."""
    if isinstance(schema, type) and issubclass(schema, pa.DataFrameModel):
        schema = schema.to_schema()
    if not isinstance(schema, pa.DataFrameSchema):
        raise InputError(
            f"{type(schema).__name__} is no pandera schema of pandas frames.",
            fix="Give a pandera.pandas DataFrameSchema or DataFrameModel.",
        )
    name = f"schema {schema.name or 'without a name'}"
    unique = [column for column, one in schema.columns.items() if one.unique]
    if unique or schema.unique:
        raise InputError(
            f"it asks for unique values ({', '.join(unique or map(str, schema.unique or ()))}), which parts "
            "of the rows cannot decide.",
            where=name,
            fix="Find duplicates with Rows, or declare the columns unique in the dataset.",
        )
    if schema.drop_invalid_rows:
        raise InputError("it drops rows itself.", where=name, fix="Leave out drop_invalid_rows.")
    if any(one.regex for one in schema.columns.values()):
        raise InputError("it has columns by pattern.", where=name, fix="Name each column.")
    checked = _of_rows(schema)

    def refused(frame: pd.DataFrame) -> pd.Series:
        bad = pd.Series(False, index=frame.index)
        try:
            checked.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            for error in errors.schema_errors:
                bad |= _refused_by(error, frame.index)
        return bad

    return Frame(tuple(schema.columns), refused, chunk_rows)


def _of_rows(schema: pa.DataFrameSchema) -> pa.DataFrameSchema:
    """The schema without what is not of single rows: which other columns there are, their order, the index.

    Types are those the table has already; only columns that are to be coerced get the schema's own.
    """
    checked = deepcopy(schema)
    checked.strict, checked.ordered, checked.index = False, False, None
    own = {name: {"dtype": None} for name, one in schema.columns.items() if not (one.coerce or schema.coerce)}
    return checked.update_columns(own) if own else checked


def _refused_by(error: pa.errors.SchemaError, index: pd.Index) -> pd.Series:
    """The rows one failed check is about; the check's own output names them where there is one."""
    output = error.check_output
    if isinstance(error.check, pa.Check) and isinstance(output, pd.Series):
        failed = output.index[~output.fillna(True).astype(bool)]
        return pd.Series(index.isin(failed), index=index)
    cases = error.failure_cases
    if isinstance(cases, pd.DataFrame) and "index" in cases and cases["index"].notna().any():
        return pd.Series(index.isin(cases["index"].dropna()), index=index)
    # Of a column as a whole: a type or a column that is not there. Its message quotes no values.
    raise Unusable(
        f"The pandera schema does not fit the columns as they are read: {error.schema.name}, {error.check}."
    )


def _parts(evidence: Evidence, dataset: Dataset, find: Frame) -> Iterator[pd.DataFrame]:
    columns = _columns(dataset, find)
    # The name keeps it on the server: this process holds one part of the rows and no more.
    with evidence.connection.cursor(name="frame_rule") as cursor:
        cursor.execute(frame_query(dataset, find))
        while rows := cursor.fetchmany(find.chunk_rows):
            yield typed_frame(
                {
                    column.name: arrow.array(values, ARROW_TYPES[column.type])
                    for column, values in zip(columns, zip(*rows, strict=True), strict=True)
                }
            )


def _columns(dataset: Dataset, find: Frame) -> list[Column]:
    unknown = [name for name in find.columns if name not in dataset.by_name]
    if unknown:
        raise InputError(
            f"the dataset {dataset.name} has no column {unknown[0]!r}.",
            fix=f"It has: {', '.join(dataset.column_names)}.",
        )
    return [dataset.by_name[name] for name in dict.fromkeys((*dataset.key, *find.columns))]


def _judge(find: Frame, part: pd.DataFrame, origin: str) -> pd.Series:
    """True for each bad row of the part."""
    try:
        answer = find.function(part)
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(blame(error, find.function, _named(find.function, origin))) from None
    if isinstance(answer, pd.DataFrame) and answer.index.isin(part.index).all():
        return pd.Series(part.index.isin(answer.index), index=part.index)
    if isinstance(answer, pd.Series) and pd.api.types.is_bool_dtype(answer) and len(answer) == len(part):
        # What compares an empty value is neither true nor false: not known to be bad.
        return answer.fillna(False).astype(bool)
    raise Unusable(
        f"{_named(find.function, origin)} answered with {_described(answer)}; a boolean for each row "
        "(true for bad ones), or the bad rows, is asked for."
    )


def _named(function: Callable[..., Any], origin: str) -> str:
    return origin or f"{inspect.getmodule(function)}.{getattr(function, '__qualname__', 'the function')}"


def _described(answer: Any) -> str:
    if isinstance(answer, pd.Series):
        return f"{len(answer):,} values of type {answer.dtype}"
    if isinstance(answer, pd.DataFrame):
        return "rows that were not in the frame"
    return type(answer).__name__
