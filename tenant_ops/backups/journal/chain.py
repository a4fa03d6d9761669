"""What ties a backup to the one before it, and when the tie is broken.

Here: the anchor a backup leaves for the next one, and the conditions on which the next may follow. Not here:
what is read between the two (`tick.py`).

A chain that cannot be proved whole is refused: then the caller takes a new base, which costs a full backup
and loses nothing but the moments in between.
"""

from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from tenant_ops.backups.journal.functions import KEPT
from tenant_ops.backups.journal.inspection import Health, inspect
from tenant_ops.backups.snapshot import Snapshot
from tenant_ops.platform.errors import OperationFailed
from tenant_ops.tenants import Tenant

Reason = Literal[
    "not installed",
    "not healthy",
    "another server",
    "server went back",
    "definition changed",
    "capture changed",
    "not kept",
    "written unseen",
    "row too large",
]

_SENTENCES: dict[Reason, str] = {
    "not installed": "its journal is not installed",
    "not healthy": "its journal does not follow every table",
    "another server": "the server is another one, or was failed over, since the backup it would follow",
    "server went back": "the server is at an earlier state than when the backup it would follow was taken",
    "definition changed": "the definition of its schema changed since the backup it would follow",
    "capture changed": "rows may have changed unseen since the backup it would follow: a trigger, a table "
    "or the journal itself was disabled or made again",
    "not kept": "the journal does not reach back to the backup it would follow",
    "written unseen": "rows were written while their table was not what the journal knew",
    "row too large": "a row was written that is too large for the journal",
}


class ChainBroken(OperationFailed):
    """No segment can follow the given anchor; take a base.

    Attributes:
        reason: Why, for programs.
        detail: What exactly, for people; may be empty.
    """

    def __init__(self, reason: Reason, tenant: str, detail: str = "") -> None:
        self.reason: Reason = reason
        self.detail = detail
        said = f"{_SENTENCES[reason]}: {detail}" if detail else f"{_SENTENCES[reason]}."
        super().__init__(said, where=f"tenant {tenant}", fix="Take a full backup; a new chain begins there.")


@dataclass(frozen=True)
class Anchor:
    """A moment a chain can go on from.

    Attributes:
        snapshot: The transactions it sees, as `pg_current_snapshot` writes them.
        taken_at: The server's clock then, ISO 8601.
        system_identifier: Of the server's cluster.
        timeline: Counts the server's failovers and point-in-time recoveries.
        fingerprint: Of the schema's definition.
        identity: Of the capture; see `Health.identity`.
    """

    snapshot: str
    taken_at: str
    system_identifier: str
    timeline: str
    fingerprint: str
    identity: str


@dataclass(frozen=True)
class Moment:
    """An anchor, and how the journal was when it was taken."""

    anchor: Anchor
    health: Health


def read_moment(snapshot: Snapshot, tenant: Tenant) -> Moment:
    """The anchor of a held moment; whether a chain may begin or go on there is another question.

    Raises:
        ChainBroken: the journal is not installed.
    """
    health = inspect(snapshot.connection, tenant)
    if not health.installed:
        raise ChainBroken("not installed", tenant.slug)
    anchor = Anchor(
        snapshot=snapshot.id,
        taken_at=snapshot.taken_at,
        system_identifier=snapshot.server["system_identifier"],
        timeline=_timeline(snapshot.connection),
        fingerprint=snapshot.definition.fingerprint,
        identity=health.identity,
    )
    return Moment(anchor, health)


def check_beginning(tenant: Tenant, now: Moment) -> None:
    """Make sure that every change after this moment will be in the journal.

    Raises:
        ChainBroken: it may not be.
    """
    if now.health.problems:
        raise ChainBroken("not healthy", tenant.slug, now.health.problems[0])


def check_chain(connection: psycopg.Connection, tenant: Tenant, since: Anchor, moment: Moment) -> None:
    """Make sure that every change between an anchor and this moment is in the journal.

    Raises:
        ChainBroken: it may not be.
    """
    slug, now = tenant.slug, moment.anchor
    if (since.system_identifier, since.timeline) != (now.system_identifier, now.timeline):
        raise ChainBroken("another server", slug)
    if since.fingerprint != now.fingerprint:
        raise ChainBroken("definition changed", slug)
    check_beginning(tenant, moment)
    if since.identity != now.identity:
        raise ChainBroken("capture changed", slug)
    row = connection.execute(
        sql.SQL(
            "SELECT pg_snapshot_xmax(%(since)s) <= pg_snapshot_xmax(%(now)s), "
            "EXISTS (SELECT FROM {} WHERE snapshot = %(since)s::text)"
        ).format(sql.Identifier(tenant.stage_schema, KEPT)),
        {"since": since.snapshot, "now": now.snapshot},
    ).fetchone()
    assert row is not None
    forward, kept = row
    if not forward:
        raise ChainBroken("server went back", slug)
    if not kept:
        raise ChainBroken("not kept", slug)


def _timeline(connection: psycopg.Connection) -> str:
    """From the name of the WAL file being written: the checkpoint's lags behind after a failover."""
    row = connection.execute("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)").fetchone()
    assert row is not None
    return row[0]
