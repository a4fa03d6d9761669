"""Mode full: the rows the files do not have leave the live table, in the transaction that merges the others.

Here: finding them, what keeps them from leaving, and removing them. Not here: the order of a merge and the
backup that comes before it (`merging.py`).

A live row leaves when its key is neither in the stage nor among the rows that were left out of it: a bad row
in the files must not cost the good one that is there. Rows of other datasets that refer to one that leaves
are taken along when their dataset is replaced by the same load, and so on; any other reference holds it, and
nothing is merged. What ON DELETE says does not matter: a load changes no dataset it was not given.

They are found twice: before the safety backup, and after it under a lock that keeps writers out (readers go
on). Place and writing transaction of each row (`ctid`, `xmin`) tell whether they are the same: what was
written in between is not in the backup.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_ops.cleanup import Reference, read_structure
from tenant_ops.datasets import Dataset
from tenant_ops.loading.bad_keys import copy_bad_keys
from tenant_ops.loading.ledger import Load
from tenant_ops.loading.reports import LoadPlan
from tenant_ops.loading.stages import stage_table
from tenant_ops.loading.statements import GOOD, differs, equal, listed
from tenant_ops.platform.errors import InputError, OperationFailed
from tenant_ops.tenants import Fleet, Tenant

LOCK_WAIT = "10s"
"""How long writers are waited for; meanwhile others queue behind the lock."""


@dataclass(frozen=True)
class Leaving:
    """What a full load would remove, as of one moment.

    Attributes:
        rows: How many rows, by table: the dataset's own, and those taken along.
        versions: A hash over which rows these are, by table.
        held_by: How many rows refer to them and stay, by table.
        unread: Rows that were left out and whose key is not known, so that any row may be theirs.
        replacement: Whether any row would be there afterwards.
    """

    rows: dict[str, int]
    versions: dict[str, int]
    held_by: dict[str, int]
    unread: int
    replacement: bool

    @property
    def count(self) -> int:
        """All rows."""
        return sum(self.rows.values())

    def check(self, tenant: Tenant, dataset: Dataset, *, force: bool) -> None:
        """Refuse what would lose rows nobody asked to lose.

        Raises:
            InputError: they may not leave; nothing was changed.
        """
        where = f"tenant {tenant.slug}, dataset {dataset.name}"
        count = self.rows[dataset.name]
        if not count:
            return
        if not self.replacement and not force:
            raise InputError(
                f"the files have no row that can be merged, which would delete all {count} that are there.",
                where=where,
                fix="Look at the files; force the load to empty the dataset.",
            )
        if self.unread:
            raise InputError(
                f"{self.unread} rows were left out whose {' and '.join(dataset.key)} is not known, and "
                f"{count} rows that are there are not in the files: they may be these. Nothing was merged.",
                where=where,
                fix=f"Repair the rows in {tenant.stage_schema}.quarantine, or load in mode batch.",
            )
        if self.held_by:
            holders = ", ".join(f"{rows} of {name}" for name, rows in sorted(self.held_by.items()))
            raise InputError(
                f"{count} rows that are not in the files are referred to by rows that stay: {holders}. "
                "Nothing was merged.",
                where=where,
                fix="Replace these datasets in the same load, keep what they refer to in the files, or "
                "repair what of them is in quarantine.",
            )


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        rows: How many rows, by table.
        updated: Rows that were changed on the way and are as the files have them.
    """

    rows: dict[str, int]
    updated: int


