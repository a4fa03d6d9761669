"""What only the database can decide about staged rows: duplicates, and references that lead nowhere.

Here: finding such rows in a stage, marking them, and entering them in the quarantine. Not here: types and
rules of single rows (`checking.py`), moving good rows (`merging.py`).

Each question is asked of the whole stage at once, first as a count, which Postgres answers with parallel hash
joins; rows are marked only when there are any. Of rows that share a key the first in file order stays (`ROW`
tells rows of one line apart; their `ctid` would not, with several files staged at once), under strategy
`newest` the newest: the others are marked as `SUPERSEDED`, which is no fault of theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.datasets import ConflictStrategy, Dataset, ForeignKey, Lookup
from tenant_ops.loading import quarantine
from tenant_ops.loading.checking import FILE, LINE, as_read, extra_columns
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.lookups import found_nothing, lookups_of
from tenant_ops.loading.quarantine import BadRow, Quarantine
from tenant_ops.loading.reports import LoadPlan
from tenant_ops.loading.stages import ROW, VIOLATION, stage_table
from tenant_ops.loading.statements import GOOD, differs, equal, later, listed
from tenant_ops.tenants import Fleet, Tenant

SUPERSEDED = 0
"""The mark of staged rows that are left out because a newer one, or one as new, stays."""

_KEYS, _REFERENCES, _COMPLETE = "keys", "references", "complete"


@dataclass(frozen=True)
class Violation:
    """One way for staged rows to be left out.

    Attributes:
        check: The check it fails; None when it is superseded, which is no fault.
        columns: The columns it is about.
        reason: For the operator.
        rows: Selects the `ctid` of the unmarked rows it is true of.
        some: Selects rows if there are any of those, sooner.
        repeat: Whether marking some rows may make it true of others.
    """

    check: str | None
    columns: tuple[str, ...]
    reason: str
    rows: sql.Composed
    some: sql.Composed | None = None
    repeat: bool = False


def mark_violations(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    load: Load,
    plan: LoadPlan,
    leaving: sql.Identifier | None = None,
) -> None:
    """Mark the staged rows that cannot be merged, and enter them in the quarantine.

    May be called again: what it found before is taken back first, so rows whose references have come
    meanwhile are good now.

    Args:
        fleet: The fleet.
        connection: A session of the tenant.
        tenant: Whose stage.
        dataset: What is staged.
        load: The load it is staged for.
        plan: Whether keys and references are checked; what the conflict strategy needs always is.
        leaving: The table of the live rows that a full load removes: nothing may refer to them any more, and
            their unique values are free.
    """
    stage = stage_table(tenant, dataset)
    quarantine.discard(connection, tenant, load.id, (_KEYS, _REFERENCES, _COMPLETE))
    connection.execute(
        sql.SQL("UPDATE {} SET {mark} = NULL WHERE {mark} IS NOT NULL").format(
            stage, mark=sql.Identifier(VIOLATION)
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(stage))
    for number, violation in enumerate(violations(tenant, dataset, load, plan, leaving), SUPERSEDED + 1):
        mark = SUPERSEDED if violation.check is None else number
        while _mark(connection, stage, violation, mark) and violation.repeat:
            pass
        if violation.check is not None:
            _enter(fleet, connection, tenant, dataset, load, violation, number)


def violations(
    tenant: Tenant, dataset: Dataset, load: Load, plan: LoadPlan, leaving: sql.Identifier | None = None
) -> Iterator[Violation]:
    """What is looked for, in an order in which no row is left out because of one that is itself left out."""
    part = plan.of(dataset.name)
    for lookup in lookups_of(dataset):
        yield _unfound(tenant, dataset, lookup)
    newest = part.newest_by if part.conflict is ConflictStrategy.NEWEST and load.columns else None
    if newest:
        yield _repeated(tenant, dataset, dataset.key, newest)
        yield _older(tenant, dataset, load, newest)
    if plan.validate:
        for key in dataset.foreign_keys:
            if key.references != dataset.name:
                yield _dangling(tenant, dataset, key)
        if not newest:
            yield _repeated(tenant, dataset, dataset.key)
    if part.conflict is ConflictStrategy.KEEP_BOTH:
        yield _different(tenant, dataset, load)
    if plan.validate:
        yield from _of_good_keys(tenant, dataset, part.conflict, leaving)


def _of_good_keys(
    tenant: Tenant, dataset: Dataset, conflict: ConflictStrategy, leaving: sql.Identifier | None
) -> Iterator[Violation]:
    uniques = [*((column.name,) for column in dataset.columns if column.unique), *dataset.unique]
    for columns in uniques:
        yield _repeated(tenant, dataset, columns)
    for columns in uniques:
        yield _taken(tenant, dataset, columns, leaving)
    if conflict is ConflictStrategy.MERGE:
        for order in dataset.orders:
            yield _misordered(tenant, dataset, order.first, order.then)
    # Last, because a row that any of the others marks is no longer there to be referred to.
    for key in dataset.foreign_keys:
        if key.references == dataset.name:
            yield _dangling(tenant, dataset, key, leaving)


def _unfound(tenant: Tenant, dataset: Dataset, lookup: Lookup) -> Violation:
    reason = f"no row of {lookup.references} has this {_names(tuple(lookup.by))}"
    return Violation(_REFERENCES, lookup.inputs, reason, found_nothing(tenant, dataset, lookup, GOOD))


def _dangling(
    tenant: Tenant, dataset: Dataset, key: ForeignKey, leaving: sql.Identifier | None = None
) -> Violation:
    stage, target = stage_table(tenant, dataset), sql.Identifier(tenant.schema_name, key.references)
    within = key.references == dataset.name
    rows = sql.SQL(
        "SELECT s.ctid FROM {} s WHERE {} AND {} AND NOT EXISTS (SELECT FROM {} t WHERE {}{})"
    ).format(
        stage,
        GOOD,
        _filled(key.columns),
        target,
        equal("t", key.target, key.columns),
        _stays("t", leaving),
    )
    if within:
        rows += sql.SQL(" AND NOT EXISTS (SELECT FROM {} t WHERE t.{} IS NULL AND {})").format(
            stage, sql.Identifier(VIOLATION), equal("t", key.target, key.columns)
        )
    reason = f"no row of {key.references} has this {_names(key.target)}"
    return Violation(_REFERENCES, key.columns, reason, rows, repeat=within)


def _repeated(tenant: Tenant, dataset: Dataset, columns: Sequence[str], newest: str = "") -> Violation:
    some = sql.SQL(
        "SELECT {names} FROM {stage} s WHERE {good} AND {filled} GROUP BY {names} HAVING count(*) > 1"
    ).format(
        names=listed("s", columns), stage=stage_table(tenant, dataset), good=GOOD, filled=_filled(columns)
    )
    rows = sql.SQL(
        """
        SELECT d.ctid FROM (
            SELECT s.ctid, row_number() OVER (
                PARTITION BY {names} ORDER BY {first}s.{file}, s.{line}, s.{row}
            ) AS nth
            FROM {stage} s
            WHERE {good} AND ({names}) IN ({some})
        ) d WHERE nth > 1
        """
    ).format(
        names=listed("s", columns),
        first=sql.SQL("s.{} DESC NULLS LAST, ").format(sql.Identifier(newest)) if newest else sql.SQL(""),
        file=sql.Identifier(FILE),
        line=sql.Identifier(LINE),
        row=sql.Identifier(ROW),
        stage=stage_table(tenant, dataset),
        good=GOOD,
        some=some,
    )
    reason = f"the same {_names(columns)} as {'a newer' if newest else 'an earlier'} row"
    return Violation(None if newest else _KEYS, tuple(columns), reason, rows, some)


def _older(tenant: Tenant, dataset: Dataset, load: Load, newest_by: str) -> Violation:
    """Not newer than the row that is there; one that equals it is unchanged rather than superseded."""
    rows = sql.SQL("SELECT s.ctid FROM {} s JOIN {} l ON {} WHERE {} AND NOT {} AND {}").format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        equal("l", dataset.key, dataset.key),
        GOOD,
        later(newest_by),
        differs(load.columns),
    )
    return Violation(None, (newest_by,), f"the row that is there is as new by {newest_by}, or newer", rows)


def _different(tenant: Tenant, dataset: Dataset, load: Load) -> Violation:
    rows = sql.SQL("SELECT s.ctid FROM {} s JOIN {} l ON {} WHERE {} AND {}").format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        equal("l", dataset.key, dataset.key),
        GOOD,
        differs(load.columns),
    )
    return Violation(_KEYS, dataset.key, "a row with this key is there and differs", rows)


def _taken(
    tenant: Tenant, dataset: Dataset, columns: Sequence[str], leaving: sql.Identifier | None
) -> Violation:
    rows = sql.SQL("SELECT s.ctid FROM {} s JOIN {} l ON {} WHERE {} AND NOT ({}){}").format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        equal("l", columns, columns),
        GOOD,
        equal("l", dataset.key, dataset.key),
        _stays("l", leaving),
    )
    return Violation(_KEYS, tuple(columns), f"another row has this {_names(columns)} already", rows)


def _misordered(tenant: Tenant, dataset: Dataset, first: str, then: str) -> Violation:
    rows = sql.SQL(
        "SELECT s.ctid FROM {} s JOIN {} l ON {} "
        "WHERE {} AND coalesce(s.{first}, l.{first}) > coalesce(s.{then}, l.{then})"
    ).format(
        stage_table(tenant, dataset),
        sql.Identifier(tenant.schema_name, dataset.name),
        equal("l", dataset.key, dataset.key),
        GOOD,
        first=sql.Identifier(first),
        then=sql.Identifier(then),
    )
    reason = f"merged with the row that is there, {first} would be after {then}"
    return Violation(_COMPLETE, (first, then), reason, rows)


def _mark(connection: psycopg.Connection, stage: sql.Identifier, violation: Violation, number: int) -> int:
    some = violation.some or violation.rows
    found = connection.execute(sql.SQL("SELECT count(*) FROM ({}) bad").format(some)).fetchone()
    if found is None or not found[0]:
        return 0
    return connection.execute(
        sql.SQL("UPDATE {} u SET {} = {} FROM ({}) bad WHERE u.ctid = bad.ctid").format(
            stage, sql.Identifier(VIOLATION), sql.Literal(number), violation.rows
        )
    ).rowcount


def _enter(
    fleet: Fleet,
    connection: psycopg.Connection,
    tenant: Tenant,
    dataset: Dataset,
    load: Load,
    violation: Violation,
    number: int,
) -> None:
    assert violation.check is not None
    query = sql.SQL(
        "SELECT {file}, {line}, {values} FROM {stage} s WHERE {mark} = {number} "
        "ORDER BY {file}, {line}, {row}"
    ).format(
        values=_as_text(dataset),
        file=sql.Identifier(FILE),
        line=sql.Identifier(LINE),
        row=sql.Identifier(ROW),
        mark=sql.Identifier(VIOLATION),
        number=sql.Literal(number),
        stage=stage_table(tenant, dataset),
    )
    with Quarantine(dataset, violation.check) as entries, connection.cursor("marked") as marked:
        for file, line, row in marked.execute(query):
            raw = as_read(dataset, load.columns, row)
            fault = (", ".join(violation.columns), violation.reason)
            entries.add(load.files[file].name, BadRow(line, (fault,), raw))
        if entries.rows:
            entries.write(connection, tenant, load.id, fleet.clock())


def _as_text(dataset: Dataset) -> sql.Composed:
    """The columns of a stage as an object of texts: every digit is kept, and dates are in ISO spelling."""
    columns = {**dataset.by_name, **extra_columns(dataset)}
    # A document as text is JSON; the text of any other value is what JSON makes of it, without the quotes.
    texts = [
        sql.SQL("s.{}::text" if column.type == "jsonb" else "to_jsonb(s.{}) #>> '{{}}'").format(
            sql.Identifier(name)
        )
        for name, column in columns.items()
    ]
    return sql.SQL("jsonb_object({}::text[], ARRAY[{}]::text[])").format(
        sql.Literal(list(columns)), sql.SQL(", ").join(texts)
    )


def _stays(alias: str, leaving: sql.Identifier | None) -> sql.Composable:
    """And the live row called `alias` is none of those that leave."""
    if leaving is None:
        return sql.SQL("")
    return sql.SQL(
        " AND NOT EXISTS (SELECT FROM {0} gone WHERE gone._place = {1}.ctid AND gone._table = {1}.tableoid)"
    ).format(leaving, sql.Identifier(alias))


def _filled(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in columns)


def _names(columns: Sequence[str]) -> str:
    return " and ".join(columns)
