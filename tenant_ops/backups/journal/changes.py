"""What changed since an anchor, for readers that are no backups: which tables, and which of their rows.

Here: queries on the journal. Not here: segments (`tick.py`), whether one may go on from an anchor
(`chain.py`).
"""

from dataclasses import dataclass

from psycopg import sql

from tenant_ops.backups.journal.chain import Anchor, check_chain, read_moment
from tenant_ops.backups.journal.functions import JOURNAL
from tenant_ops.backups.journal.tick import summary_of, unseen
from tenant_ops.backups.snapshot import Snapshot
from tenant_ops.tenants import Tenant


@dataclass(frozen=True)
class ChangedRows:
    """Of one table.

    Attributes:
        entries: How many entries the journal has of it.
        query: Gives the keys of the rows that were written, as columns named like the key's; rows that are
            gone are not in it. None: it cannot be told which, any row may have changed.
        key: The columns of the key.
    """

    entries: int
    query: sql.Composed | None
    key: tuple[str, ...] = ()


def changes_since(snapshot: Snapshot, tenant: Tenant, since: Anchor) -> dict[str, ChangedRows]:
    """The tables that may have changed since an anchor, with what tells the rows.

    The queries read the journal, so whoever runs them later gets what was written until then, too.

    Raises:
        ChainBroken: something may have changed unseen.
    """
    connection = snapshot.connection
    moment = read_moment(snapshot, tenant)
    check_chain(connection, tenant, since, moment)
    journal = sql.Identifier(tenant.stage_schema, JOURNAL)
    summary_of(connection, tenant, journal, since.snapshot)  # refuses what was not logged
    counted = dict(
        connection.execute(
            sql.SQL("SELECT tbl, count(*) FROM {} WHERE {} GROUP BY tbl").format(
                journal, unseen(since.snapshot)
            )
        ).fetchall()
    )
    found: dict[str, ChangedRows] = {}
    for unit in moment.health.units:
        names = {unit.name, *unit.leaves, *(name for _, name in unit.members)}
        entries = sum(counted.get(name, 0) for name in names)
        if not entries and unit.way in ("state", "rows"):
            continue
        told = unit.way == "state" and unit.key is not None and unit.columns == unit.every_column
        query = None
        if told and unit.key:
            # The text of a row is read as a row of the table: columns that were dropped are passed over.
            query = sql.SQL(
                "SELECT DISTINCT {keys} FROM (SELECT body::{table} AS r FROM {journal} "
                "WHERE op = 's' AND tbl = {name} AND {unseen} OFFSET 0) entry"
            ).format(
                keys=sql.SQL(", ").join(
                    sql.SQL("(r).{}").format(sql.Identifier(c)) for c in unit.key.columns
                ),
                table=snapshot.table(unit.name),
                journal=journal,
                name=sql.Literal(unit.name),
                unseen=unseen(since.snapshot),
            )
        found[unit.name] = ChangedRows(entries, query, unit.key.columns if unit.key else ())
    return found