class Replacement:
    """The rows of a tenant that one full load removes, for the length of a transaction.

    Args:
        fleet: The fleet.
        connection: A session of the tenant.
        tenant: Whose rows.
        dataset: What is replaced.
        plan: Names the datasets replaced together.
        load: What replaces it; staged.
    """

    def __init__(
        self,
        fleet: Fleet,
        connection: psycopg.Connection,
        tenant: Tenant,
        dataset: Dataset,
        plan: LoadPlan,
        load: Load,
    ) -> None:
        self._fleet = fleet
        self._connection = connection
        self._tenant = tenant
        self._dataset = dataset
        self._load = load
        self._along = frozenset(plan.replaced) - {dataset.name}
        self._structure = read_structure(connection, tenant.schema_name)
        self._tables: list[str] = []
        self._unread = 0

    @property
    def table(self) -> sql.Identifier:
        """The table of the dataset's own rows that leave: `_table`, `_place` and `_version` of each."""
        return self._leaving(self._dataset.name)

    def lock(self, tables: Sequence[str]) -> None:
        """Keep writers from these tables and those that refer to them until the transaction ends."""
        referring = {ref.child for ref in self._structure.references if ref.parent in tables}
        names = [self._live(name) for name in sorted({*tables, *referring})]
        self._connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_WAIT,))
        self._connection.execute(
            sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.SQL(", ").join(names))
        )
        self._connection.execute("SELECT set_config('lock_timeout', '0', true)")

    def find(self) -> None:
        """Find the rows that leave."""
        self._make_table(self._dataset.name)
        found = self._connection.execute(
            sql.SQL(
                """
                INSERT INTO {} SELECT l.tableoid, l.ctid, l.xmin FROM {} l
                WHERE NOT EXISTS (SELECT FROM {} s WHERE {same})
                    AND NOT EXISTS (SELECT FROM {} s WHERE {same})
                """
            ).format(
                self.table,
                self._live(self._dataset.name),
                stage_table(self._tenant, self._dataset),
                self._bad_keys(),
                same=equal("l", self._dataset.key, self._dataset.key),
            )
        )
        grown = [self._dataset.name] if found.rowcount else []
        while grown:
            parent = grown.pop()
            referring = [ref for ref in self._structure.references if ref.parent == parent]
            grown += [ref.child for ref in referring if ref.child in self._along and self._take_along(ref)]

    def weigh(self) -> Leaving:
        """What was found; to be asked when the stage's bad rows are marked."""
        rows: dict[str, int] = {}
        versions: dict[str, int] = {}
        for name in self._tables:
            rows[name], versions[name] = self._one(
                sql.SQL(
                    "SELECT count(*), coalesce(bit_xor(hashtextextended("
                    "concat_ws(' ', _table, _place, _version), 0)), 0) FROM {}"
                ).format(self._leaving(name))
            )
        replaced, unread = self._one(
            sql.SQL(
                "SELECT coalesce(bool_or({}), false), count(*) FILTER (WHERE NOT ROW({}) IS NOT NULL) "
                "FROM {} s"
            ).format(GOOD, listed("s", self._dataset.key), stage_table(self._tenant, self._dataset))
        )
        held_by = self._holders() if any(rows.values()) else {}
        return Leaving(rows, versions, held_by, self._unread + unread, replaced)

    def remove(self, expected: Leaving) -> Removed:
        """Remove what was found, which must still be what was expected.

        Raises:
            OperationFailed: it is not: rows were written since.
        """
        if self.weigh() != expected:
            raise OperationFailed(
                "rows were written while the safety backup was taken; nothing was merged.",
                where=f"tenant {self._tenant.slug}, dataset {self._dataset.name}",
                fix="Load again when nobody writes to the dataset.",
            )
        updated = sum(self._let_go(ref) for ref in self._own_references())
        leaving = [name for name, count in expected.rows.items() if count]
        rows = {name: self._delete(name) for name in self._structure.children_first(leaving)}
        return Removed(rows, updated)

    def clear(self) -> None:
        """Drop the tables that `find` made."""
        names = [self._leaving(name) for name in self._tables]
        self._connection.execute(
            sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join([*names, self._keys_table()]))
        )

    def _bad_keys(self) -> sql.Identifier:
        self._connection.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                self._keys_table(),
                sql.SQL(", ").join(map(sql.Identifier, self._dataset.key)),
                self._live(self._dataset.name),
            )
        )
        self._unread = copy_bad_keys(
            self._fleet, self._connection, self._tenant, self._dataset, self._load, self._keys_table()
        )
        return self._keys_table()

    def _make_table(self, name: str) -> None:
        self._tables.append(name)
        self._connection.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} (_table oid, _place tid, _version xid)").format(
                self._leaving(name)
            )
        )

    def _take_along(self, ref: Reference) -> bool:
        """Add the rows that refer to some that leave; whether there were any."""
        if ref.child not in self._tables:
            self._make_table(ref.child)
        added = self._connection.execute(
            sql.SQL("INSERT INTO {} SELECT c.tableoid, c.ctid, c.xmin FROM {} c WHERE {} AND NOT {}").format(
                self._leaving(ref.child),
                self._live(ref.child),
                self._refers("c", ref),
                self._leaves("c", ref.child),
            )
        )
        return added.rowcount > 0

    def _holders(self) -> dict[str, int]:
        held_by: dict[str, int] = {}
        for ref in self._structure.references:
            if ref.parent not in self._tables or ref.child in self._along:
                continue
            stays = sql.SQL("true")
            if ref.child == self._dataset.name:
                stays = sql.SQL("NOT {}").format(self._leaves("l", ref.child))
                if ref in self._own_references():
                    stays += sql.SQL(" AND NOT EXISTS (SELECT FROM {} s WHERE {} AND {})").format(
                        stage_table(self._tenant, self._dataset),
                        GOOD,
                        equal("l", self._dataset.key, self._dataset.key),
                    )
            (count,) = self._one(
                sql.SQL("SELECT count(*) FROM {} l WHERE {} AND {}").format(
                    self._live(ref.child), self._refers("l", ref), stays
                )
            )
            if count:
                held_by[ref.child] = held_by.get(ref.child, 0) + count
        return held_by

    def _own_references(self) -> list[Reference]:
        """References of the dataset to itself that the files give anew."""
        name, key = self._dataset.name, self._dataset.key
        return [
            ref
            for ref in self._structure.references
            if ref.child == ref.parent == name
            and set(ref.child_columns) <= set(self._load.columns)
            and not set(ref.child_columns) <= set(key)
        ]

    def _let_go(self, ref: Reference) -> int:
        """Point rows that stay away from rows that leave; the merge then points them where the files say.

        Otherwise ON DELETE would reach them. What may not be empty leads to its own row meanwhile.
        Returns how many of them are as the files have them already.
        """
        pairs = [
            (own, target)
            for own, target in zip(ref.child_columns, ref.parent_columns, strict=True)
            if own not in self._dataset.key
        ]
        nullable = [own for own, _ in pairs if self._dataset.by_name[own].nullable]
        sets = [
            sql.SQL("{} = {}").format(
                sql.Identifier(own), sql.SQL("NULL") if nullable else sql.Identifier("l", target)
            )
            for own, target in pairs
            if not nullable or own in nullable
        ]
        others = [name for name in self._load.columns if name not in self._dataset.key]
        (done,) = self._one(
            sql.SQL(
                """
                WITH let_go AS (
                    UPDATE {live} l SET {sets} FROM {stage} s
                    WHERE {same} AND {good} AND {refers} AND NOT {leaves} RETURNING NOT ({differs}) AS done
                )
                SELECT count(*) FILTER (WHERE done) FROM let_go
                """
            ).format(
                live=self._live(self._dataset.name),
                sets=sql.SQL(", ").join(sets),
                stage=stage_table(self._tenant, self._dataset),
                same=equal("l", self._dataset.key, self._dataset.key),
                good=GOOD,
                refers=self._refers("l", ref),
                leaves=self._leaves("l", ref.child),
                differs=differs(others),
            )
        )
        return done

    def _delete(self, name: str) -> int:
        statement = sql.SQL("DELETE FROM {} l USING {} gone WHERE {}").format(
            self._live(name), self._leaving(name), _at("gone", "l")
        )
        return self._connection.execute(statement).rowcount

    def _refers(self, alias: str, ref: Reference) -> sql.Composed:
        """The condition that the row called `alias` refers to one that leaves."""
        return sql.SQL("EXISTS (SELECT FROM {} p JOIN {} gone ON {} WHERE {})").format(
            self._live(ref.parent),
            self._leaving(ref.parent),
            _at("gone", "p"),
            ref.matches(sql.Identifier(alias), sql.Identifier("p")),
        )

    def _leaves(self, alias: str, name: str) -> sql.Composed:
        return sql.SQL("EXISTS (SELECT FROM {} gone WHERE {})").format(
            self._leaving(name), _at("gone", alias)
        )

    def _live(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._tenant.schema_name, name)

    def _leaving(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._tenant.stage_schema, f"leaving_{name}")

    def _keys_table(self) -> sql.Identifier:
        return sql.Identifier(self._tenant.stage_schema, f"bad_keys_{self._dataset.name}")

    def _one(self, query: sql.Composed) -> tuple:
        row = self._connection.execute(query).fetchone()
        assert row is not None
        return row


def _at(gone: str, alias: str) -> sql.Composed:
    return sql.SQL("{0}._place = {1}.ctid AND {0}._table = {1}.tableoid").format(
        sql.Identifier(gone), sql.Identifier(alias)
    )
