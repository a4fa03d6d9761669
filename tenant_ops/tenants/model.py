"""What a tenant is: its names, its states, and which state may follow which.

Here: values and pure rules. Not here: where they are stored (`registry.py`) or what changes them.
"""

import base64
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tenant_ops.platform.errors import InputError
from tenant_ops.tenants.tiers import Tier, tier

SLUG_PATTERN = re.compile(r"[a-z][a-z0-9_]{1,47}")
EMAIL_PATTERN = re.compile(r"[^@\s\"'<>\\]+@[^@\s\"'<>\\]+\.[^@\s\"'<>\\]+")


class State(StrEnum):
    """Where a tenant is in its life. Only `active` tenants are operated on."""

    REQUESTED = "requested"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDING = "offboarding"
    ERASED = "erased"
    FAILED = "failed"
    QUARANTINED = "quarantined"


FOLLOWS: dict[State, frozenset[State]] = {
    State.REQUESTED: frozenset({State.PROVISIONING, State.ERASED}),
    State.PROVISIONING: frozenset({State.ACTIVE, State.FAILED}),
    State.FAILED: frozenset({State.PROVISIONING, State.OFFBOARDING}),
    State.ACTIVE: frozenset({State.SUSPENDED, State.OFFBOARDING, State.QUARANTINED}),
    State.SUSPENDED: frozenset({State.ACTIVE, State.OFFBOARDING}),
    State.QUARANTINED: frozenset({State.ACTIVE, State.OFFBOARDING}),
    State.OFFBOARDING: frozenset({State.ERASED}),
    State.ERASED: frozenset(),
}


@dataclass(frozen=True)
class Tenant:
    """One customer: a schema, roles, files and secrets, under one short key.

    Names of database objects come from the generated `key`, never from the slug: a slug may be 48
    characters long and renamed, while Postgres cuts names at 63 bytes, silently.
    """

    id: UUID
    key: str
    slug: str
    display_name: str
    tier_name: str
    state: State
    placement: str
    version: str | None
    admin_email: str | None
    config: dict[str, Any] = field(hash=False)
    created_at: datetime
    updated_at: datetime
    state_reason: str | None = None

    @property
    def tier(self) -> Tier:
        """Its tier."""
        return tier(self.tier_name)

    @property
    def schema_name(self) -> str:
        """The schema with its live tables."""
        return f"t_{self.key}"

    @property
    def stage_schema(self) -> str:
        """The schema with incoming and quarantined rows, which the tenant's own logins cannot enter."""
        return f"s_{self.key}"

    def role(self, kind: str) -> str:
        """The database role for `owner`, `admin`, `editor`, `viewer` or the login `app`."""
        return f"t_{self.key}_{ROLE_SUFFIXES[kind]}"

    def require(self, *states: State) -> "Tenant":
        """The tenant itself when it is in one of these states (`active` when none is named).

        Raises:
            InputError: it is in another state; the sentence says which.
        """
        wanted = states or (State.ACTIVE,)
        if self.state in wanted:
            return self
        reason = f" ({self.state_reason})" if self.state_reason else ""
        raise InputError(
            f"the tenant is {self.state}{reason}, this needs it {' or '.join(wanted)}.",
            where=f"tenant {self.slug}",
            fix=_REMEDIES.get(self.state, ""),
        )


ROLE_SUFFIXES = {"owner": "own", "admin": "adm", "editor": "edt", "viewer": "vwr", "app": "app"}

_REMEDIES = {
    State.SUSPENDED: "Bring it back with: tenant-ops tenant resume --tenant-id <slug>",
    State.FAILED: "Provision it again with: tenant-ops init-tenant --tenant-id <slug>",
    State.PROVISIONING: "Finish it with: tenant-ops init-tenant --tenant-id <slug>",
}


def new_key() -> str:
    """A fresh tenant key: 64 random bits in 13 lower-case base32 characters."""
    return base64.b32encode(secrets.token_bytes(8)).decode().rstrip("=").lower()


def check_slug(slug: str) -> str:
    """The slug itself when it may name a tenant.

    Raises:
        InputError: it may not; the rule is said.
    """
    if not SLUG_PATTERN.fullmatch(slug):
        raise InputError(
            f"{slug!r} cannot name a tenant.",
            where="tenant id",
            fix="Use 2 to 48 lower-case letters, digits and _, starting with a letter.",
        )
    return slug


def check_email(address: str | None) -> str | None:
    """The address itself when it can be one (None passes).

    Raises:
        InputError: it cannot.
    """
    if address is not None and (len(address) > 254 or not EMAIL_PATTERN.fullmatch(address)):
        raise InputError(f"{address!r} is not an e-mail address.", where="admin e-mail")
    return address
