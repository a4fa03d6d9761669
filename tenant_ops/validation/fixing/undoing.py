"""Undoing a fix: rows become what they were, byte for byte, except those changed since.

Here: the way back, and the list of fixes. Not here: keeping rows (`images.py`).

What was done last is taken back first. A row counts as unchanged since when the columns the fix changed still
hold what it wrote, so what was written to others stays. A deleted row comes back unless another has its key.
"""

from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_ops.audit import record
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.fixing.applying import LOCK_TIMEOUT_S
from tenant_ops.validation.fixing.images import (
    FIX,
    IMAGE,
    STEP,
    Refused,
    TableColumns,
    pin_spelling,
    read_columns,
)
from tenant_ops.validation.report import FixRecord, FixRecordStep, UndoReport
from tenant_ops.validation.samples import name_row

NAMED = 20


def list_fixes(fleet: Fleet, tenant: Tenant) -> tuple[FixRecord, ...]:
    """The tenant's fixes of which something was kept, newest first."""
    names = _names(tenant)
    with fleet.session(tenant, "owner") as connection:
        if not _are_there(connection, tenant):
            return ()
        rows = connection.execute(
            sql.SQL("""
                SELECT f.id, f.fixed_at, f.actor, f.undone_at,
                       (SELECT count(*) FROM {fix_image} i WHERE i.fix_id = f.id),
                       (SELECT json_agg(json_build_array(s.rule, s.change, s.rows) ORDER BY s.step)
                        FROM {fix_step} s WHERE s.fix_id = f.id)
                FROM {fix} f ORDER BY f.fixed_at DESC, f.id
            """).format(**names)
        ).fetchall()
    return tuple(
        FixRecord(
            fix_id=str(fix_id),
            fixed_at=fixed_at.isoformat(),
            actor=actor,
            undone_at=undone_at.isoformat() if undone_at else None,
            rows_kept=kept,
            steps=tuple(FixRecordStep(*step) for step in steps or ()),
        )
        for fix_id, fixed_at, actor, undone_at, kept, steps in rows
    )


def undo_fixes(fleet: Fleet, tenant: Tenant, fix_id: str) -> UndoReport:
    """Take back everything a fix did, except in rows changed since; all of it or nothing.

    Raises:
        InputError: there is no such fix, or it was undone already.
        OperationFailed: a constraint does not let the rows be what they were; nothing was changed.
        TenantBusy: another operation holds the tenant.
    """
    where = f"tenant {tenant.slug}"
    try:
        with fleet.lock(tenant, "fixes"), fleet.session(tenant, "owner") as connection:
            number = _known(connection, tenant, fix_id)
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_S}s",))
            pin_spelling(connection)
            undo = _Undo(fleet, connection, tenant, number)
            report = undo.run()
            with fleet.control_within(tenant, connection) as control:
                record(
                    control,
                    chain=str(tenant.id),
                    at=fleet.clock(),
                    actor=fleet.settings.actor,
                    action="tenant.fix_undone",
                    detail={
                        "fix_id": fix_id,
                        "restored": report.restored,
                        "changed_since": report.changed_since,
                    },
                )
    except Refused as error:
        raise OperationFailed(f"the fix was not undone: {error}", where=where) from error
    except psycopg.errors.LockNotAvailable as error:
        raise OperationFailed(
            f"the fix was not undone: somebody else held its rows for more than {LOCK_TIMEOUT_S} s.",
            where=where,
            fix="Try again.",
        ) from error
    except psycopg.Error as error:
        named = error.diag.constraint_name
        reason = f"the constraint {named} does not allow it" if named else f"{type(error).__name__}"
        raise OperationFailed(
            f"the fix was not undone, nothing was changed: {reason}.",
            where=where,
            fix="Remove what stands against it, and undo again.",
        ) from error
    return report


