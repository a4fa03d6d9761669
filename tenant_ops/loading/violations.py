"""What only the database can decide about staged rows: duplicates, and references that lead nowhere.

Here: finding such rows in a stage, marking them, and entering them in the quarantine. Not here: types and
rules of single rows (`checking.py`), moving good rows (`merging.py`).

Each question is asked of the whole stage at once, first as a count, which Postgres answers with parallel hash
joins; rows are marked only when there are any. Of rows that share a key the first in file order stays (the
`ctid` tells rows of one line apart: COPY writes a new table from its beginning).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.datasets import ConflictStrategy, Dataset, ForeignKey
from tenant_ops.loading import quarantine
from tenant_ops.loading.checking import FILE, LINE
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.quarantine import BadRow, Quarantine
from tenant_ops.loading.staging import VIOLATION, stage_table
from tenant_ops.tenants import Fleet, Tenant

WORK_MEM = "128MB"
"""For one sort or hash of a load's statements; a million keys fit, and loads are bounded by the pool."""

_KEYS, _REFERENCES, _COMPLETE = "keys", "references", "complete"
_UNMARKED = sql.SQL("s.{} IS NULL").format(sql.Identifier(VIOLATION))


@dataclass(frozen=True)
class _Violation:
    """One way for staged rows to be wrong.

    Attributes:
        check: The check it fails.
        columns: The columns it is about.
        reason: For the operator.
        rows: Selects the `ctid` of the unmarked rows it is true of.
        repeat: Whether marking some rows may make it true of others.
    """

    check: str
    columns: tuple[str, ...]
    reason: str
    rows: sql.Composed
    repeat: bool = False


def mark_violations(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    load: Load,
    conflict: ConflictStrategy,
) -> None:
    """Mark the staged rows that cannot be merged, and enter them in the quarantine.

    May be called again: what it found before is taken back first, so rows whose references have come
    meanwhile are good now.
    """
    stage = stage_table(tenant, dataset)
    quarantine.discard(connection, tenant, load.id, (_KEYS, _REFERENCES, _COMPLETE))
    connection.execute(
        sql.SQL("UPDATE {} SET {mark} = NULL WHERE {mark} IS NOT NULL").format(
            stage, mark=sql.Identifier(VIOLATION)
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(stage))
    for number, violation in enumerate(_violations(tenant, dataset, conflict), 1):
        while _mark(connection, stage, violation.rows, number) and violation.repeat:
            pass
        _enter(fleet, connection, tenant, dataset, load, violation, number)


def _violations(tenant: Tenant, dataset: Dataset, conflict: ConflictStrategy) -> Iterator[_Violation]:
    others = [key for key in dataset.foreign_keys if key.references != dataset.name]
    own = [key for key in dataset.foreign_keys if key.references == dataset.name]
    uniques = [*((column.name,) for column in dataset.columns if column.unique), *dataset.unique]
    for key in others:
        yield _dangling(tenant, dataset, key)
    for columns in (dataset.key, *uniques):
        yield _repeated(tenant, dataset, columns)
    for columns in uniques:
        yield _taken(tenant, dataset, columns)
    if conflict is ConflictStrategy.MERGE:
        for order in dataset.orders:
            yield _misordered(tenant, dataset, order.first, order.then)
    # Last, because a row that any of the others marks is no longer there to be referred to.
    for key in own:
        yield _dangling(tenant, dataset, key)


def _dangling(tenant: Tenant, dataset: Dataset, key: ForeignKey) -> _Violation:
    stage, target = stage_table(tenant, dataset), sql.Identifier(tenant.schema_name, key.references)
    within = key.references == dataset.name
    rows = sql.SQL(
        "SELECT s.ctid FROM {} s WHERE {} AND {} AND NOT EXISTS (SELECT FROM {} t WHERE {})"
    ).format(stage, _UNMARKED, _filled(key.columns), target, _equal("t", key.target, key.columns))
    if within:
        rows += sql.SQL(" AND NOT EXISTS (SELECT FROM {} t WHERE t.{} IS NULL AND {})").format(
            stage, sql.Identifier(VIOLATION), _equal("t", key.target, key.columns)
        )
    reason = f"no row of {key.references} has this {_names(key.target)}"
    return _Violation(_REFERENCES, key.columns, reason, rows, repeat=within)


def _repeated(tenant: Tenant, dataset: Dataset, columns: Sequence[str]) -> _Violation:
    names = _list("s", columns)
    rows = sql.SQL(
        """
        SELECT d.ctid FROM (
            SELECT s.ctid, row_number() OVER (PARTITION BY {names} ORDER BY s.{file}, s.{line}, s.ctid) AS nth
            FROM {stage} s
            WHERE {unmarked} AND ({names}) IN (
                SELECT {names} FROM {stage} s WHERE {unmarked} AND {filled}
                GROUP BY {names} HAVING count(*) > 1
            )
        ) d WHERE nth > 1
        """
    ).format(
        names=names,
        file=sql.Identifier(FILE),
        line=sql.Identifier(LINE),
        stage=stage_table(tenant, dataset),
        unmarked=_UNMARKED,
        filled=_filled(columns),
    )
    return _Violation(_KEYS, tuple(columns), f"the same {_names(columns)} as an earlier row", rows)


def _taken(tenant: Tenant, dataset: Dataset, columns: Sequence[str]) -> _Violation:
    rows = sql.SQL("SELECT s.ctid FROM {} s JOIN {} l ON {} WHERE {} AND NOT ({})").format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        _equal("l", columns, columns),
        _UNMARKED,
        _equal("l", dataset.key, dataset.key),
    )
    return _Violation(_KEYS, tuple(columns), f"another row has this {_names(columns)} already", rows)


