"""Muting: an operator decides that findings do not count, says why, and until when.

Here: making, lifting and finding mutes; each is in the audit log. Not here: what counts how much
(`report.py`).

A mute that is over needs no job to end it: whether it holds is asked at each validation and each listing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import psycopg

from tenant_ops.audit import record
from tenant_ops.platform.errors import InputError
from tenant_ops.tenants import Fleet, Tenant
from tenant_ops.validation.tracking.states import Mute

FLEET_CHAIN = "fleet"

_SELECT = """
SELECT mute.mute_id, tenant.slug, mute.pattern, mute.reason, mute.muted_by, mute.muted_at, mute.until,
       mute.tenant_id
FROM tenant_ops.finding_mute AS mute LEFT JOIN tenant_ops.tenant ON tenant.id = mute.tenant_id
WHERE mute.lifted_at IS NULL AND (mute.until IS NULL OR mute.until > %(at)s)
  AND (mute.tenant_id IS NULL OR mute.tenant_id = ANY (%(tenants)s))
ORDER BY mute.mute_id
"""


def mute(fleet: Fleet, tenant: Tenant | None, pattern: str, reason: str, until: datetime | None) -> Mute:
    """Let findings not count, from now on.

    Args:
        fleet: The fleet.
        tenant: Whose; None: everybody's.
        pattern: A finding's key, a rule, or either with `*` for anything.
        reason: Why; it stands in every report.
        until: When they count again; None: when the mute is lifted.

    Raises:
        InputError: no reason or no pattern is given, `until` is over, or a critical finding would be muted
            without end.
    """
    now = fleet.clock()
    if not pattern.strip() or pattern.strip("*") == "":
        raise InputError(
            f"the pattern {pattern!r} would mute everything.",
            fix="Name a finding's key or a rule, as `tenant-ops findings list` shows them.",
        )
    if not reason.strip():
        raise InputError(
            "a mute needs a reason.", where="--reason", fix="Say why; it stands in every report."
        )
    if until is not None and until <= now:
        raise InputError(f"{until:%Y-%m-%d %H:%M} is over.", fix="Give a time to come.")
    with fleet.control.transaction() as connection:
        if until is None:
            _refuse_critical(connection, tenant, pattern, now)
        row = connection.execute(
            """
            INSERT INTO tenant_ops.finding_mute (tenant_id, pattern, reason, muted_by, muted_at, until)
            VALUES (%s, %s, %s, %s, %s, %s) RETURNING mute_id
            """,
            (tenant.id if tenant else None, pattern, reason, fleet.settings.actor, now, until),
        ).fetchone()
        assert row is not None
        made = Mute(
            row[0], tenant.slug if tenant else None, pattern, reason, fleet.settings.actor, now, until
        )
        _audit(connection, fleet, tenant.id if tenant else None, "findings.mute", made)
    return made


def unmute(fleet: Fleet, mute_id: int) -> Mute:
    """Lift a mute, so that its findings count again.

    Raises:
        InputError: there is no such mute in force.
    """
    with fleet.control.transaction() as connection:
        row = connection.execute(
            """
            UPDATE tenant_ops.finding_mute AS mute SET lifted_at = %(at)s, lifted_by = %(by)s
            WHERE mute_id = %(id)s AND lifted_at IS NULL AND (until IS NULL OR until > %(at)s)
            RETURNING mute_id, (SELECT slug FROM tenant_ops.tenant WHERE id = mute.tenant_id), pattern,
                      reason, muted_by, muted_at, until, tenant_id
            """,
            {"id": mute_id, "at": fleet.clock(), "by": fleet.settings.actor},
        ).fetchone()
        if row is None:
            raise InputError(
                f"no mute {mute_id} is in force.", fix="List them with: tenant-ops findings mutes"
            )
        lifted = Mute(*row[:7])
        _audit(connection, fleet, row[7], "findings.unmute", lifted)
    return lifted


def list_mutes(fleet: Fleet, tenants: Iterable[Tenant]) -> tuple[Mute, ...]:
    """The mutes in force for any of these tenants, those for all tenants among them."""
    with fleet.control.transaction() as connection:
        return tuple(
            one for _, one in _in_force(connection, [tenant.id for tenant in tenants], fleet.clock())
        )


def in_force(
    connection: psycopg.Connection, tenant_ids: Sequence[UUID], at: datetime
) -> dict[UUID, tuple[Mute, ...]]:
    """For each tenant the mutes that hold for it."""
    found = _in_force(connection, tenant_ids, at)
    return {one: tuple(held for whose, held in found if whose in (None, one)) for one in tenant_ids}


def _in_force(
    connection: psycopg.Connection, tenant_ids: Sequence[UUID], at: datetime
) -> list[tuple[UUID | None, Mute]]:
    rows = connection.execute(_SELECT, {"tenants": list(tenant_ids), "at": at})
    return [(row[7], Mute(*row[:7])) for row in rows]


def _refuse_critical(
    connection: psycopg.Connection, tenant: Tenant | None, pattern: str, now: datetime
) -> None:
    rows = connection.execute(
        """
        SELECT key, rule FROM tenant_ops.finding
        WHERE severity = 'critical' AND resolved_at IS NULL
          AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
        ORDER BY key
        """,
        {"tenant": tenant.id if tenant else None},
    )
    # As if it had an end, to see whom it would cover if it had.
    tried = Mute(0, None, pattern, "", "", now, now)
    for key, rule in rows:
        if tried.covers(key, rule, "critical"):
            raise InputError(
                f"{key} is critical, and is not muted without end.",
                where=f"tenant {tenant.slug}" if tenant else "all tenants",
                fix="Give a time with --until or --days.",
            )


def _audit(
    connection: psycopg.Connection, fleet: Fleet, tenant_id: UUID | None, action: str, about: Mute
) -> None:
    record(
        connection,
        chain=str(tenant_id) if tenant_id else FLEET_CHAIN,
        at=fleet.clock(),
        actor=fleet.settings.actor,
        action=action,
        detail={
            "mute_id": about.mute_id,
            "pattern": about.pattern,
            "until": about.until.isoformat() if about.until else None,
        },
    )