@dataclass(frozen=True)
class _Undo:
    """Taking one fix back, in the caller's transaction."""

    fleet: Fleet
    connection: psycopg.Connection
    tenant: Tenant
    fix_id: UUID

    def run(self) -> UndoReport:
        names = _names(self.tenant)
        steps = self.connection.execute(
            sql.SQL("SELECT begin, undo FROM {fix_step} WHERE fix_id = %s").format(**names), (self.fix_id,)
        ).fetchall()
        parts = self.connection.execute(sql.SQL(_PARTS).format(**names), {"fix_id": self.fix_id}).fetchall()
        restored = 0
        # A step's statements have a lower number than its rows, so they come after them: entries of the
        # quarantine are told by the rows that are left.
        for number, *about in sorted([*steps, *parts], key=lambda event: event[0], reverse=True):
            if len(about) == 1:
                for as_operator, statement in about[0]:
                    self._run(statement, as_operator=as_operator)
            else:
                restored += self._rows(number, *about)
        left = self.connection.execute(
            sql.SQL("DELETE FROM {fix_image} WHERE fix_id = %s RETURNING dataset, row_key").format(**names),
            (self.fix_id,),
        ).fetchall()
        self.connection.execute(
            sql.SQL("UPDATE {fix} SET undone_at = %s WHERE id = %s").format(**names),
            (self.fleet.clock(), self.fix_id),
        )
        rows = tuple(
            f"{dataset}: {name_row(self.fleet.catalog, dataset, key)}" for dataset, key in left[:NAMED]
        )
        return UndoReport(self.tenant.slug, str(self.fix_id), restored, len(left), rows)

    def _run(self, statement: str, *, as_operator: bool) -> None:
        if as_operator:
            self.connection.execute("SELECT set_config('role', 'none', true)")
        self.connection.execute(statement.encode())
        if as_operator:
            self.connection.execute("SELECT set_config('role', %s, true)", (self.tenant.role("owner"),))

    def _rows(
        self,
        part: int,
        dataset: str,
        deleted: bool,
        beside: bool,
        stored: list[str],
        changed: list[str] | None,
    ) -> int:
        known = self.fleet.catalog[dataset].key if dataset in self.fleet.catalog else ()
        columns = read_columns(self.connection, dataset, known)
        if gone := sorted(set(stored if deleted else changed or ()) - set(columns.types)):
            raise Refused(f"{dataset} has lost its column {gone[0]}.")
        if deleted:
            query = self._put_back(columns, stored, beside=beside)
        else:
            query = self._set_back(columns, changed or [])
        return self.connection.execute(query, {"fix_id": self.fix_id, "part": part}).rowcount

    def _set_back(self, columns: TableColumns, changed: list[str]) -> sql.Composed:
        if not columns.key:
            raise Refused(f"{columns.name} has lost its primary key.")
        if not changed:  # an expression that changed nothing
            return sql.SQL("DELETE FROM {fix_image} WHERE {own}").format(**_names(self.tenant), own=_OWN)
        return sql.SQL("""
            WITH kept AS MATERIALIZED (SELECT * FROM {fix_image} WHERE {own}), restored AS (
                UPDATE {table} SET {values} FROM kept WHERE {match} AND {unchanged} RETURNING kept.id
            )
            DELETE FROM {fix_image} USING restored WHERE {fix_image}.id = restored.id
        """).format(
            **_names(self.tenant),
            own=_OWN,
            table=columns.table,
            values=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), columns.typed("kept.before", name))
                for name in changed
            ),
            match=self._match(columns),
            unchanged=sql.SQL(" AND ").join(
                sql.SQL("{}::text IS NOT DISTINCT FROM kept.after->>{}").format(
                    columns.column(name), sql.Literal(name)
                )
                for name in changed
            ),
        )

    def _put_back(self, columns: TableColumns, stored: list[str], *, beside: bool) -> sql.Composed:
        return sql.SQL("""
            WITH kept AS MATERIALIZED (
                SELECT * FROM {fix_image} kept
                WHERE {own} AND ({beside} OR NOT EXISTS (SELECT FROM {table} WHERE {match}))
            ), restored AS (
                INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM kept
            )
            DELETE FROM {fix_image} USING kept WHERE {fix_image}.id = kept.id
        """).format(
            **_names(self.tenant),
            own=_OWN,
            beside=sql.Literal(beside),
            table=columns.table,
            match=self._match(columns),
            names=sql.SQL(", ").join(map(sql.Identifier, stored)),
            values=sql.SQL(", ").join(columns.typed("before", name) for name in stored),
        )

    def _match(self, columns: TableColumns) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(columns.column(name), columns.typed("kept.row_key", name))
            for name in columns.key
        )


_OWN = sql.SQL("fix_id = %(fix_id)s AND part = %(part)s")

_PARTS = """
SELECT part, dataset, bool_or(after IS NULL), bool_or(beside),
       (SELECT array_agg(k) FROM jsonb_object_keys(min(before::text)::jsonb) k),
       (SELECT array_agg(DISTINCT k.key) FROM {fix_image} j, jsonb_each(j.before) k
        WHERE j.fix_id = %(fix_id)s AND j.part = i.part AND j.after IS NOT NULL
        AND j.after->k.key IS DISTINCT FROM k.value)
FROM {fix_image} i WHERE fix_id = %(fix_id)s GROUP BY part, dataset
"""


def _names(tenant: Tenant) -> dict[str, sql.Identifier]:
    return {name: sql.Identifier(tenant.stage_schema, name) for name in (FIX, STEP, IMAGE)}


def _are_there(connection: psycopg.Connection, tenant: Tenant) -> bool:
    name = sql.Identifier(tenant.stage_schema, FIX).as_string()
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return bool(row and row[0])


def _known(connection: psycopg.Connection, tenant: Tenant, fix_id: str) -> UUID:
    problem = f"there is no fix {fix_id!r} to undo; perhaps it was undone already."
    try:
        number = UUID(fix_id)
    except ValueError:
        raise InputError(problem, where=f"tenant {tenant.slug}") from None
    row = None
    if _are_there(connection, tenant):
        row = connection.execute(
            sql.SQL("SELECT undone_at FROM {fix} WHERE id = %s FOR UPDATE").format(**_names(tenant)),
            (number,),
        ).fetchone()
    if row is None or row[0] is not None:
        raise InputError(
            problem if row is None else f"the fix {fix_id} was undone already.", where=f"tenant {tenant.slug}"
        )
    return number