def _misordered(tenant: Tenant, dataset: Dataset, first: str, then: str) -> _Violation:
    rows = sql.SQL(
        "SELECT s.ctid FROM {} s JOIN {} l ON {} "
        "WHERE {} AND coalesce(s.{first}, l.{first}) > coalesce(s.{then}, l.{then})"
    ).format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        _equal("l", dataset.key, dataset.key),
        _UNMARKED,
        first=sql.Identifier(first),
        then=sql.Identifier(then),
    )
    reason = f"merged with the row that is there, {first} would be after {then}"
    return _Violation(_COMPLETE, (first, then), reason, rows)


def _mark(connection: psycopg.Connection, stage: sql.Identifier, rows: sql.Composed, number: int) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM ({}) bad").format(rows)).fetchone()
    if found is None or not found[0]:
        return 0
    return connection.execute(
        sql.SQL("UPDATE {} u SET {} = {} FROM ({}) bad WHERE u.ctid = bad.ctid").format(
            stage, sql.Identifier(VIOLATION), sql.Literal(number), rows
        )
    ).rowcount


def _enter(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    load: Load,
    violation: _Violation,
    number: int,
) -> None:
    query = sql.SQL(
        "SELECT {file}, {line}, to_jsonb(s) FROM {stage} s WHERE {mark} = {number} ORDER BY {file}, {line}"
    ).format(
        file=sql.Identifier(FILE),
        line=sql.Identifier(LINE),
        mark=sql.Identifier(VIOLATION),
        number=sql.Literal(number),
        stage=stage_table(tenant, dataset),
    )
    with Quarantine(dataset, violation.check) as entries, connection.cursor("marked") as marked:
        for file, line, row in marked.execute(query):
            raw = {dataset.by_name[name].source_name: row[name] for name in load.columns}
            fault = (", ".join(violation.columns), violation.reason)
            entries.add(load.files[file].name, BadRow(line, (fault,), raw))
        if entries.rows:
            entries.write(connection, tenant, load.id, fleet.clock())


def _equal(alias: str, theirs: Sequence[str], ours: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = s.{}").format(sql.SQL(alias), sql.Identifier(their), sql.Identifier(our))  # pyright: ignore[reportArgumentType]
        for their, our in zip(theirs, ours, strict=True)
    )


def _filled(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in columns)


def _list(alias: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns)


def _names(columns: Sequence[str]) -> str:
    return " and ".join(columns)
