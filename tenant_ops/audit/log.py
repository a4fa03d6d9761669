"""The audit log: one hash chain per tenant, so a changed or removed line shows.

Here: adding an event and verifying a chain. Not here: what is worth an event (each domain decides), masking.

`hash = SHA-256(previous || canonical JSON of the event)`. Details hold ids, names of things and counts, never
personal data: erasing a tenant must not break its chain.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

_GENESIS = bytes(32)


@dataclass(frozen=True)
class AuditEvent:
    """One line of the log."""

    chain: str
    seq: int
    at: datetime
    actor: str
    action: str
    run_id: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class ChainVerdict:
    """The outcome of verifying a chain: `broken_at` is the first line that does not hold."""

    chain: str
    events: int
    intact: bool
    broken_at: int | None = None
    reason: str = ""


def record(
    connection: psycopg.Connection,
    *,
    chain: str,
    at: datetime,
    actor: str,
    action: str,
    detail: dict[str, Any] | None = None,
    run_id: str | None = None,
) -> int:
    """Add an event inside the caller's transaction and return its number.

    The chain's head row serialises writers, so two operations never claim the same number.
    """
    connection.execute(
        "INSERT INTO tenant_ops.audit_head (chain, seq, hash) VALUES (%s, 0, %s) ON CONFLICT DO NOTHING",
        (chain, _GENESIS),
    )
    head = connection.execute(
        "SELECT seq, hash FROM tenant_ops.audit_head WHERE chain = %s FOR UPDATE", (chain,)
    ).fetchone()
    assert head is not None
    event = AuditEvent(chain, head[0] + 1, at, actor, action, run_id, detail or {})
    digest = _hash(head[1], event)
    connection.execute(
        """
        WITH head AS (
            UPDATE tenant_ops.audit_head SET seq = %(seq)s, hash = %(hash)s WHERE chain = %(chain)s
        )
        INSERT INTO tenant_ops.audit_event (chain, seq, at, actor, action, run_id, detail, previous, hash)
        VALUES (%(chain)s, %(seq)s, %(at)s, %(actor)s, %(action)s, %(run_id)s, %(detail)s, %(previous)s,
                %(hash)s)
        """,
        {
            "chain": chain,
            "seq": event.seq,
            "at": at,
            "actor": actor,
            "action": action,
            "run_id": run_id,
            "detail": Jsonb(event.detail),
            "previous": head[1],
            "hash": digest,
        },
    )
    return event.seq


def history(connection: psycopg.Connection, chain: str, *, limit: int = 100) -> tuple[AuditEvent, ...]:
    """The newest events of a chain, newest first."""
    rows = connection.execute(
        """
        SELECT chain, seq, at, actor, action, run_id, detail FROM tenant_ops.audit_event
        WHERE chain = %s ORDER BY seq DESC LIMIT %s
        """,
        (chain, limit),
    )
    return tuple(AuditEvent(*row) for row in rows)


def verify_chain(connection: psycopg.Connection, chain: str) -> ChainVerdict:
    """Walk the chain from its start and compare every hash, and the head, with what is stored."""
    rows = connection.execute(
        """
        SELECT chain, seq, at, actor, action, run_id, detail, previous, hash FROM tenant_ops.audit_event
        WHERE chain = %s ORDER BY seq
        """,
        (chain,),
    )
    previous, count = _GENESIS, 0
    for row in rows:
        event, stored_previous, stored_hash = AuditEvent(*row[:7]), row[7], row[8]
        count += 1
        if event.seq != count:
            return ChainVerdict(chain, count, False, count, f"event {count} is missing")
        if stored_previous != previous or _hash(previous, event) != stored_hash:
            return ChainVerdict(chain, count, False, event.seq, f"event {event.seq} was changed")
        previous = stored_hash
    head = connection.execute(
        "SELECT seq, hash FROM tenant_ops.audit_head WHERE chain = %s", (chain,)
    ).fetchone()
    if (head or (0, _GENESIS)) != (count, previous):
        return ChainVerdict(chain, count, False, count + 1, "the end of the chain was cut off")
    return ChainVerdict(chain, count, True)


def _hash(previous: bytes, event: AuditEvent) -> bytes:
    body = json.dumps(
        {
            "chain": event.chain,
            "seq": event.seq,
            "at": event.at.timestamp(),
            "actor": event.actor,
            "action": event.action,
            "run_id": event.run_id,
            "detail": event.detail,
        },
        sort_keys=True,
        separators=(",", ":"),
        default=str,
    )
    return hashlib.sha256(previous + body.encode()).digest()
